"""Batches on CUDA devices: which there are, what fits, and launches short enough to be interrupted.

The GPUs of one machine share the histories of a batch; a Dask worker takes those that its
``CUDA_VISIBLE_DEVICES`` names. Energy is summed as integers, so neither the number of GPUs nor the size of
a launch changes a byte. Other models of GPU may: their compilers may round differently.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import EngineUnavailable, OutOfDomain
from dicomnode.montecarlo.batch_order import Order
from dicomnode.montecarlo.cpu import TOTALS
from dicomnode.montecarlo.world import World

Int64 = npt.NDArray[np.int64]

LAUNCH_S = 0.5
"""A launch is sized to take about this long: no interruption or watchdog waits longer."""
FIRST = 4096
LARGEST = 1 << 24
"""Histories of the first launch, whose time includes compilation, and of the largest; a launch is at most
``GROWTH`` times as large as the one before."""
GROWTH = 8
BLOCKS, THREADS = 8, 128
"""Blocks for each multiprocessor, threads of each block."""
LOCAL_BYTES = 6144
"""Local memory of a thread, almost all for secondaries that wait; the driver sets it aside for every thread
that may live at one time."""


def names() -> tuple[str, ...]:
    """Models of the CUDA devices that this process may use, in their order; none where CUDA is not usable."""
    try:
        from numba import cuda
    except ImportError:
        return ()
    return tuple(_name(gpu) for gpu in cuda.gpus) if cuda.is_available() else ()


def _name(gpu: Any) -> str:
    name = getattr(gpu, "name", "simulator")  # of numba's simulator it has none
    return name.decode() if isinstance(name, bytes) else str(name)


def model() -> str:
    """The model that is used: that of the first device.

    Raises
    ------
    EngineUnavailable : no CUDA device
    """
    found = names()
    if not found:
        raise EngineUnavailable(
            "device = cuda: no CUDA device is to be seen. Is the driver installed (nvidia-smi), does "
            "CUDA_VISIBLE_DEVICES name one, is dicomnode[gpu] installed? device = cpu works anywhere"
        )
    return found[0]


def require_memory(needed_bytes: float, free_bytes: float, what: str) -> None:
    """Before anything is allocated.

    Raises
    ------
    OutOfDomain : more is needed than is free
    """
    if needed_bytes > free_bytes:
        raise OutOfDomain(
            f"GPU memory for {what}", round(needed_bytes / 1e9, 2), "GB",
            f"up to the {free_bytes / 1e9:.2f} GB that are free; use device = cpu, a GPU that nobody else "
            f"uses, or a coarser grid",
        )  # fmt: skip


class Gpus:
    """All CUDA devices of the first one's model, with the tables of one simulation."""

    def __init__(self, world: World) -> None:
        first = model()
        self.gpus = [Gpu(n, world) for n, name in enumerate(names()) if name == first]
        self.lock = threading.Lock()  # a device has room for one batch at a time
        self.size: dict[str, int] = {}

    def batch(self, order: Order, step: Callable[[float], None]) -> tuple[Int64, Int64]:
        """As ``batches.Run.batch``. ``step`` is called between launches, and may raise."""
        total, done = order.histories, 0
        with self.lock, ThreadPoolExecutor(len(self.gpus)) as pool:
            list(pool.map(lambda gpu: gpu.load(order), self.gpus))
            while done < total:
                size = self.size.setdefault(order.name, FIRST)
                starts = range(done, min(total, done + size * len(self.gpus)), size)
                ends = [min(n + size, total) for n in starts]
                took = max(pool.map(lambda gpu, a, b: gpu.launch(a, b), self.gpus, starts, ends))
                done = min(total, done + size * len(starts))
                self.size[order.name] = next_size(size, took)
                step(done / total)
            found = list(pool.map(Gpu.fetch, self.gpus))
        return np.sum([f[0] for f in found], axis=0), np.sum([f[1] for f in found], axis=0)


def next_size(size: int, took_s: float) -> int:
    """Histories of the next launch of a GPU, from those of the last and its time."""
    wanted = int(size * LAUNCH_S / max(took_s, 1e-6))
    return min(max(wanted, FIRST), GROWTH * size, LARGEST)


class Gpu:
    """One device. ``load`` an order, ``launch`` ranges of its histories, ``fetch`` the sums."""

    def __init__(self, number: int, world: World) -> None:
        from numba import cuda
        from numba.core import config

        self.cuda, self.number = cuda, number
        device = cuda.gpus[number]
        with device:
            if config.ENABLE_CUDASIM:  # knows no multiprocessors, and its threads are slow
                self.grid, alive = (2, 4), 8
            else:
                self.grid = (BLOCKS * device.MULTIPROCESSOR_COUNT, THREADS)
                alive = device.MULTIPROCESSOR_COUNT * device.MAX_THREADS_PER_MULTIPROCESSOR
            free = cuda.current_context().get_memory_info().free
            voxels = len(world.density)
            require_memory(self._bytes(world, alive), free, f"{voxels} voxels on a {_name(device)}")
            self.world = self._on_device(world)
            of_histories = (cuda.device_array(LARGEST, np.int32) for _ in range(2))
            self.listing = (*of_histories, cuda.to_device(np.zeros(1, np.int64)))
            self.tally = cuda.to_device(np.zeros(voxels, np.int64))
        self.controls: dict[str, Any] = {}

    @staticmethod
    def _bytes(world: World, alive: int) -> int:
        """Tables; by voxel a tally, two controls, an allotment of three; the list; local memory."""
        tables = sum(t.nbytes for t in world if isinstance(t, np.ndarray))
        return tables + 8 * 6 * len(world.density) + 8 * LARGEST + LOCAL_BYTES * alive

    def _on_device(self, tables: Any) -> Any:
        """The same named tuple with its arrays in the memory of the GPU."""
        send = self.cuda.to_device
        return type(tables)(
            *(send(np.ascontiguousarray(t)) if isinstance(t, np.ndarray) else t for t in tables)
        )

    def load(self, order: Order) -> None:
        """Send what a batch needs beside the tables; empty the tallies."""
        send = self.cuda.to_device
        with self.cuda.gpus[self.number]:
            self.order, self.source = order, self._on_device(order.source)
            self.share = tuple(send(a) for a in (order.share.voxel, order.groups, order.share.first))
            if order.name not in self.controls:
                self.controls[order.name] = send(order.control)
            self.tally.copy_to_device(np.zeros(len(order.control), np.int64))
            self.totals = send(np.zeros(TOTALS, np.int64))

    def launch(self, start: int, end: int) -> float:
        """Histories ``start`` to ``end`` of the order. Returns the time, s."""
        began = time.perf_counter()
        with self.cuda.gpus[self.number]:
            self.emit(start, end)
            self.follow(start)
            self.cuda.synchronize()
        return time.perf_counter() - began

    def emit(self, start: int, end: int) -> None:
        """Begin histories, and list those that go on; at most ``LARGEST``."""
        from dicomnode.montecarlo.gpu_kernels import emit_kernel

        order = self.order
        self.listing[2].copy_to_device(np.zeros(1, np.int64))
        emit_kernel[self.grid](
            self.world, self.source, *self.share, start, end, np.uint64(order.seed), order.stream,
            order.per_mev, self.controls[order.name], self.tally, self.totals, *self.listing,
        )  # fmt: skip

    def follow(self, start: int) -> None:
        """Follow those that are listed; ``start`` as of ``emit``."""
        from dicomnode.montecarlo.gpu_kernels import FOLLOW

        order = self.order
        FOLLOW[order.expected][self.grid](
            self.world, self.source, *self.share, start, np.uint64(order.seed), order.stream, order.per_mev,
            self.tally, self.totals, *self.listing,
        )  # fmt: skip

    def fetch(self) -> tuple[Int64, Int64]:
        """(energy by voxel, totals) of what was launched."""
        with self.cuda.gpus[self.number]:
            return self.tally.copy_to_host(), self.totals.copy_to_host()
