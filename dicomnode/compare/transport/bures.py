"""Gelbrich-Bures: a lower bound of W2 from masses' first and second moments, exact between Gaussians.

It is the first rung of the moment hierarchy of Mula & Nouy in closed form (``sos``).
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from dicomnode.compare.bootstrap import null_values
from dicomnode.compare.measure import Measure, bootstrap_p
from dicomnode.compare.pair import Float, Mass, Pair
from dicomnode.compare.transport.directions import normalised
from dicomnode.model.moments import contracted


def centre_and_covariance(mass: Float, spacing_zyx: tuple[float, float, float]) -> tuple[Float, Float]:
    """Mean position (3,), mm from the first voxel, and covariance (3, 3), mm2, along (z, y, x)."""
    axes = [h * np.arange(n) for h, n in zip(spacing_zyx, mass.shape, strict=True)]
    powers = tuple(np.stack([np.ones_like(x), x, x * x], axis=1) for x in axes)
    m = contracted(normalised(mass), (powers[0], powers[1], powers[2]))
    mean = np.array([m[1, 0, 0], m[0, 1, 0], m[0, 0, 1]])
    second = np.array(
        [
            [m[2, 0, 0], m[1, 1, 0], m[1, 0, 1]],
            [m[1, 1, 0], m[0, 2, 0], m[0, 1, 1]],
            [m[1, 0, 1], m[0, 1, 1], m[0, 0, 2]],
        ]
    )
    return mean, second - np.outer(mean, mean)


def gelbrich(mean_a: Float, cov_a: Float, mean_b: Float, cov_b: Float) -> float:
    """sqrt(abs(m1 - m2)^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2).

    Gelbrich 1990, Math Nachr 147:185.
    """
    # Eigenvalues of S1 S2 are those of the symmetric product; noise may make them slightly negative.
    roots = np.sqrt(np.maximum(0.0, np.linalg.eigvals(cov_a @ cov_b).real)).sum()
    off = mean_a - mean_b
    return sqrt(max(0.0, float(off @ off + np.trace(cov_a) + np.trace(cov_b) - 2.0 * roots)))


def bures(pair: Pair, *, kind: Mass = "dose", draws: int = 0, seed: int = 0) -> Measure:
    """Gelbrich-Bures distance of dose (or energy) in the body, mm; ``detail`` gives the shift of the centre.

    Nine numbers of each map: symmetric changes that keep them are not seen. Noise biases it upwards.
    """
    weights = pair.weights(kind)

    def distance(p: Pair) -> float:
        mine = centre_and_covariance(p.evaluated * weights, p.spacing_zyx)
        return gelbrich(*mine, *centre_and_covariance(p.reference * weights, p.spacing_zyx))

    value = distance(pair)
    centre = (
        centre_and_covariance(pair.evaluated * weights, pair.spacing_zyx)[0]
        - centre_and_covariance(pair.reference * weights, pair.spacing_zyx)[0]
    )
    patient = pair.grid.axes @ centre[::-1]
    detail = {f"shift_{axis}_mm": float(c) for axis, c in zip("xyz", patient, strict=True)}
    words = f"mean and covariance of {kind} differ by {value:.3f} mm (Gelbrich-Bures)"
    null = null_values(distance, pair, draws, seed)
    if not draws:
        return Measure("bures", value, "mm", words, detail=detail)
    expected, spread = float(null.mean()), float(null.std(ddof=1)) if draws > 1 else 0.0
    return Measure(
        "bures", value, "mm", f"{words}; noise alone gives {expected:.3f} +- {spread:.2g} mm",
        expected, spread, bootstrap_p(value, null), detail, f"bootstrap of {draws}",
    )  # fmt: skip
