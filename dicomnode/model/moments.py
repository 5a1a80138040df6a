"""Discrete-orthonormal Legendre moments of a box of voxels, and their exact covariance.

After Mula & Nouy 2024, Numer. Math. (doi 10.1007/s00211-024-01422-x): optimal transport as a problem of
moments. A few hundred numbers stand for a map; they are linear in it, so that noise leaves them unbiased
and its covariance is known exactly from the voxel variances.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import sqrt
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import BatchNoise

Float = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@lru_cache(maxsize=64)
def basis(n: int, degree: int) -> Float:
    """(n, degree + 1) polynomials on n voxel centres, orthonormal over the voxels: Q of QR(Legendre).

    Signs are such that each has a positive leading coefficient. Raises OutOfDomain where n <= degree: so
    few voxels do not tell the polynomials apart.
    """
    if n <= degree:
        raise OutOfDomain("degree of the moments", degree, "", f"below the {n} voxels of the body's box")
    centres = (2.0 * np.arange(n) + 1.0) / n - 1.0
    q, r = np.linalg.qr(np.polynomial.legendre.legvander(centres, degree))
    found = np.ascontiguousarray(q * np.sign(np.diag(r)))
    found.flags.writeable = False
    return found


@lru_cache(maxsize=16)
def exponents(degree: int) -> npt.NDArray[np.int64]:
    """(K, 3) degrees (a, b, c) along z, y, x with a + b + c <= degree; K = C(degree + 3, 3)."""
    found = np.array(
        [
            (a, b, c)
            for a in range(degree + 1)
            for b in range(degree + 1 - a)
            for c in range(degree + 1 - a - b)
        ]
    )
    found.flags.writeable = False
    return found


def cut(values: npt.NDArray[Scalar], box: Box) -> npt.NDArray[Scalar]:
    """The values inside a box, as a view."""
    (z0, z1), (y0, y1), (x0, x1) = box
    return values[z0:z1, y0:y1, x0:x1]


def box_of(body: npt.NDArray[np.bool_]) -> Box:
    """Smallest half-open index box that holds the body. Raises Inconsistent where the body is empty."""
    if not body.any():
        raise Inconsistent("the body is empty; no voxel would count")
    found = []
    for axis in range(3):
        along = np.flatnonzero(body.any(axis=tuple(a for a in range(3) if a != axis)))
        found.append((int(along[0]), int(along[-1]) + 1))
    return found[0], found[1], found[2]


def bases(shape: tuple[int, ...], degree: int) -> tuple[Float, Float, Float]:
    """``basis`` of each axis."""
    return basis(shape[0], degree), basis(shape[1], degree), basis(shape[2], degree)


def contracted(values: Float, along: tuple[Float, Float, Float]) -> Float:
    """sum_ijk values_ijk A_ia B_jb C_kc as three matrix products, the last axis first (it is contiguous)."""
    nz, ny, nx = values.shape
    a, b, c = along
    first = (values.reshape(nz * ny, nx) @ c).reshape(nz, ny, -1)
    second = np.matmul(b.T, first)
    return np.asarray(np.tensordot(a, second, axes=(0, 0)))


def moments(values: Float, degree: int) -> Float:
    """(K,) moments of a box of values, same unit as the values."""
    found = contracted(values, bases(values.shape, degree))
    a, b, c = exponents(degree).T
    return np.asarray(found[a, b, c])


def gram(weights: Float, degree: int) -> Float:
    """(K, K) matrix sum_i weights_i phi_k(i) phi_l(i).

    With variances as weights it is the exact covariance of the moments under independent voxel noise;
    with a dose map as weights its moment matrix.
    """
    pair_of, products = _products(weights.shape, degree)
    table = contracted(weights, products)
    a, b, c = exponents(degree).T
    return np.asarray(table[pair_of[np.ix_(a, a)], pair_of[np.ix_(b, b)], pair_of[np.ix_(c, c)]])


def quadratic_map(matrix: Float, shape: tuple[int, int, int], degree: int) -> Float:
    """v(i)^T matrix v(i) at every voxel of a box, v the polynomials: the transpose of :func:`gram`."""
    pair_of, (pz, py, px) = _products(shape, degree)
    a, b, c = exponents(degree).T
    table = np.zeros((pz.shape[1], py.shape[1], px.shape[1]))
    np.add.at(table, (pair_of[np.ix_(a, a)], pair_of[np.ix_(b, b)], pair_of[np.ix_(c, c)]), matrix)
    return contracted(table, (pz.T, py.T, px.T))


def _products(
    shape: tuple[int, ...], degree: int
) -> tuple[npt.NDArray[np.int64], tuple[Float, Float, Float]]:
    """Index of each pair of degrees, and the products of the polynomials along each axis."""
    low, high = np.tril_indices(degree + 1)[::-1]
    pair_of = np.empty((degree + 1, degree + 1), dtype=np.int64)
    pair_of[low, high] = pair_of[high, low] = np.arange(low.size)
    z, y, x = (np.ascontiguousarray(q[:, low] * q[:, high]) for q in bases(shape, degree))
    return pair_of, (z, y, x)


def batch_noise(
    batch_maps_gy: npt.NDArray[np.floating], decays: npt.ArrayLike, box: Box, degree: int
) -> BatchNoise:
    """Moments of each batch's own dose estimate, for an engine to keep in ``DoseMap.noise``.

    Parameters
    ----------
    batch_maps_gy : (batches, z, y, x) each batch's estimate of the whole dose, Gy
    decays : of each batch
    """
    found = np.array(
        [
            moments(np.ascontiguousarray(cut(np.asarray(m, dtype=np.float64), box)), degree)
            for m in batch_maps_gy
        ]
    )
    return BatchNoise(box, degree, np.asarray(decays, dtype=np.float64), found)


def mean_moments(noise: BatchNoise) -> Float:
    """Moments of the dose of all batches together, each weighted by its decays."""
    return np.asarray(np.average(noise.moments_gy, axis=0, weights=noise.decays))


def of_degree(noise: BatchNoise, degree: int) -> BatchNoise:
    """The moments up to a lower degree."""
    keep = exponents(noise.degree).sum(axis=1) <= degree
    return replace(noise, degree=degree, moments_gy=noise.moments_gy[:, keep])


def widened(noise: BatchNoise, factor: float) -> BatchNoise:
    """Batches whose variance is larger by a factor about the same mean: for noise of the other map as
    well."""
    mean = mean_moments(noise)
    return replace(noise, moments_gy=mean + sqrt(factor) * (noise.moments_gy - mean))


def covariance_of_mean(noise: BatchNoise) -> Float:
    """(K, K) covariance of :func:`mean_moments` from the scatter of the batches; rank <= batches - 1."""
    if len(noise.decays) < 2:
        raise Inconsistent("one batch has no scatter; at least two are needed, twenty to be of use")
    off = (noise.moments_gy - mean_moments(noise)) * np.sqrt(noise.decays)[:, None]
    return np.asarray(off.T @ off / (len(noise.decays) - 1) / noise.decays.sum())


def dispersion_of(noise: BatchNoise, variance: Float) -> float:
    """Over-dispersion: median over moments of (variance from batches / variance from voxels).

    Above 1 where a decay touches several voxels (4.4 was found for six). Below 1 where it touches one and
    their number was fixed, for what one voxel gets more, others get less; and far below where only energy
    that crosses voxel faces is left to chance, for what one voxel loses its neighbour gets (0.04 for 177Lu
    and the engine ``montecarlo``). ``variance`` is that of the whole map, Gy2.
    """
    scattered, independent = _variances(noise, variance)
    usable = independent > 0
    return float(np.median(scattered[usable] / independent[usable]))


def local_dispersion(noise: BatchNoise, variance: Float) -> Float:
    """The dispersion of the low-pass dose at every voxel of the box: v^T C v / v^T G v, with v the
    polynomials, C their covariance from batches and G from voxels as if they were independent. Electrons
    that range farther in lung make it larger there. With B batches each value is known to sqrt(2 / (B - 1)).
    """
    box = np.ascontiguousarray(cut(variance, noise.box_zyx))
    shape = (box.shape[0], box.shape[1], box.shape[2])
    scattered = quadratic_map(covariance_of_mean(noise), shape, noise.degree)
    return scattered / quadratic_map(gram(box, noise.degree), shape, noise.degree)


def _variances(noise: BatchNoise, variance: Float) -> tuple[Float, Float]:
    """Of each moment, from the scatter of the batches and from voxels as if they were independent."""
    independent = np.diag(gram(np.ascontiguousarray(cut(variance, noise.box_zyx)), noise.degree))
    if not (independent > 0).any():
        raise Inconsistent("batches are given but the voxel uncertainties are all zero")
    return np.diag(covariance_of_mean(noise)), independent
