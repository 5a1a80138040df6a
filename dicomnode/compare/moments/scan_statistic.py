"""Scan statistic: the largest smoothed difference in units of its noise and tolerance, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, sqrt

import numpy as np
from scipy.ndimage import correlate1d

from dicomnode.compare.measure import Measure, two_sided
from dicomnode.compare.pair import Float, Pair
from dicomnode.errors import OutOfDomain
from dicomnode.model.moments import cut

SCALES_MM = (0.0, 4.0, 8.0)
"""Standard deviations of the smoothing; 0 is voxel by voxel. Validated scales of the frozen threshold."""
TRUNCATE = 3.0
LEAST_SHARE = 1e-3
"""Dose below this share of the hot level is taken as this share: nothing there matters to a patient."""
FEW = 100.0
"""Below this many effective histories (dose^2 / variance), or batches, a voxel's own variance is not
trusted: it is low just where its dose happens to be low. A right map then shows 10 to 100 sd (study)."""
POOL_MM = 20.0
"""Over this distance (sd of a Gaussian) variance per dose is pooled for such voxels."""


def scan(pair: Pair, *, tolerance: float = 0.0, scales_mm: Sequence[float] = SCALES_MM) -> Measure:
    """Largest abs(z) over the body and the scales, see :func:`smoothed_z`.

    p is Bonferroni's over voxels and scales, conservative where smoothing makes neighbours alike.
    ``detail`` gives the place (patient x, y, z, mm), the scale and the
    mean relative difference there. Raises OutOfDomain where neither noise nor tolerance is given.
    """
    best, where, scale, sums = 0.0, (0, 0, 0), 0.0, 0
    box, noise = pair.box_zyx(), _noise(pair, tolerance)
    for s in scales_mm:
        z = _box_z(_cropped(pair), noise, s, tolerance)
        at = int(np.abs(z).argmax())
        sums += int(np.count_nonzero(pair.body))
        if abs(z.flat[at]) > abs(best):
            index = [int(i) + low for i, (low, _) in zip(np.unravel_index(at, z.shape), box, strict=True)]
            best, scale, where = float(z.flat[at]), s, (index[0], index[1], index[2])
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
    """Map of the smoothed difference in standard deviations; zero outside the body.

    z is the smaller of (P - R) / s, with s^2 = phi G^2*V + (tolerance P)^2, and the signed root of the
    Poisson deviance for P / k and R / k counts of size k = s^2 / P: the number of histories is Poisson, and
    where few reach a place its tail is far heavier than the Gaussian one. P and R are the smoothed maps,
    not below ``LEAST_SHARE``. The dispersion phi is of sums over neighbours, by place where batches tell
    it, never below 1; at scale 0 it is 1.
    """
    z = np.zeros(pair.grid.shape_zyx)
    cut(z, pair.box_zyx())[...] = _box_z(_cropped(pair), _noise(pair, tolerance), scale_mm, tolerance)
    return z


def _noise(pair: Pair, tolerance: float) -> tuple[Float, Float]:
    """(variance to be trusted, dispersion) of each voxel in the body's box."""
    if not pair.noisy and tolerance <= 0:
        raise OutOfDomain("noise of the reference", 0, "Gy", "positive, or give a tolerance")
    return trusted_variance(_cropped(pair)), cut(pair.local_widening(), pair.box_zyx())


def _cropped(pair: Pair) -> Pair:
    """The same pair on the body's box; its grid is left as it is, for only the spacing is read."""
    box = pair.box_zyx()
    return replace(
        pair, evaluated=cut(pair.evaluated, box), reference=cut(pair.reference, box),
        variance=cut(pair.variance, box), body=cut(pair.body, box),
    )  # fmt: skip


def _box_z(pair: Pair, noise: tuple[Float, Float], scale_mm: float, tolerance: float) -> Float:
    kernels = [_kernel(scale_mm / h) for h in pair.spacing_zyx] if scale_mm > 0 else []
    mine, theirs = (_smooth(np.where(pair.body, m, 0.0), kernels) for m in (pair.evaluated, pair.reference))
    variance = _smooth(noise[0], [k * k for k in kernels])
    least = LEAST_SHARE * pair.hot_gy
    mine, theirs = np.maximum(mine, least), np.maximum(theirs, least)
    total = (noise[1] if scale_mm > 0 else 1.0) * variance + (tolerance * mine) ** 2
    usable = pair.body & (total > 0)
    size = np.where(usable, total, 1.0)
    plain = (mine - theirs) / np.sqrt(size)
    deviance = np.maximum(0.0, theirs * np.log(theirs / mine) - (theirs - mine))
    root = np.sqrt(2.0 * mine / size * deviance)
    return np.where(usable, np.sign(plain) * np.minimum(np.abs(plain), root), 0.0)


def trusted_variance(pair: Pair) -> Float:
    """Variance of each voxel, Gy2, zero outside the body; where few histories or batches made it, no less
    than the neighbourhood's variance per dose would give it."""
    variance = np.where(pair.body, pair.variance, 0.0)
    reference = np.where(pair.body, np.maximum(pair.reference, 0.0), 0.0)
    few = pair.body & ((np.square(reference) < FEW * variance) | (variance <= 0))
    if pair.noise is not None and len(pair.noise.decays) < FEW:
        few = pair.body
    if not few.any():
        return variance
    kernels = [_kernel(POOL_MM / h) for h in pair.spacing_zyx]
    dose = np.maximum(_smooth(reference, kernels), np.finfo(float).tiny)
    level = np.maximum(pair.evaluated, LEAST_SHARE * pair.hot_gy)
    pooled = _smooth(variance, kernels) / dose * level
    return np.where(few, np.maximum(variance, pooled), variance)


def _kernel(sigma_voxels: float) -> Float:
    """Normalised discrete Gaussian; the variance is smoothed with the square of this very array."""
    reach = max(1, ceil(TRUNCATE * sigma_voxels))
    values = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_voxels) ** 2)
    return np.asarray(values / values.sum())


def _smooth(values: Float, kernels: list[Float]) -> Float:
    for axis, kernel in enumerate(kernels):
        values = correlate1d(values, kernel, axis=axis, mode="constant")
    return values
