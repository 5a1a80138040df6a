"""Engine vsv at 128 x 128 x 128 beside scipy.signal.fftconvolve with the same kernel, in one run.

    python benchmarks/vsv.py [--size 128] [--edge 4.42] [--nuclide Lu-177]

Prints times, the ratio, the peak memory of each (child processes), and how far the maps differ.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

import numpy as np


def _case(size: int, edge: float) -> tuple[Any, Any]:
    from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap

    grid = Grid((size,) * 3, (edge,) * 3)
    anatomy = Anatomy(DensityMap(grid, np.ones(grid.shape_zyx, np.float32)), np.ones(grid.shape_zyx, bool))
    return TiaMap(grid, np.random.default_rng(0).random(grid.shape_zyx, dtype=np.float32)), anatomy


def engine(size: int, edge: float, name: str, precision: str) -> tuple[float, np.ndarray]:
    """The engine whole: kernel, convolution, scaling, uncertainty and energy balance."""
    from dicomnode.dose.registry import build
    from dicomnode.physics.nuclides import nuclide

    tia, anatomy = _case(size, edge)
    made = build("vsv", {"precision": precision, "workers": 2, "memory_limit_gb": 64})
    start = time.perf_counter()
    gy = made.dose(tia, anatomy, nuclide(name)).gy
    return time.perf_counter() - start, gy


def convolution(size: int, edge: float, name: str, precision: str) -> tuple[float, np.ndarray]:
    """Our convolution alone, kernel given."""
    from dicomnode.dose.convolution import convolve_symmetric

    tia, octant = _octant(size, edge, name)
    dtype = np.float32 if precision == "single" else np.float64
    start = time.perf_counter()
    result = convolve_symmetric(tia, octant, dtype=dtype, workers=2)
    return time.perf_counter() - start, result


def scipy_fftconvolve(size: int, edge: float, name: str, _precision: str) -> tuple[float, np.ndarray]:
    """scipy.signal.fftconvolve with the kernel mirrored to both signs."""
    from scipy.signal import fftconvolve

    tia, octant = _octant(size, edge, name)
    index = np.abs(np.arange(-(size - 1), size))
    full = octant[np.ix_(index, index, index)]
    start = time.perf_counter()
    result = fftconvolve(tia, full, mode="full")[(slice(size - 1, 2 * size - 1),) * 3]
    return time.perf_counter() - start, result


def _octant(size: int, edge: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    from dicomnode.physics.media import water_kernel
    from dicomnode.physics.voxel_kernels import voxel_kernel

    tia, _ = _case(size, edge)
    kernel = voxel_kernel(water_kernel(name), (edge,) * 3, (size,) * 3)
    return tia.mbq_s_per_ml.astype(np.float64), kernel.total_mev


def _child(work: Any, arguments: tuple[Any, ...], pipe: Any) -> None:
    seconds, result = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((seconds, peak, result[:: max(1, len(result) // 8)]))


def measure(work: Any, *arguments: Any) -> tuple[float, float, np.ndarray]:
    """(seconds, peak memory of its process in MiB, a few slices of the result)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(work, arguments, theirs))
    process.start()
    found: tuple[float, float, np.ndarray] = ours.recv()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--edge", type=float, default=4.42)
    parser.add_argument("--nuclide", default="Lu-177")
    given = parser.parse_args()
    case = (given.size, given.edge, given.nuclide)
    reference = measure(scipy_fftconvolve, *case, "double")
    print(f"{'':34} {'s':>7} {'ratio':>7} {'peak MiB':>9} {'difference / max':>17}")
    print(f"{'scipy.signal.fftconvolve':34} {reference[0]:7.2f} {1.0:7.2f} {reference[1]:9.0f}")
    for precision in ("double", "single"):
        seconds, peak, result = measure(convolution, *case, precision)
        off = np.abs(result - reference[2]).max() / reference[2].max()
        label = f"convolve_symmetric, {precision}"
        print(f"{label:34} {seconds:7.2f} {seconds / reference[0]:7.2f} {peak:9.0f} {off:17.1e}")
    for precision in ("double", "single"):
        seconds, peak, _ = measure(engine, *case, precision)
        label = f"engine vsv whole, {precision}"
        print(f"{label:34} {seconds:7.2f} {seconds / reference[0]:7.2f} {peak:9.0f}")


if __name__ == "__main__":
    main()
