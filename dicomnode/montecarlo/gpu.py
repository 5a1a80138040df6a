"""The loop over histories for CUDA: the device functions are those of the CPU, compiled for both.

One thread takes histories by stride; tallies are integers, added atomically, so that their sum has no order
and one seed gives the same map. Runs in numba's CUDA simulator where NUMBA_ENABLE_CUDASIM=1 and
NUMBA_DISABLE_JIT=1 are set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda, float64, int64, uint64

from dicomnode.errors import EngineUnavailable
from dicomnode.montecarlo.cpu import CONTROLLED, EMITTED, EXCESS, GONE, TOTALS
from dicomnode.montecarlo.history import begin, goes_on, leg, shift, units
from dicomnode.montecarlo.particle import FIELDS, INTEGERS, STACK, STACKED_FIELDS, STACKED_INTEGERS
from dicomnode.montecarlo.random import STATE
from dicomnode.montecarlo.source import Allotment, Source
from dicomnode.montecarlo.world import World


@cuda.jit
def histories_kernel(
    world, source, voxels, groups, first, seed, stream, per_mev, control, expected, histories, tally, totals
):
    """As ``cpu.run``; ``first`` is the field of the ``Allotment``. Totals are added once per thread."""
    p = cuda.local.array(FIELDS, float64)
    q = cuda.local.array(INTEGERS, int64)
    stack = cuda.local.array((STACK, STACKED_FIELDS), float64)
    stacked = cuda.local.array((STACK, STACKED_INTEGERS), int64)
    rng = cuda.local.array(STATE, uint64)
    sums = cuda.local.array(TOTALS, int64)
    for n in range(TOTALS):
        sums[n] = 0
    for history in range(cuda.grid(1), histories, cuda.gridsize(1)):
        low, high = 0, len(voxels) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if first[middle] <= history:
                low = middle
            else:
                high = middle - 1
        voxel = voxels[low]
        shift(p, seed, stream, groups[low], rng)
        energy = begin(p, q, world, source, seed, stream, voxel, groups[low], history - first[low], rng)
        own = -units(control[voxel] * energy, per_mev)  # of the tally of this voxel
        sums[EMITTED] += units(energy, per_mev)
        sums[CONTROLLED] -= own
        while True:
            where, here, gone, excess = leg(p, q, stack, stacked, world, expected, rng)
            if where == voxel:
                own += units(here, per_mev)
            elif here != 0.0:
                cuda.atomic.add(tally, where, units(here, per_mev))
            sums[GONE] += units(gone, per_mev)
            sums[EXCESS] += units(excess, per_mev)
            if not goes_on(p, q, stack, stacked):
                break
        if own != 0:
            cuda.atomic.add(tally, voxel, own)
    for n in range(TOTALS):
        cuda.atomic.add(totals, n, sums[n])


def on_device(tables: Any) -> Any:
    """The same named tuple with its arrays in the memory of the GPU."""
    return type(tables)(
        *(cuda.to_device(np.ascontiguousarray(t)) if isinstance(t, np.ndarray) else t for t in tables)
    )


def run(
    world: World,
    source: Source,
    share: Allotment,
    groups: np.ndarray[Any, Any],
    seed: int,
    stream: int,
    per_mev: float,
    control: np.ndarray[Any, Any],
    expected: bool,
    blocks: int = 1024,
    threads: int = 128,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(energy by voxel, totals) of one batch.

    Raises
    ------
    EngineUnavailable : no CUDA device
    """
    if not cuda.is_available():
        raise EngineUnavailable("no CUDA device: use the CPU, or install numba-cuda and a driver")
    tally = cuda.to_device(np.zeros(len(control), np.int64))
    totals = cuda.to_device(np.zeros(TOTALS, np.int64))
    histories = int(share.number.sum())
    histories_kernel[blocks, threads](
        on_device(world), on_device(source), cuda.to_device(share.voxel), cuda.to_device(groups),
        cuda.to_device(share.first), np.uint64(seed), stream, per_mev, cuda.to_device(control), expected,
        histories, tally, totals,
    )  # fmt: skip
    return tally.copy_to_host(), totals.copy_to_host()
