"""Convolutions of a map with the kernels of twenty media, kept or weighted by the medium of each voxel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dicomnode.dose.coarse import coarse_length, prolong, restrict
from dicomnode.dose.convolution import ManyKernels
from dicomnode.dose.inputs import DECAYS_PER_MBQ_S
from dicomnode.dose.low_rank import LowRank
from dicomnode.model import TiaMap
from dicomnode.physics.media import MEDIA_G_PER_CM3

Float64 = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]
By = Literal["target", "source"]

MEDIA = np.array(MEDIA_G_PER_CM3)


@dataclass(frozen=True, eq=False)
class Mixture:
    """For each voxel the medium below its density, and how far it is towards the next."""

    low: npt.NDArray[np.uint8]
    part: npt.NDArray[np.float32] | None

    def weights(self, of_media: Float64, window: Window) -> Float64:
        """One number per medium, looked up for the voxels of a window."""
        low = self.low[window]
        if self.part is None:
            return np.asarray(of_media[low])
        rise = np.append(np.diff(of_media), 0.0)
        return np.asarray(of_media[low] + rise[low] * self.part[window])


def mixture(density: npt.NDArray[np.float32], between: str) -> Mixture:
    """The media of voxels by density; beyond the twenty, the first or the last."""
    if between == "nearest":
        edges = ((MEDIA[1:] + MEDIA[:-1]) / 2).astype(np.float32)
        return Mixture(np.searchsorted(edges, density, side="right").astype(np.uint8), None)
    low = np.clip(np.searchsorted(MEDIA.astype(np.float32), density, side="right") - 1, 0, len(MEDIA) - 2)
    part = np.clip((density - MEDIA[low]) / np.diff(MEDIA)[low], 0.0, 1.0)
    return Mixture(low.astype(np.uint8), part.astype(np.float32))


def tiles_of(shape_zyx: tuple[int, int, int], edge: int) -> Iterator[Window]:
    """Windows of at most ``edge`` voxels along each axis, about equal in size, that cover a grid."""
    cuts = []
    for n in shape_zyx:
        edges = np.linspace(0, n, -(-n // edge) + 1).astype(int)
        cuts.append([slice(int(a), int(b)) for a, b in pairwise(edges)])
    yield from product(*cuts)


@dataclass(eq=False)
class Work:
    """Energy per voxel of one map, MeV, tile by tile.

    Attributes
    ----------
    by : whose medium picks the kernel
    dtype : of the transforms
    """

    tia: TiaMap
    media: Mixture
    kernels: LowRank
    by: By
    dtype: type[np.floating[Any]]
    workers: int

    @property
    def whole(self) -> Window:
        """The window of the whole grid."""
        z, y, x = (slice(0, n) for n in self.tia.grid.shape_zyx)
        return z, y, x

    def decays(self, window: Window) -> Float64:
        return self.tia.mbq_s_per_ml[window] * np.float64(self.tia.grid.voxel_ml * DECAYS_PER_MBQ_S)

    def far(self) -> list[npt.NDArray[Any]]:
        """What the smooth kernels give, at the coarse nodes: one map per term, or their sum."""
        nz, ny, nx = (coarse_length(n) for n in self.tia.grid.shape_zyx)
        octants = self.kernels.long_octants((nz, ny, nx), 2)
        many = ManyKernels(octants, (nz, ny, nx), dtype=self.dtype, workers=self.workers)
        if self.by == "target":
            source = restrict(self.decays(self.whole).astype(self.dtype))
            return [np.ascontiguousarray(one) for one in many.each(source)]
        return [many.sum(restrict(one) for one in self._weighted(self.kernels.long_weights, self.whole))]

    def _weighted(self, weights: Float64, window: Window) -> Iterator[npt.NDArray[Any]]:
        counts = self.decays(window)
        for of_media in weights.T:
            yield (counts * self.media.weights(of_media, window)).astype(self.dtype)

    def energy(self, window: Window, far: list[npt.NDArray[Any]]) -> Float64:
        """Energy deposited in the voxels of a window, MeV."""
        reach, inner = self._with_margin(window)
        shape = self._shape(reach)
        many = ManyKernels(self.kernels.short, shape, dtype=self.dtype, workers=self.workers)
        if self.by == "source":
            near = many.sum(self._weighted(self.kernels.short_weights, reach))
            return np.asarray(near[inner] + prolong(far[0], window), dtype=np.float64)
        total = np.zeros(self._shape(window))
        source = self.decays(reach).astype(self.dtype)
        for of_media, near in zip(self.kernels.short_weights.T, many.each(source), strict=True):
            total += self.media.weights(of_media, window) * near[inner]
        for of_media, coarse in zip(self.kernels.long_weights.T, far, strict=True):
            total += self.media.weights(of_media, window) * prolong(coarse, window)
        return total

    def _with_margin(self, window: Window) -> tuple[Window, Window]:
        """(the window with what the short kernels reach, clipped to the grid; the window within it)."""
        outer, inner = [], []
        for part, n, reach in zip(window, self.tia.grid.shape_zyx, self.kernels.short.shape[1:], strict=True):
            start, stop = max(0, part.start - reach + 1), min(n, part.stop + reach - 1)
            outer.append(slice(start, stop))
            inner.append(slice(part.start - start, part.stop - start))
        return (outer[0], outer[1], outer[2]), (inner[0], inner[1], inner[2])

    @staticmethod
    def _shape(window: Window) -> tuple[int, int, int]:
        z, y, x = (part.stop - part.start for part in window)
        return z, y, x
