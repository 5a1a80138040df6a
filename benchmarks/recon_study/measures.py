"""Every figure of the tables, from one image and the truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from observer import channels
from scans import Truth
from scipy.ndimage import binary_erosion

from dicomnode.dose.engine import no_progress
from dicomnode.dose.registry import build
from dicomnode.model import Grid, TiaMap
from dicomnode.physics.anatomy import anatomy_from_ct
from dicomnode.physics.nuclides import nuclide
from dicomnode.simulation.phantoms import Phantom

LESION_MM = 20.0
"""Regions up to this diameter are lesions in the table of detectability."""
TIA_S = nuclide("Lu-177").half_life_s / np.log(2.0)
"""Seconds by which an activity becomes a TIA with physical decay alone (stp-physical)."""
Array = np.ndarray


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
