"""The loop over histories for one thread of a CPU. Tallies are integers: their sum has no order."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicomnode.montecarlo.device import loop
from dicomnode.montecarlo.history import begin, goes_on, leg
from dicomnode.montecarlo.particle import FIELDS, INTEGERS, STACK, STACKED_INTEGERS
from dicomnode.montecarlo.random import STATE


def scratch() -> tuple[Any, ...]:
    """Memory for the particle at hand, those that wait, and the random numbers."""
    return (
        np.zeros(FIELDS),
        np.zeros(INTEGERS, np.int64),
        np.zeros((STACK, FIELDS)),
        np.zeros((STACK, STACKED_INTEGERS), np.int64),
        np.zeros(STATE, np.uint64),
    )


@loop
def run(world, source, voxels, first, count, seed, stream, per_mev, control, tally, totals, room):
    """Histories of some source voxels.

    Parameters
    ----------
    voxels, first, count : the fields of an ``Allotment``
    per_mev : units of the tallies in one MeV
    control : by voxel, 1 where the energy emitted is taken off the tally (see ``simulate``)
    tally : int64, energy left by voxel; totals : int64, [emitted, escaped, emitted in control voxels]
    room : ``scratch()`` of this thread
    """
    p, q, stack, stacked, rng = room
    for n in range(len(voxels)):
        voxel = voxels[n]
        for index in range(count[n]):
            energy = begin(p, q, world, source, seed, stream, voxel, index, first[n] + index, rng)
            emitted = np.int64(energy * per_mev + 0.5)
            totals[0] += emitted
            if control[voxel]:
                tally[voxel] -= emitted
                totals[2] += emitted
            while True:
                where, here, gone = leg(p, q, stack, stacked, world, rng)
                tally[where] += np.int64(here * per_mev + 0.5)
                totals[1] += np.int64(gone * per_mev + 0.5)
                if not goes_on(p, q, stack, stacked):
                    break
