"""The convolutions of ``media_work`` by torch, the grid in one piece: for a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.dose.coarse import coarse_length, prolongation
from dicomnode.dose.convolution import padded_lengths
from dicomnode.dose.media_work import Window, Work
from dicomnode.errors import EngineUnavailable

Float64 = npt.NDArray[np.float64]
Tensor = Any
"""torch.Tensor: torch is loaded when a ``GpuWork`` is made, not before."""


@dataclass(eq=False)
class GpuWork(Work):
    """``Work`` on the first CUDA device; ``place`` names another."""

    place: str = "cuda"

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

    def far(self) -> list[Any]:
        """As ``Work.far``, on the device."""
        nz, ny, nx = (coarse_length(n) for n in self.tia.grid.shape_zyx)
        octants = self.kernels.long_octants((nz, ny, nx), 2)
        if self.by == "target":
            return self._each(octants, self._restrict(self.count))
        weighted = [self._restrict(self.count * self._weights(w)) for w in self.kernels.long_weights.T]
        return [self._sum(octants, weighted)]

    def energy(self, window: Window, far: list[Any]) -> Float64:
        """As ``Work.energy``; the window is the whole grid."""
        if self.by == "source":
            weighted = [self.count * self._weights(w) for w in self.kernels.short_weights.T]
            total = self._sum(self.kernels.short, weighted) + self._prolong(far[0])
        else:
            total = self.torch.zeros_like(self.count)
            near = self._each(self.kernels.short, self.count)
            for of_media, one in zip(self.kernels.short_weights.T, near, strict=True):
                total += self._weights(of_media) * one
            for of_media, one in zip(self.kernels.long_weights.T, far, strict=True):
                total += self._weights(of_media) * self._prolong(one)
        return np.asarray(total.cpu().numpy()[window], dtype=np.float64)

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

    def _each(self, octants: npt.NDArray[Any], source: Tensor) -> list[Tensor]:
        z, y, x = source.shape
        lengths = padded_lengths((z, y, x), octants.shape[1:])
        given = self.torch.fft.rfftn(source, s=lengths)
        return [
            self.torch.fft.irfftn(given * self._spectrum(one, lengths), s=lengths)[:z, :y, :x]
            for one in octants
        ]

    def _sum(self, octants: npt.NDArray[Any], sources: list[Tensor]) -> Tensor:
        z, y, x = sources[0].shape
        lengths = padded_lengths((z, y, x), octants.shape[1:])
        total: Any = 0.0
        for one, source in zip(octants, sources, strict=True):
            total = total + self.torch.fft.rfftn(source, s=lengths) * self._spectrum(one, lengths)
        return self.torch.fft.irfftn(total, s=lengths)[:z, :y, :x]
