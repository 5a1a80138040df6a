"""Dose-point kernels: energy by distance from a point source in a homogeneous medium."""

from __future__ import annotations

import numpy as np

from dicomnode.montecarlo.device import device, hot, loop
from dicomnode.montecarlo.electron import (
    CSDA,
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
from dicomnode.montecarlo.photon import TOTAL, interact, photon_leg
from dicomnode.montecarlo.random import start, uniform

# An electron that cannot get farther than this share of its distance from the source stops where it is.
NEAR = 0.005
EVEN = 0.7
"""Share of the photons whose first flight is drawn evenly in the logarithm of its length."""


@hot
def distance(p, origin):
    """From the source, mm."""
    return np.sqrt((p[0] - origin) ** 2 + (p[1] - origin) ** 2 + (p[2] - origin) ** 2)


@hot
def score(edges, tally, r, energy):
    """Add energy to the shell of a radius; beyond the last shell to the last entry."""
    low, high = 0, len(edges) - 1
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
def radial_electron(p, q, stack, stacked, world, rng, edges, tally, origin, weight):
    """One electron to its end; the loss of each flight is scored at a point of it drawn at random."""
    density = world.density[0] * 0.1
    if p[ENERGY] <= world.electron_cut:
        score(edges, tally, distance(p, origin), weight * p[ENERGY])
        if q[KIND] == POSITRON:
            annihilate(p, q, stack, stacked, rng)
        q[FATE] = STOPPED
        return
    enter(p, q, world, 0, rng)
    while True:
        species = q[SPECIES]
        r = distance(p, origin)
        last = p[NOW] >= world.last_k[species] or p[ENERGY] <= world.electron_cut * 1.000001
        if last or at(world, species, p[NOW], CSDA) < NEAR * r * density:
            score(edges, tally, r, weight * stop(p, q, stack, stacked, world, rng))
            return
        begin = at(world, species, p[NOW], RANGE)
        target, end, hard = flight_end(p, q, world)
        length = (begin - end) / density
        part = length * uniform(rng)
        left = min(at(world, species, target, MEV), p[ENERGY])
        for axis in range(3):
            p[axis] += part * p[U + axis]
        score(edges, tally, distance(p, origin), weight * (p[ENERGY] - left))
        for axis in range(3):
            p[axis] += (length - part) * p[U + axis]
        p[NOW] = target
        p[ENERGY] = left
        if left > world.electron_cut * 1.000001:
            here = event(p, q, stack, stacked, world, 0.0, hard, rng)
            if here > 0.0:
                score(edges, tally, distance(p, origin), weight * here)
            if p[ENERGY] <= world.electron_cut:
                score(edges, tally, distance(p, origin), weight * p[ENERGY])
                if q[KIND] == POSITRON and q[FATE] == MOVES:
                    annihilate(p, q, stack, stacked, rng)
                q[FATE] = STOPPED
                return


@hot
def first_flight(p, world, near, rng):
    """Move a photon of the source to its first interaction. Returns (weight, row of the tables, part).

    A share of the flights is drawn evenly in the logarithm of the distance, from ``near`` (mm) to five mean
    free paths, so that every shell has about as many, the others from the exponential law; the weight is
    the ratio of the exponential law to the mixture.
    """
    place = (np.log(p[ENERGY]) - world.log_photon) * world.per_log_photon
    n = min(max(int(place), 0), world.photon.shape[1] - 2)
    part = place - n
    table = world.photon[world.material[0]]
    mu = 0.1 * world.density[0] * (table[n, TOTAL] + part * (table[n + 1, TOTAL] - table[n, TOTAL]))
    far = max(5.0 / mu, 2.0 * near)
    span = np.log(far / near)
    even = uniform(rng) < EVEN
    way = near * np.exp(span * uniform(rng)) if even else -np.log(uniform(rng)) / mu
    wanted = mu * np.exp(-mu * way)
    drawn = (1.0 - EVEN) * wanted
    if near <= way <= far:
        drawn += EVEN / (way * span)
    for axis in range(3):
        p[axis] += way * p[U + axis]
    return wanted / drawn, n, part


@loop
def run(world, source, histories, seed, stream, edges, tally, room):
    """Histories of a point source in the middle of the one voxel of ``world``.

    ``edges`` : mm, from 0 on; ``tally`` : float64, MeV by shell, the last entry beyond the last radius
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
        weight, going = 1.0, True
        if kind == PHOTON:
            weight, n, part = first_flight(p, world, edges[1], rng)
            here = interact(p, q, stack, stacked, world, world.material[0], n, part, rng)
            score(edges, tally, distance(p, origin), weight * max(here, 0.0))
            going = here < 0.0 or goes_on(p, q, stack, stacked)
        while going:
            if q[KIND] == PHOTON:
                here = photon_leg(p, q, stack, stacked, world, rng)
                score(edges, tally, distance(p, origin), weight * here)
                if q[FATE] == ESCAPED:
                    tally[len(edges) - 1] += weight * p[ENERGY]
            else:
                radial_electron(p, q, stack, stacked, world, rng, edges, tally, origin, weight)
            going = goes_on(p, q, stack, stacked)
