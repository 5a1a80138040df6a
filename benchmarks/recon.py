"""One OSEM iteration of our projector beside PyTomography 3.4.0's, same geometry and counts, in one run.

python benchmarks/recon.py [--sizes 64 96 128] [--views 60 120] [--voxel-mm 4.8] [--threads 2]
[--own-threads 1] [--oracle PYTHON].

Goals: ten times faster on 2 cores; under 2 GB at 128 cubed with 120 views. Both model attenuation and depth
blur. The compared times are of the first iteration of a fresh scan, sensitivities of the subsets included, as
PyTomography computes them with it; building the model is left out. PyTomography takes minutes at 128 cubed:
without its interpreter (``make oracle``) only our own times are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

VIEWS_PER_SUBSET = 6


def scan(size: int, views: int, edge: float) -> tuple[Any, ...]:
    """A body of 300 x 220 mm with two hot balls, the orbit follows the body."""
    import numpy as np

    from dicomnode.recon.camera.collimator import Response
    from dicomnode.recon.camera.model import Geometry

    angle = np.arange(views) * 360.0 / views
    turn = np.deg2rad(angle)
    radius = np.round(np.hypot(150 * np.cos(turn), 110 * np.sin(turn)) + 30.0)
    geometry = Geometry((size, size, size), (edge, edge), angle, radius)
    axis = (np.arange(size) - (size - 1) / 2) * edge
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    body = ((x / 150) ** 2 + (y / 110) ** 2 < 1) & (np.abs(z) < 0.4 * size * edge)
    hot = ((x - 60) ** 2 + y**2 + z**2 < 30**2) | ((x + 50) ** 2 + (y - 30) ** 2 + (z - 40) ** 2 < 12**2)
    image = (body + 9.0 * hot).astype(np.float32)
    return geometry, Response(0.03162, 1.2485, 1.324), (0.135 * body).astype(np.float32), image


def own(size: int, views: int, edge: float, threads: int) -> dict[str, float]:
    """Wall and CPU seconds of our first and next iterations, and this process's largest memory."""
    import torch

    from dicomnode.recon.algorithms.iterative import osem_updates
    from dicomnode.recon.camera.projector import ParallelHoleModel

    torch.set_num_threads(threads)
    geometry, response, mu, image = scan(size, views, edge)
    begun = time.perf_counter()
    model = ParallelHoleModel(geometry, response, mu)
    built = time.perf_counter() - begun
    counts = model.forward(torch.from_numpy(image))
    subsets = views // VIEWS_PER_SUBSET
    start = torch.ones(geometry.shape_zyx)
    updates = osem_updates(model, counts, torch.zeros_like(counts), subsets=subsets, start=start)
    passes = []
    for _ in range(4):
        begun, worked = time.perf_counter(), time.process_time()
        for _ in range(subsets):
            next(updates)
        passes.append((time.perf_counter() - begun, time.process_time() - worked))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    (first, first_cpu), (later, later_cpu) = passes[0], min(passes[1:])
    return {"built": built, "first": first, "first_cpu": first_cpu, "next": later, "next_cpu": later_cpu,
            "peak_gb": peak_gb}  # fmt: skip


def theirs(size: int, views: int, edge: float, threads: int, interpreter: Path) -> tuple[float, float]:
    """Wall and CPU seconds of PyTomography's first iteration."""
    import torch
    from oracle.pytomography import PyTomographyModel

    from dicomnode.recon.camera.projector import ParallelHoleModel

    geometry, response, mu, image = scan(size, views, edge)
    counts = ParallelHoleModel(geometry, response, mu).forward(torch.from_numpy(image))
    with PyTomographyModel(geometry, response, mu, interpreter=interpreter, threads=threads) as model:
        model.osem(counts, torch.zeros_like(counts), subsets=views // VIEWS_PER_SUBSET, iterations=1)
        return model.seconds, model.cpu_seconds


def measured_apart(size: int, views: int, edge: float, threads: int) -> dict[str, float]:
    """``own`` in a fresh process, so that its memory is its own."""
    command = [sys.executable, __file__, "--own", str(size), str(views), "--voxel-mm", str(edge)]
    command += ["--own-threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128])
    parser.add_argument("--views", type=int, nargs="+", default=[60, 120])
    parser.add_argument("--voxel-mm", type=float, default=4.8)
    parser.add_argument("--threads", type=int, default=2, help="of PyTomography")
    parser.add_argument("--own-threads", type=int, default=1, help="a worker of the node has one")
    parser.add_argument("--oracle", type=Path, default=Path(".venv-oracle/bin/python"))
    parser.add_argument("--own", type=int, nargs=2, metavar=("SIZE", "VIEWS"), help="measure this process")
    given = parser.parse_args()
    if given.own:
        print(json.dumps(own(*given.own, given.voxel_mm, given.own_threads)))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {given.own_threads} threads of ours, {given.threads} of PyTomography's")
    print(f"voxels of {given.voxel_mm:g} mm, load {load:.1f}")
    print("Seconds are wall / CPU: the latter, where the machine is shared.")
    print("cubed  views   build       first         next  peak GB  PyTomography first  ratio")
    for size in given.sizes:
        for views in given.views:
            ours = measured_apart(size, views, given.voxel_mm, given.own_threads)
            line = f"{size:5d} {views:6d} {ours['built']:7.1f} {ours['first']:5.2f} /{ours['first_cpu']:5.2f}"
            line += f" {ours['next']:5.2f} /{ours['next_cpu']:5.2f} {ours['peak_gb']:8.2f}"
            if given.oracle.exists():
                wall, cpu = theirs(size, views, given.voxel_mm, given.threads, given.oracle)
                line += (
                    f"   {wall:7.1f} /{cpu:7.1f} {wall / ours['first']:5.1f} /{cpu / ours['first_cpu']:5.1f}"
                )
            print(line, flush=True)


if __name__ == "__main__":
    main()
