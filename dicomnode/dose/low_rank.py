"""Twenty kernels as a few: split into a short and a smooth part, each of low rank over the media.

    F_m(o) = sum_k a_mk G_k(o) + sum_k b_mk L_k(o)

G_k reach a few voxels (electrons, and photons near their source); L_k are smooth on the scale of several
voxels, so that they may act on a coarser grid. Inside the split radius L is an even polynomial that
continues the photons' tail with two derivatives; what it misses there is in G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.physics.kernel_files import COMPONENTS
from dicomnode.physics.kernels import PointKernel, RadialKernel
from dicomnode.physics.voxel_kernels import near_mev

Float64 = npt.NDArray[np.float64]

SPLIT_VOXELS = 8  # of the longest edge: four nodes of the coarse grid, enough for its polynomials
RANGE_WATER_MM = 15.0  # beyond the range of any therapy electron; bremsstrahlung beyond is smooth
FIT = (0.7, 1.4)  # radii, in units of the split radius, over which the tail is fitted
TABLE_STEP = 1 / 8  # of the shortest edge


@dataclass(frozen=True, eq=False)
class LowRank:
    """Kernels of several media.

    Attributes
    ----------
    short : (k, z, y, x) octants, MeV per decay
    short_weights : (media, k)
    long_table : (k, radii) density of the smooth part, MeV per decay and mm3, at ``r_mm``
    long_weights : (media, k)
    """

    spacing_mm: tuple[float, float, float]
    short: Float64
    short_weights: Float64
    r_mm: Float64
    long_table: Float64
    long_weights: Float64

    def long_octants(self, shape_zyx: tuple[int, int, int], step: int) -> Float64:
        """Smooth parts at every ``step``-th voxel offset, (k, z, y, x), MeV per decay in a voxel."""
        return smooth_octants(self.r_mm, self.long_table, self.spacing_mm, shape_zyx, step)


def low_rank(
    kernels: Sequence[PointKernel],
    spacing_mm: tuple[float, float, float],
    grid_zyx: tuple[int, int, int],
    tolerance: float,
    components: tuple[str, ...] = COMPONENTS,
) -> LowRank:
    """The split, with as few terms as keep the error of any result below ``tolerance`` of its maximum.

    The measure: the error at the centre of a ball of uniform activity, of any radius, in any medium, over the
    self dose of one voxel (all components) in the medium where that is least.

    Parameters
    ----------
    grid_zyx : voxels of the grid that the kernels are for
    components : which parts of the kernels, of "electron" and "photon"
    """
    parts = [[part for c in components if (part := getattr(kernel, c)) is not None] for kernel in kernels]
    weight = np.array([1 / kernel.density_g_per_cm3 for kernel in kernels])
    edges = np.array(spacing_mm[::-1])
    split_mm = max(SPLIT_VOXELS * edges.max(), _longest_range_mm(kernels, components))
    diagonal = float(np.sqrt((edges**2).sum()))
    farthest = float(np.sqrt(((np.array(grid_zyx) * edges) ** 2).sum())) + 2 * diagonal
    r_mm = np.arange(0.0, farthest + edges.min(), TABLE_STEP * edges.min())
    long = np.stack([_smooth_density(one, r_mm, split_mm) for one in parts])
    offsets = tuple(
        min(int(np.ceil(split_mm / edge)) + 2, n) for edge, n in zip(edges, grid_zyx, strict=True)
    )
    shape = (offsets[0], offsets[1], offsets[2])
    near = near_mev([_within(one) for one in parts], spacing_mm, shape, split_mm + 2 * diagonal)
    self_dose = float((_self_mev(kernels, parts, near, spacing_mm) * weight).min())
    volumes = 4 * np.pi * r_mm**2 * (r_mm[1] - r_mm[0])
    long_weights, table = _truncate(long, volumes, weight, tolerance / 2, self_dose)
    near -= np.tensordot(long_weights, smooth_octants(r_mm, table, spacing_mm, shape, 1), 1)
    near[:, _distance(shape, edges) > split_mm + diagonal] = 0.0
    outward = np.argsort(_distance(shape, edges).reshape(-1), kind="stable")
    flat, times = near.reshape(len(kernels), -1)[:, outward], _multiplicity(shape).reshape(-1)[outward]
    short_weights, sorted_ = _truncate(flat, times, weight, tolerance / 2, self_dose)
    short = np.empty_like(sorted_)
    short[:, outward] = sorted_
    return LowRank(spacing_mm, short.reshape(-1, *shape), short_weights, r_mm, table, long_weights)


def _within(parts: Sequence[RadialKernel]) -> Callable[[Float64], Float64]:
    return lambda r_mm: np.asarray(np.sum([part.within(r_mm) for part in parts], axis=0))


def _self_mev(
    kernels: Sequence[PointKernel],
    parts: Sequence[Sequence[RadialKernel]],
    near: Float64,
    spacing_mm: tuple[float, float, float],
) -> Float64:
    """Energy in the voxel of the decay by medium: of all components, whichever ``near`` holds."""
    if all(len(one) == len(kernel.components) for one, kernel in zip(parts, kernels, strict=True)):
        return np.asarray(near[:, 0, 0, 0])
    whole = [_within(kernel.components) for kernel in kernels]
    return np.asarray(near_mev(whole, spacing_mm, (1, 1, 1), float(np.linalg.norm(spacing_mm)))[:, 0, 0, 0])


def _longest_range_mm(kernels: Sequence[PointKernel], components: tuple[str, ...]) -> float:
    """Radius beyond which only photons and bremsstrahlung deposit energy, in any of the media."""
    if "electron" not in components:
        return 0.0
    return max(min(k.electron.radius_of(0.999), RANGE_WATER_MM / k.density_g_per_cm3) for k in kernels)


def _smooth_density(parts: Sequence[RadialKernel], r_mm: Float64, split_mm: float) -> Float64:
    """Density of energy, continued inside the split radius by a + b r2 + c r4, MeV per decay and mm3."""
    density = np.asarray(np.sum([part.per_mm3(r_mm) for part in parts], axis=0), dtype=np.float64)
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


def _truncate(
    rows: Float64, times: Float64, weight: Float64, tolerance: float, self_dose: float
) -> tuple[Float64, Float64]:
    """(weights, terms): the singular value decomposition, cut by the bound of ``low_rank``."""
    scale = np.sqrt(np.maximum(times, 1e-12 * times.max()))
    u, s, v = np.linalg.svd(rows * weight[:, None] * scale, full_matrices=False)
    left, right = u * s / weight[:, None], v / scale
    for rank in range(1, len(s) + 1):
        error = np.cumsum((rows - left[:, :rank] @ right[:rank]) * times, axis=1)
        if (np.abs(error).max(axis=1) * weight).max() <= tolerance * self_dose:
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
