"""Errors by region, debiased: the truth's own noise does not count."""

from __future__ import annotations

import numpy as np
from cases import Case
from scipy import ndimage

from dicomnode.model import DoseMap

Array = np.ndarray


def errors(case: Case, gy: Array, halves: Array, scale: Array) -> dict[str, tuple[float, float]]:
    """Region -> (error of the mean, rms of voxels' errors), relative, %.

    The mean is by mass. The rms is of (P - A)(P - B) / S^2 with A, B independent halves of the truth and S a
    map near it without noise; where noise makes the mean square negative, minus the root: below what is seen.
    """
    mean, found = halves.mean(axis=0), {}
    product = (gy - halves[0]) * (gy - halves[1])
    for name, mask in case.regions.items():
        if not mask.any():
            continue
        mass = case.anatomy.density.g_per_cm3[mask].astype(np.float64)
        off = float((mass * (gy - mean)[mask]).sum() / (mass * mean[mask]).sum())
        square = float((product[mask] / scale[mask] ** 2).mean())
        found[name] = 100 * off, 100 * float(np.sign(square) * np.sqrt(abs(square)))
    return found


def coverage(case: Case, dose: DoseMap, halves: Array) -> float:
    """Share of voxels of the body within one stated sigma of the truth, %, with the truth's noise added.

    The noise is averaged over 12 mm: by the two halves of one voxel it would be known to a factor of two.
    """
    body = case.regions["body"]
    noise = ndimage.gaussian_filter((halves[0] - halves[1]) ** 2 / 4, 2.5)[body]
    off = (dose.gy - halves.mean(axis=0))[body]
    return 100 * float((off**2 <= dose.sigma_gy[body] ** 2 + noise).mean())
