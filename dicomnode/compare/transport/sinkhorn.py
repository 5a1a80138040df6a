"""Entropic optimal transport with separable Gaussian kernels, for coarse grids. Not a gate: too slow fine."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from dicomnode.compare.bootstrap import generator
from dicomnode.compare.measure import Measure, with_null
from dicomnode.compare.pair import Float, Mass, Pair
from dicomnode.compare.transport.directions import normalised
from dicomnode.compare.transport.exact import on_blocks
from dicomnode.errors import OutOfDomain
from dicomnode.model.moments import contracted

Kernels = tuple[Float, Float, Float]
FLOOR = 1e-290
"""Added to kernel products so that voxels beyond the kernel's reach do not divide by zero."""


@dataclass(frozen=True)
class Entropic:
    """Result of :func:`sinkhorn`: the divergence as a length, and how far from converged it is.

    Attributes
    ----------
    distance_mm : sqrt(2 S), which tends to W2 for small blur
    marginal_error : largest sum of abs(row sums - p) of the three problems; 0 when converged
    iterations : made
    """

    distance_mm: float
    marginal_error: float
    iterations: int


def kernels(shape: tuple[int, ...], spacing_zyx: tuple[float, float, float], blur_mm: float) -> Kernels:
    """exp(-abs(x - y)^2 / 2 blur^2) along each axis; their product is the whole kernel."""
    found = []
    for n, h in zip(shape, spacing_zyx, strict=True):
        x = h * np.arange(n)
        found.append(np.exp(-0.5 * ((x[:, None] - x[None]) / blur_mm) ** 2))
    return found[0], found[1], found[2]


def entropic_cost(
    a: Float, b: Float, k: Kernels, epsilon: float, iterations: int, tolerance: float
) -> tuple[float, float, int]:
    """min over plans of <plan, abs(x - y)^2 / 2> + epsilon KL(plan | a x b).

    Returns the value, the marginal error and the iterations made.
    """
    v = np.ones_like(b)
    u, error, made = np.ones_like(a), np.inf, 0
    for step in range(iterations):
        u = a / (contracted(v, k) + FLOOR)
        v = b / (contracted(u, k) + FLOOR)
        made = step + 1
        if made % 5 == 0 or made == iterations:
            error = float(np.abs(u * contracted(v, k) - a).sum())
            if error < tolerance:
                break
    return _dual(a, u, b, v, epsilon), error, made


def _dual(a: Float, u: Float, b: Float, v: Float, epsilon: float) -> float:
    """epsilon (sum a log(u/a) + sum b log(v/b)) + entropies, with the plan relative to a x b."""
    return epsilon * (_log_sum(a, u) + _log_sum(b, v))


def _log_sum(a: Float, u: Float) -> float:
    used = a > 0
    return float((a[used] * np.log(u[used])).sum())


def _self_cost(
    a: Float, k: Kernels, epsilon: float, iterations: int, tolerance: float
) -> tuple[float, float]:
    u, error = np.sqrt(a), np.inf
    for step in range(iterations):
        u = np.sqrt(u * a / (contracted(u, k) + FLOOR))
        if step % 5 == 4 or step == iterations - 1:
            error = float(np.abs(u * contracted(u, k) - a).sum())
            if error < tolerance:
                break
    return 2.0 * epsilon * _log_sum(a, u), error


def sinkhorn(
    p: Float, q: Float, spacing_zyx: tuple[float, float, float], blur_mm: float,
    *, iterations: int = 200, tolerance: float = 1e-4,
) -> Entropic:  # fmt: skip
    """Sinkhorn divergence (Feydy et al. 2019, AISTATS) of two maps of mass, each normalised.

    S = OT(p, q) - (OT(p, p) + OT(q, q)) / 2 with cost abs(x - y)^2 / 2 and epsilon = blur^2. Negative
    voxels count as empty. Look at ``marginal_error``: a value that has not converged is too large.
    """
    if not blur_mm > 0:
        raise OutOfDomain("blur", blur_mm, "mm", "positive; at least one voxel")
    a, b = normalised(np.maximum(p, 0.0)), normalised(np.maximum(q, 0.0))
    k, epsilon = kernels(a.shape, spacing_zyx, blur_mm), blur_mm**2
    cross, error, made = entropic_cost(a, b, k, epsilon, iterations, tolerance)
    self_a, error_a = _self_cost(a, k, epsilon, iterations, tolerance)
    self_b, error_b = _self_cost(b, k, epsilon, iterations, tolerance)
    divergence = cross - 0.5 * (self_a + self_b)
    return Entropic(sqrt(max(0.0, 2.0 * divergence)), max(error, error_a, error_b), made)


def entropic(
    pair: Pair,
    *,
    kind: Mass = "dose",
    block: int = 4,
    blur_mm: float | None = None,
    draws: int = 0,
    seed: int = 0,
) -> Measure:
    """Sinkhorn distance on blocks, mm, with blur of one block where none is given; ``draws`` bootstraps on
    the blocks give what noise alone makes of it."""
    p, q, sigma, spacing = on_blocks(pair, kind, block)
    blur = blur_mm or max(spacing)
    found = sinkhorn(p, q, spacing, blur)
    words = (
        f"Sinkhorn distance {found.distance_mm:.3f} mm at blur {blur:g} mm, marginals met to "
        f"{found.marginal_error:.1e} after {found.iterations} iterations"
    )
    detail = {"marginal_error": found.marginal_error, "blur_mm": blur}
    rng = generator(seed)
    noisy = (p + sigma * rng.standard_normal(p.shape) for _ in range(draws))
    null = np.array([sinkhorn(p, m, spacing, blur).distance_mm for m in noisy])
    return with_null(Measure("sinkhorn", found.distance_mm, "mm", words, detail=detail), null)
