"""Voxel by voxel: MAE, MSE, RMSE with and without the part that is noise, and structural similarity.

Under noise alone the difference of a voxel is N(0, V), so abs(difference) has mean sqrt(2 V / pi) and its
square mean V and variance 2 V2: closed forms. Spreads of sums over voxels are widened by the square root of
the dispersion. These measures do not say where; above a noise of about 3 % they mostly measure noise.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from dicomnode.compare.bootstrap import null_values
from dicomnode.compare.measure import Measure, bootstrap_p, upper_tail
from dicomnode.compare.pair import Float, Pair


def mean_absolute_error(pair: Pair) -> Measure:
    """Mean over the body of abs(evaluated - reference), Gy."""
    value = float(np.abs(pair.difference[pair.body]).mean())
    sigma2 = pair.variance[pair.body]
    expected = float(np.sqrt(2.0 / pi * sigma2).mean())
    spread = sqrt(pair.widening * (1.0 - 2.0 / pi) * float(sigma2.sum())) / sigma2.size
    return _against_noise("mae", value, "Gy", expected, spread, pair, "mean absolute difference")


def mean_squared_error(pair: Pair) -> Measure:
    """Mean over the body of the squared difference, Gy2."""
    value = float(np.square(pair.difference[pair.body]).mean())
    expected, spread = _squares(pair)
    return _against_noise("mse", value, "Gy2", expected, spread, pair, "mean squared difference")


def root_mean_squared_error(pair: Pair) -> Measure:
    """Root of the mean squared difference, Gy; its law by the delta method."""
    value = sqrt(float(np.square(pair.difference[pair.body]).mean()))
    mean, spread = _squares(pair)
    root = sqrt(mean)
    return _against_noise(
        "rmse",
        value,
        "Gy",
        root,
        spread / (2.0 * root) if root else 0.0,
        pair,
        "root mean squared difference",
    )


def debiased_squared_error(pair: Pair) -> Measure:
    """Mean of (difference2 - variance), Gy2: unbiased for the squared model error; may be negative.

    ``detail`` holds ``rmse_gy``, the root of it where positive, else 0.
    """
    noise, spread = _squares(pair)
    value = float(np.square(pair.difference[pair.body]).mean()) - noise
    rmse = sqrt(max(0.0, value))
    found = _against_noise("mse-debiased", value, "Gy2", 0.0, spread, pair, "squared difference less noise")
    sentence = (
        f"beyond noise the maps differ by {rmse:.4g} Gy root mean square "
        f"({100.0 * rmse / pair.hot_gy:.3g} % of the hot level)"
        if value > 0
        else "the maps differ by no more than the noise"
    )
    return Measure(
        found.name, value, found.unit, sentence, found.expected, found.spread, found.p_value,
        {"rmse_gy": rmse, "rmse_percent_of_hot": 100.0 * rmse / pair.hot_gy}, found.null,
    )  # fmt: skip


def _squares(pair: Pair) -> tuple[float, float]:
    sigma2 = pair.variance[pair.body]
    return float(sigma2.mean()), sqrt(2.0 * pair.widening * float(np.square(sigma2).sum())) / sigma2.size


def _against_noise(
    name: str, value: float, unit: str, expected: float, spread: float, pair: Pair, words: str
) -> Measure:
    if not pair.noisy:
        return Measure(name, value, unit, f"{words} {value:.4g} {unit}; the reference states no noise")
    p = upper_tail((value - expected) / spread)
    sentence = f"{words} {value:.4g} {unit}, noise alone gives {expected:.4g} +- {spread:.2g} {unit}"
    return Measure(name, value, unit, sentence, expected, spread, p, null="closed form")


SSIM_SIGMA_VOXELS, SSIM_TRUNCATE = 1.5, 3.5
"""Gaussian window of Wang et al. 2004, IEEE TIP 13:600, in three dimensions."""
SSIM_K1, SSIM_K2 = 0.01, 0.03


def structural_similarity(pair: Pair, *, draws: int = 0, seed: int = 0) -> Measure:
    """Mean SSIM over the body with the dynamic range fixed to ``hot_gy``.

    Never max - min, which grows with noise. Noise lowers SSIM whether or not the map is right: ``draws``
    bootstraps the value under noise alone. p is for a value as low.
    """
    value = _ssim(pair)
    null = null_values(_ssim, pair, draws, seed)
    words = f"structural similarity {value:.5f} with range {pair.hot_gy:.4g} Gy"
    if not draws:
        return Measure("ssim", value, "", f"{words}; what noise alone gives was not asked for")
    expected, spread = float(null.mean()), float(null.std(ddof=1)) if draws > 1 else 0.0
    return Measure(
        "ssim", value, "", f"{words}; noise alone gives {expected:.5f} +- {spread:.1g}", expected, spread,
        bootstrap_p(-value, -null), null=f"bootstrap of {draws}",
    )  # fmt: skip


def _ssim(pair: Pair) -> float:
    from scipy.ndimage import gaussian_filter

    def smooth(values: Float) -> Float:
        return np.asarray(gaussian_filter(values, SSIM_SIGMA_VOXELS, truncate=SSIM_TRUNCATE))

    a, b = pair.evaluated, pair.reference
    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    cov = smooth(a * b) - mean_a * mean_b
    c1, c2 = (SSIM_K1 * pair.hot_gy) ** 2, (SSIM_K2 * pair.hot_gy) ** 2
    ratio = (
        (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    )
    return float(ratio[pair.body].mean())
