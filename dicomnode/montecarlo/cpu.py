"""The loop over histories for one thread of a CPU. Tallies are integers: their sum has no order."""

from __future__ import annotations

from typing import Any

import numpy as np

from dicomnode.montecarlo.device import loop
from dicomnode.montecarlo.history import begin, goes_on, leg, shift, units
from dicomnode.montecarlo.particle import (
    FIELDS,
    INTEGERS,
    STACK,
    STACKED_FIELDS,
    STACKED_INTEGERS,
)
from dicomnode.montecarlo.random import STATE

EMITTED, GONE, CONTROLLED, EXCESS = range(4)
"""Places in ``totals``: energy emitted, escaped, taken off by control, photons' expected less true loss.

Sum of the tally = emitted - escaped - controlled + excess, to rounding.
"""
TOTALS = 4


def scratch() -> tuple[Any, ...]:
    """Memory for the particle at hand, those that wait, and the random numbers."""
    return (
        np.zeros(FIELDS),
        np.zeros(INTEGERS, np.int64),
        np.zeros((STACK, STACKED_FIELDS)),
        np.zeros((STACK, STACKED_INTEGERS), np.int64),
        np.zeros(STATE, np.uint64),
    )


@loop
def run(world, source, voxels, groups, count, seed, stream, per_mev, control, expected, tally, totals, room):
    """Histories of some source voxels.

    Parameters
    ----------
    voxels, count : the fields of an ``Allotment``; groups : of each voxel, see ``history.shift``
    per_mev : units of the tallies in one MeV
    control : float64, by voxel, share of the energy emitted that is taken off the tally (see ``batches``)
    expected : whether photons leave expected values
    tally : int64, energy left by voxel; totals : int64, see ``TOTALS``
    room : ``scratch()`` of this thread
    """
    p, q, stack, stacked, rng = room
    for n in range(len(voxels)):
        voxel = voxels[n]
        shift(p, seed, stream, groups[n], rng)
        own = 0  # of the tally of this voxel
        for index in range(count[n]):
            energy = begin(p, q, world, source, seed, stream, voxel, groups[n], index, rng)
            known = units(control[voxel] * energy, per_mev)
            own -= known
            totals[EMITTED] += units(energy, per_mev)
            totals[CONTROLLED] += known
            while True:
                where, here, gone, excess = leg(p, q, stack, stacked, world, expected, rng)
                if where == voxel:
                    own += units(here, per_mev)
                else:
                    tally[where] += units(here, per_mev)
                totals[GONE] += units(gone, per_mev)
                totals[EXCESS] += units(excess, per_mev)
                if not goes_on(p, q, stack, stacked):
                    break
        tally[voxel] += own
