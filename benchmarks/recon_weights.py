"""Train the supervised comparator on simulated scans and write its weights into the package.

``make recon-weights``. Random bodies, each scanned by ``simulation.projections`` at three random count levels
between 3e5 and 1e7: warped ellipses with lungs and a spine in half of them, organs of 0.5 to 40 times the
background, hot and cold lesions of 8 to 45 mm, uneven uptake. None of them is a phantom of
benchmarks/recon_study, and nothing was chosen by these phantoms: four more bodies are for looking at the
error on what it was not trained on. Deterministic by its seed; 20 CPU minutes.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.ndimage import zoom

from dicomnode.model import ActivityMap, Grid, HuMap
from dicomnode.recon.camera.attenuation import attenuation_map
from dicomnode.recon.camera.collimator import collimator
from dicomnode.recon.learned.judged import example_of
from dicomnode.recon.learned.networks import UNet
from dicomnode.recon.learned.supervised import WEIGHTS, Lesson, SupervisedSettings, miss, train
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import prepare
from dicomnode.simulation.phantoms import Phantom
from dicomnode.simulation.projections import ScanSettings, simulate_scan

BODIES, CHECKED, SEED, STEPS = 36, 4, 20261121, 1500
LEVELS = 3
COUNTS = (3e5, 1e7)
EDGE_MM = 2.4
SMALL, LARGE = (80, 128, 128), (64, 128, 192)
OUT = Path(__file__).resolve().parents[1] / "dicomnode/recon/data" / WEIGHTS
Array = np.ndarray


class Body:
    """A random body being drawn in coordinates that a smooth random field has warped."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, large = rng, rng.random() < 0.25
        self.shape = LARGE if large else SMALL
        axes = [(np.arange(n) - (n - 1) / 2) * EDGE_MM for n in self.shape]
        z, y, x = np.meshgrid(*axes, indexing="ij")
        warp = rng.uniform(0, 10)
        self.z, self.y, self.x = (axis + warp * self.smooth(5) for axis in (z, y, x))
        self.semi = rng.uniform((150, 100), (195, 130)) if large else rng.uniform((110, 85), (138, 118))
        ends = rng.uniform(60, 110) if rng.random() < 0.5 else np.inf
        across = (self.x / self.semi[0]) ** 2 + (self.y / self.semi[1]) ** 2
        self.inside = (across < 1) & (np.abs(self.z) < ends)
        self.activity = self.inside.astype(float)
        self.hu = np.where(self.inside, rng.uniform(-80, 40), -1000.0)

    def smooth(self, knots: int) -> Array:
        """A random field of standard deviation 1 at its knots, cubic between them."""
        coarse = self.rng.standard_normal((knots, knots, knots))
        return zoom(coarse, np.array(self.shape) / knots, order=3, mode="nearest", grid_mode=True)

    def ellipsoid(self, smallest: float, largest: float) -> Array:
        """Turned about z, somewhere in the body."""
        rng = self.rng
        angle, reach, turn = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.8) ** 0.5, rng.uniform(0, np.pi)
        u, v = self.x - self.semi[0] * reach * np.cos(angle), self.y - self.semi[1] * reach * np.sin(angle)
        u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        half = rng.uniform(smallest, largest) / 2 * rng.uniform(0.7, 1.4, 3)
        w = self.z - rng.uniform(-75, 75)
        return ((u / half[0]) ** 2 + (v / half[1]) ** 2 + (w / half[2]) ** 2 < 1) & self.inside

    def phantom(self) -> Phantom:
        rng = self.rng
        if rng.random() < 0.5:
            for _ in range(2):
                self.fill(self.ellipsoid(60, 140), rng.uniform(0.0, 0.6), -700.0)
            spine = np.hypot(self.x, self.y - 0.6 * self.semi[1]) < rng.uniform(12, 22)
            self.fill(spine & self.inside, rng.uniform(0.5, 4), 300.0)
        for _ in range(rng.integers(2, 8)):
            self.fill(self.ellipsoid(30, 150), float(np.exp(rng.uniform(np.log(0.5), np.log(40)))), 30.0)
        for _ in range(rng.integers(8, 20)):
            lesion = self.ellipsoid(8, 45)
            hot = float(np.exp(rng.uniform(np.log(1.5), np.log(15))))
            around = float(self.activity[lesion].mean()) if lesion.any() else 0.0
            self.activity[lesion] = 0.0 if rng.random() < 0.3 else hot * around
        if rng.random() < 0.5:
            self.activity *= np.exp(0.15 * self.smooth(12))
        grid = Grid(self.shape, (EDGE_MM,) * 3)
        bq_per_ml = (self.activity * 5e4).astype(np.float32)
        return Phantom(ActivityMap(grid, bq_per_ml), HuMap(grid, self.hu.astype(np.float32)), {}, {}, 0.05)

    def fill(self, where: Array, activity: float, hu: float) -> None:
        self.activity[where], self.hu[where] = activity, hu


def lessons_of(number: int) -> list[Lesson]:
    """One body at several count levels."""
    rng = np.random.default_rng([SEED, number])
    phantom, camera = Body(rng).phantom(), collimator("siemens-me")
    rows, _, bins = (n // 2 for n in phantom.grid.shape_zyx)
    settings = ScanSettings(rows=rows + 4, bins=bins)
    made = simulate_scan(phantom, camera, settings, seed=number, started_at=datetime.now(UTC))
    mu = attenuation_map(made.ct, made.projections.grid, 208.4, 120.0)
    found = []
    for counts in np.exp(rng.uniform(*np.log(COUNTS), LEVELS)):
        factor = counts / made.expected[0].sum(dtype=np.float64)
        drawn = rng.poisson(np.maximum(made.expected * factor, 0)).astype(np.int32)
        projections = replace(made.projections, counts=drawn, started_s=0 * made.projections.started_s)
        scan = prepare(projections, mu, Protocol(), camera)
        per_bq_ml = factor * made.counts_per_mbq * projections.grid.voxel_ml / 1e6
        truth = torch.from_numpy((made.truth.activity.bq_per_ml * per_bq_ml).astype(np.float32))
        example = example_of(scan, scan.data, 10)
        found.append(Lesson(example, example.crop.take(truth).clone()))
    return found


def told(lessons: list[Lesson], network: UNet) -> str:
    """Mean weighted squared error of the network's image, and of the candidates from sharp to smooth."""
    ours = np.mean([float(miss(network, lesson)) for lesson in lessons])
    found = [(x.example.weight * (x.example.candidates - x.truth) ** 2).mean(dim=(1, 2, 3)) for x in lessons]
    return f"{ours:.4f}, of the candidates {np.round(torch.stack(found).mean(dim=0).numpy(), 4)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=BODIES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    lessons = [lesson for number in range(given.bodies) for lesson in lessons_of(number)]
    unseen = [lesson for number in range(CHECKED) for lesson in lessons_of(1000 + number)]
    print(f"{len(lessons)} scans, {time.process_time() - started:.0f} s", flush=True)
    network = train(lessons, SupervisedSettings(steps=given.steps), seed=SEED)
    given.out.parent.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, given.out)
    print(f"{given.out}: {given.out.stat().st_size} bytes, {time.process_time() - started:.0f} s")
    with torch.no_grad():
        print("error on scans trained on:", told(lessons, network))
        print("error on scans of other bodies:", told(unseen, network))


if __name__ == "__main__":
    main()
