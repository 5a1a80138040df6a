"""What an uncertainty costs: variance of a voxel, and CPU seconds, of our Monte Carlo and of GATE.

The cost of an uncertainty is variance times time; with time divided between electrons and photons in the
best way it is (sum of sqrt(variance x time))^2. GATE's start-up is taken off. EGSnrc is not run: it is the
analogue variance, measured here, at the rate that was measured earlier (``published``).
"""

from __future__ import annotations

import dataclasses
import resource
import time

import numpy as np
import numpy.typing as npt

from dicomnode.montecarlo.gate import run as gate
from dicomnode.montecarlo.gate.data import find
from dicomnode.montecarlo.gate.source import emitted
from dicomnode.montecarlo.gate.volumes import Material
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem, Run, Tally, region
from dicomnode.montecarlo.source import Component, members
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

BATCHES = 10
PHOTON_SHARE = 10
"""Decays of electrons over those of photons: expected-value photons need few."""
DENSITY = (0.0012, 1.04, 0.26, 1.85)
TISSUES = ("air", "soft_tissue_icru44", "lung_icru44", "bone_cortical_icru44")

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Costs = dict[str, tuple[float, float]]
"""Component -> (variance for one decay in the voxel, MeV^2; CPU seconds per decay)."""


def patient(edge: int, name: str, noisy: bool = False, background: float = 1.0) -> Problem:
    """An ellipse of tissue with two lungs and a spine; ``background`` in the body, ten in two organs.

    ``noisy`` : every voxel has a density of its own (3 %), and activity is blurred and noisy as in SPECT
    """
    z, y, x = (np.indices((edge,) * 3) - (edge - 1) / 2) / (edge / 2)
    body = (x / 0.75) ** 2 + (y / 0.5) ** 2 < 1
    lung = (((np.abs(x) - 0.35) / 0.22) ** 2 + (y / 0.3) ** 2 + ((z - 0.4) / 0.5) ** 2 < 1) & body
    bone = (x**2 + (y - 0.33) ** 2 < 0.08**2) & body
    material = np.where(body, 1, 0)
    material[lung], material[bone] = 2, 3
    density = np.array(DENSITY, np.float32)[material]
    decays = body * background
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
    where, found = region(problem).ravel(), {}
    for component in run.components:
        share = decays / PHOTON_SHARE if component.name == "photon" and not analogue else decays
        tally, seconds = measured(run, component, share)
        found[component.name] = of_one_decay(problem, where, tally.variance(), tally.decays), seconds
    return found


def measured(run: Run, component: Component, decays: float) -> tuple[Tally, float]:
    """(sums over batches, CPU seconds per decay) of one component, after compilation."""
    run.batch(component, 99, 500, lambda _: None)
    tally, each = Tally(component, len(run.weight)), int(decays * component.source.per_decay / BATCHES)
    started = time.process_time()
    for number in range(BATCHES):
        tally.add(*run.batch(component, number, each, lambda _: None), each)
    return tally, (time.process_time() - started) / tally.decays


def of_one_decay(problem: Problem, where: Mask, variance: Array, decays: float) -> float:
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
