"""One line of results/recon-study.jsonl for each phantom, count level, noise seed and method."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from images import CLASSICAL, LEARNED, made_by, map_beside
from measures import measured
from scans import PHANTOMS, Truth, scan_of, truth_of

from dicomnode.recon.learned.acceptance import Acceptance
from dicomnode.recon.selection import KEPT, Image, score

ROOT = Path(__file__).resolve().parents[2]
LINES = Path(__file__).with_name("results") / "recon-study.jsonl"
IMAGES = ROOT / "build/recon-study"
"""Images in Bq/mL (z, y, x), float32; not part of the repository."""
COUNTS = (1e6, 5e6)
SEEDS = (1, 2, 3, 4, 5)
PASSES = (CLASSICAL, ("noise2noise", "split-likelihood"), ("supervised",), ("deep-image-prior",))
"""Each over all cases before the next; the longest comes last, where a budget may end."""
Case = tuple[str, float, int]


def run(part: int = 0, parts: int = 1) -> None:
    """Do what is missing, pass by pass; of several processes each does its part."""
    truths: dict[str, Truth] = {}
    for methods in PASSES:
        for seed in SEEDS:
            for counts in COUNTS:
                for number, name in enumerate(PHANTOMS):
                    if (number + seed + COUNTS.index(counts)) % parts == part:
                        _case((name, counts, seed), methods, truths)


def records() -> Iterator[dict[str, object]]:
    if LINES.exists():
        for line in LINES.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def _case(case: Case, methods: tuple[str, ...], truths: dict[str, Truth]) -> None:
    name, counts, seed = case
    done = {r["method"]: r for r in records() if (r["phantom"], r["counts"], r["seed"]) == case}
    todo = [m for m in methods if m not in done]
    if not todo:
        return
    if name not in truths:
        truths[name] = truth_of(name, PHANTOMS[name])
    truth = truths[name]
    scan, per_bq_ml = scan_of(truth, counts, seed)
    kept, held = scan.data.split(KEPT, seed)
    zero = score(scan, torch.zeros(scan.model.geometry.shape_zyx), held)
    beside: Image | None = None
    for method in todo:
        if method in LEARNED and beside is None:
            weight = done["bsrem"]["parameters"]["prior_weight"] if "bsrem" in done else None
            beside = map_beside(scan, kept, held, weight)
        started = time.process_time()
        made = made_by(method, scan, kept, held, seed, beside)
        seconds = time.process_time() - started
        image = made.image.numpy() / per_bq_ml
        record = {
            "phantom": name, "counts": counts, "seed": seed, "method": method, "seconds": seconds,
            "parameters": dict(made.parameters), "held_out": score(scan, made.of_kept, held) - zero,
            **measured(truth, image), **({"acceptance": _told(made.verdict)} if made.verdict else {}),
        }  # fmt: skip
        IMAGES.mkdir(parents=True, exist_ok=True)
        np.save(IMAGES / f"{name}-{counts:.0e}-{seed}-{method}.npy", image)
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=float) + "\n")
        print(name, f"{counts:g}", seed, method, f"{seconds:.1f} s", f"{record['nrmse']:.3f}", flush=True)


def _told(verdict: Acceptance) -> dict[str, object]:
    return {
        "released": verdict.released, "gain": verdict.likelihood_gain, "error": verdict.likelihood_error,
        "counts_ratio": verdict.counts_ratio, "largest_z": verdict.largest_residual_z,
        "smallest_z": verdict.smallest_residual_z, "reasons": list(verdict.reasons),
    }  # fmt: skip
