"""One history, one leg at a time: the loops for CPU and GPU add what a leg leaves to their tallies."""

from __future__ import annotations

from math import floor

from dicomnode.montecarlo import random
from dicomnode.montecarlo.device import device, hot, least
from dicomnode.montecarlo.electron import REST, electron_leg
from dicomnode.montecarlo.particle import (
    AXES,
    ENERGY,
    ESCAPED,
    FATE,
    KIND,
    MOVES,
    PHOTON,
    POSITRON,
    SHIFT,
    SPECIES,
    WAITING,
    I,
    J,
    K,
    isotropic,
    pop,
)
from dicomnode.montecarlo.photon import photon_leg, photon_voxel

# Strides of the R sequence in 6 dimensions (Roberts 2018): powers of 1/phi, phi^7 = phi + 1. Any stride is
# unbiased, because every voxel and batch has a random shift; these spread the points evenly.
PHI = 1.112775684278706
STRIDES = tuple((PHI ** -(n + 1)) % 1.0 for n in range(6))
SOURCE_STREAM = 1 << 30
"""Streams from here on belong to the shifts of the source points."""


@hot
def spread(shift, index, stride):
    """Point of the shifted sequence on one axis."""
    value = shift + index * stride
    return value - floor(value)


@hot
def source_energy(source, u):
    """(energy, kind) of the emission at u of the running sum of yields."""
    low = source.guide[least(int(u * source.per_guide), len(source.guide) - 1)]
    while low < len(source.upto) - 1 and source.upto[low] < u:
        low += 1
    before = source.upto[low - 1] if low > 0 else 0.0
    part = (u - before) / (source.upto[low] - before)
    first, last = source.low[low], source.high[low]
    return first + part * (last - first), source.kind[low]


@hot
def shift(p, seed, stream, group, rng):
    """Draw the shifts of the source points. Voxels of a ``group`` have the same histories, shifted."""
    random.start(rng, seed, SOURCE_STREAM + stream, group)
    for axis in range(AXES):
        p[SHIFT + axis] = random.uniform(rng)


@hot
def begin(p, q, world, source, seed, stream, voxel, group, index, rng):
    """Set a decay product going, even in the voxel and in direction. Returns the energy that it brings.

    ``index`` counts within voxel and batch.
    """
    u = spread(p[SHIFT], index, STRIDES[0])
    energy, kind = source_energy(source, u * source.upto[len(source.upto) - 1])
    nx, ny = world.count[0], world.count[1]
    q[I], q[J], q[K] = voxel % nx, (voxel // nx) % ny, voxel // (nx * ny)
    for axis in range(3):
        place = spread(p[SHIFT + axis + 1], index, STRIDES[axis + 1])
        p[axis] = (q[axis] + least(place, 0.999999999)) * world.edge[axis]
    isotropic(p, spread(p[SHIFT + 4], index, STRIDES[4]), spread(p[SHIFT + 5], index, STRIDES[5]))
    p[ENERGY] = energy
    q[KIND], q[SPECIES], q[WAITING], q[FATE] = kind, -1, 0, MOVES
    random.start(rng, seed, stream, (group << 32) + index)
    return energy + (2.0 * REST if kind == POSITRON else 0.0)


@hot
def leg(p, q, stack, stacked, world, expected, rng):
    """Move the particle at hand by one leg.

    Returns (voxel, energy for its tally, energy that left the grid, expected less true loss of photons).
    The last is zero for electrons, and for photons unless ``expected``.
    """
    voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    excess = 0.0
    if q[KIND] != PHOTON:
        here = electron_leg(p, q, stack, stacked, world, rng)
    elif expected:
        mean, lost, here = photon_voxel(p, q, stack, stacked, world, rng)
        excess = mean - lost
        here += excess
    else:
        here = photon_leg(p, q, stack, stacked, world, rng)
        voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    gone = 0.0
    if q[FATE] == ESCAPED:
        gone = p[ENERGY] + (2.0 * REST if q[KIND] == POSITRON else 0.0)
    return voxel, here, gone, excess


@hot
def units(energy, per_mev):
    """Energy in units of the tallies, to the nearest."""
    return floor(energy * per_mev + 0.5)


@hot
def goes_on(p, q, stack, stacked):
    """True where the particle at hand goes on, or another waited."""
    return q[FATE] == MOVES or pop_next(p, q, stack, stacked)


@device
def pop_next(p, q, stack, stacked):
    """The next secondary."""
    found = pop(p, q, stack, stacked)
    if found:
        q[FATE] = MOVES
    return found
