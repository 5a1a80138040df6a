"""Multiple voxel S-values: one kernel for each of twenty media, lung to cortical bone.

The published method (the seed's baseline): the TIA is convolved with the kernel of each medium, each
result is kept where its own medium lies, and the parts are added. The *target* voxel's medium picks the
kernel: all between source and target is taken to be that medium, which is the method's known error at
interfaces. Its variants have names of their own (settings ``kernel_of``, ``between``, ``mass``).

Twenty convolutions are a few (``low_rank``): the sum over media moves inside, as weights of few kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.dose.coarse import coarse_length, prolong, restrict
from dicomnode.dose.convolution import ManyKernels
from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.inputs import (
    DECAYS_PER_MBQ_S,
    emitted_j,
    require_inputs,
    zero_dose,
)
from dicomnode.dose.low_rank import LowRank, low_rank
from dicomnode.dose.multi_sigma import relative_sigma
from dicomnode.errors import OutOfDomain
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, Settings, TiaMap
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.media import MEDIA_G_PER_CM3, kernel_names, medium_kernels

Float64 = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]

MEDIA = np.array(MEDIA_G_PER_CM3)


class MultiVsvSettings(Settings):
    """Settings of the engine ``multi-vsv``."""

    kernel_of: Literal["target", "source"] = Field(
        default="target",
        description="target (as published): the medium of the voxel that receives picks the kernel; source: "
        "that of the voxel that decays, which conserves energy",
    )
    between: Literal["nearest", "linear"] = Field(
        default="nearest",
        description="nearest (as published): the closest of the twenty media; linear: the two around the "
        "density, mixed",
    )
    mass: Literal["medium", "voxel"] = Field(
        default="medium",
        description="energy to dose by the density of the medium (as published) or of the voxel itself",
    )
    minimum_density_g_per_cm3: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="dose in thinner voxels of the body (gas) is that of this density: air is never hot",
    )
    tolerance: float = Field(
        default=2e-3, gt=0, le=0.01, description="of the cut of the singular values; see docs/engines.md"
    )
    precision: Literal["single", "double"] = Field(
        default="double", description="of the Fourier transforms; single halves the memory"
    )
    tile_voxels: int = Field(default=160, ge=16, description="edge of the tiles that large grids are cut in")
    workers: int = Field(default=2, ge=1, le=64, description="threads of the transforms")
    memory_limit_gb: float = Field(
        default=8.0, gt=0, description="refuse a grid that would need more memory than this"
    )


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


class MultiVsv:
    """The engine ``multi-vsv``."""

    Settings = MultiVsvSettings

    def __init__(self, settings: MultiVsvSettings | None = None) -> None:
        self.settings = settings or MultiVsvSettings()
        digests = {}
        for name in kernel_names():
            for kernel in medium_kernels(name):
                digests[f"{name}, {kernel.density_g_per_cm3:.2f} g/cm3 ({kernel.medium})"] = kernel.digest
        self.identity = EngineIdentity("multi-vsv", "1", digests)
        self.capability = Capability(frozenset(kernel_names()), (0.5, 20.0), (0.001, 3.2), heterogeneous=True)

    def dose(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> DoseMap:
        """Absorbed dose in each voxel of the body, to its medium; zero outside it."""
        require_inputs(tia, anatomy, nuclide, self.capability)
        if not tia.mbq_s_per_ml.any():
            return zero_dose(tia, "medium")
        shape = tia.grid.shape_zyx
        self._require_memory(shape)
        progress(0.0, "voxel kernels")
        kernels = low_rank(medium_kernels(nuclide.name), tia.grid.spacing_mm, shape, self.settings.tolerance)
        media = mixture(anatomy.density.g_per_cm3, self.settings.between)
        work = _Work(tia, media, kernels, self.settings)
        progress(0.2, "far photons")
        far = work.far()
        gy, sigma = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        deposited_j, tiles = 0.0, list(work.tiles())
        for done, window in enumerate(tiles):
            progress(0.4 + 0.6 * done / len(tiles), f"tile {done + 1} of {len(tiles)}")
            deposit_mev = work.energy(window, far)
            gy[window], sigma[window], part_j = self._tile(tia, anatomy, nuclide, media, deposit_mev, window)
            deposited_j += part_j
        progress(1.0, "dose")
        emitted = emitted_j(tia, nuclide)
        return DoseMap(tia.grid, gy, sigma, EnergyBalance(emitted, deposited_j, emitted - deposited_j))

    def _tile(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        media: Mixture,
        deposit_mev: Float64,
        window: Window,
    ) -> tuple[Float64, Float64, float]:
        """(dose, its uncertainty, energy deposited in J) of the voxels of one tile."""
        body = anatomy.body[window]
        own = anatomy.density.g_per_cm3[window].astype(np.float64)
        medium = media.weights(MEDIA, window)
        used = medium if self.settings.mass == "medium" else own
        held = np.maximum(used, self.settings.minimum_density_g_per_cm3)
        deposit_j = np.where(body, np.maximum(deposit_mev, 0.0), 0.0) * JOULE_PER_MEV
        gy = deposit_j / (held * (tia.grid.voxel_ml * 1e-3))
        counts = tia.mbq_s_per_ml[window] * (tia.grid.voxel_ml * DECAYS_PER_MBQ_S)
        own_j = counts * (nuclide.energy.electron_mev * JOULE_PER_MEV)
        share = np.divide(own_j, deposit_j, out=np.ones_like(deposit_j), where=deposit_j > own_j)
        relative = relative_sigma(
            anatomy.density.g_per_cm3, medium, nuclide, tia.grid.spacing_mm, share, window,
            by_source=self.settings.kernel_of == "source",
        )  # fmt: skip
        relative = np.where(
            own < self.settings.minimum_density_g_per_cm3, np.maximum(relative, 1.0), relative
        )
        return gy, gy * relative, float((gy * own).sum()) * tia.grid.voxel_ml * 1e-3

    def _require_memory(self, shape: tuple[int, int, int]) -> None:
        size = 4 if self.settings.precision == "single" else 8
        tile = [min(n, self.settings.tile_voxels) for n in shape]
        padded = float(np.prod([n + 48 for n in tile]))
        coarse = float(np.prod([coarse_length(n) for n in shape]))
        # maps and media; a tile's spectra and a score of its arrays; coarse spectra (eightfold padding, two)
        needed = 20 * np.prod(shape) + size * 16 * padded + 20 * 8 * np.prod(tile) + size * 48 * coarse
        if needed / 1e9 > self.settings.memory_limit_gb:
            raise OutOfDomain(
                f"memory for a grid of {shape}", round(needed / 1e9, 1), "GB",
                f"up to memory_limit_gb = {self.settings.memory_limit_gb}; use precision = single, a coarser "
                f"or smaller grid, or raise the limit",
            )  # fmt: skip


class _Work:
    """Energy per voxel of one map, MeV, tile by tile."""

    def __init__(self, tia: TiaMap, media: Mixture, kernels: LowRank, settings: MultiVsvSettings) -> None:
        self.tia, self.media, self.kernels, self.settings = tia, media, kernels, settings
        self.dtype: type[Any] = np.float32 if settings.precision == "single" else np.float64
        self.whole: Window = tuple(slice(0, n) for n in tia.grid.shape_zyx)  # type: ignore[assignment]

    def decays(self, window: Window) -> Float64:
        return self.tia.mbq_s_per_ml[window] * np.float64(self.tia.grid.voxel_ml * DECAYS_PER_MBQ_S)

    def tiles(self) -> Iterator[Window]:
        """Windows of at most ``tile_voxels``, equal in size."""
        cuts = []
        for n in self.tia.grid.shape_zyx:
            edges = np.linspace(0, n, -(-n // self.settings.tile_voxels) + 1).astype(int)
            cuts.append([slice(int(a), int(b)) for a, b in pairwise(edges)])
        yield from product(*cuts)

    def far(self) -> list[npt.NDArray[Any]]:
        """What the smooth kernels give, at the coarse nodes: one map per term, or their sum."""
        nz, ny, nx = (coarse_length(n) for n in self.tia.grid.shape_zyx)
        octants = self.kernels.long_octants((nz, ny, nx), 2)
        many = ManyKernels(octants, (nz, ny, nx), dtype=self.dtype, workers=self.settings.workers)
        if self.settings.kernel_of == "target":
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
        many = ManyKernels(self.kernels.short, shape, dtype=self.dtype, workers=self.settings.workers)
        if self.settings.kernel_of == "source":
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
