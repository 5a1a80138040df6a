"""Engine multi-vsv beside the plain method, in one run: twenty kernels, twenty convolutions by scipy.

    python benchmarks/multi_vsv.py [--size 128] [--edge 4] [--nuclide Lu-177] [--kernel-of target]

The patient: a body of tissue with two lungs and a spine, air around, densities with noise, so that all twenty
media occur. Prints times, the ratio, peak memory (child processes), and how far the maps differ. Convolutions
alone: of the engine without the making of kernels, mass and uncertainty; the second of two calls. Rows for a
GPU (``device = "gpu"``) where torch sees one, otherwise a line that says so; also of the second call, and
timed after the device has finished.
The plain sum's voxel kernels are made the slow way (``physics.voxel_kernels``) and not counted in its time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from typing import Any

import numpy as np

SETTINGS = {"workers": 2, "memory_limit_gb": 64}
Measured = tuple[float, float, float, np.ndarray]
"""Seconds, CPU seconds, peak memory in MiB, dose."""


def patient(size: int, edge: float) -> tuple[Any, Any]:
    """(TIA, anatomy) of a torso: organs of a few cm with uptake, background elsewhere."""
    from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap

    z, y, x = (np.indices((size,) * 3) - (size - 1) / 2) * (edge * 128 / size)
    body = (x / 180) ** 2 + (y / 120) ** 2 < 1
    lungs = (((np.abs(x) - 85) / 60) ** 2 + (y / 80) ** 2 + ((z - 100) / 110) ** 2) < 1
    spine = x**2 + (y - 75) ** 2 < 25**2
    rng = np.random.default_rng(0)
    density = np.where(body, 1.04, 0.0012)
    density = np.where(lungs, 0.28, np.where(spine & body, 1.4, density))
    density = np.where(body, density * np.exp(0.12 * rng.standard_normal(density.shape)), density)
    density = np.clip(density, 0.0012, 2.2).astype(np.float32)
    tia = np.where(body, 1.0, 0.0)
    for place, radius, value in (
        ((-60, 0, -40), 45, 20.0),
        ((70, 30, -60), 25, 40.0),
        ((60, 0, 90), 12, 60.0),
    ):
        tia[(x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2 < radius**2] = value
    grid = Grid((size,) * 3, (edge,) * 3)
    return TiaMap(grid, tia), Anatomy(DensityMap(grid, density), np.ones(density.shape, bool))


def finished(options: dict[str, Any]) -> None:
    """Wait for the device."""
    if options.get("device") == "gpu":
        import torch

        torch.cuda.synchronize()


def engine(
    size: int, edge: float, name: str, options: dict[str, Any], calls: int = 1
) -> tuple[float, float, np.ndarray]:
    """The engine whole: kernels, convolutions, uncertainty; the last of some calls."""
    from dicomnode.dose.registry import build
    from dicomnode.physics.media import medium_kernels
    from dicomnode.physics.nuclides import nuclide

    tia, anatomy = patient(size, edge)
    medium_kernels(nuclide(name).name)
    made = build("multi-vsv", SETTINGS | options)
    for _ in range(calls):
        start, used = time.perf_counter(), time.process_time()
        gy = made.dose(tia, anatomy, nuclide(name)).gy
        finished(options)
    return time.perf_counter() - start, time.process_time() - used, gy


def convolutions(
    size: int, edge: float, name: str, options: dict[str, Any]
) -> tuple[float, float, np.ndarray]:
    """What a GPU takes over: kernels are at hand, mass and uncertainty left to do. The second call."""
    from dicomnode.dose.density_kernels import mixture
    from dicomnode.dose.registry import build

    tia, anatomy = patient(size, edge)
    work = build("multi-vsv", SETTINGS | options)._work(
        tia, mixture(anatomy.density.g_per_cm3, "nearest"), name
    )
    for _ in range(2):
        start, used = time.perf_counter(), time.process_time()
        mev = work.value(work.whole, work.far())
        finished(options)
    return time.perf_counter() - start, time.process_time() - used, gray(mev, tia, media_of(anatomy))


def media_of(anatomy: Any) -> np.ndarray:
    """Of each voxel, the nearest of the twenty."""
    from dicomnode.physics.media import MEDIA_G_PER_CM3

    return np.abs(anatomy.density.g_per_cm3[..., None] - np.array(MEDIA_G_PER_CM3)).argmin(axis=-1)


def gray(mev: np.ndarray, tia: Any, which: np.ndarray) -> np.ndarray:
    """Dose to the medium of each voxel."""
    from dicomnode.physics.kernels import JOULE_PER_MEV
    from dicomnode.physics.media import MEDIA_G_PER_CM3

    kg = np.maximum(np.array(MEDIA_G_PER_CM3)[which], 0.1) * tia.grid.voxel_ml * 1e-3
    return mev * JOULE_PER_MEV / kg


def plain(size: int, edge: float, name: str, options: dict[str, Any]) -> tuple[float, float, np.ndarray]:
    """Twenty times scipy.signal.fftconvolve; each result where its medium lies, or of its medium's decays."""
    from scipy.signal import fftconvolve

    from dicomnode.physics.media import medium_kernels
    from dicomnode.physics.voxel_kernels import voxel_kernel

    tia, anatomy = patient(size, edge)
    which = media_of(anatomy)
    decays = tia.mbq_s_per_ml.astype(float) * tia.grid.voxel_ml * 1e6
    index = np.abs(np.arange(-(size - 1), size))
    total, seconds, cpu = np.zeros(decays.shape), 0.0, 0.0
    for k, kernel in enumerate(medium_kernels(name)):
        octant = voxel_kernel(kernel, (edge,) * 3, (size,) * 3).total_mev
        full = octant[np.ix_(index, index, index)]
        start, used = time.perf_counter(), time.process_time()
        here = which == k
        source = decays if options["kernel_of"] == "target" else decays * here
        mev = fftconvolve(source, full, mode="full")[(slice(size - 1, 2 * size - 1),) * 3]
        total += np.where(here, mev, 0.0) if options["kernel_of"] == "target" else mev
        seconds += time.perf_counter() - start
        cpu += time.process_time() - used
    return seconds, cpu, gray(total, tia, which)


def _child(work: Any, arguments: tuple[Any, ...], pipe: Any) -> None:
    seconds, cpu, result = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((seconds, cpu, peak, result))


def measure(work: Any, *arguments: Any) -> Measured:
    """(seconds, CPU seconds, peak memory of its process in MiB, the dose)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(work, arguments, theirs))
    process.start()
    found: Measured = ours.recv()
    process.join()
    return found


def device() -> str:
    """Name of the GPU that torch sees, or nothing."""
    try:
        import torch
    except ImportError:
        return ""
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


def row(what: str, found: Measured, reference: Measured | None) -> None:
    seconds, cpu, peak, gy = found
    line = f"{what:40} {seconds:7.3f} {cpu:7.3f}"
    if reference:
        off = np.abs(gy - reference[3]).max() / reference[3].max()
        line += f" {reference[0] / seconds:9.1f} {peak:9.0f} {off:17.1e}"
    print(line, flush=True)


def rows(case: tuple[int, float, str], options: dict[str, Any], reference: Measured | None) -> None:
    """The engine on one device, in both precisions."""
    calls, where = (2, ", GPU") if options.get("device") == "gpu" else (1, "")
    for precision in ("double", "single"):
        chosen = options | {"precision": precision}
        row(f"engine multi-vsv whole{where}, {precision}", measure(engine, *case, chosen, calls), reference)
        if options["kernel_of"] != "both":
            row(f"  convolutions alone{where}, {precision}", measure(convolutions, *case, chosen), reference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--edge", type=float, default=4.0)
    parser.add_argument("--nuclide", default="Lu-177")
    parser.add_argument("--kernel-of", default="target", choices=["target", "source", "both"])
    parser.add_argument("--no-plain", action="store_true", help="only the engine")
    given = parser.parse_args()
    if given.kernel_of == "both" and not given.no_plain:
        parser.error("there is no plain sum of twenty kernels by both: add --no-plain")
    case = (given.size, given.edge, given.nuclide)
    options: dict[str, Any] = {"kernel_of": given.kernel_of}
    reference = None if given.no_plain else measure(plain, *case, options)
    print(f"{'':40} {'s':>7} {'CPU s':>7} {'speed-up':>9} {'peak MiB':>9} {'difference / max':>17}")
    if reference:
        row("plain sum, scipy.signal", reference, reference)
    rows(case, options, reference)
    gpu = device()
    print(f"GPU: {gpu}" if gpu else "GPU: none at hand, device = gpu not run")
    if gpu:
        rows(case, options | {"device": "gpu"}, reference)


if __name__ == "__main__":
    main()
