"""Run by test_gpu.py in a process of its own: the engine on the CUDA simulator and on the CPU, both in
Python."""

from __future__ import annotations

import pickle
import sys
import threading

import numpy as np

from dicomnode.dose.montecarlo import MonteCarlo
from dicomnode.model import Anatomy, DensityMap, Grid, Nuclide, TiaMap
from dicomnode.montecarlo import gpu
from dicomnode.montecarlo.batches import Run
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Problem, simulate
from dicomnode.montecarlo.source import members
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

GRID = Grid((4, 5, 6), (2.0, 2.0, 3.0))
Settings = TransportSettings


class OneByOne(gpu.Gpu):
    """The simulator runs one kernel at a time."""

    lock = threading.Lock()

    def launch(self, start: int, end: int) -> float:
        with self.lock:
            return super().launch(start, end)


def require(what: str, holds: bool) -> None:
    if not holds:
        sys.exit(f"not so: {what}")


def patient(found: Nuclide) -> tuple[TiaMap, Anatomy, Nuclide]:
    density = np.full(GRID.shape_zyx, 1.0, np.float32)
    density[:, :, 3:] = 0.26
    tia = np.linspace(0.0, 2.0, density.size).reshape(density.shape)
    return TiaMap(GRID, tia), Anatomy(DensityMap(GRID, density), np.ones(density.shape, bool)), found


def problem(name: str) -> Problem:
    density = np.full(GRID.shape_zyx, 1.0, np.float32)
    media = (medium_of(tissue("water")),)
    return Problem(
        np.ones(density.shape), density, np.zeros(density.shape, int), media, (2.0,) * 3,
        members(nuclide(name)),
    )  # fmt: skip


def same_bytes(name: str, **options: object) -> None:
    doses = {}
    for device in ("cpu", "cuda"):
        engine = MonteCarlo(Settings(decays=100, batches=5, threads=1, device=device, **options))
        doses[device] = engine.dose(*patient(nuclide(name)), seed=3)
    one, two = doses["cpu"], doses["cuda"]
    require(f"{name}: same dose", one.gy.tobytes() == two.gy.tobytes() and bool(one.gy.any()))
    require(f"{name}: same uncertainty", one.sigma_gy.tobytes() == two.sigma_gy.tobytes())
    require(f"{name}: same balance", one.balance == two.balance)


def analogue_and_launches() -> None:
    """Histories that leave what they lose where they lose it, in launches of 7, on two devices."""
    gpu.FIRST = gpu.LARGEST = 7
    settings = Settings(decays=1e3, threads=1)
    run = Run(problem("I-131"), settings, 1, analogue=True)
    for component in run.components:
        expected = run.batch(component, 0, 30, lambda _: None)
        run.device, steps = "cuda", []
        run._gpus = gpu.Gpus(run.world)
        found = run.batch(component, 0, 30, steps.append)
        require("five launches", len(steps) == 5 and steps[-1] == 1.0)
        require(f"analogue {component.name}", all(map(np.array_equal, expected, found)))
        run._gpus.gpus = [OneByOne(0, run.world), OneByOne(0, run.world)]
        found = run.batch(component, 0, 30, steps.append)
        require("three rounds of two launches", len(steps) == 8)
        require(f"two devices {component.name}", all(map(np.array_equal, expected, found)))
        run.device = "cpu"
    require("no device travels", pickle.loads(pickle.dumps(run))._gpus is None)


def interruption() -> None:
    """It is served between two launches, and what comes next begins afresh."""
    run = Run(problem("Lu-177"), Settings(decays=1e3, device="cuda"), 1)

    def stop(_part: float) -> None:
        raise KeyboardInterrupt

    electrons = run.components[0]
    try:
        run.batch(electrons, 0, 20, stop)
    except KeyboardInterrupt:
        whole = run.batch(electrons, 0, 20, lambda _: None)
        run.device = "cpu"
        listed = int(run._gpus.gpus[0].listing[2][0])  # of the last launch of 6 histories
        require(f"most electrons end in the first kernel, {listed} of 6 did not", listed < 6)
        again = run.batch(electrons, 0, 20, lambda _: None)
        require("after an interruption", all(map(np.array_equal, whole, again)))
        return
    sys.exit("not interrupted")


def stops() -> None:
    """A goal that the pilot plans for, and a time that is over."""
    import dicomnode.montecarlo.simulate as simulation

    simulation.PILOT = 20
    cube = problem("Lu-177")
    found = simulate(cube, Settings(uncertainty=0.5, batches=5, device="cuda"), 1, lambda *_: None)
    require("the goal", found.uncertainty <= 0.5 and found.emitted_mev > 0)
    found = simulate(
        cube, Settings(uncertainty=0.9, seconds=1e-3, batches=5, device="auto"), 1, lambda *_: None
    )
    require("two batches when the time is over", found.decays_simulated["electron"] > 0)


require("auto finds it", MonteCarlo(Settings(device="auto")).identity.digests["device"] == "cuda: simulator")
require("the CPU is named too", MonteCarlo().identity.digests["device"] == "cpu")
same_bytes("I-131")
same_bytes("F-18", shared_block_voxels=2)
gpu.LARGEST = 1 << 10
analogue_and_launches()
interruption()
stops()
sys.stdout.write("same bytes\n")
