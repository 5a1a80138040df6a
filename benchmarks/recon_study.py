"""The study behind docs/reconstruction.md: three phantoms, two count levels, five noise seeds, nine methods.

``make recon-study`` runs what is missing and rewrites docs/recon-study.md (recon_study_page.py). Each case
(phantom, counts, seed, method) is one line of docs/recon-study.jsonl, appended when it is done, so that the
study can be stopped and taken up again, and two processes share it (``--part 0/2``, ``--part 1/2``).
Classical methods of all cases come first, then the learned ones in the order of ``PASSES``.

Scans are made by ``recon.simulate``: half voxels, 5 % wider blur, septal tail, scatter that TEW gets right on
average only, a CT that lies 2 to 3 mm off. Seconds are CPU seconds of one thread, of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from recon_observer import channels
from scipy.ndimage import binary_erosion, gaussian_filter

from dicomnode.dose.engine import no_progress
from dicomnode.dose.registry import build
from dicomnode.model import ActivityMap, Grid, TiaMap
from dicomnode.model.projections import Projections
from dicomnode.physics.anatomy import anatomy_from_ct
from dicomnode.physics.nuclides import nuclide
from dicomnode.recon import learned
from dicomnode.recon.acceptance import Acceptance, AcceptanceSettings
from dicomnode.recon.attenuation import attenuation_map
from dicomnode.recon.collimator import collimator
from dicomnode.recon.learned import judged
from dicomnode.recon.phantoms import Phantom, lesions, nema_like
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import Scan, prepare
from dicomnode.recon.selection import KEPT, Image, penalised, reference, score, stopped
from dicomnode.recon.simulate import ScanSettings, simulate_scan
from dicomnode.simulation.patient import make_patient

ROOT = Path(__file__).resolve().parents[1]
LINES = ROOT / "docs/recon-study.jsonl"
IMAGES = ROOT / "build/recon-study"
"""Images in Bq/mL (z, y, x), float32; not part of the repository."""
COUNTS = (1e6, 5e6)
SEEDS = (1, 2, 3, 4, 5)
LESION_MM = 20.0
"""Regions up to this diameter are lesions in the table of detectability."""
CLASSICAL = ("osem", "osem-filtered", "osem-stopped", "osl", "bsrem")
LEARNED = ("noise2noise", "split-likelihood", "deep-image-prior", "supervised")
PASSES = (CLASSICAL, ("noise2noise", "split-likelihood"), ("supervised",), ("deep-image-prior",))
"""Each over all cases before the next; the longest comes last, where a budget may end."""
Array = np.ndarray
TIA_S = nuclide("Lu-177").half_life_s / np.log(2.0)
"""Seconds by which an activity becomes a TIA with physical decay alone (stp-physical)."""


@dataclass(frozen=True, eq=False)
class Truth:
    """A phantom with the expectation of its projections, made once."""

    name: str
    phantom: Phantom
    projections: Projections
    expected: Array
    scan_ct: object
    counts_per_mbq: float


def torso(grid: Grid) -> Phantom:
    """The simulated patient of ``dicomnode simulate`` 24 h after 7.4 GBq of 177Lu, as a phantom."""
    patient = make_patient(1, size="small")
    activity = patient.concentration(patient.activity_mbq(24.0)) * 1e6
    shares = {name: mask.astype(np.float32) for name, mask in patient.regions.masks.items()}
    body = patient.ct.hu > -300
    away = gaussian_filter(np.max(list(shares.values()), axis=0), 4.0) < 1e-3
    shares = {"background": (gaussian_filter(body.astype(np.float32), 4.0) > 0.95) & away, **shares}
    shares = {name: share.astype(np.float32) for name, share in shares.items()}
    level = float(activity[shares["background"] > 0].mean())
    contrast = {name: float(activity[share > 0].mean()) / level for name, share in shares.items()}
    return Phantom(ActivityMap(patient.grid, activity), patient.ct, shares, contrast, level / 1e6)


PHANTOMS: Mapping[str, Callable[[Grid], Phantom]] = {"nema": nema_like, "lesions": lesions, "torso": torso}
FINE = Grid((110, 136, 136), (2.4, 2.4, 2.4))


def truth_of(name: str) -> Truth:
    """Simulate without noise; the decay during the scan is left out, so that the truth has one activity."""
    phantom = PHANTOMS[name](FINE)
    rows = int(np.ceil(phantom.grid.extent_mm[2] / 4.8 / 4 + 1)) * 4
    settings = ScanSettings(rows=min(rows, 64), bins=96 if name == "torso" else 64)
    made = simulate_scan(phantom, collimator("siemens-me"), settings, seed=1, started_at=datetime.now(UTC))
    still = replace(made.projections, started_s=np.zeros_like(made.projections.started_s))
    return Truth(name, made.truth, still, made.expected, made.ct, made.counts_per_mbq)


def scan_of(truth: Truth, counts: float, seed: int) -> tuple[Scan, float]:
    """The scan at a count level, and counts per voxel per Bq/mL in it."""
    factor = counts / truth.expected[0].sum(dtype=np.float64)
    drawn = np.random.default_rng([seed, int(counts)]).poisson(np.maximum(truth.expected * factor, 0))
    projections = replace(truth.projections, counts=drawn.astype(np.int32))
    mu = attenuation_map(truth.scan_ct, projections.grid, 208.4, 120.0)
    scan = prepare(projections, mu, Protocol(), collimator("siemens-me"))
    per_bq_ml = factor * truth.counts_per_mbq * projections.grid.voxel_ml / 1e6
    return scan, per_bq_ml


def run(names: list[str], part: int, parts: int) -> None:
    """Do what is missing, pass by pass."""
    for methods in PASSES:
        for seed in SEEDS:
            for counts in COUNTS:
                for number, name in enumerate(PHANTOMS):
                    chosen = [m for m in methods if m in names]
                    if (number + seed + COUNTS.index(counts)) % parts == part and chosen:
                        _case(name, counts, seed, chosen)


KEPT_TRUTHS: dict[str, Truth] = {}
KEPT_MAPS: dict[tuple[str, float, int], Image] = {}
"""MAP of the last case, which its learned methods are judged beside."""


class Halves:
    """The two halves of a scan as networks see them, made once for methods that share them.

    ``seconds`` is what a method has been spared since it was last set to zero; it counts as its own.
    """

    def __init__(self) -> None:
        self.made, self.kept, self.seconds = learned._pair, {}, 0.0

    def __call__(self, scan: Scan, data, subsets: int, seed: int):  # type: ignore[no-untyped-def]
        key = (id(scan), id(data), seed)
        if key not in self.kept:
            started = time.process_time()
            self.kept[key] = self.made(scan, data, subsets, seed), time.process_time() - started
        else:
            self.seconds += self.kept[key][1]
        return self.kept[key][0]


HALVES = Halves()
learned._pair = HALVES


def _case(name: str, counts: float, seed: int, methods: list[str]) -> None:
    done = {(r["phantom"], r["counts"], r["seed"], r["method"]) for r in _records()}
    todo = [m for m in methods if (name, counts, seed, m) not in done]
    if not todo:
        return
    if name not in KEPT_TRUTHS:
        KEPT_TRUTHS[name] = truth_of(name)
    truth = KEPT_TRUTHS[name]
    scan, per_bq_ml = scan_of(truth, counts, seed)
    kept, held = scan.data.split(KEPT, seed)
    HALVES.kept.clear()
    zero = score(scan, torch.zeros(scan.model.geometry.shape_zyx), held)
    for method in todo:
        HALVES.seconds, started = 0.0, time.process_time()
        verdict = None
        if method in LEARNED:
            beside = _map_beside(scan, kept, held, (name, counts, seed))
            started = time.process_time()
            made, verdict = judged(scan, method, beside, kept, held, 10, seed, AcceptanceSettings())
            image, of_kept, parameters = made.of_all, made.of_kept, made.parameters
        else:
            image, of_kept, parameters = _image(method, scan, kept, held)
        seconds = time.process_time() - started + HALVES.seconds
        record = {
            "phantom": name, "counts": counts, "seed": seed, "method": method, "seconds": seconds,
            "parameters": dict(parameters),
            "held_out": score(scan, of_kept, held) - zero if of_kept is not None else None,
            **measured(truth, image.numpy() / per_bq_ml),
        }  # fmt: skip
        if verdict is not None:
            record["acceptance"] = _told(verdict)
        IMAGES.mkdir(parents=True, exist_ok=True)
        np.save(IMAGES / f"{name}-{counts:.0e}-{seed}-{method}.npy", image.numpy() / per_bq_ml)
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=float) + "\n")
        print(name, f"{counts:g}", seed, method, f"{seconds:.1f} s", f"{record['nrmse']:.3f}", flush=True)


def _map_beside(scan: Scan, kept, held, case: tuple[str, float, int]) -> Image:  # type: ignore[no-untyped-def]
    """MAP with the weight that the case's own line chose, from the kept and from all counts."""
    if case not in KEPT_MAPS:
        KEPT_MAPS.clear()
        weights = [r["parameters"]["prior_weight"] for r in _records()
                   if (r["phantom"], r["counts"], r["seed"], r["method"]) == (*case, "bsrem")]  # fmt: skip
        protocol = Protocol(algorithm="bsrem", prior_weight=weights[0] if weights else None)
        KEPT_MAPS[case] = penalised(scan, protocol, "bsrem", kept, held)
    return KEPT_MAPS[case]


def _image(method: str, scan: Scan, kept, held):  # type: ignore[no-untyped-def]
    """(image, image of the kept counts, parameters) of a classical method."""
    if method == "osem":
        made = reference(scan, Protocol())
        return made.counts, made.repeat(kept), made.parameters
    if method == "osem-filtered":
        made = reference(scan, Protocol(filter_fwhm_mm=8.0, iterations=5))
        return made.counts, made.repeat(kept), made.parameters
    if method == "osem-stopped":
        made = stopped(scan, Protocol(stop="held-out", iterations=20), kept, held)
    else:
        made = penalised(scan, Protocol(algorithm=method), method, kept, held)
    return made.counts, made.of_kept, made.parameters


def _told(verdict: Acceptance) -> dict[str, object]:
    return {
        "released": verdict.released, "gain": verdict.likelihood_gain, "error": verdict.likelihood_error,
        "counts_ratio": verdict.counts_ratio, "largest_z": verdict.largest_residual_z,
        "smallest_z": verdict.smallest_residual_z, "reasons": list(verdict.reasons),
    }  # fmt: skip


def measured(truth: Truth, bq_per_ml: Array) -> dict[str, object]:
    """Every figure of the tables, from an image in Bq/mL."""
    phantom = truth.phantom
    true = phantom.activity.bq_per_ml.astype(np.float64)
    body = true > 0
    weight = phantom.shares["background"]
    core = weight > 0.99
    level = float(bq_per_ml[core].mean())
    true_level = float(true[core].mean())
    regions = {name: share for name, share in phantom.shares.items() if name != "background"}
    return {
        "recovery": {n: _mean(bq_per_ml, s) / (_mean(true, s) if phantom.contrast[n] > 0.1 else true_level)
                     for n, s in regions.items()},
        "background_bias": level / true_level - 1,
        "background_cov": float(bq_per_ml[core].std() / level),
        "nrmse": float(np.sqrt(((bq_per_ml - true)[body] ** 2).sum() / (true[body] ** 2).sum())),
        "total_bias": float(bq_per_ml.sum() / true.sum() - 1),
        "cnr": {n: _contrast_to_noise(bq_per_ml, s, _surrounding(phantom, n, core))
                for n, s in regions.items() if _diameter_mm(s, phantom.grid) <= LESION_MM},
        "channels": {n: seen for n, s in regions.items()
                     if _diameter_mm(s, phantom.grid) <= LESION_MM and not n.startswith("organ ")
                     and (seen := channels(bq_per_ml, phantom.grid.spacing_mm[::-1], s, core))},
        "dose": _dose_ratios(phantom, bq_per_ml, regions),
    }  # fmt: skip


def _mean(values: Array, share: Array) -> float:
    return float((values * share).sum(dtype=np.float64) / share.sum(dtype=np.float64))


def _diameter_mm(share: Array, grid: Grid) -> float:
    return float(2 * (share.sum() * grid.voxel_ml * 1e3 * 3 / (4 * np.pi)) ** (1 / 3))


def _surrounding(phantom: Phantom, lesion: str, core: Array) -> Array:
    """What a lesion is to be told from: its organ at two voxels from anything else, or the background."""
    if not lesion.startswith("organ "):
        return core
    return binary_erosion(phantom.shares["organ"] > 0.99, iterations=2)


def _contrast_to_noise(image: Array, share: Array, core: Array) -> float:
    """(mean of the lesion - of its surroundings) / standard deviation of means over its shape in these."""
    where = np.argwhere(share > 0)
    kernel = share[tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))]
    half = [n // 2 for n in kernel.shape]
    found = []
    for centre in np.argwhere(core)[:: max(1, int(core.sum() / 2000))]:
        box = tuple(slice(c - h, c - h + n) for c, h, n in zip(centre, half, kernel.shape, strict=True))
        if any(s.start < 0 or s.stop > n for s, n in zip(box, core.shape, strict=True)):
            continue
        if core[box][kernel > 0].all():
            found.append(float((image[box] * kernel).sum() / kernel.sum()))
    if len(found) < 10:
        return float("nan")
    return (_mean(image, share) - float(np.mean(found))) / float(np.std(found))


def _dose_ratios(phantom: Phantom, bq_per_ml: Array, regions: Mapping[str, Array]) -> dict[str, float]:
    """Mean dose of each region with activity, over that of the true activity: one scan, physical decay."""

    def dose(values: Array) -> Array:
        tia = TiaMap(phantom.grid, np.asarray(values / 1e6 * TIA_S, dtype=np.float32))
        engine = build("vsv", {})
        return engine.dose(tia, anatomy_from_ct(phantom.ct), nuclide("Lu-177"), seed=0,
                           progress=no_progress).gy  # fmt: skip

    ours, true = dose(np.maximum(bq_per_ml, 0)), dose(phantom.activity.bq_per_ml)
    return {name: _mean(ours, share) / _mean(true, share) for name, share in regions.items()}


def _records() -> Iterator[dict[str, object]]:
    if LINES.exists():
        for line in LINES.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="0/1", help="k/n: this process does every n-th case")
    parser.add_argument("--methods", nargs="*", default=[*CLASSICAL, *LEARNED])
    given = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = map(int, given.part.split("/"))
    run(given.methods, part, parts)
