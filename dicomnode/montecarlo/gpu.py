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
from dicomnode.montecarlo.history import begin, goes_on, leg
from dicomnode.montecarlo.particle import FIELDS, INTEGERS, STACK, STACKED_INTEGERS
from dicomnode.montecarlo.random import STATE
from dicomnode.montecarlo.source import Allotment, Source
from dicomnode.montecarlo.world import World


@cuda.jit
def histories_kernel(world, source, voxels, first, seed, stream, per_mev, control, histories, tally, totals):
    """As ``cpu.run``; ``first`` ends with the number of histories."""
    p = cuda.local.array(FIELDS, float64)
    q = cuda.local.array(INTEGERS, int64)
    stack = cuda.local.array((STACK, FIELDS), float64)
    stacked = cuda.local.array((STACK, STACKED_INTEGERS), int64)
    rng = cuda.local.array(STATE, uint64)
    for history in range(cuda.grid(1), histories, cuda.gridsize(1)):
        low, high = 0, len(voxels) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if first[middle] <= history:
                low = middle
            else:
                high = middle - 1
        voxel = voxels[low]
        energy = begin(p, q, world, source, seed, stream, voxel, history - first[low], history, rng)
        emitted = int(energy * per_mev + 0.5)
        cuda.atomic.add(totals, 0, emitted)
        if control[voxel]:
            cuda.atomic.add(tally, voxel, -emitted)
            cuda.atomic.add(totals, 2, emitted)
        while True:
            where, here, gone = leg(p, q, stack, stacked, world, rng)
            if here > 0.0:
                cuda.atomic.add(tally, where, int(here * per_mev + 0.5))
            if gone > 0.0:
                cuda.atomic.add(totals, 1, int(gone * per_mev + 0.5))
            if not goes_on(p, q, stack, stacked):
                break


def on_device(tables: Any) -> Any:
    """The same named tuple with its arrays in the memory of the GPU."""
    return type(tables)(
        *(cuda.to_device(np.ascontiguousarray(t)) if isinstance(t, np.ndarray) else t for t in tables)
    )


def run(
    world: World,
    source: Source,
    share: Allotment,
    seed: int,
    stream: int,
    per_mev: float,
    control: np.ndarray[Any, Any],
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
    totals = cuda.to_device(np.zeros(3, np.int64))
    histories = int(share.number.sum())
    histories_kernel[blocks, threads](
        on_device(world), on_device(source), cuda.to_device(share.voxel), cuda.to_device(share.first),
        np.uint64(seed), stream, per_mev, cuda.to_device(control), histories, tally, totals,
    )  # fmt: skip
    return tally.copy_to_host(), totals.copy_to_host()
