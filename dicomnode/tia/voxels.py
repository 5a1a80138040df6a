"""Time-integrated activity voxel by voxel, slab by slab so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dicomnode.model import Finding, Grid, RegisteredTimePoint, Severity, TiaMap
from dicomnode.tia.curves import Array, fastest_per_h
from dicomnode.tia.measure import Partition, counts_per_mbq
from dicomnode.tia.settings import UncertaintySettings

Progress = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a word on what is being done. May raise to interrupt."""

SLAB_VOXELS = 1 << 18
"""Voxels worked on at once: about 2 MB per array of float64."""

MBQ_S = 3600.0 / 1e6
"""Bq h to MBq s."""

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class PartWeights:
    """By part of the partition: ``k_h`` (parts, n) with TIA = sum_i k_i C_i, and the relative standard
    uncertainty (parts,) that all voxels of a part share (fit, model, calibration, recovery)."""

    k_h: Array
    shared_relative: Array


def _slabs(grid: Grid, progress: Progress) -> Iterator[slice]:
    nz, ny, nx = grid.shape_zyx
    step = max(1, SLAB_VOXELS // (ny * nx))
    for z in range(0, nz, step):
        progress(z / nz, "time-integrated activity")
        yield slice(z, min(z + step, nz))
    progress(1.0, "time-integrated activity")


def _concentrations(points: Sequence[RegisteredTimePoint], z: slice) -> Array:
    return np.stack([p.activity.bq_per_ml[z].ravel() for p in points]).astype(np.float64)


def count_variance(bq_per_ml: Array, voxel_ml: float, u: UncertaintySettings) -> Array:
    """Variance of a concentration from counting, (Bq/mL)^2; at least that of one count."""
    per_bq_per_ml = voxel_ml / 1e6 * counts_per_mbq(u)
    return np.asarray(np.maximum(bq_per_ml * per_bq_per_ml, 1.0) / per_bq_per_ml**2)


def _variances(
    points: Sequence[RegisteredTimePoint], z: slice, expected: Array, u: UncertaintySettings
) -> Array:
    """Counting variance (n, voxels) of a slab, (Bq/mL)^2: what the reconstruction found, or else by the
    ``expected`` concentration."""
    out = count_variance(expected, points[0].activity.grid.voxel_ml, u)
    for row, noise in zip(out, (p.activity.counting for p in points), strict=True):
        if noise is not None:
            row[:] = np.square(noise.sigma_bq_per_ml(z).ravel(), dtype=np.float64)
    return out


def linear_maps(
    points: Sequence[RegisteredTimePoint],
    parts: Partition,
    weights: PartWeights,
    u: UncertaintySettings,
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """TIA and its standard uncertainty, MBq s/mL, as the part's weights times the voxel's activities.

    A voxel that parts share follows their curves in proportion.

    Negative and zero voxels enter as they are, so that sums over voxels stay unbiased.
    """
    grid = points[0].activity.grid
    tia, sigma = np.empty(grid.shape_zyx, np.float32), np.empty(grid.shape_zyx, np.float32)
    for z in _slabs(grid, progress):
        c, k = _concentrations(points, z), parts.mixed(weights.k_h, z)
        total = np.einsum("iv,iv->v", k, c)
        noise = np.einsum("iv,iv->v", k**2, _variances(points, z, c, u))
        tia[z] = (total * MBQ_S).reshape(tia[z].shape)
        spread = np.sqrt(noise + (parts.mixed(weights.shared_relative, z) * total) ** 2)
        sigma[z] = (spread * MBQ_S).reshape(sigma[z].shape)
    return tia, sigma


@dataclass(frozen=True, eq=False)
class VoxelFit:
    """Mono-exponentials of many voxels: integral (Bq h/mL), its derivative by each activity (n, voxels; h),
    and which voxels were fitted and which stopped at physical decay."""

    integral: Array
    sensitivity_h: Array
    fitted: npt.NDArray[np.bool_]
    at_bound: npt.NDArray[np.bool_]


def fit_voxels(hours: Array, activity: Array, sigma: Array, physical_per_h: float) -> VoxelFit:
    """Weighted least squares of a exp(-lambda t) in the linear domain, lambda >= physical, for each column.

    For a given lambda the best a is linear, so one search over ln lambda (golden section, around the
    log-linear start) finds the minimum. Columns with fewer than two positive values, or a straight line
    through ln A that does not fall or falls faster than ``fastest_per_h``, are not fitted.

    Parameters
    ----------
    hours : (n,); activity, sigma : (n, voxels), any one unit
    """
    rate, fitted = _log_linear_rates(hours, activity, sigma)
    fastest = fastest_per_h(float(hours[0]), physical_per_h)
    fitted &= rate < fastest
    a, w, t = activity[:, fitted], 1.0 / sigma[:, fitted] ** 2, hours[:, None]

    def score(log_rate: Array) -> Array:
        e = np.exp(-t * np.exp(log_rate))
        return np.asarray(np.maximum((w * a * e).sum(0), 0.0) ** 2 / (w * e * e).sum(0))

    log_rate = _golden_maximum(score, rate[fitted], physical_per_h, fastest)
    lowest = np.full_like(log_rate, np.log(physical_per_h))
    bound = score(lowest) >= score(log_rate)
    lam = np.exp(np.where(bound, lowest, log_rate))
    e = np.exp(-t * lam)
    amplitude = (w * a * e).sum(0) / (w * e * e).sum(0)
    out = VoxelFit(np.zeros(activity.shape[1]), np.zeros(activity.shape), fitted, np.zeros_like(fitted))
    out.integral[fitted] = amplitude / lam
    out.sensitivity_h[:, fitted] = _mono_sensitivity(t, w, e, amplitude, lam, bound)
    out.at_bound[fitted] = bound
    return out


def _log_linear_rates(hours: Array, activity: Array, sigma: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    positive = activity > 0
    w = np.where(positive, (activity / sigma) ** 2, 0.0)
    y, t = np.log(np.where(positive, activity, 1.0)), hours[:, None]
    sw = np.maximum(w.sum(0), np.finfo(float).tiny)
    dt = t - (w * t).sum(0) / sw
    moment = (w * dt * dt).sum(0)
    rate = -(w * dt * y).sum(0) / np.where(moment > 0, moment, 1.0)
    return rate, (positive.sum(0) >= 2) & (rate > 0)


def _golden_maximum(
    score: Callable[[Array], Array], rate: Array, physical_per_h: float, fastest: float
) -> Array:
    """ln lambda of the greatest score, to 1e-6, within a factor of six of the start, between physical decay
    and the fastest rate."""
    low = np.log(np.clip(rate / 6.0, physical_per_h, fastest))
    high = np.log(np.clip(rate * 6.0, min(physical_per_h * 1.5, fastest), fastest))
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = score(inner), score(outer)
    for _ in range(32):
        left = at_inner > at_outer
        low, high = np.where(left, low, inner), np.where(left, outer, high)
        new = np.where(left, high - GOLDEN * (high - low), low + GOLDEN * (high - low))
        at_new = score(new)
        inner, outer = np.where(left, new, outer), np.where(left, inner, new)
        at_inner, at_outer = np.where(left, at_new, at_outer), np.where(left, at_inner, at_new)
    return np.asarray((low + high) / 2.0)


def _mono_sensitivity(
    t: Array, w: Array, e: Array, a: Array, lam: Array, bound: npt.NDArray[np.bool_]
) -> Array:
    """Derivative (n, voxels) of a/lambda by each activity, h: g^T (J^T W J)^-1 J^T W with J that of
    (a, lambda); of a alone at the bound."""
    faa, fal = (w * e * e).sum(0), -(w * a * t * e * e).sum(0)
    fll = (w * (a * t * e) ** 2).sum(0)
    determinant = faa * fll - fal**2
    ga, gl = 1.0 / lam, -a / lam**2
    free = ~bound & (determinant > 1e-12 * faa * fll)
    safe = np.where(free, determinant, 1.0)
    by_a = np.where(free, (fll * ga - fal * gl) / safe, ga / faa)
    by_lambda = np.where(free, (faa * gl - fal * ga) / safe, 0.0)
    return np.asarray(w * e * (by_a - by_lambda * a * t))


def mono_maps(
    points: Sequence[RegisteredTimePoint],
    parts: Partition,
    fallback: PartWeights,
    common_relative: Array,
    physical_per_h: float,
    u: UncertaintySettings,
    progress: Progress,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], int, int]:
    """Voxel-wise mono-exponential TIA and standard uncertainty; the trapezoid where it cannot be fitted.

    Weights come from the noise expected of the field of view's mean curve scaled to the voxel, not from the
    voxel's own noisy values (which would favour low values). The uncertainty is that of the weighted fit
    under the noise that is known.

    Parameters
    ----------
    common_relative : (parts,) relative standard uncertainty of calibration and recovery, which all voxels
        of a part share

    Returns
    -------
    tia, sigma (MBq s/mL), number of voxels with activity that fell to the trapezoid, number at the bound
    """
    tia, sigma = linear_maps(points, parts, fallback, u, lambda _f, _w: None)
    grid, hours = points[0].activity.grid, np.array([p.hours for p in points])
    mean = np.maximum([p.activity.total_mbq for p in points], 0.0)
    shape = mean / mean.mean() if mean.mean() > 0 else np.ones(len(mean))
    unfitted = bounded = 0
    for z in _slabs(grid, progress):
        c = _concentrations(points, z)
        expected = np.maximum(shape[:, None] * c.mean(0), 0.0)
        unshared = (u.time_point_relative * expected) ** 2
        weighed = count_variance(expected, grid.voxel_ml, u) + unshared
        fit = fit_voxels(hours, c, np.sqrt(weighed), physical_per_h)
        scale = MBQ_S
        noise = _variances(points, z, expected, u) + unshared
        own = np.sqrt(np.einsum("iv,iv->v", fit.sensitivity_h**2, noise))
        spread = np.hypot(own, parts.mixed(common_relative, z) * fit.integral) * scale
        shape_of_slab = tia[z].shape
        tia[z] = np.where(fit.fitted, fit.integral * scale, tia[z].ravel()).reshape(shape_of_slab)
        sigma[z] = np.where(fit.fitted, spread, sigma[z].ravel()).reshape(shape_of_slab)
        unfitted += int(np.count_nonzero(~fit.fitted & (c.sum(0) > 0)))
        bounded += int(np.count_nonzero(fit.at_bound))
    return tia, sigma, unfitted, bounded


def without_negatives(
    tia: npt.NDArray[np.float32], grid: Grid, rule: Literal["keep", "zero"]
) -> tuple[TiaMap, tuple[Finding, ...]]:
    """The map under the stated rule for negative voxels, and a finding that says how much they hold."""
    negative = tia < 0
    count = int(np.count_nonzero(negative))
    if not count:
        return TiaMap(grid, tia), ()
    total = float(tia[negative].sum(dtype=np.float64)) * grid.voxel_ml
    done = "kept (dose engines refuse them; negative_voxels = 'zero' sets them to zero)"
    if rule == "zero":
        tia, done = np.where(negative, np.float32(0), tia), "set to zero"
    finding = Finding(
        "tia-negative-voxels",
        Severity.WARNING if rule == "keep" else Severity.NOTE,
        f"{count} voxels have a negative time-integrated activity, {total:.4g} MBq s in all; {done}",
        measured=total,
        unit="MBq s",
    )
    return TiaMap(grid, tia), (finding,)
