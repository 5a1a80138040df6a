"""Kernel maps of one component: electrons by the medium of their source, photons by that of the target.

The electron kernel of the source's medium is right to 0.5 % for 177Lu and 131I, in lung too, and conserves
energy. The photon kernel takes an unbounded medium: in a body of finite size it is 5 to 25 % too high, and it
knows nothing of the bone on the way. It is a prior, which the transport corrects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicomnode.dose.density_kernels import MEDIA, Mixture, Work, mixture, tiles_of
from dicomnode.dose.low_rank import By, low_rank, near_octants
from dicomnode.model import TiaMap
from dicomnode.physics.kernels import PointKernel, RadialKernel

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

TOLERANCE = 2e-3
TILE_VOXELS = 160
FAINTEST = 1e-9
"""Of the largest photon dose: no voxel's prior is less, so that ratios to it exist."""
NEAR_MM = (25.0, 70.0)
"""Distances in water within which photons count as near: how far sources are, which anatomy cannot tell."""


@dataclass(frozen=True, eq=False)
class PhotonPrior:
    """Photon dose by kernels, over that of the map itself, MeV per g and decay of the TIA.

    Attributes
    ----------
    target : (z, y, x) dose by the kernels of the target's medium, MeV/g
    source : the same by the kernels of the source's medium
    near : the part of ``target`` from sources within each of ``NEAR_MM`` (smoothly cut)
    """

    target: Float64
    source: Float32
    near: tuple[Float32, ...]


def electrons_only(point: PointKernel) -> PointKernel:
    """The kernel without its photons."""
    return replace(point, photon=None)


def photons_only(point: PointKernel) -> PointKernel:
    """The kernel without its electrons. Raises ValueError where there are no photons."""
    if point.photon is None:
        raise ValueError(f"the kernel of {point.nuclide} has no photons")
    nothing = RadialKernel(point.electron.r_mm, np.zeros_like(point.electron.mev), 0.0)
    return replace(point, electron=nothing)


def _times(point: PointKernel, per_shell: Float64) -> PointKernel:
    """The photon kernel with the energy of each of its shells times a number."""
    assert point.photon is not None
    own = point.photon
    mev = np.concatenate([[0.0], np.cumsum(np.diff(own.mev) * per_shell)])
    return replace(point, photon=RadialKernel(own.r_mm, mev, 0.0))


def near_only(point: PointKernel, reach_mm: float) -> PointKernel:
    """The photon kernel times exp(-(r rho / s)^2): s is ``reach_mm`` in water."""
    assert point.photon is not None
    middle = (point.photon.r_mm[1:] + point.photon.r_mm[:-1]) / 2
    return _times(point, np.exp(-((middle * point.density_g_per_cm3 / reach_mm) ** 2)))


def as_dose(point: PointKernel) -> PointKernel:
    """The photon kernel over the density of its medium: dose where it arrives, whatever lies there."""
    assert point.photon is not None
    return _times(point, np.full(len(point.photon.r_mm) - 1, 1 / point.density_g_per_cm3))


def convolved(
    tia: TiaMap,
    media: Mixture,
    points: Sequence[PointKernel],
    by: By,
    workers: int,
    near: Float64 | None = None,
) -> Float64:
    """Energy in each voxel, MeV (z, y, x), by kernels of the source's or of the target's medium."""
    shape = tia.grid.shape_zyx
    kernels = low_rank(points, tia.grid.spacing_mm, shape, TOLERANCE, by, near)
    work = Work(tia, media, kernels, np.float32, workers)
    far, found = work.far(), np.empty(shape)
    for window in tiles_of(shape, TILE_VOXELS):
        found[window] = work.value(window, far)
    return found


def electron_mev(
    tia: TiaMap, density: Float32, points: Sequence[PointKernel], workers: int, by: By = "source"
) -> Float64:
    """Energy of the electrons in each voxel, MeV (z, y, x), by kernels of the source's or target's medium."""
    media = mixture(density, "linear")
    parts = [electrons_only(p) for p in points]
    return np.maximum(convolved(tia, media, parts, by, workers), 0.0)  # rounding dips below zero


def photon_prior(tia: TiaMap, density: Float32, points: Sequence[PointKernel], workers: int) -> PhotonPrior:
    """Photon dose by kernels, MeV/g; none is negative, and ``target`` is nowhere zero."""
    media, ml = mixture(density, "linear"), tia.grid.voxel_ml
    parts = [photons_only(p) for p in points]
    sets = [parts, [as_dose(p) for p in parts], *([near_only(p, s) for p in parts] for s in NEAR_MM)]
    octants = near_octants([p for one in sets for p in one], tia.grid.spacing_mm, tia.grid.shape_zyx)
    nz, ny, nx = tia.grid.shape_zyx
    per_g = media.weights(1 / MEDIA, (slice(0, nz), slice(0, ny), slice(0, nx))) / ml

    def found(number: int, by: By) -> Float64:
        own = octants[number * len(points) : (number + 1) * len(points)]
        return convolved(tia, media, sets[number], by, workers, own)

    target = found(0, "target") * per_g
    target = np.maximum(target, FAINTEST * target.max())
    source = (found(1, "source") / ml).astype(np.float32)
    near = tuple((found(n, "target") * per_g).astype(np.float32) for n in range(2, len(sets)))
    return PhotonPrior(target, source, near)
