"""Twenty kernels as a few: split into a short and a smooth part, each of low rank over the media.

    F_m(o) = sum_k a_mk G_k(o) + sum_k b_mk L_k(o)

Which medium m it is, that of the source, of the target, or of the mean of their densities, turns a_mk into
weights of source and target voxels (``Term``). G_k reach a few voxels (electrons, and photons near their
source); L_k are smooth on the scale of several voxels, so that they may act on a coarser grid. Inside the
split radius L is an even polynomial that continues the photons' tail with two derivatives; what it misses
there is in G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from dicomnode.physics.kernels import PointKernel
from dicomnode.physics.voxel_kernels import near_mev

Float64 = npt.NDArray[np.float64]

SPLIT_VOXELS = 8  # of the longest edge: four nodes of the coarse grid, enough for its polynomials
RANGE_WATER_MM = 15.0  # beyond the range of any therapy electron; bremsstrahlung beyond is smooth
FIT = (0.7, 1.4)  # radii, in units of the split radius, over which the tail is fitted
TABLE_STEP = 1 / 8  # of the shortest edge
# By "both" there are many terms, and the bound on each, over all offsets and pairs of media, is far from what
# happens: so many times the limit changes maps by less than 1e-3 of their maximum (tests/dose).
LOOSER = 20


By = Literal["target", "source", "both"]


class Term(NamedTuple):
    """One convolution: weights by medium of source voxels, number of the kernel, weights of targets.

    None stands for one everywhere.
    """

    source: Float64 | None
    kernel: int
    target: Float64 | None


@dataclass(frozen=True, eq=False)
class LowRank:
    """Kernels of several media.

    Attributes
    ----------
    short : (k, z, y, x) octants, MeV per decay; by "both" over g/cm3
    long_table : (k, radii) density of the smooth part, MeV per decay and mm3, at ``r_mm``
    short_terms, long_terms : how they are put together
    """

    spacing_mm: tuple[float, float, float]
    short: Float64
    short_terms: list[Term]
    r_mm: Float64
    long_table: Float64
    long_terms: list[Term]

    def long_octants(self, shape_zyx: tuple[int, int, int], step: int) -> Float64:
        """Smooth parts at every ``step``-th voxel offset, (k, z, y, x), MeV per decay in a voxel."""
        return smooth_octants(self.r_mm, self.long_table, self.spacing_mm, shape_zyx, step)


def low_rank(
    kernels: Sequence[PointKernel],
    spacing_mm: tuple[float, float, float],
    grid_zyx: tuple[int, int, int],
    tolerance: float,
    by: By,
    near: Float64 | None = None,
) -> LowRank:
    """The split, with as few terms as keep the error of any result below ``tolerance`` of its maximum.

    The measure: the error at the centre of a ball of uniform activity, of any radius, in any medium, over the
    self dose of one voxel in the medium where that is least. ``near`` : ``near_octants`` of the
    kernels, where the caller has them.
    """
    density = np.array([kernel.density_g_per_cm3 for kernel in kernels])
    weight = 1 / density
    edges = np.array(spacing_mm[::-1])
    split_mm, shape = _split(kernels, spacing_mm, grid_zyx)
    diagonal = float(np.sqrt((edges**2).sum()))
    farthest = float(np.sqrt(((np.array(grid_zyx) * edges) ** 2).sum())) + 2 * diagonal
    r_mm = np.arange(0.0, farthest + edges.min(), TABLE_STEP * edges.min())
    long = np.stack([_smooth_density(kernel, r_mm, split_mm) for kernel in kernels])
    near = near_octants(kernels, spacing_mm, grid_zyx) if near is None else near.copy()
    limit = tolerance / 2 * float((near[:, 0, 0, 0] * weight).min())
    volumes = 4 * np.pi * r_mm**2 * (r_mm[1] - r_mm[0])
    long_weights, table = _truncate(long, volumes, weight, limit)
    near -= np.tensordot(long_weights, smooth_octants(r_mm, table, spacing_mm, shape, 1), 1)
    near[:, _distance(shape, edges) > split_mm + diagonal] = 0.0
    outward = np.argsort(_distance(shape, edges).reshape(-1), kind="stable")
    flat, times = near.reshape(len(kernels), -1)[:, outward], _multiplicity(shape).reshape(-1)[outward]
    short_weights, sorted_ = _truncate(flat, times, weight, limit)
    short = np.empty_like(sorted_)
    short[:, outward] = sorted_
    return LowRank(
        spacing_mm,
        short.reshape(-1, *shape),
        _terms(short_weights, (np.abs(sorted_) * times).sum(axis=1), density, limit, by),
        r_mm,
        table,
        _terms(long_weights, (np.abs(table) * volumes).sum(axis=1), density, limit, by),
    )


def near_octants(
    kernels: Sequence[PointKernel], spacing_mm: tuple[float, float, float], grid_zyx: tuple[int, int, int]
) -> Float64:
    """(kernels, z, y, x) MeV per decay in the voxels up to the split radius and a little beyond.

    Several sets of kernels whose electrons stay within the split radius may be done in one call, which takes
    little longer than one set.
    """
    split_mm, shape = _split(kernels, spacing_mm, grid_zyx)
    diagonal = float(np.sqrt((np.array(spacing_mm) ** 2).sum()))
    return near_mev([_within(kernel) for kernel in kernels], spacing_mm, shape, split_mm + 2 * diagonal)


def _split(
    kernels: Sequence[PointKernel], spacing_mm: tuple[float, float, float], grid_zyx: tuple[int, int, int]
) -> tuple[float, tuple[int, int, int]]:
    """(split radius, offsets of the short kernels)."""
    edges = np.array(spacing_mm[::-1])
    split_mm = max(SPLIT_VOXELS * edges.max(), max(_electron_range_mm(kernel) for kernel in kernels))
    z, y, x = (min(int(np.ceil(split_mm / edge)) + 2, n) for edge, n in zip(edges, grid_zyx, strict=True))
    return float(split_mm), (z, y, x)


def _terms(weights: Float64, norms: Float64, density: Float64, limit: float, by: By) -> list[Term]:
    """What to convolve. By "both" the kernel, over its density, is that of the mean of two densities.

    Parameters
    ----------
    weights : (media, k) of the kernels
    norms : (k) sum of each kernel's absolute values over all offsets
    limit : of the error, as in ``low_rank``
    """
    columns = list(enumerate(weights.T))
    if by == "target":
        return [Term(None, k, column) for k, column in columns]
    if by == "source":
        return [Term(column, k, None) for k, column in columns]
    found, mean = [], (density[:, None] + density) / 2
    for k, column in columns:
        u, s, v = np.linalg.svd(np.interp(mean, density, column) / mean)
        for rank in range(1, len(s) + 1):
            found.append(Term(u[:, rank - 1] * s[rank - 1], k, v[rank - 1]))
            if rank == len(s) or s[rank] * norms[k] <= LOOSER * limit / len(columns) ** 0.5:
                break
    return found


def _within(kernel: PointKernel) -> Callable[[Float64], Float64]:
    return lambda r_mm: np.asarray(np.sum([part.within(r_mm) for part in kernel.components], axis=0))


def _electron_range_mm(kernel: PointKernel) -> float:
    """Radius beyond which only photons and bremsstrahlung deposit energy."""
    return min(kernel.electron.radius_of(0.999), RANGE_WATER_MM / kernel.density_g_per_cm3)


def _smooth_density(kernel: PointKernel, r_mm: Float64, split_mm: float) -> Float64:
    """Density of energy, continued inside the split radius by a + b r2 + c r4, MeV per decay and mm3."""
    density = sum(part.per_mm3(r_mm) for part in kernel.components)
    density = np.asarray(density, dtype=np.float64)
    fitted = (r_mm > FIT[0] * split_mm) & (r_mm < FIT[1] * split_mm) & (density > 0)
    if np.count_nonzero(fitted) < 3:
        return np.where(r_mm < split_mm, 0.0, density)
    x = r_mm[fitted] / split_mm - 1
    c2, c1, c0 = np.polyfit(x, np.log(density[fitted] * r_mm[fitted] ** 2), 2)
    # f = exp(c0 + c1 x + c2 x2) / r2 and its first two derivatives by s = (r / split)^2, at s = 1
    value = np.exp(c0) / split_mm**2
    by_x = c1 - 2
    first = value * by_x / 2
    second = value * (by_x**2 + 2 * c2 + 2 - by_x) / 4
    s = (r_mm / split_mm) ** 2 - 1
    return np.where(r_mm < split_mm, value + first * s + second * s**2 / 2, density)


def _truncate(rows: Float64, times: Float64, weight: Float64, limit: float) -> tuple[Float64, Float64]:
    """(weights, terms): the singular value decomposition, cut by the bound of ``low_rank``.

    By the eigenvectors of the small square of the matrix: projections on them are as exact as they need be.
    """
    scale = np.sqrt(np.maximum(times, 1e-12 * times.max()))
    matrix = rows * weight[:, None] * scale
    u = np.linalg.eigh(matrix @ matrix.T)[1][:, ::-1]
    left, right = u / weight[:, None], (u.T @ matrix) / scale
    for rank in range(1, len(u) + 1):
        error = np.cumsum((rows - left[:, :rank] @ right[:rank]) * times, axis=1)
        if (np.abs(error).max(axis=1) * weight).max() <= limit:
            break
    return left[:, :rank], right[:rank]


def smooth_octants(
    r_mm: Float64,
    table: Float64,
    spacing_mm: tuple[float, float, float],
    shape_zyx: tuple[int, int, int],
    step: int,
) -> Float64:
    """Densities given at radii, averaged over source and target voxel, MeV per decay in a voxel.

    Two-point Gauss rule per axis for the weight of triangles (as ``physics.voxel_kernels``), at every
    ``step``-th offset; a slice at a time.
    """
    z, y, x = (
        (step * np.arange(n)[:, None] + np.array([-1.0, 1.0]) / np.sqrt(6.0)) * edge
        for n, edge in zip(shape_zyx, reversed(spacing_mm), strict=True)
    )
    volume, width = float(np.prod(spacing_mm)), r_mm[1] - r_mm[0]
    rises = np.diff(table, axis=1, append=0.0)
    result = np.zeros((len(table), *shape_zyx))
    for k, i, j, m in np.ndindex(shape_zyx[0], 2, 2, 2):
        place = np.sqrt(z[k, i] ** 2 + (y[:, j] ** 2)[:, None] + x[:, m] ** 2) / width
        low = np.minimum(place.astype(np.intp), len(r_mm) - 1)
        part = place - low
        for term in range(len(table)):
            result[term, k] += table[term, low] + rises[term, low] * part
    return result * (volume / 8)


def _distance(shape: tuple[int, int, int], edges: Float64) -> Float64:
    z, y, x = (np.arange(n) * edge for n, edge in zip(shape, edges, strict=True))
    return np.asarray(np.sqrt((z**2)[:, None, None] + (y**2)[:, None] + x**2))


def _multiplicity(shape: tuple[int, int, int]) -> Float64:
    """How many offsets of either sign an entry of an octant stands for."""
    z, y, x = (np.where(np.arange(n) > 0, 2.0, 1.0) for n in shape)
    return z[:, None, None] * y[:, None] * x
