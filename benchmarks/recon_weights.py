"""Train the supervised comparator on simulated scans and write its weights into the package.

``make recon-weights``. Four random bodies (ellipses with organs, hot and cold lesions of 8 to 40 mm,
lungs), each scanned by ``recon.simulate`` at two random count levels between 5e5 and 8e6. None of them is a
phantom of benchmarks/recon_study.py. Deterministic by its seed; about 90 CPU seconds.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from safetensors.torch import save_file

from dicomnode.model import ActivityMap, Grid, HuMap
from dicomnode.recon.attenuation import attenuation_map
from dicomnode.recon.collimator import collimator
from dicomnode.recon.learned import example_of
from dicomnode.recon.phantoms import Phantom
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import prepare
from dicomnode.recon.simulate import ScanSettings, simulate_scan
from dicomnode.recon.supervised import WEIGHTS, Lesson, SupervisedSettings, train

BODIES, SEED = 4, 20261121
GRID = Grid((80, 124, 124), (2.4, 2.4, 2.4))
OUT = Path(__file__).resolve().parents[1] / "dicomnode/recon/data" / WEIGHTS


def body(rng: np.random.Generator) -> Phantom:
    """A random body: background 1, three to five organs, six to twelve lesions, two lungs in half of them."""
    axes = [(np.arange(n) - (n - 1) / 2) * 2.4 for n in GRID.shape_zyx]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    semi = rng.uniform((130, 95), (145, 120))
    inside = (x / semi[0]) ** 2 + (y / semi[1]) ** 2 + 0 * z < 1
    activity, hu = inside.astype(float), np.where(inside, 0.0, -1000.0)

    def ellipsoid(smallest: float, largest: float) -> np.ndarray:
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.75) ** 0.5
        centre = (*(semi * reach * [np.cos(angle), np.sin(angle)]), rng.uniform(-70, 70))
        half = rng.uniform(smallest, largest) / 2 * rng.uniform(0.8, 1.25, 3)
        distances = zip((x, y, z), centre, half, strict=True)
        return (sum(((axis - c) / h) ** 2 for axis, c, h in distances) < 1) & inside

    for _ in range(2 if rng.random() < 0.5 else 0):
        lung = ellipsoid(70, 130)
        activity[lung], hu[lung] = 0.3, -700.0
    for _ in range(rng.integers(3, 6)):
        organ = ellipsoid(50, 150)
        activity[organ], hu[organ] = rng.uniform(1.5, 8), 30.0
    for _ in range(rng.integers(6, 13)):
        lesion = ellipsoid(8, 40)
        activity[lesion] = 0.0 if rng.random() < 0.3 else activity[lesion].mean() * rng.uniform(2, 12)
    bq_per_ml = (activity * 5e4).astype(np.float32)
    return Phantom(ActivityMap(GRID, bq_per_ml), HuMap(GRID, hu.astype(np.float32)), {}, {}, 0.05)


def lessons_of(seed: int) -> list[Lesson]:
    """One body at two count levels."""
    rng = np.random.default_rng([SEED, seed])
    camera = collimator("siemens-me")
    made = simulate_scan(body(rng), camera, ScanSettings(rows=44), seed=seed, started_at=datetime.now(UTC))
    mu = attenuation_map(made.ct, made.projections.grid, 208.4, 120.0)
    found = []
    for counts in np.exp(rng.uniform(np.log(5e5), np.log(8e6), 2)):
        factor = counts / made.expected[0].sum(dtype=np.float64)
        drawn = rng.poisson(np.maximum(made.expected * factor, 0)).astype(np.int32)
        projections = replace(made.projections, counts=drawn, started_s=0 * made.projections.started_s)
        scan = prepare(projections, mu, Protocol(), camera)
        truth = made.truth.activity.bq_per_ml * (
            factor * made.counts_per_mbq * projections.grid.voxel_ml / 1e6
        )
        found.append(Lesson(example_of(scan, scan.data, 10), torch.from_numpy(truth.astype(np.float32))))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    started = time.process_time()
    lessons = [lesson for seed in range(BODIES) for lesson in lessons_of(seed)]
    print(f"{len(lessons)} scans, {time.process_time() - started:.0f} s", flush=True)
    network = train(lessons, SupervisedSettings(), seed=SEED)
    OUT.parent.mkdir(exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, OUT)
    print(f"{OUT}: {OUT.stat().st_size} bytes, {time.process_time() - started:.0f} s")
