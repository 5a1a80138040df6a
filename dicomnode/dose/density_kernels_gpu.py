"""The convolutions of ``media_work`` by torch, the grid in one piece: for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dicomnode.dose.convolution import padded_lengths
from dicomnode.dose.density_kernels import Part, Window, Work, condensed
from dicomnode.dose.half_grid import coarse_length, prolongation
from dicomnode.dose.low_rank import Term
from dicomnode.errors import EngineUnavailable

Float64 = npt.NDArray[np.float64]
Tensor = Any
"""torch.Tensor: torch is loaded when a ``GpuWork`` is made, not before."""


@dataclass(eq=False)
class GpuWork(Work):
    """``Work`` on a torch device."""

    place: ClassVar[str] = "cuda"

    def __post_init__(self) -> None:
        try:
            import torch
        except ImportError as error:
            raise EngineUnavailable("device = gpu needs torch: pip install 'dicomnode[gpu]'") from error
        if self.place == "cuda" and not torch.cuda.is_available():
            raise EngineUnavailable("device = gpu: torch finds no CUDA device; use device = cpu")
        self.torch: Any = torch
        self.count = self._tensor(self.decays(self.whole))
        self.low = torch.as_tensor(self.media.low.astype(np.int64), device=self.place)
        self.part = None if self.media.part is None else self._tensor(self.media.part)
        self.up = [self._tensor(prolongation(n)) for n in self.tia.grid.shape_zyx]

    def far(self) -> list[Part]:
        """As ``Work.far``, on the device."""
        nz, ny, nx = (coarse_length(n) for n in self.tia.grid.shape_zyx)
        octants = self.kernels.long_octants((nz, ny, nx), 2)
        terms = self.kernels.long_terms
        found = self._apply(octants, terms, lambda u: self._restrict(self._times(self.count, u)))
        return condensed(found, terms)

    def value(self, window: Window, far: list[Part]) -> Float64:
        """As ``Work.value``; the window is the whole grid."""
        total = self.torch.zeros_like(self.count)
        near = self._apply(self.kernels.short, self.kernels.short_terms, lambda u: self._times(self.count, u))
        for of_media, one in near:
            total += self._times(one, of_media)
        for of_media, one in far:
            total += self._times(self._prolong(one), of_media)
        return np.asarray(total.cpu().numpy()[window], dtype=np.float64)

    def _times(self, values: Tensor, of_media: Float64 | None) -> Tensor:
        return values if of_media is None else values * self._weights(of_media)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return self.torch.as_tensor(np.ascontiguousarray(array, self.dtype), device=self.place)

    def _weights(self, of_media: Float64) -> Tensor:
        table = self._tensor(of_media)
        if self.part is None:
            return table[self.low]
        rise = self._tensor(np.append(np.diff(of_media), 0.0))
        return table[self.low] + rise[self.low] * self.part

    def _restrict(self, fine: Tensor) -> Tensor:
        return self._along_axes([one.T for one in self.up], fine)

    def _prolong(self, coarse: Tensor) -> Tensor:
        return self._along_axes(self.up, coarse)

    def _along_axes(self, matrices: list[Tensor], array: Tensor) -> Tensor:
        """One matrix after the other: ``einsum`` of all at once would hold their outer product."""
        z, y, x = matrices
        array = array @ x.T
        array = y @ array
        return self.torch.tensordot(z, array, dims=1)

    def _spectrum(self, octant: npt.NDArray[Any], lengths: tuple[int, int, int]) -> Tensor:
        """Of the even kernel: real."""
        half = np.zeros([n // 2 + 1 for n in lengths])
        cut = tuple(slice(0, min(a, b)) for a, b in zip(octant.shape, half.shape, strict=True))
        half[cut] = octant[cut]
        fold = [np.minimum(np.arange(n), n - np.arange(n)) for n in lengths]
        even = self._tensor(half)
        for axis, index in enumerate(fold):
            even = even.index_select(axis, self.torch.as_tensor(index, device=self.place))
        return self.torch.fft.rfftn(even).real

    def _apply(
        self,
        octants: npt.NDArray[Any],
        terms: list[Term],
        source: Callable[[Float64 | None], Tensor],
    ) -> Iterator[tuple[Float64 | None, Tensor]]:
        """As ``media_work.apply``."""
        transform = self.torch.fft
        shared: Tensor = None
        total: Tensor = None
        for term in terms:
            if term.source is not None or shared is None:
                given = source(term.source)
                z, y, x = given.shape
                lengths = padded_lengths((z, y, x), octants.shape[1:])
                shared = transform.rfftn(given, s=lengths)
            part = shared * self._spectrum(octants[term.kernel], lengths)
            if term.target is not None:
                yield term.target, transform.irfftn(part, s=lengths)[:z, :y, :x]
            else:
                total = part if total is None else total + part
        if total is not None:
            yield None, transform.irfftn(total, s=lengths)[:z, :y, :x]
