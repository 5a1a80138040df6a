"""Wasserstein distances on a line and along the three axes of the grid."""

from __future__ import annotations

from math import sqrt

import numpy as np

from dicomnode.compare.pair import Float
from dicomnode.errors import Inconsistent


def normalised(mass: Float) -> Float:
    """Mass divided by its sum. Raises Inconsistent where the sum is not positive."""
    total = float(mass.sum())
    if not total > 0:
        raise Inconsistent("a map whose dose sums to zero or less cannot be transported; is it all zero?")
    return np.asarray(mass / total)


def line_w1(p: Float, q: Float, step_mm: float) -> float:
    """W1 of two distributions on the same lattice, mm: step x sum abs(F - G). Negative mass is allowed."""
    return step_mm * float(np.abs(np.cumsum(p - q)).sum())


def line_w2(p: Float, q: Float, step_mm: float) -> float:
    """W2 of two histograms whose mass is spread evenly over each bin, mm.

    With piecewise-linear distribution functions a shift below one voxel is seen as what it is: between
    point masses a shift of 1 mm on 4 mm voxels would be 2 mm. Bins with negative mass count as empty.
    """
    edges: Float = step_mm * np.arange(p.size + 1, dtype=np.float64)
    f, g = _distribution(p), _distribution(q)
    nodes: Float = np.unique(np.concatenate([f, g]))
    left, right = nodes[:-1], nodes[1:]
    # At a flat stretch of F its inverse jumps: take the limits from inside each interval.
    middle = 0.5 * (left + right)
    d0 = _inverse(f, edges, left, middle) - _inverse(g, edges, left, middle)
    d1 = _inverse(f, edges, right, middle) - _inverse(g, edges, right, middle)
    return sqrt(max(0.0, float(((right - left) * (d0 * d0 + d0 * d1 + d1 * d1)).sum()) / 3.0))


def _distribution(p: Float) -> Float:
    f = np.concatenate([[0.0], np.cumsum(np.maximum(p, 0.0))])
    if not f[-1] > 0:
        raise Inconsistent("a line without dose has no distribution")
    f /= f[-1]
    return np.asarray(f)


def _inverse(f: Float, edges: Float, at: Float, inside: Float) -> Float:
    """Inverse distribution function at ``at`` in the bin that holds ``inside``."""
    k = np.clip(np.searchsorted(f, inside, side="right") - 1, 0, f.size - 2)
    rise = f[k + 1] - f[k]
    share = np.divide(at - f[k], rise, out=np.zeros_like(at), where=rise > 0)
    return np.asarray(edges[k] + np.clip(share, 0.0, 1.0) * (edges[k + 1] - edges[k]))


def axis_bounds(p: Float, q: Float, spacing_zyx: tuple[float, float, float]) -> tuple[float, float]:
    """Lower bounds (W1, W2) of three-dimensional W1 and W2 from the three marginals, mm.

    W1 >= sqrt(sum W1_axis^2) by Jensen's inequality; W2^2 >= sum W2_axis^2.
    """
    w1 = w2 = 0.0
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        a, b = p.sum(axis=others), q.sum(axis=others)
        w1 += line_w1(a, b, spacing_zyx[axis]) ** 2
        w2 += line_w2(a, b, spacing_zyx[axis]) ** 2
    return sqrt(w1), sqrt(w2)
