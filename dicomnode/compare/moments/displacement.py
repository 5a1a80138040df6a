"""A lower bound of W1 from moments, and the same with confidence when the reference is noisy.

Kantorovich: W1 >= <p, mu> - <p, nu> for every function p with slope at most 1. Among polynomials of degree
d the right side needs moments only. The polynomial is found by maximising the ratio to a q-norm of its
slope, q rising, and then divided by a certified maximum of its slope on the box, so that the bound holds
however well the search went. Sample splitting makes it a confidence bound: choose the polynomial on one
part of the decays, evaluate on the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import cos, pi, sqrt

import numpy as np
from scipy.optimize import minimize

from dicomnode.compare.bootstrap import generator
from dicomnode.compare.classical.organs import ONE_SIDED_95
from dicomnode.compare.measure import Measure, upper_tail
from dicomnode.compare.pair import Float, Mass, Pair
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model.moments import contracted, cut, exponents

NORMS = (8.0, 24.0, 80.0)
"""Exponents of the slope's norm, one after the other: the limit is the largest slope."""
ITERATIONS = 120


@dataclass(frozen=True, eq=False)
class Witness:
    """A polynomial of slope at most 1 per mm on a box.

    Attributes
    ----------
    coefficients : (K,) of the Legendre products in ``moments.exponents`` order, mm; of the constant 0
    degree : total degree
    shape : voxels of the box along z, y, x
    """

    coefficients: Float
    degree: int
    shape: tuple[int, int, int]

    def values(self) -> Float:
        """At every voxel of the box, mm."""
        table = np.zeros((self.degree + 1,) * 3)
        table[tuple(exponents(self.degree).T)] = self.coefficients
        z, y, x = (legendre(n, self.degree).T for n in self.shape)
        return contracted(table, (z, y, x))


@lru_cache(maxsize=64)
def legendre(n: int, degree: int) -> Float:
    """(n, degree + 1) Legendre polynomials at the centres of n voxels that fill (-1, 1)."""
    return _legendre_value((2.0 * np.arange(n) + 1.0) / n - 1.0, degree)


def legendre_moments(mass: Float, degree: int) -> Float:
    """(K,) moments of a box of mass against Legendre products (not orthonormal on the voxels)."""
    nz, ny, nx = mass.shape
    found = contracted(mass, (legendre(nz, degree), legendre(ny, degree), legendre(nx, degree)))
    return np.asarray(found[tuple(exponents(degree).T)])


def best_witness(
    off: Float, shape: tuple[int, int, int], spacing_zyx: tuple[float, float, float], degree: int
) -> Witness:
    """Polynomial that tells two normalised maps best apart; ``off`` is the difference of their moments.

    Starts from the closed form for the root-mean-square slope (the H^-1 norm).
    """
    half = np.array([0.5 * n * h for n, h in zip(shape, spacing_zyx, strict=True)])
    mesh = SlopeMesh(degree, half, _chebyshev(2 * degree + 6))
    target, gram = off[1:], mesh.gram()
    scale = np.sqrt(np.diag(gram))
    found = np.linalg.lstsq(gram / np.outer(scale, scale), target / scale, rcond=1e-10)[0] / scale
    for q in NORMS:
        found = _improved(found, target, mesh, q, scale)
    steepest = largest_slope(found, half, degree)
    coefficients = np.concatenate([[0.0], found / steepest]) if steepest > 0 else np.zeros(off.size)
    return Witness(coefficients if coefficients @ off >= 0 else -coefficients, degree, shape)


class SlopeMesh:
    """Slope of a polynomial (coefficients from degree 1 on) on a mesh of Chebyshev nodes, and the adjoint."""

    def __init__(self, degree: int, half_mm: Float, nodes: Float) -> None:
        self.degree, self.half_mm = degree, half_mm
        self.value = _legendre_value(nodes, degree)
        self.slope = _legendre_slope(nodes, degree)

    def _along(self, axis: int) -> tuple[Float, Float, Float]:
        z, y, x = (self.slope if axis == k else self.value for k in range(3))
        return z, y, x

    def gradient(self, coefficients: Float) -> Float:
        """(3, n, n, n) partial derivatives, per mm."""
        table = np.zeros((self.degree + 1,) * 3)
        table[tuple(exponents(self.degree)[1:].T)] = coefficients
        found = []
        for axis in range(3):
            z, y, x = self._along(axis)
            found.append(contracted(table, (z.T, y.T, x.T)) / self.half_mm[axis])
        return np.array(found)

    def adjoint(self, field: Float) -> Float:
        """(K - 1,) sum over the mesh of field . gradient of each product."""
        total = np.zeros((self.degree + 1,) * 3)
        for axis in range(3):
            total += contracted(field[axis], self._along(axis)) / self.half_mm[axis]
        return np.asarray(total[tuple(exponents(self.degree)[1:].T)])

    def gram(self) -> Float:
        """(K - 1, K - 1) sums over the mesh of products of gradients: the H1 inner product."""
        a, b, c = exponents(self.degree)[1:].T
        total = np.zeros((a.size, a.size))
        for axis in range(3):
            z, y, x = (m.T @ m for m in self._along(axis))
            total += z[np.ix_(a, a)] * y[np.ix_(b, b)] * x[np.ix_(c, c)] / self.half_mm[axis] ** 2
        return total


def _improved(start: Float, target: Float, mesh: SlopeMesh, q: float, scale: Float) -> Float:
    """Minimise log of the q-norm of the slope less log of what is gained, over the coefficients."""

    def loss(unknown: Float) -> tuple[float, Float]:
        c = unknown / scale
        gain = float(c @ target)
        if gain <= 0:
            return 1e30, np.zeros_like(unknown)
        gradient = mesh.gradient(c)
        squared = np.square(gradient).sum(axis=0)
        top = float(squared.max())
        powers = (squared / top) ** (0.5 * q)
        total = float(powers.sum())
        steep = mesh.adjoint(gradient * (powers / np.maximum(squared, 1e-300 + 1e-30 * top))) / total
        value = 0.5 * float(np.log(top)) + float(np.log(total)) / q - float(np.log(gain))
        return value, (steep - target / gain) / scale

    first = start * scale
    norm = float(np.abs(first).max())
    if norm == 0:
        return start
    result = minimize(loss, first / norm, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return np.asarray(result.x / scale)


def largest_slope(coefficients: Float, half_mm: Float, degree: int) -> float:
    """An upper bound of the slope of a polynomial (coefficients from degree 1 on) on the whole box, per mm.

    Along any fixed direction the slope is a polynomial of degree < d in each variable, so its maximum on
    M Chebyshev nodes times 1 / cos(d pi / 2 M) per axis bounds it (Ehlich & Zeller 1964, Math Z 86:41).
    """
    nodes = max(12 * degree, 24)
    gradient = SlopeMesh(degree, half_mm, _chebyshev(nodes)).gradient(coefficients)
    return sqrt(float(np.square(gradient).sum(axis=0).max())) / cos(degree * pi / (2.0 * nodes)) ** 3


def _chebyshev(count: int) -> Float:
    return np.asarray(np.cos((2.0 * np.arange(count) + 1.0) * pi / (2.0 * count)))


def _legendre_value(x: Float, degree: int) -> Float:
    return np.asarray(np.polynomial.legendre.legvander(x, degree), dtype=np.float64)


def _legendre_slope(x: Float, degree: int) -> Float:
    found = np.zeros((x.size, degree + 1))
    for k in range(1, degree + 1):
        unit = np.zeros(k + 1)
        unit[k] = 1.0
        found[:, k] = np.polynomial.legendre.legval(x, np.polynomial.legendre.legder(unit))
    return found


def polynomial_w1(p: Float, q: Float, spacing_zyx: tuple[float, float, float], degree: int = 4) -> float:
    """Certified lower bound of W1 between two normalised maps of mass, mm. Noise biases it upwards."""
    off = _normalised_moments(p, degree) - _normalised_moments(q, degree)
    shape = (p.shape[0], p.shape[1], p.shape[2])
    return max(0.0, float(best_witness(off, shape, spacing_zyx, degree).coefficients @ off))


def _normalised_moments(mass: Float, degree: int) -> Float:
    found = legendre_moments(mass, degree)
    if not found[0] > 0:
        raise Inconsistent("a map whose dose sums to zero or less cannot be transported; is it all zero?")
    return np.asarray(found / found[0])


def certified_shift(pair: Pair, *, degree: int = 4, kind: Mass = "dose", seed: int = 0) -> Measure:
    """Lower confidence bound of W1, mm: "with 95 % confidence dose was displaced by at least ...".

    The reference is split into two independent halves, R + N and R - N with N drawn from its own noise
    (exact for Gaussian noise of known variance: Rasines & Young 2023, Biometrika 110:597). The witness is
    chosen on one half, the bound evaluated on the other, whose noise has twice the variance. ``expected``
    is 0, ``spread`` the standard error, p for "not displaced".
    """
    if not pair.noisy:
        raise OutOfDomain("noise of the reference", 0, "Gy", "positive; without noise take polynomial_w1")
    box, weights = pair.box_zyx(), pair.weights(kind)
    spare = generator(seed).standard_normal(pair.variance.shape) * np.sqrt(pair.widening * pair.variance)
    p, first, second = (
        np.ascontiguousarray(cut(m * weights, box))
        for m in (pair.evaluated, pair.reference + spare, pair.reference - spare)
    )
    off = _normalised_moments(p, degree) - _normalised_moments(first, degree)
    shape = (p.shape[0], p.shape[1], p.shape[2])
    f = best_witness(off, shape, pair.spacing_zyx, degree).values()
    total = float(second.sum())
    mean = float((f * second).sum()) / total
    value = float((f * p).sum() / p.sum()) - mean
    variance = 2.0 * pair.widening * cut(pair.variance * weights**2, box)
    sigma = sqrt(float((variance * np.square(f - mean)).sum())) / total
    bound = max(0.0, value - ONE_SIDED_95 * sigma)
    words = (
        f"with 95 % confidence {kind} is displaced by at least {bound:.2f} mm "
        f"(estimate {value:.2f} +- {sigma:.2f})"
        if bound > 0
        else f"no displacement is certain (estimate {value:.2f} +- {sigma:.2f} mm)"
    )
    return Measure(
        "certified-w1", bound, "mm", words, 0.0, sigma, upper_tail(value / sigma),
        {"estimate_mm": value}, "closed form",
    )  # fmt: skip


def averaged_certified_shift(pair: Pair, *, splits: int = 4, degree: int = 4, kind: Mass = "dose") -> Measure:
    """Median over several splits, so that one draw does not decide; p of it is twice the median p."""
    found = sorted(
        (certified_shift(pair, degree=degree, kind=kind, seed=s) for s in range(splits)),
        key=lambda m: m.value,
    )
    middle = found[(splits - 1) // 2]
    return replace(middle, p_value=min(1.0, 2.0 * (middle.p_value or 0.0)))
