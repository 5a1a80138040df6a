"""Decays per second of our Monte Carlo on GPUs, on the problem of benchmarks/montecarlo.py.

    python benchmarks/montecarlo_gpu.py [--edge 128] [--decays 1e8] [--registers 96 128 168] [--blocks 4 8 16]

Without options: 177Lu, all emissions, 128 x 128 x 128 voxels of 4 mm. Prints

- how far GPU and CPU agree on small batches (logarithms may differ in the last bit between libraries, so that
  a few histories part);
- for electrons and photons: decays per second of the kernels alone on one GPU, the share of each kernel, how
  many histories the first one ends, for every number of registers and of blocks asked for;
- decays per second of the whole simulation, all GPUs, tables, allotment and statistics included.

Without a CUDA device it says so and ends. In numba's simulator (NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1,
--edge 8 --decays 50) it runs, and its times mean nothing.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numba import cuda
from numba.core import config
from physics_study.costs import patient

from dicomnode.montecarlo import gpu, gpu_kernels
from dicomnode.montecarlo.batches import Run
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem, simulate
from dicomnode.montecarlo.source import Component

Seconds = tuple[float, float, float]
"""Of ``emit_kernel``, of ``follow``; share of the histories that ``emit_kernel`` ends."""


def runs(problem: Problem) -> tuple[Run, Run]:
    """The same simulation on a CPU and on GPUs."""
    one, two = (Run(problem, TransportSettings(decays=1e4, device=d), 1) for d in ("cpu", "cuda"))
    two._gpus = gpu.Gpus(two.world)
    return one, two


def differences(ours: Run, theirs: Run, component: Component, histories: int) -> tuple[float, float]:
    """(energy in other voxels on the GPU than on the CPU, difference of the sums), over what is emitted."""
    (energy, totals), (other, _) = (
        run.batch(component, 0, histories, lambda _: None) for run in (ours, theirs)
    )
    return np.abs(energy - other).sum() / totals[0], abs(energy.sum() - other.sum()) / totals[0]


def kernels(run: Run, component: Component, decays: float) -> Seconds:
    """Of one GPU, after compilation."""
    one = run._gpus.gpus[0]
    histories = int(decays * component.source.per_decay)
    order = run.order(component, 0, histories)
    one.load(order)
    one.launch(0, min(1000, histories))
    emit, follow, listed = 0.0, 0.0, 0
    one.load(order)
    for start in range(0, histories, gpu.LARGEST):
        began = time.perf_counter()
        one.emit(start, min(start + gpu.LARGEST, histories))
        cuda.synchronize()
        between = time.perf_counter()
        one.follow(start)
        cuda.synchronize()
        emit, follow = emit + between - began, follow + time.perf_counter() - between
        listed += int(one.listing[2].copy_to_host()[0])
    return emit, follow, 1 - listed / histories


def registers(kernel: object) -> str:
    """What the compiler gave a thread."""
    if config.ENABLE_CUDASIM:
        return "no"
    (found,) = kernel.get_regs_per_thread().values()
    return str(found)


def tune(run: Run, decays: float, wanted: list[int], blocks: list[int]) -> None:
    """Every launch asked for, and the best."""
    best: dict[str, tuple[float, str]] = {}
    one = run._gpus.gpus[0]
    for limit in wanted:
        gpu_kernels.FOLLOW[True] = gpu_kernels.follow_kernel(True, limit)
        for each in blocks:
            if not config.ENABLE_CUDASIM:
                one.grid = (each * cuda.gpus[0].MULTIPROCESSOR_COUNT, gpu.THREADS)
            for component in run.components:
                emit, follow, ended = kernels(run, component, decays)
                what = f"{registers(gpu_kernels.FOLLOW[True])} registers, {each} blocks per multiprocessor"
                best[component.name] = min(best.get(component.name, (np.inf, "")), (emit + follow, what))
                print(
                    f"  {component.name:8s} {what}: {decays / (emit + follow):.3g} decays/s; emit "
                    f"{emit / (emit + follow):.0%} of the time, ends {ended:.0%}",
                    flush=True,
                )
    total = sum(took for took, _ in best.values())
    print(f"kernels, all emissions, one GPU: {decays / total:.3g} decays/s (asked: 1e8 on an H200)")
    for name, (took, what) in best.items():
        print(f"  {name}: {took / total:.0%} of the time, {what}")
    print(f"  emit_kernel: {registers(gpu_kernels.emit_kernel)} registers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--decays", type=float, default=1e8)
    parser.add_argument("--edge", type=int, default=128)
    parser.add_argument("--nuclide", default="Lu-177")
    parser.add_argument("--registers", type=int, nargs="*", default=[gpu_kernels.REGISTERS])
    parser.add_argument("--blocks", type=int, nargs="*", default=[gpu.BLOCKS])
    given = parser.parse_args()
    found = gpu.names()
    if not found:
        print("no CUDA device: nothing measured")
        return
    print(f"{len(found)} x {found[0]}")
    problem = patient(given.edge, given.nuclide)
    ours, theirs = runs(problem)
    for component in ours.components:
        elsewhere, sums = differences(ours, theirs, component, int(min(1e6, given.decays)))
        print(f"{component.name}: {elsewhere:.2e} elsewhere than on the CPU, sums {sums:.1e} apart")
    tune(theirs, given.decays, given.registers, given.blocks)
    settings = TransportSettings(decays=given.decays, batches=5, device="cuda")
    began = time.perf_counter()
    deposit = simulate(problem, settings, 1, lambda *_: None)
    took = time.perf_counter() - began
    print(
        f"simulate whole, {len(found)} GPU: {given.decays / took:.3g} decays/s; mean relative uncertainty "
        f"above 20 % of the maximum {deposit.uncertainty:.2%}"
    )


if __name__ == "__main__":
    main()
