"""Decays per second of our Monte Carlo on a GPU, on the problem of benchmarks/montecarlo.py.

    python benchmarks/montecarlo_gpu.py [--edge 128] [--decays 1e8] [--blocks 2112] [--threads 128]

Says how far GPU and CPU agree on a small batch (logarithms may differ in the last bit between libraries, so
that a few histories part), then times electrons and photons at several sizes of launch. Without a CUDA device
it says so and ends.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from montecarlo import patient
from numba import cuda

from dicomnode.montecarlo import cpu, gpu
from dicomnode.montecarlo.batches import PER_MEV, Run
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.source import Component


def compare(run: Run, component: Component, histories: int = 20_000) -> float:
    """Share of the energy that lies in other voxels on the GPU than on the CPU."""
    share, groups = run.shares(component, 0, histories)
    tally, totals = np.zeros(len(run.weight), np.int64), np.zeros(cpu.TOTALS, np.int64)
    control = run.control[component.name]
    cpu.run(
        run.world, component.source, share.voxel, groups, share.number, np.uint64(1), 0, PER_MEV, control,
        True, tally, totals, cpu.scratch(),
    )  # fmt: skip
    other, _ = gpu.run(run.world, component.source, share, groups, 1, 0, PER_MEV, control, True)
    return float(np.abs(tally - other).sum() / totals[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--decays", type=float, default=1e8)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--nuclide", default="Lu-177")
    parser.add_argument("--blocks", type=int, nargs="*", default=[528, 1056, 2112, 4224])
    parser.add_argument("--threads", type=int, nargs="*", default=[64, 128, 256])
    given = parser.parse_args()
    if not cuda.is_available():
        print("no CUDA device: nothing measured")
        return
    run = Run(patient(given.edge, given.nuclide), TransportSettings(decays=1e4), 1)
    world, seconds = gpu.on_device(run.world), {}
    for component in run.components:
        print(f"{component.name}: {compare(run, component):.2e} of the energy elsewhere than on the CPU")
        histories = int(given.decays * component.source.per_decay)
        share, groups = run.shares(component, 0, histories)
        for threads in given.threads:
            for blocks in given.blocks:
                started = time.perf_counter()
                gpu.run(
                    world, component.source, share, groups, 1, 0, PER_MEV, run.control[component.name], True,
                    blocks, threads,
                )  # fmt: skip
                took = time.perf_counter() - started
                best = seconds.get(component.name, (np.inf, ""))
                seconds[component.name] = min(best, (took, f"{blocks} x {threads}"))
                print(f"  {blocks:5d} blocks of {threads:3d}: {given.decays / took:.3g} decays/s", flush=True)
    total = sum(took for took, _ in seconds.values())
    print(f"all emissions: {given.decays / total:.3g} decays/s at {seconds}")


if __name__ == "__main__":
    main()
