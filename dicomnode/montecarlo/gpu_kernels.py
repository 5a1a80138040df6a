"""The loops over histories for CUDA: the device functions are those of the CPU, compiled for both.

Two kernels. ``emit_kernel`` starts every history; an electron that cannot leave its voxel and radiates
nothing, as most do, ends there in few instructions and few registers. The others are listed, and a
``follow`` kernel takes them up, so that its warps are full of particles that move. A history starts anew
there: random numbers depend on its number alone, so nothing need be kept of it. Tallies are integers, added
atomically: their sum has no order, and neither the order of the list nor the size of a launch is in it.
Runs in numba's CUDA simulator where NUMBA_ENABLE_CUDASIM=1 and NUMBA_DISABLE_JIT=1 are set.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, float64, int64, uint64
from numba.core import config

from dicomnode.montecarlo.cpu import CONTROLLED, EMITTED, EXCESS, GONE
from dicomnode.montecarlo.device import hot, least, most
from dicomnode.montecarlo.electron import energy_bin, species_of, stays
from dicomnode.montecarlo.history import begin, goes_on, leg, shift, units
from dicomnode.montecarlo.particle import (
    ELECTRON,
    ENERGY,
    ESCAPED,
    FATE,
    FIELDS,
    INTEGERS,
    KIND,
    PHOTON,
    STACK,
    STACKED_FIELDS,
    STACKED_INTEGERS,
    I,
    J,
    K,
)
from dicomnode.montecarlo.photon import fly_on
from dicomnode.montecarlo.random import STATE, uniform

PER_THREAD = 16
"""Successive histories of one thread of ``emit_kernel``: they share the look-up of their voxel, its shifts
and its tally."""


FLIGHTS = 8
"""Voxels that the photons of a warp cross before those that collide, and electrons, are looked after."""


@hot
def row_of(first, history):
    """Row of the allotment that a history belongs to."""
    low, high = 0, len(first) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if first[middle] <= history:
            low = middle
        else:
            high = middle - 1
    return low


@hot
def ends_here(p, q, world, voxel, rng):
    """Whether a particle that has just begun leaves all its energy here, as by ``electron.electron_leg``."""
    if q[KIND] != ELECTRON:
        return False
    if p[ENERGY] <= world.electron_cut:
        return True
    if not stays(p, q, world, voxel, world.density[voxel] * 0.1):
        return False
    return uniform(rng) < world.quiet[species_of(q, world, voxel), energy_bin(world, p[ENERGY])]


@hot
def add(tally, voxel, energy):
    """To a tally that all threads share; in gas there is often nothing to add."""
    if energy != 0:
        cuda.atomic.add(tally, voxel, energy)


@hot
def flights(p, q, world, tally, per_mev, rng):
    """Up to ``FLIGHTS`` voxels of a photon, until a collision is next. Returns what to add to the excess."""
    excess = int64(0)
    for _ in range(FLIGHTS):
        if q[KIND] != PHOTON:
            break
        voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
        crossed, _, mean = fly_on(p, q, world, rng)
        if not crossed:
            break
        here = units(most(mean, 0.0), per_mev)
        add(tally, voxel, here)
        excess += here
        if q[FATE] == ESCAPED:
            break
    return excess


@cuda.jit
def emit_kernel(
    world, source, voxels, groups, first, start, end, seed, stream, per_mev, control, tally, totals, listed,
    rows, number
):  # fmt: skip
    """Begin the histories ``start`` to ``end``; list those that go on.

    Parameters
    ----------
    voxels, first : the fields of an ``Allotment``; groups : of each voxel
    tally, totals : as of ``cpu.run``
    listed, rows : int32, for each history that goes on: its number less ``start``, its row of the allotment
    number : int64, (1,), how many are listed
    """
    p = cuda.local.array(FIELDS, float64)
    q = cuda.local.array(INTEGERS, int64)
    rng = cuda.local.array(STATE, uint64)
    emitted, controlled = int64(0), int64(0)
    for chunk in range(start + cuda.grid(1) * PER_THREAD, end, cuda.gridsize(1) * PER_THREAD):
        row = row_of(first, chunk)
        voxel, own = voxels[row], int64(0)
        shift(p, seed, stream, groups[row], rng)
        for history in range(chunk, least(chunk + PER_THREAD, end)):
            if row + 1 < len(first) and first[row + 1] <= history:
                add(tally, voxel, own)
                row += 1
                voxel, own = voxels[row], int64(0)
                shift(p, seed, stream, groups[row], rng)
            energy = begin(p, q, world, source, seed, stream, voxel, groups[row], history - first[row], rng)
            known = units(control[voxel] * energy, per_mev)
            emitted += units(energy, per_mev)
            controlled += known
            own -= known
            if ends_here(p, q, world, voxel, rng):
                own += units(p[ENERGY], per_mev)
            else:
                slot = cuda.atomic.add(number, 0, 1)
                listed[slot] = history - start
                rows[slot] = row
        add(tally, voxel, own)
    cuda.atomic.add(totals, EMITTED, emitted)
    cuda.atomic.add(totals, CONTROLLED, controlled)


REGISTERS = 128
"""Of a thread of ``follow``: 512 threads live on a multiprocessor then (docs/physics.md)."""


def follow_kernel(expected: bool, registers: int = REGISTERS) -> Any:
    """The kernel that follows what ``emit_kernel`` listed; ``expected``, whether photons leave expected
    values, is compiled in."""

    @cuda.jit(**({} if config.ENABLE_CUDASIM else {"max_registers": registers}))
    def follow(
        world, source, voxels, groups, first, start, seed, stream, per_mev, tally, totals, listed, rows,
        number
    ):  # fmt: skip
        """One loop for histories and legs: a thread that has ended one history takes the next while its
        neighbours go on with theirs."""
        p = cuda.local.array(FIELDS, float64)
        q = cuda.local.array(INTEGERS, int64)
        stack = cuda.local.array((STACK, STACKED_FIELDS), float64)
        stacked = cuda.local.array((STACK, STACKED_INTEGERS), int64)
        rng = cuda.local.array(STATE, uint64)
        left, excesses = int64(0), int64(0)
        place, moves = cuda.grid(1), False
        voxel, own = int64(0), int64(0)
        while True:
            if not moves:
                add(tally, voxel, own)
                own = int64(0)
                if place >= number[0]:
                    break
                row = int64(rows[place])
                voxel, group = voxels[row], groups[row]
                shift(p, seed, stream, group, rng)
                index = start + listed[place] - first[row]
                begin(p, q, world, source, seed, stream, voxel, group, index, rng)
                place += cuda.gridsize(1)
            if expected:
                excesses += flights(p, q, world, tally, per_mev, rng)
            if q[FATE] == ESCAPED:
                left += units(p[ENERGY], per_mev)
            else:
                where, here, gone, excess = leg(p, q, stack, stacked, world, expected, rng)
                if where == voxel:
                    own += units(here, per_mev)
                else:
                    add(tally, where, units(here, per_mev))
                left += units(gone, per_mev)
                excesses += units(excess, per_mev)
            moves = goes_on(p, q, stack, stacked)
        cuda.atomic.add(totals, GONE, left)
        cuda.atomic.add(totals, EXCESS, excesses)

    return follow


FOLLOW = {expected: follow_kernel(expected) for expected in (True, False)}
