"""Dose-point kernels: energy by distance from a point source in a homogeneous medium."""

from __future__ import annotations

import numpy as np

from dicomnode.montecarlo.device import device, hot, loop
from dicomnode.montecarlo.electron import (
    MEV,
    RANGE,
    annihilate,
    at,
    enter,
    event,
    flight_end,
    stop,
)
from dicomnode.montecarlo.history import STRIDES, goes_on, source_energy, spread
from dicomnode.montecarlo.particle import (
    ENERGY,
    ESCAPED,
    FATE,
    KIND,
    MOVES,
    NOW,
    PHOTON,
    POSITRON,
    SPECIES,
    STOPPED,
    WAITING,
    U,
    isotropic,
)
from dicomnode.montecarlo.photon import photon_leg
from dicomnode.montecarlo.random import start, uniform


@hot
def score(edges, tally, origin, x, y, z, energy):
    """Add energy to the shell of a point; beyond the last shell to the last entry."""
    r2 = (x - origin) ** 2 + (y - origin) ** 2 + (z - origin) ** 2
    low, high = 0, len(edges) - 1
    r = np.sqrt(r2)
    if r >= edges[high]:
        tally[len(edges) - 1] += energy
        return
    while high - low > 1:
        middle = (low + high) // 2
        if edges[middle] <= r:
            low = middle
        else:
            high = middle
    tally[low] += energy


@device
def radial_electron(p, q, stack, stacked, world, rng, edges, tally, origin):
    """One electron to its end; the loss of each flight is scored at a point of it drawn at random."""
    density = world.density[0] * 0.1
    if p[ENERGY] <= world.electron_cut:
        score(edges, tally, origin, p[0], p[1], p[2], p[ENERGY])
        if q[KIND] == POSITRON:
            annihilate(p, q, stack, stacked, rng)
        q[FATE] = STOPPED
        return
    enter(p, q, world, 0, rng)
    while True:
        species = q[SPECIES]
        if p[NOW] >= world.last_k[species] or p[ENERGY] <= world.electron_cut * 1.000001:
            score(edges, tally, origin, p[0], p[1], p[2], stop(p, q, stack, stacked, world, rng))
            return
        begin = at(world, species, p[NOW], RANGE)
        target, end, hard = flight_end(p, q, world)
        length = (begin - end) / density
        part = length * uniform(rng)
        left = min(at(world, species, target, MEV), p[ENERGY])
        score(
            edges, tally, origin, p[0] + part * p[U], p[1] + part * p[U + 1], p[2] + part * p[U + 2],
            p[ENERGY] - left,
        )  # fmt: skip
        for axis in range(3):
            p[axis] += length * p[U + axis]
        p[NOW] = target
        p[ENERGY] = left
        if left > world.electron_cut * 1.000001:
            here = event(p, q, stack, stacked, world, 0.0, hard, rng)
            if here > 0.0:
                score(edges, tally, origin, p[0], p[1], p[2], here)
            if p[ENERGY] <= world.electron_cut:
                score(edges, tally, origin, p[0], p[1], p[2], p[ENERGY])
                if q[KIND] == POSITRON:
                    annihilate(p, q, stack, stacked, rng)
                q[FATE] = STOPPED
                return


@loop
def run(world, source, histories, seed, stream, edges, tally, room):
    """Histories of a point source in the middle of the one voxel of ``world``.

    ``tally`` : float64, MeV by shell, the last entry beyond the last radius
    ``room`` : ``cpu.scratch()``
    """
    p, q, stack, stacked, rng = room
    origin = 0.5 * world.edge[0]
    start(rng, seed, stream, 0)
    shift = uniform(rng)
    for index in range(histories):
        start(rng, seed, stream, index + 1)
        u = spread(shift, index, STRIDES[0])
        energy, kind = source_energy(source, u * source.upto[len(source.upto) - 1])
        p[0] = p[1] = p[2] = origin
        isotropic(p, uniform(rng), uniform(rng))
        p[ENERGY] = energy
        q[0] = q[1] = q[2] = 0
        q[KIND], q[SPECIES], q[WAITING], q[FATE] = kind, -1, 0, MOVES
        while True:
            if q[KIND] == PHOTON:
                here = photon_leg(p, q, stack, stacked, world, rng)
                score(edges, tally, origin, p[0], p[1], p[2], here)
                if q[FATE] == ESCAPED:
                    tally[len(edges) - 1] += p[ENERGY]
            else:
                radial_electron(p, q, stack, stacked, world, rng, edges, tally, origin)
            if not goes_on(p, q, stack, stacked):
                break
