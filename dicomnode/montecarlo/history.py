"""One history, one leg at a time: the loops for CPU and GPU add what a leg leaves to their tallies."""

from __future__ import annotations

from math import floor

from dicomnode.montecarlo import random
from dicomnode.montecarlo.device import device, hot
from dicomnode.montecarlo.electron import REST, electron_leg
from dicomnode.montecarlo.particle import (
    ENERGY,
    ESCAPED,
    FATE,
    KIND,
    MOVES,
    PHOTON,
    POSITRON,
    SPECIES,
    WAITING,
    I,
    J,
    K,
    isotropic,
    pop,
)
from dicomnode.montecarlo.photon import photon_leg

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
    low, high = 0, len(source.upto) - 1
    while low < high:
        middle = (low + high) // 2
        if source.upto[middle] < u:
            low = middle + 1
        else:
            high = middle
    before = source.upto[low - 1] if low > 0 else 0.0
    part = (u - before) / (source.upto[low] - before)
    first, last = source.low[low], source.high[low]
    return first + part * (last - first), source.kind[low]


@hot
def begin(p, q, world, source, seed, stream, voxel, index, history, rng):
    """Set a decay product going, even in the voxel and in direction. Returns the energy that it brings.

    ``index`` counts within voxel and batch, ``history`` within the batch.
    """
    random.start(rng, seed, SOURCE_STREAM + stream, voxel)
    u = spread(random.uniform(rng), index, STRIDES[0])
    energy, kind = source_energy(source, u * source.upto[len(source.upto) - 1])
    nx, ny = world.count[0], world.count[1]
    q[I], q[J], q[K] = voxel % nx, (voxel // nx) % ny, voxel // (nx * ny)
    for axis in range(3):
        place = spread(random.uniform(rng), index, STRIDES[axis + 1])
        p[axis] = (q[axis] + min(place, 0.999999999)) * world.edge[axis]
    one = spread(random.uniform(rng), index, STRIDES[4])
    isotropic(p, one, spread(random.uniform(rng), index, STRIDES[5]))
    p[ENERGY] = energy
    q[KIND], q[SPECIES], q[WAITING], q[FATE] = kind, -1, 0, MOVES
    random.start(rng, seed, stream, history)
    return energy + (2.0 * REST if kind == POSITRON else 0.0)


@hot
def leg(p, q, stack, stacked, world, rng):
    """Move the particle at hand by one leg.

    Returns (voxel, energy left in it, energy that left the grid).
    """
    voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    if q[KIND] == PHOTON:
        here = photon_leg(p, q, stack, stacked, world, rng)
        voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    else:
        here = electron_leg(p, q, stack, stacked, world, rng)
    gone = 0.0
    if q[FATE] == ESCAPED:
        gone = p[ENERGY] + (2.0 * REST if q[KIND] == POSITRON else 0.0)
    return voxel, here, gone


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
