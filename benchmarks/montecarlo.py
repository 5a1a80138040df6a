"""Our Monte Carlo against GATE, EGSnrc and itself without variance reduction, at equal uncertainty.

    python benchmarks/montecarlo.py [--edge 128] [--decays 2e7] [--block 1] [--gate-python PYTHON]

177Lu (or ``--nuclide``), 128 x 128 x 128 voxels of 4 mm, a body of tissue, lung and bone in air. Every code
gets the same maps. For each component (electrons, photons) two things are measured: CPU seconds per decay,
and the variance of a voxel's energy for one decay in that voxel, averaged over the voxels above 20 % of the
largest dose. Their product is the cost of a given uncertainty; with time divided between the components in
the best way the cost is (sum of sqrt(variance x time))^2. GATE's start-up is taken off. EGSnrc is not run: it
is the analogue variance, measured here, at 0.7e5 to 1.6e5 decays per CPU second and core (measured earlier on
this problem). One process, one thread; run it on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import time

import numpy as np

from dicomnode.montecarlo import gate
from dicomnode.montecarlo.gate_data import find
from dicomnode.montecarlo.gate_source import emitted
from dicomnode.montecarlo.gate_volumes import Material
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem, Run, Tally, region
from dicomnode.montecarlo.source import members
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

EGSNRC = (0.7e5, 1.6e5)
BATCHES = 10
PHOTON_SHARE = 10
"""Decays of electrons over those of photons: expected-value photons need few."""
DENSITY = (0.0012, 1.04, 0.26, 1.85)
TISSUES = ("air", "soft_tissue_icru44", "lung_icru44", "bone_cortical_icru44")

Costs = dict[str, tuple[float, float]]
"""Component -> (variance for one decay in the voxel, MeV^2; CPU seconds per decay)."""


def patient(edge: int, name: str, noisy: bool = False) -> Problem:
    """An ellipse of tissue with two lungs and a spine; activity in the body, ten times in two organs.

    ``noisy`` : every voxel has a density of its own (3 %), and activity is blurred and noisy as in SPECT
    """
    z, y, x = (np.indices((edge,) * 3) - (edge - 1) / 2) / (edge / 2)
    body = (x / 0.75) ** 2 + (y / 0.5) ** 2 < 1
    lung = (((np.abs(x) - 0.35) / 0.22) ** 2 + (y / 0.3) ** 2 + ((z - 0.4) / 0.5) ** 2 < 1) & body
    bone = (x**2 + (y - 0.33) ** 2 < 0.08**2) & body
    material = np.where(body, 1, 0)
    material[lung], material[bone] = 2, 3
    density = np.array(DENSITY, np.float32)[material]
    decays = body * 1.0
    for side in (-1, 1):
        decays[((x - 0.35 * side) / 0.12) ** 2 + (y / 0.12) ** 2 + ((z + 0.4) / 0.2) ** 2 < 1] = 10.0
    mixed = tuple(medium_of(tissue(m), d) for m, d in zip(TISSUES, DENSITY, strict=True))
    problem = Problem(decays, density, material, mixed, (4.0, 4.0, 4.0), members(nuclide(name)))
    return blurred(problem) if noisy else problem


def blurred(problem: Problem) -> Problem:
    """The same with noise: log-normal of 30 % in activity, then 8 mm FWHM; 3 % in density."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(3)
    shape = problem.decays.shape
    decays = gaussian_filter(problem.decays * random.lognormal(0.0, 0.3, shape), 0.85) * (problem.decays > 0)
    density = problem.density_g_per_cm3 * random.normal(1.0, 0.03, shape)
    return dataclasses.replace(problem, decays=decays, density_g_per_cm3=density.astype(np.float32))


def ours(problem: Problem, decays: float, analogue: bool, block: int = 1) -> Costs:
    """Measured by batches, after compilation."""
    settings = TransportSettings(decays=decays, threads=1, shared_block_voxels=block)
    run = Run(problem, settings, 1, analogue)
    where = region(problem).ravel()
    found = {}
    for component in run.components:
        run.batch(component, 99, 500, lambda _: None)
        share = decays / PHOTON_SHARE if component.name == "photon" and not analogue else decays
        tally, each = Tally(component, len(run.weight)), int(share * component.source.per_decay / BATCHES)
        started = time.process_time()
        for number in range(BATCHES):
            tally.add(*run.batch(component, number, each, lambda _: None), each)
        seconds = (time.process_time() - started) / tally.decays
        found[component.name] = of_one_decay(problem, where, tally.variance(), tally.decays), seconds
    return found


def of_one_decay(problem: Problem, where, variance, decays: float) -> float:
    """Mean over the region of a voxel's variance over its decays."""
    weight = problem.decays.ravel()
    return float((variance[where] / (decays * weight[where] / weight.sum())).mean())


def by_gate(problem: Problem, name: str, decays: float, python: str) -> Costs:
    """GATE 10, option 3, cut 0.1 mm, one process with one thread; a run of few decays is taken off."""
    materials = tuple(
        Material(f"m{k}", tissue(one), rho) for k, (one, rho) in enumerate(zip(TISSUES, DENSITY, strict=True))
    )
    scene = gate.Scene(problem.material.astype(np.uint16), materials, problem.decays, problem.spacing_mm)
    machine = gate.Machine(find(python, ""), "G4EmStandardPhysics_option3", 0.1, 1, 1, "")
    where, found = region(problem).ravel(), {}
    for component in emitted(nuclide(name)).components:
        seconds = []
        for number in (decays / 100, decays):
            before = _children()
            parts = gate.parts_of(component, number, machine, iter(range(1, 99)))
            tally = gate.simulate(scene, parts, machine, lambda _: None)[component.name]
            seconds.append(_children() - before)
        variance = np.maximum(tally.mev_squared - tally.mev**2 / tally.events, 0.0).ravel()
        each = of_one_decay(problem, where, variance, decays)
        found[component.name] = each, (seconds[1] - seconds[0]) / (0.99 * decays)
    return found


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost(found: Costs) -> float:
    """MeV^2 s: uncertainty squared times CPU time, time divided between the components in the best way."""
    return float(sum((v * t) ** 0.5 for v, t in found.values()) ** 2)


def report(what: str, found: Costs) -> None:
    rate = 1 / sum(t for _, t in found.values())
    parts = ", ".join(f"{k} {t * 1e6:.2f} us {v * 1e6:.0f} keV2" for k, (v, t) in found.items())
    print(f"{what:34s} {rate:9.3g} decays/s  ({parts})  cost {cost(found) * 1e12:.0f} keV2 us", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--decays", type=float, default=2e7)
    parser.add_argument("--gate-decays", type=float, default=2e6)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--nuclide", default="Lu-177")
    parser.add_argument("--block", type=int, default=8, help="shared_block_voxels of a second measurement")
    parser.add_argument("--noisy", action="store_true", help="activity and density as in a patient")
    parser.add_argument("--gate-python", default="", help="the Python that has opengate")
    given = parser.parse_args()
    problem = patient(given.edge, given.nuclide, given.noisy)
    mine = ours(problem, given.decays, analogue=False)
    report("this code", mine)
    shared = ours(problem, given.decays, analogue=False, block=given.block)
    report(f"this code, blocks of {given.block}", shared)
    analogue = ours(problem, given.decays / 10, analogue=True)
    report("this code, analogue", analogue)
    gains = [cost(analogue) / cost(found) for found in (mine, shared)]
    print(f"  gain over the analogue mode: {gains[0]:.1f}; with blocks {gains[1]:.1f}")
    variance = sum(v for v, _ in analogue.values())
    equal = variance / cost(mine)
    print(f"  analogue decays of equal uncertainty: {equal:.3g} per CPU s and core")
    low, high = (equal / rate for rate in reversed(EGSNRC))
    print(f"  over EGSnrc ({EGSNRC[0]:.1g} to {EGSNRC[1]:.2g} per CPU s): {low:.0f} to {high:.0f}")
    if given.gate_python:
        theirs = by_gate(problem, given.nuclide, given.gate_decays, given.gate_python)
        report("GATE 10 option 3", theirs)
        print(f"  over GATE: {cost(theirs) / cost(mine):.0f}; {cost(theirs) / cost(shared):.0f}")


if __name__ == "__main__":
    main()
