"""Tests on moments: chi-square with the exact covariance, with a tolerance, and Hotelling's from batches."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.stats import chi2, f

from dicomnode.compare.measure import Measure
from dicomnode.compare.pair import Float, Pair
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import BatchNoise
from dicomnode.model.moments import (
    basis,
    contracted,
    covariance_of_mean,
    cut,
    exponents,
    gram,
    mean_moments,
    moments,
    of_degree,
)

FLOOR = 1e-4
"""Least variance in the box, in units of the variance at the hot level: elsewhere V is 0 and the covariance
of high moments would be singular."""
BLOCK = 0.65
"""Edge of the blocks on which the tolerance is integrated, in correlation lengths, at most."""
FEWEST = 5
"""Batches, at least, for their scatter to be used."""
FEW_BATCHES = 3.0
"""Hotelling's test needs this many batches per moment; below, use the dispersion."""


@dataclass(frozen=True)
class Tolerance:
    """Model error that is accepted: a smooth random field times the dose, and a scale of each region.

    Attributes
    ----------
    field : standard deviation of the smooth relative error
    correlation_mm : standard deviation of the Gaussian that white noise is smoothed with to give it
    regions : standard deviation of an independent relative scale of each region
    """

    field: float = 0.01
    correlation_mm: float = 20.0
    regions: float = 0.0


def moment_chi_square(pair: Pair, degree: int = 8, tolerance: Tolerance | None = None) -> Measure:
    """Chi-square of the moments of the difference over the body's box, K = C(degree + 3, 3) of them.

    Without ``tolerance`` it rejects any model that is not exact, once the reference has decays enough.
    Where the reference keeps batches its law is theirs (:func:`batch_law`), else that of independent voxels.
    ``detail``: ``moments`` K, ``low_pass_rmse_gy`` the unbiased low-pass difference.

    Raises
    ------
    OutOfDomain : no noise is stated and no tolerance given, or the degree exceeds the box
    Inconsistent : the covariance is singular
    """
    box = pair.moment_box()
    found = moments(np.ascontiguousarray(cut(pair.difference, box)), degree)
    accepted = np.zeros((found.size, found.size))
    name, words = f"moment-chi2-{degree}", f"moments to degree {degree}"
    if tolerance is not None:
        accepted = tolerance_covariance(pair, degree, tolerance)
        name, words = f"{name}-tolerance", f"{words}, {100 * tolerance.field:g} % smooth error accepted"
    noise, weight = pair.noise, moment_covariance(pair, degree) + accepted
    value = _quadratic(found, weight)
    if noise is not None and noise.degree >= degree and len(noise.decays) >= FEWEST:
        kept = of_degree(noise, degree)
        mean, count, freedom = batch_law(kept, weight, accepted)
        value, p = count * value / mean, float(f.sf(value / mean, count, freedom))
        trace, null = float(np.trace(covariance_of_mean(kept))), f"closed form, {len(noise.decays)} batches"
    else:
        count, trace, null = float(found.size), float(np.trace(weight - accepted)), "closed form"
        p = float(chi2.sf(value, count))
    rmse = sqrt(max(0.0, float(found @ found) - trace) / np.count_nonzero(pair.body))
    verdict = "differ" if p < 0.01 else "agree up to noise" if tolerance is None else "agree within tolerance"
    return Measure(
        name, value, "",
        f"{words}: chi-square {value:.1f} for {count:.3g} moments (p = {p:.2g}): the maps {verdict}",
        count, sqrt(2.0 * count), p,
        {"moments": float(found.size), "low_pass_rmse_gy": rmse}, null,
    )  # fmt: skip


def moment_covariance(pair: Pair, degree: int) -> Float:
    """(K, K) covariance of the difference's moments from voxel variances, times the dispersion where no
    batches say more, Gy2."""
    box = pair.moment_box()
    inside = np.where(pair.body, pair.variance, 0.0)
    floor = FLOOR * (pair.relative_noise * pair.hot_gy) ** 2
    if floor <= 0:
        raise OutOfDomain("noise of the reference", 0, "Gy", "positive; a test against noise needs noise")
    found = gram(np.maximum(np.ascontiguousarray(cut(inside, box)), floor), degree)
    return found if pair.noise is not None else pair.dispersion * found


def batch_law(noise: BatchNoise, weight: Float, accepted: Float) -> tuple[float, float, float]:
    """Law of X = x^T W x, W = weight^-1, for x of covariance C + ``accepted``, C known from B batches only.

    What correlates real Monte Carlo noise is neither known nor simple (what crosses a voxel face is lost
    here and gained there), so that x^T C^-1 x would need far more batches than moments. With a fixed W any
    C will do: X has mean E = tr W(C + T) and variance 2 tr (W(C + T))^2, both estimated without bias from
    the batches, and is close to E chi2_h / h with h = 2 E^2 / variance (Satterthwaite 1946). tr (WC)^2 is
    unbiased as nu^2 (tr S^2 - (tr S)^2 / nu) / ((nu + 2)(nu - 1)), nu = B - 1, S = W times the sample
    covariance (moments of the Wishart distribution). That E is an estimate makes the ratio F with (h, h nu).

    Returns (E, h, h nu).
    """
    nu = len(noise.decays) - 1
    scale = np.sqrt(np.diag(weight))
    unit = weight / np.outer(scale, scale)
    s, t = (np.linalg.solve(unit, m / np.outer(scale, scale)) for m in (covariance_of_mean(noise), accepted))
    first, second = float(np.trace(s)), float((s * s.T).sum())
    square = nu**2 * (second - first**2 / nu) / ((nu + 2) * (nu - 1))
    square = max(square, first**2 / len(s))  # no spectrum is flatter
    mean = first + float(np.trace(t))
    half_variance = square + 2.0 * float((s * t.T).sum()) + float((t * t.T).sum())
    count = mean**2 / half_variance
    return mean, count, count * nu


def _quadratic(vector: Float, matrix: Float) -> float:
    # Scaled to unit diagonal first: doses in uGy would otherwise meet the factorisation's absolute limits.
    scale = np.sqrt(np.diag(matrix))
    try:
        factor = cho_factor(matrix / np.outer(scale, scale))
    except LinAlgError as error:
        raise Inconsistent("the covariance of the moments is singular; take a lower degree") from error
    whitened = vector / scale
    return float(whitened @ cho_solve(factor, whitened))


def tolerance_covariance(pair: Pair, degree: int, tolerance: Tolerance) -> Float:
    """(K, K) covariance of the moments of the accepted model error, Gy2.

    The smooth field is white noise smoothed by a Gaussian, of unit variance; the integral is taken on
    blocks of at most 0.65 correlation lengths, over which moments of this degree hardly change.
    """
    box = pair.moment_box()
    reference = np.ascontiguousarray(cut(np.where(pair.body, pair.reference, 0.0), box))
    count = exponents(degree).shape[0]
    total = np.zeros((count, count))
    if tolerance.field > 0:
        total += tolerance.field**2 * _smooth_covariance(
            reference, degree, pair.spacing_zyx, tolerance.correlation_mm
        )
    if tolerance.regions > 0:
        for share in pair.regions.values():
            mode = moments(np.ascontiguousarray(cut(share * pair.reference, box)), degree)
            total += tolerance.regions**2 * np.outer(mode, mode)
    return total


def _smooth_covariance(
    reference: Float, degree: int, spacing_zyx: tuple[float, float, float], correlation_mm: float
) -> Float:
    """F C F^T with F = dose x polynomials and C the separable correlation, both on blocks."""
    blocks = [max(1, int(BLOCK * correlation_mm / h)) for h in spacing_zyx]
    coarse = reference
    for axis, block in enumerate(blocks):
        coarse = np.add.reduceat(coarse, np.arange(0, coarse.shape[axis], block), axis=axis)
    z, y, x = (_block_means(basis(n, degree), b) for n, b in zip(reference.shape, blocks, strict=True))
    parts = zip(reference.shape, spacing_zyx, blocks, strict=True)
    along_z, along_y, along_x = (_correlation(n, h, b, correlation_mm) for n, h, b in parts)
    fields, smoothed = [], []
    for a, b, c in exponents(degree):
        field = coarse * np.multiply.outer(z[:, a], np.multiply.outer(y[:, b], x[:, c]))
        fields.append(field.ravel())
        smoothed.append(contracted(field, (along_z, along_y, along_x)).ravel())
    found = np.array(fields) @ np.array(smoothed).T
    return np.asarray(0.5 * (found + found.T))


def _correlation(n: int, spacing_mm: float, block: int, correlation_mm: float) -> Float:
    """Mean correlation between the voxels of any two blocks: white noise smoothed by a Gaussian of s has
    correlation exp(-d^2 / 4 s^2)."""
    place = spacing_mm * np.arange(n)
    fine = np.exp(-0.25 * ((place[:, None] - place[None]) / correlation_mm) ** 2)
    return _block_means(_block_means(fine, block).T, block)


def _block_means(polynomials: Float, block: int) -> Float:
    starts = np.arange(0, polynomials.shape[0], block)
    counts = np.diff(np.append(starts, polynomials.shape[0]))
    return np.asarray(np.add.reduceat(polynomials, starts, axis=0) / counts[:, None])


def residual_covariance(residual_moments: Float) -> Float:
    """Covariance of the moments of accepted validation residuals, (N, K) -> (K, K), shrunk to its diagonal.

    The weight of the diagonal is K / (N + K), so that it is well conditioned from few cases; scale the
    residuals to the case at hand first (divide by its hot level, multiply by the new one).
    """
    count, size = residual_moments.shape
    full = residual_moments.T @ residual_moments / count
    weight = size / (count + size)
    return np.asarray((1.0 - weight) * full + weight * np.diag(np.diag(full)))


def hotelling(pair: Pair) -> Measure:
    """Hotelling's test of the moments that the engine kept batch by batch; assumes nothing of the voxels.

    The mean over the box is left out: where all energy stays inside it does not scatter at all. Raises
    Inconsistent without batches, OutOfDomain with fewer than three per moment.
    """
    noise = pair.noise
    if noise is None:
        raise Inconsistent("the reference keeps no batches; Hotelling's test needs them")
    count, batches = noise.moments_gy.shape[1] - 1, len(noise.decays)
    if batches < FEW_BATCHES * count:
        raise OutOfDomain("batches", batches, "", f"at least {ceil(FEW_BATCHES * count)} for {count} moments")
    mine = moments(np.ascontiguousarray(cut(pair.evaluated, noise.box_zyx)), noise.degree)
    off = (mine - mean_moments(noise))[1:]
    value = _quadratic(off, covariance_of_mean(noise)[1:, 1:])
    ratio = value * (batches - count) / (count * (batches - 1))
    p = float(f.sf(ratio, count, batches - count))
    return Measure(
        "hotelling", ratio, "",
        f"Hotelling's F {ratio:.2f} of {count} moments and {batches} batches (p = {p:.2g})",
        (batches - count) / (batches - count - 2.0), None, p, {"moments": float(count)}, "closed form",
    )  # fmt: skip
