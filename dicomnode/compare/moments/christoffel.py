"""Christoffel-Darboux score: does the evaluated map put dose where the reference has none?

kappa(x) = v(x)^T M^-1 v(x), v polynomials and M the moment matrix of the reference, is of order one on the
reference's support and grows fast beyond it (Lasserre & Pauwels 2019, Adv Comput Math 45:1439; Mula & Nouy
2024, section 5). Its mean over the reference itself is exactly dim v, so the mean over the evaluated map
divided by dim v is 1 for equal maps.
"""

from __future__ import annotations

import numpy as np

from dicomnode.compare.bootstrap import null_values
from dicomnode.compare.measure import Measure, bootstrap_p
from dicomnode.compare.pair import Float, Mass, Pair
from dicomnode.compare.transport.directions import normalised
from dicomnode.model.moments import cut, exponents, gram, quadratic_map

RIDGE = 1e-9
"""Added to the moment matrix, in units of its mean eigenvalue: the support may fill part of the box only."""


def christoffel(
    pair: Pair, *, degree: int = 4, kind: Mass = "dose", draws: int = 0, seed: int = 0
) -> Measure:
    """Mean of kappa over the evaluated map, divided by its mean over the reference; 1 for equal maps.

    ``detail``: ``outside_share``, share of evaluated dose where kappa exceeds the level that holds 99 % of
    the reference's dose (0.01 if equal), and the place with most of it (mm). Sensitive to dose outside the
    support, little to how much dose lies inside; smooth, so that a small spot is missed.
    """
    box, weights = pair.box_zyx(), pair.weights(kind)
    count = len(exponents(degree))

    def score(p: Pair) -> float:
        inverse = _inverse(np.ascontiguousarray(cut(p.reference * weights, box)), degree)
        return float((inverse * gram(normalised(cut(p.evaluated * weights, box)), degree)).sum()) / count

    value = score(pair)
    detail = _outside(pair, weights, degree)
    words = (
        f"dose outside the reference's support: score {value:.4f} (1 if equal), "
        f"{100 * detail['outside_share']:.2f} % of the {kind} where the reference has 1 %"
    )
    if not draws:
        return Measure("christoffel", value, "", words, detail=detail)
    null = null_values(score, pair, draws, seed)
    expected, spread = float(null.mean()), float(null.std(ddof=1)) if draws > 1 else 0.0
    return Measure(
        "christoffel", value, "", f"{words}; noise alone gives {expected:.4f} +- {spread:.2g}",
        expected, spread, bootstrap_p(value, null), detail, f"bootstrap of {draws}",
    )  # fmt: skip


def _inverse(mass: Float, degree: int) -> Float:
    matrix = gram(normalised(mass), degree)
    matrix[np.diag_indices_from(matrix)] += RIDGE * np.trace(matrix) / len(matrix)
    return np.asarray(np.linalg.inv(matrix))


def kappa_map(mass: Float, degree: int) -> Float:
    """kappa of a map of mass at each voxel of its box."""
    shape = (mass.shape[0], mass.shape[1], mass.shape[2])
    return quadratic_map(_inverse(mass, degree), shape, degree)


def _outside(pair: Pair, weights: Float, degree: int) -> dict[str, float | str]:
    box = pair.box_zyx()
    mine, theirs = (np.ascontiguousarray(cut(m * weights, box)) for m in (pair.evaluated, pair.reference))
    kappa = kappa_map(theirs, degree)
    p, q = normalised(np.maximum(mine, 0.0)), normalised(np.maximum(theirs, 0.0))
    order = np.argsort(kappa, axis=None)
    level = kappa.flat[order[np.searchsorted(np.cumsum(q.flat[order]), 0.99).clip(max=order.size - 1)]]
    beyond = np.where(kappa > level, p, 0.0)
    excess = np.where(kappa > level, p - q, 0.0)
    z, y, x = np.unravel_index(int(excess.argmax()), excess.shape)
    place = pair.grid.to_patient_mm((x + box[2][0], y + box[1][0], z + box[0][0]))
    return {
        "outside_share": float(beyond.sum()),
        **dict(zip(("x_mm", "y_mm", "z_mm"), map(float, place), strict=True)),
    }
