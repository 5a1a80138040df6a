"""What a reconstruction does to the dose of a therapy: three scans, time-activity curves, dose.

The torso 24, 96 and 168 h after 7.4 GBq of 177Lu, 5e6 counts in the first scan and in the others as many as
the decay leaves, three noise seeds. Every method reconstructs all three; one exponential per region
(``dicomnode.tia``, mono-exponential) and engine vsv give the dose. The row "true activity" goes the same way
from the activity itself: what it is off by is the curve's doing, not the image's. One line of
docs/recon-therapy.jsonl for each method and seed; ``make recon-study`` runs what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from images import CLASSICAL, LEARNED, made_by, map_beside
from scans import Truth, scan_of, torso, truth_of

from dicomnode.dose.engine import no_progress
from dicomnode.dose.registry import build
from dicomnode.model import ActivityMap, LabelMap, RegisteredTimePoint, RegistrationQuality, TiaMap
from dicomnode.physics.anatomy import anatomy_from_ct
from dicomnode.physics.nuclides import nuclide
from dicomnode.recon.camera.overlap import mean_on
from dicomnode.recon.selection import KEPT
from dicomnode.simulation.patient import make_patient
from dicomnode.tia.integrate import integrate_points
from dicomnode.tia.settings import TiaSettings

LINES = Path(__file__).with_name("results") / "recon-therapy.jsonl"
HOURS = (24.0, 96.0, 168.0)
FIRST_COUNTS = 5e6
SEEDS = (1, 2, 3)
METHODS = (*CLASSICAL, *LEARNED)
TRUE = "true activity"
Array = np.ndarray


def run() -> None:
    truths = [truth_of("torso", partial(torso, hours=h)) for h in HOURS]
    done = {(r["method"], r["seed"]) for r in records()}
    if (TRUE, 0) not in done:
        keep(TRUE, 0, truths, [t.phantom.activity.bq_per_ml for t in truths], {})
    for method in METHODS:
        for seed in SEEDS:
            if (method, seed) not in done:
                started = time.process_time()
                images, chosen = reconstructed(method, seed, truths)
                seconds = time.process_time() - started
                keep(method, seed, truths, images, {"seconds": seconds, "chosen": chosen})


def reconstructed(method: str, seed: int, truths: Sequence[Truth]) -> tuple[list[Array], list[object]]:
    """Bq/mL at each time, and what was chosen or judged."""
    images, chosen = [], []
    weights = [c["prior_weight"] for r in records() if (r["method"], r["seed"]) == ("bsrem", seed)
               for c in r["chosen"]] or [None] * len(truths)  # fmt: skip
    for truth, weight in zip(truths, weights, strict=True):
        counts = FIRST_COUNTS * float(truth.expected[0].sum() / truths[0].expected[0].sum())
        scan, per_bq_ml = scan_of(truth, counts, seed)
        kept, held = scan.data.split(KEPT, seed)
        beside = map_beside(scan, kept, held, weight) if method in LEARNED else None
        made = made_by(method, scan, kept, held, seed, beside)
        images.append(made.image.numpy() / per_bq_ml)
        chosen.append(dict(made.parameters) | ({"released": made.verdict.released} if made.verdict else {}))
    return images, chosen


def keep(
    method: str, seed: int, truths: Sequence[Truth], images: Sequence[Array], more: dict[str, object]
) -> None:
    """Write down dose of every region over the true dose, and its effective half-life."""
    record = {"method": method, "seed": seed, **dosed(truths[0], images), **more}
    with LINES.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, default=float) + "\n")
    print(method, seed, {k: round(v, 3) for k, v in record["dose"].items()}, flush=True)


def dosed(truth: Truth, images: Sequence[Array]) -> dict[str, dict[str, float]]:
    phantom, lutetium = truth.phantom, nuclide("Lu-177")
    masks = {n: s > 0.5 for n, s in phantom.shares.items() if n not in ("background", "organ")}
    grid = phantom.grid
    regions = LabelMap(grid, masks, {n: float(m.sum()) * grid.voxel_ml for n, m in masks.items()})
    same = RegistrationQuality("identity", (0.0,) * 6, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0)
    points = [
        RegisteredTimePoint(f"T{number}", hours, ActivityMap(grid, image), same)
        for number, (hours, image) in enumerate(zip(HOURS, images, strict=True), start=1)
    ]
    fit = integrate_points(points, regions, lutetium, TiaSettings(method="mono-exponential"))
    patient = make_patient(1, size="small")
    true = TiaMap(grid, mean_on(patient.tia().mbq_s_per_ml, patient.grid, grid))
    anatomy, engine = anatomy_from_ct(phantom.ct), build("vsv", {})

    def dose(tia: TiaMap) -> Array:
        return engine.dose(tia, anatomy, lutetium, seed=0, progress=no_progress).gy

    ours, theirs = dose(fit.tia), dose(true)
    return {
        "dose": {n: float(ours[m].mean() / theirs[m].mean()) for n, m in masks.items()},
        "half_life_h": {r.region: r.effective_half_life_h for r in fit.regions if r.region in masks},
    }


def records() -> list[dict[str, Any]]:
    if not LINES.exists():
        return []
    return [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]
