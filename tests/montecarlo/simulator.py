"""Run by test_gpu.py in a process of its own: the CUDA simulator against the CPU's loop, both in Python."""

from __future__ import annotations

import sys

import numpy as np

from dicomnode.montecarlo import cpu, gpu
from dicomnode.montecarlo.source import allot, electron_component, photon_component
from dicomnode.montecarlo.world import Cuts, make_world
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import emissions
from dicomnode.physics.tissues import tissue


def main() -> None:
    media = [medium_of(tissue("water")), medium_of(tissue("lung_icru44"))]
    density = np.full((4, 5, 6), 1.0, np.float32)
    material = np.zeros(density.shape, int)
    density[:, :, 3:], material[:, :, 3:] = 0.26, 1
    for component in (
        electron_component(((emissions("I-131"), 1.0),), 0.01),
        photon_component(((emissions("I-131"), 1.0),), 0.001),
    ):
        world = make_world(
            density, material, (2.0, 2.0, 3.0), media, Cuts(0.01, 0.001, 0.01, 0.01, 0.1), 0.9, False
        )
        share = allot(np.ones(density.size), 24, 0.3)
        control = np.linspace(0.0, 1.0, density.size)
        tally, totals = np.zeros(density.size, np.int64), np.zeros(cpu.TOTALS, np.int64)
        groups = share.voxel // 2
        cpu.run(
            world, component.source, share.voxel, groups, share.number, np.uint64(3), 1, 2.0**30, control,
            True, tally, totals, cpu.scratch(),
        )  # fmt: skip
        other, others = gpu.run(
            world, component.source, share, groups, 3, 1, 2.0**30, control, True, blocks=2, threads=4
        )
        if not (np.array_equal(tally, other) and np.array_equal(totals, others) and tally.any()):
            sys.exit(f"{component.name}: {np.flatnonzero(tally != other)} differ, {totals} {others}")
    sys.stdout.write("same bytes\n")


main()
