"""Scan statistic: the largest smoothed difference in units of its noise and tolerance, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import numpy as np
from scipy.ndimage import correlate1d

from dicomnode.compare.measure import Measure, two_sided
from dicomnode.compare.pair import Float, Pair
from dicomnode.errors import OutOfDomain

SCALES_MM = (0.0, 4.0, 8.0)
"""Standard deviations of the smoothing; 0 is voxel by voxel. Validated scales of the frozen threshold."""
TRUNCATE = 3.0
NOISE_FLOOR = 1e-3
"""A voxel's sd is taken as at least this share of the hot level's, so that a voxel that no decay reached
is not compared with a noise of zero."""


def scan(pair: Pair, *, tolerance: float = 0.0, scales_mm: Sequence[float] = SCALES_MM) -> Measure:
    """max over the body and the scales of abs(G*D) / sqrt(phi G^2*V + (tolerance G*R)^2).

    p is Bonferroni's over voxels and scales, from the Gaussian tail: conservative where smoothing makes
    neighbours alike, too bold where fewer than about ten decays reach a voxel. The dispersion phi is of sums
    over neighbours: at scale 0 it is 1. ``detail`` gives the place (patient x, y, z, mm), the scale and the
    mean relative difference there. Raises OutOfDomain where neither noise nor tolerance is given.
    """
    best, where, scale, sums = 0.0, (0, 0, 0), 0.0, 0
    for s in scales_mm:
        z = smoothed_z(pair, s, tolerance)
        at = int(np.abs(z).argmax())
        sums += int(np.count_nonzero(pair.body))
        if abs(z.flat[at]) > abs(best):
            index = np.unravel_index(at, z.shape)
            best, scale, where = float(z.flat[at]), s, (int(index[0]), int(index[1]), int(index[2]))
    x, y, zz = pair.grid.to_patient_mm(where[::-1])
    p = min(1.0, sums * two_sided(best))
    kind = "too much" if best > 0 else "too little"
    return Measure(
        "scan", abs(best), "sd",
        f"the most deviant place has {kind} dose: {abs(best):.1f} sd at ({x:.0f}, {y:.0f}, {zz:.0f}) mm "
        f"on the scale of {scale:g} mm",
        sqrt(2.0 * np.log(max(2, sums))), None, p,
        {"x_mm": float(x), "y_mm": float(y), "z_mm": float(zz), "scale_mm": float(scale), "signed_z": best},
        "closed form",
    )  # fmt: skip


def smoothed_z(pair: Pair, scale_mm: float, tolerance: float = 0.0) -> Float:
    """Map of the smoothed difference in standard deviations; zero outside the body."""
    if not pair.noisy and tolerance <= 0:
        raise OutOfDomain("noise of the reference", 0, "Gy", "positive, or give a tolerance")
    floor = (NOISE_FLOOR * pair.relative_noise * pair.hot_gy) ** 2
    variance = np.where(pair.body, np.maximum(pair.variance, floor), 0.0)
    difference, reference = pair.difference, np.where(pair.body, pair.reference, 0.0)
    if scale_mm > 0:
        kernels = [_kernel(scale_mm / h) for h in pair.spacing_zyx]
        difference = _smooth(difference, kernels)
        variance = pair.dispersion * _smooth(variance, [k * k for k in kernels])
        reference = _smooth(reference, kernels) if tolerance > 0 else reference
    total = variance + (tolerance * reference) ** 2
    return np.where(pair.body & (total > 0), difference / np.sqrt(np.where(total > 0, total, 1.0)), 0.0)


def _kernel(sigma_voxels: float) -> Float:
    """Normalised discrete Gaussian; the variance is smoothed with the square of this very array."""
    reach = max(1, ceil(TRUNCATE * sigma_voxels))
    values = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_voxels) ** 2)
    return np.asarray(values / values.sum())


def _smooth(values: Float, kernels: list[Float]) -> Float:
    for axis, kernel in enumerate(kernels):
        values = correlate1d(values, kernel, axis=axis, mode="constant")
    return values
