"""Voxel kernels: a radial kernel integrated over a source voxel and a target voxel.

See ``kernels`` for the integral. Near the source, where the kernel is steep, it is done on shells: each
point of a fine quadrature over radius and direction gives its energy to the eight offsets around it by
the product of triangles. Farther out the kernel is smooth over a voxel and a product of two-point Gauss
rules for the triangle weight (nodes at +-1/sqrt(6), exact to third order) suffices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.physics.kernels import JOULE_PER_MEV, PointKernel, RadialKernel

Float64 = npt.NDArray[np.float64]

# Directions of the octant: nodes per angle, at least, and per voxel of radius; a multiple of 16. Doubling
# them changes the first offsets of 177Lu at 4.42 mm by less than 1e-5 of the self dose (see tests).
ANGLES = 32
ANGLES_PER_VOXEL = 6
# The shell quadrature covers all offsets within this many voxels, within this many of the longest edges
# (the Gauss rule needs the kernel smooth over a voxel: its error falls as (edge / distance)**4), and within
# the range of the electrons.
NEAR_VOXELS = 6
NEAR_LONGEST = 4
MOST_UNEQUAL = 12.0
"""Longest over shortest edge. Points of the quadrature go with its cube: 1 x 1 x 12 mm takes a minute, and
0.5 x 0.5 x 20 mm would take hours. Our own choice; scanners stay below 10."""


@dataclass(frozen=True, eq=False)
class VoxelKernel:
    """Energy received by the voxels around a source voxel of uniform activity.

    Attributes
    ----------
    spacing_mm : voxel edges (x, y, z)
    electron_mev, photon_mev : arrays indexed (z, y, x) by voxel offset >= 0, MeV per decay in the
        target voxel; symmetric under change of sign of each offset
    density_g_per_cm3 : of the medium
    """

    spacing_mm: tuple[float, float, float]
    electron_mev: Float64
    photon_mev: Float64
    density_g_per_cm3: float

    @property
    def total_mev(self) -> Float64:
        """Electrons and photons together, MeV per decay."""
        return self.electron_mev + self.photon_mev

    def mgy_per_mbq_s(self, mev: Float64) -> Float64:
        """MeV per decay in a voxel as S-value, mGy/(MBq s)."""
        mass_kg = float(np.prod(self.spacing_mm)) * 1e-3 * self.density_g_per_cm3 * 1e-3
        return mev * (JOULE_PER_MEV * 1e6 * 1e3 / mass_kg)


def full_sum(octant: Float64) -> float:
    """Sum over all offsets of both signs of a kernel given for offsets >= 0."""
    total = np.asarray(octant, dtype=np.float64)
    for _ in range(3):
        total = 2 * total.sum(axis=0) - total[0]
    return float(total)


def reach_voxels(kernel: PointKernel, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Offsets (z, y, x) that the kernel reaches."""
    x, y, z = (int(np.ceil(kernel.reach_mm / edge)) for edge in spacing_mm)
    return z, y, x


def voxel_kernel(
    kernel: PointKernel, spacing_mm: tuple[float, float, float], shape_zyx: tuple[int, int, int]
) -> VoxelKernel:
    """Voxel kernel for offsets 0 .. shape - 1 along z, y, x.

    Parameters
    ----------
    kernel : dose-point kernel
    spacing_mm : voxel edges (x, y, z)
    shape_zyx : numbers of offsets wanted
    """
    photon = np.zeros(shape_zyx)
    if kernel.photon is not None:
        photon = component_mev(kernel.photon, spacing_mm, shape_zyx)
    electron = component_mev(kernel.electron, spacing_mm, shape_zyx)
    return VoxelKernel(spacing_mm, electron, photon, kernel.density_g_per_cm3)


def component_mev(
    radial: RadialKernel, spacing_mm: tuple[float, float, float], shape_zyx: tuple[int, int, int]
) -> Float64:
    """Energy per decay in the voxel at each offset (z, y, x), MeV, of one component.

    Raises
    ------
    OutOfDomain : edges that are too unequal
    """
    require_edges(spacing_mm)
    near = _near_offsets(radial, spacing_mm)
    result = _far(radial, spacing_mm, shape_zyx)
    exact = _near(radial, spacing_mm, near)
    cut = tuple(slice(0, min(n, m)) for n, m in zip(near, shape_zyx, strict=True))
    result[cut] = exact[cut]
    return result


def require_edges(spacing_mm: tuple[float, float, float]) -> None:
    """Refuse voxels whose quadrature would not end."""
    unequal = max(spacing_mm) / min(spacing_mm)
    if unequal > MOST_UNEQUAL:
        edges = " x ".join(f"{edge:g}" for edge in spacing_mm)
        raise OutOfDomain(
            "longest over shortest voxel edge", f"{unequal:.3g} ({edges} mm)", "",
            f"up to {MOST_UNEQUAL:g}; resample onto more even voxels, or use montecarlo or local",
        )  # fmt: skip


def _near_offsets(radial: RadialKernel, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Numbers of offsets (z, y, x) that the shell quadrature has to cover."""
    steep_mm = radial.radius_of(0.999) if radial.beyond_mev < 0.01 * radial.total_mev else 0.0
    steep_mm = min(steep_mm, 15.0)  # bremsstrahlung beyond the range of electrons is smooth
    near_mm = max(steep_mm, NEAR_LONGEST * max(spacing_mm))
    x, y, z = (max(NEAR_VOXELS, int(np.ceil(near_mm / edge)) + 1) for edge in spacing_mm)
    return z, y, x


def _far(
    radial: RadialKernel, spacing_mm: tuple[float, float, float], shape_zyx: tuple[int, int, int]
) -> Float64:
    """Two-point Gauss rule per axis, one slice of offsets at a time (memory)."""
    x, y, z = (
        (np.arange(n)[:, None] + np.array([-1.0, 1.0]) / np.sqrt(6.0)).reshape(-1) * edge
        for n, edge in zip(reversed(shape_zyx), spacing_mm, strict=True)
    )
    plane2 = (y**2)[:, None] + x**2
    volume = float(np.prod(spacing_mm))
    result = np.empty(shape_zyx)
    for k in range(shape_zyx[0]):
        total = sum(radial.per_mm3(np.sqrt(plane2 + height**2)) for height in z[2 * k : 2 * k + 2])
        pairs = np.asarray(total).reshape(shape_zyx[1], 2, shape_zyx[2], 2)
        result[k] = pairs.sum(axis=(1, 3)) * (volume / 8)
    return result


def _near(
    radial: RadialKernel, spacing_mm: tuple[float, float, float], offsets_zyx: tuple[int, int, int]
) -> Float64:
    """Shell quadrature for the first offsets; every shell that touches them is included."""
    edges = np.array(spacing_mm[::-1])
    outer_mm = float(np.sqrt(((np.array(offsets_zyx)) ** 2 * edges**2).sum()))
    shape = tuple(n + 1 for n in offsets_zyx)  # the last layer takes what spills over
    total = np.zeros(int(np.prod(shape)))
    for r_mm, mev in _shells(radial, outer_mm, float(edges.min())):
        wanted = max(ANGLES, ANGLES_PER_VOXEL * r_mm / edges.min())
        unit, weight = _octant_directions(16 * int(np.ceil(wanted / 16)))
        _spread(total, shape, r_mm * unit / edges, mev * weight)
    return total.reshape(shape)[: offsets_zyx[0], : offsets_zyx[1], : offsets_zyx[2]]


@lru_cache(maxsize=2)
def _octant_directions(angles: int) -> tuple[Float64, Float64]:
    """Unit vectors (n, 3) of the positive octant and their weights, which add up to one."""
    node, weight = np.polynomial.legendre.leggauss(angles)
    node, weight = (node + 1) / 2, weight / 2
    cosine, phi = np.meshgrid(node, node * np.pi / 2, indexing="ij")
    sine = np.sqrt(1 - cosine**2)
    unit = np.stack([cosine, sine * np.sin(phi), sine * np.cos(phi)], axis=-1).reshape(-1, 3)
    return unit, np.outer(weight, weight).reshape(-1)


def _shells(radial: RadialKernel, outer_mm: float, edge_mm: float) -> Iterator[tuple[float, float]]:
    """(radius, energy) of shells: the kernel's own, cut to those of ``_common_cuts``."""
    limit = min(outer_mm, radial.reach_mm)
    own = radial.r_mm[radial.r_mm < limit]
    cuts = np.unique(np.concatenate([own, _common_cuts(limit, edge_mm)]))
    energy = np.diff(radial.within(cuts))
    yield from zip((cuts[:-1] + cuts[1:]) / 2, energy, strict=True)


def _spread(total: Float64, shape: tuple[int, ...], position: Float64, mev: Float64) -> None:
    """Give each point's energy to the eight offsets around it by the product of triangles.

    Points lie in one octant; offset o > 0 receives there half of what it gets in all (the other half is
    at -o), and the two signs are counted apart, hence the factor 1/2 per non-zero offset.
    """
    low = np.floor(position).astype(np.intp)
    keep = (low < np.array(shape) - 1).all(axis=1)
    low, part, mev = low[keep].T, (position - low)[keep].T, mev[keep]
    near = (1 - part) * np.where(low > 0, 0.5, 1.0)
    for dz, dy, dx in np.ndindex(2, 2, 2):
        z, y, x = low[0] + dz, low[1] + dy, low[2] + dx
        share = (part[0] / 2 if dz else near[0]) * (part[1] / 2 if dy else near[1])
        share *= mev * (part[2] / 2 if dx else near[2])
        total += np.bincount((z * shape[1] + y) * shape[2] + x, share, total.size)


def near_mev(
    within: Sequence[Callable[[Float64], Float64]],
    spacing_mm: tuple[float, float, float],
    offsets_zyx: tuple[int, int, int],
    reach_mm: float,
) -> Float64:
    """Voxel kernels of several media at the first offsets, by one quadrature.

    The quadrature is linear in the energies of the shells; the geometry is done once for all media.

    Parameters
    ----------
    within : for each medium, energy deposited within radius r (mm), MeV per decay
    offsets_zyx : numbers of offsets wanted
    reach_mm : energy beyond this radius is left out

    Returns
    -------
    (media, z, y, x) MeV per decay

    Raises
    ------
    OutOfDomain : edges that are too unequal
    """
    require_edges(spacing_mm)
    edges = np.array(spacing_mm[::-1])
    cuts = _common_cuts(reach_mm, float(edges.min()))
    shells = np.stack([np.diff(energy(cuts)) for energy in within])
    shape = tuple(n + 1 for n in offsets_zyx)
    total = np.zeros((len(within), int(np.prod(shape))))
    for k, r_mm in enumerate((cuts[1:] + cuts[:-1]) / 2):
        wanted = max(ANGLES, ANGLES_PER_VOXEL * r_mm / edges.min())
        unit, weight = _octant_directions(16 * int(np.ceil(wanted / 16)))
        geometry = np.zeros(total.shape[1])
        _spread(geometry, shape, r_mm * unit / edges, weight)
        touched = geometry.nonzero()[0]
        total[:, touched] += shells[:, k, None] * geometry[touched]
    nz, ny, nx = offsets_zyx
    return total.reshape(len(within), *shape)[:, :nz, :ny, :nx]


def _common_cuts(reach_mm: float, edge_mm: float) -> Float64:
    """Radii of shells fine enough for any medium: the range of electrons may be a small part of a voxel."""
    steps = ((0.0, 0.02, 1 / 2000), (0.02, 0.6, 1 / 320), (0.6, 1.0, 1 / 80), (1.0, 4.0, 1 / 40))
    near = [np.arange(start, stop - step / 2, step) for start, stop, step in steps]
    wide = np.arange(4.0, max(reach_mm / edge_mm, 4.0), 1 / 10)
    cuts = np.concatenate([*near, wide]) * edge_mm
    return np.append(cuts[cuts < reach_mm], reach_mm)
