"""Decays per second and core of our Monte Carlo: 177Lu, 128 x 128 x 128 voxels of 4 mm, a body in air.

    python benchmarks/montecarlo.py [--decays 2e6] [--edge 128]

Prints the raw speed and the speed at equal uncertainty: decays of an analogue simulation (no
sequence, no control variate, as EGSnrc and GATE score) that would give the same variance in the region above
20 % of the maximum, per CPU second. Beside it stand the figures of EGSnrc on the same problem (0.7e5 to 1.6e5
decays per CPU second and core, range rejection included) and of GATE 10 (about 2e4).
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem, Run, Tally, region
from dicomnode.montecarlo.source import members
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

EGSNRC = (0.7e5, 1.6e5)
GATE = 2e4
DENSITY = (0.0012, 1.04, 0.26, 1.85)


def patient(edge: int, name: str) -> Problem:
    """An ellipse of tissue with two lungs and a spine; activity in the body, ten times in two organs."""
    z, y, x = (np.indices((edge,) * 3) - (edge - 1) / 2) / (edge / 2)
    body = (x / 0.75) ** 2 + (y / 0.5) ** 2 < 1
    lung = (((np.abs(x) - 0.35) / 0.22) ** 2 + (y / 0.3) ** 2 + ((z - 0.4) / 0.5) ** 2 < 1) & body
    bone = (x**2 + (y - 0.33) ** 2 < 0.08**2) & body
    material = np.where(body, 1, 0)
    material[lung], material[bone] = 2, 3
    media = ("air", "soft_tissue_icru44", "lung_icru44", "bone_cortical_icru44")
    density = np.array(DENSITY, np.float32)[material]
    decays = body * 1.0
    for side in (-1, 1):
        decays[((x - 0.35 * side) / 0.12) ** 2 + (y / 0.12) ** 2 + ((z + 0.4) / 0.2) ** 2 < 1] = 10.0
    mixed = tuple(medium_of(tissue(m), d) for m, d in zip(media, DENSITY, strict=True))
    return Problem(decays, density, material, mixed, (4.0, 4.0, 4.0), members(nuclide(name)))


def variance_per_decay(run: Run, where, name: str, histories: int, analogue: bool) -> tuple[float, float]:
    """(mean variance of a voxel's energy for one decay per voxel of the region, CPU seconds per decay)."""
    component = next(c for c in run.components if c.name == name)
    if analogue:
        # Of independent histories: the variance of a Poisson sum is the sum of squares of the deposits; for
        # an electron that is about its energy squared, for photons what batches say.
        kinetic = (component.source.low + component.source.high) / 2
        yields = np.diff(component.source.upto, prepend=0.0)
        return float((yields * kinetic**2).sum()), 0.0
    tally = Tally(component, len(run.weight))
    started = time.process_time()
    for number in range(8):
        tally.add(*run.batch(component, number, histories // 8, lambda _: None), histories // 8)
    seconds = (time.process_time() - started) / tally.decays
    per_voxel = tally.decays * run.weight / run.weight.sum()
    inside = where.ravel()
    return float((tally.variance()[inside] / per_voxel[inside]).mean()), seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--decays", type=float, default=2e6)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--nuclide", default="Lu-177")
    given = parser.parse_args()
    problem = patient(given.edge, given.nuclide)
    settings = TransportSettings(decays=given.decays, threads=1)
    started = time.process_time()
    run = Run(problem, settings, 1)
    for component in run.components:  # compiled, or read from the cache, before the clock starts
        run.batch(component, 99, 500, lambda _: None)
    print(f"tables and compilation: {time.process_time() - started:.1f} CPU s")
    where = region(problem, 1.0)
    electron = next(c for c in run.components if c.name == "electron")
    found = {}
    for component in run.components:
        n = int(given.decays * component.source.per_decay)
        found[component.name] = variance_per_decay(run, where, component.name, n, analogue=False)
        variance, seconds = found[component.name]
        print(f"{component.name}: {seconds * 1e6:.2f} us, variance {variance * 1e6:.0f} keV2 per decay")
    raw = 1 / sum(seconds for _, seconds in found.values())
    analogue = variance_per_decay(run, where, electron.name, 0, analogue=True)[0]
    analogue += found.get("photon", (0.0, 0.0))[0]
    # Best division of time between the components: (sum of sqrt(variance x time))^2.
    product = sum((v * t) ** 0.5 for v, t in found.values()) ** 2
    equal = analogue / product
    low, high = EGSNRC
    print(f"raw: {raw:.3g} decays/s and core, {raw / high:.1f} to {raw / low:.1f} times EGSnrc")
    print(f"analogue variance {analogue * 1e6:.0f} keV2; at equal uncertainty {equal:.3g} decays/s and core:")
    print(f"  {equal / high:.0f} to {equal / low:.0f} times EGSnrc, {equal / GATE:.0f} times GATE")


if __name__ == "__main__":
    main()
