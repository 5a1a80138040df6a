"""The loop over histories for one thread of a CPU. Tallies are integers: their sum has no order."""

from __future__ import annotations

import numpy as np
from numba import njit

from dicomnode.montecarlo.history import begin, goes_on, leg
from dicomnode.montecarlo.particle import FIELDS, INTEGERS, STACK, STACKED_INTEGERS
from dicomnode.montecarlo.random import STATE


@njit(nogil=True, cache=True, error_model="numpy")
def run(world, source, voxels, first, count, seed, stream, per_mev, control, tally, totals):
    """Histories of some source voxels.

    Parameters
    ----------
    voxels, first, count : an ``Allotment``
    per_mev : units of the tallies in one MeV
    control : by voxel, 1 where the energy emitted is taken off the tally (see ``simulate``)
    tally : int64, energy left by voxel; totals : int64, [emitted, escaped]
    """
    p = np.zeros(FIELDS)
    q = np.zeros(INTEGERS, np.int64)
    stack = np.zeros((STACK, FIELDS))
    stacked = np.zeros((STACK, STACKED_INTEGERS), np.int64)
    rng = np.zeros(STATE, np.uint64)
    for n in range(len(voxels)):
        voxel = voxels[n]
        for index in range(count[n]):
            energy = begin(p, q, world, source, seed, stream, voxel, index, first[n] + index, rng)
            emitted = np.int64(energy * per_mev + 0.5)
            totals[0] += emitted
            if control[voxel]:
                tally[voxel] -= emitted
            while True:
                where, here, gone = leg(p, q, stack, stacked, world, rng)
                tally[where] += np.int64(here * per_mev + 0.5)
                totals[1] += np.int64(gone * per_mev + 0.5)
                if not goes_on(p, q, stack, stacked):
                    break
