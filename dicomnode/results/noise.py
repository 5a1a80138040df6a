"""Noise of a Monte Carlo dose map where the dose is high: it biases every figure that sorts voxels."""

from __future__ import annotations

import numpy as np

from dicomnode.model import DoseMap, LabelMap

HOT = 0.5
"""Part of the region's near-maximum (its 98th percentile) above which a voxel counts as hot, as the half of
the maximum in Rogers and Mohan 2000 (the s50 of AAPM TG-105, Med Phys 34:4818). Not of the maximum itself:
that is one voxel, and the noisiest."""


def hot_voxel_noise(dose: DoseMap, regions: LabelMap) -> dict[str, tuple[float, float]]:
    """Region -> relative standard uncertainty of its hot voxels, and its near-maximum (Gy); regions without
    dose are left out.

    The median over those voxels, not the root mean square of TG-105: in gas an engine states the dose itself
    as the uncertainty, and a few such voxels would speak for all. A dose D2 of a region of spread s is too
    high by about 2.05 (sqrt(s^2 + n^2) - s) for a noise n, both relative to its mean.
    """
    found = {}
    for name, share in regions.shares.items():
        inside = share > 0
        gy, sigma = dose.gy[inside].astype(np.float64), dose.sigma_gy[inside].astype(np.float64)
        if not gy.size or not gy.max() > 0:
            continue
        near_maximum = float(np.percentile(gy, 98.0))
        hot = (gy >= HOT * near_maximum) & (gy > 0)
        found[name] = float(np.median(sigma[hot] / gy[hot])), near_maximum
    return found
