"""Convolutions of a map with the kernels of twenty media, kept or weighted by the medium of each voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.dose.convolution import ManyKernels
from dicomnode.dose.half_grid import coarse_length, prolong, restrict
from dicomnode.dose.inputs import DECAYS_PER_MBQ_S
from dicomnode.dose.low_rank import LowRank, Term
from dicomnode.model import TiaMap
from dicomnode.physics.media import MEDIA_G_PER_CM3

Float64 = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]
Part = tuple[Float64 | None, npt.NDArray[Any]]
"""Weights by medium of target voxels (None: one), and what they multiply."""

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


def apply(
    many: ManyKernels, terms: list[Term], source: Callable[[Float64 | None], npt.NDArray[Any]]
) -> Iterator[Part]:
    """(weights of the targets, map) of each term; those without such weights are one sum.

    ``source`` gives the map to convolve for weights of the sources.
    """
    shared: npt.NDArray[Any] | None = None
    total: npt.NDArray[Any] | None = None
    for term in terms:
        if term.source is not None or shared is None:
            given = source(term.source)
            shared = many.forward(given)
        kept = term.source is None and term is not terms[-1]
        product_ = many.times(shared.copy() if kept else shared, term.kernel)
        if term.target is not None:
            yield term.target, many.backward(product_, given.shape)
        else:
            total = product_ if total is None else np.add(total, product_, out=total)
    if total is not None:
        yield None, many.backward(total, given.shape)


def condensed(parts: Iterator[Part], terms: list[Term]) -> list[Part]:
    """The same sum with no more maps than there are media: by "both" there are some hundred terms."""
    if sum(term.target is not None for term in terms) <= len(MEDIA):
        return list(parts)
    maps: list[Any] = [0.0] * len(MEDIA)
    for of_media, one in parts:
        assert of_media is not None  # only then are there so many
        for medium, share in enumerate(of_media.tolist()):
            maps[medium] = maps[medium] + one * share
    return list(zip(np.eye(len(MEDIA)), maps, strict=True))


@dataclass(eq=False)
class Work:
    """Energy per voxel of one map, MeV, tile by tile; ``dtype`` is that of the transforms."""

    tia: TiaMap
    media: Mixture
    kernels: LowRank
    dtype: type[np.floating[Any]]
    workers: int

    @property
    def whole(self) -> Window:
        """The window of the whole grid."""
        z, y, x = (slice(0, n) for n in self.tia.grid.shape_zyx)
        return z, y, x

    def decays(self, window: Window) -> Float64:
        return self.tia.mbq_s_per_ml[window] * np.float64(self.tia.grid.voxel_ml * DECAYS_PER_MBQ_S)

    def far(self) -> list[Part]:
        """What the smooth kernels give, at the coarse nodes."""
        nz, ny, nx = (coarse_length(n) for n in self.tia.grid.shape_zyx)
        octants = self.kernels.long_octants((nz, ny, nx), 2)
        many = ManyKernels(octants, (nz, ny, nx), dtype=self.dtype, workers=self.workers)

        def coarse(of_media: Float64 | None) -> npt.NDArray[Any]:
            return np.ascontiguousarray(restrict(self._source(of_media, self.whole)))

        terms = self.kernels.long_terms
        found = ((v, np.ascontiguousarray(one)) for v, one in apply(many, terms, coarse))
        return condensed(found, terms)

    def value(self, window: Window, far: list[Part]) -> Float64:
        """Energy deposited in the voxels of a window, MeV; by "both" over the density of their medium."""
        reach, inner = self._with_margin(window)
        many = ManyKernels(self.kernels.short, self._shape(reach), dtype=self.dtype, workers=self.workers)
        total = np.zeros(self._shape(window), self.dtype)
        for of_media, one in apply(many, self.kernels.short_terms, lambda u: self._source(u, reach)):
            total += self._weighted(one[inner], of_media, window)
        for of_media, one in far:
            total += self._weighted(prolong(one, window), of_media, window)
        return total.astype(np.float64)

    def _source(self, of_media: Float64 | None, window: Window) -> npt.NDArray[Any]:
        return self._weighted(self.decays(window), of_media, window).astype(self.dtype, copy=False)

    def _weighted(
        self, values: npt.NDArray[Any], of_media: Float64 | None, window: Window
    ) -> npt.NDArray[Any]:
        if of_media is None:
            return values
        return values * self.media.weights(of_media.astype(self.dtype), window)

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
