"""Multiple voxel S-values: one kernel for each of twenty media, lung to cortical bone.

The published method (the seed's baseline): the TIA is convolved with the kernel of each medium, each
result is kept where its own medium lies, and the parts are added. The *target* voxel's medium picks the
kernel: all between source and target is taken to be that medium, which is the method's known error at
interfaces. Its variants have names of their own (settings ``kernel_of``, ``between``, ``mass``).

Twenty convolutions are a few (``low_rank``): the sum over media moves inside, as weights of few kernels.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.dose.density_kernels import MEDIA, Mixture, Work, mixture, tiles_of
from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.half_grid import coarse_length
from dicomnode.dose.inputs import (
    DECAYS_PER_MBQ_S,
    emitted_j,
    require_energy,
    require_inputs,
    zero_dose,
)
from dicomnode.dose.low_rank import By, low_rank
from dicomnode.dose.multi_sigma import relative_sigma
from dicomnode.errors import OutOfDomain
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, Settings, TiaMap
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.media import kernel_digest, kernel_names, medium_kernels

Float64 = npt.NDArray[np.float64]
Window = tuple[slice, slice, slice]


class MultiVsvSettings(Settings):
    """Settings of the engine ``multi-vsv``."""

    kernel_of: By = Field(
        default="target",
        description="target (as published): the medium of the voxel that receives picks the kernel; source: "
        "that of the voxel that decays, which conserves energy; both: the medium of the mean of their "
        "densities",
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
        default="single",
        description="of the Fourier transforms; single: half the memory, an error below 1e-5 of the maximum",
    )
    device: Literal["cpu", "gpu"] = Field(
        default="cpu", description="gpu: convolutions by torch on the first CUDA device; needs dicomnode[gpu]"
    )
    tile_voxels: int = Field(default=160, ge=16, description="edge of the tiles that large grids are cut in")
    workers: int = Field(default=2, ge=1, le=64, description="threads of the transforms")
    memory_limit_gb: float = Field(
        default=8.0, gt=0, description="refuse a grid that would need more memory than this"
    )
    kernel_folder: str = Field(
        default="", description="kernels of further nuclides, made by `dicomnode kernels --all-media`"
    )


class MultiVsv:
    """Voxel S-values of twenty media, lung to cortical bone."""

    Settings = MultiVsvSettings

    def __init__(self, settings: MultiVsvSettings | None = None) -> None:
        self.settings = settings or MultiVsvSettings()
        names = kernel_names(self.settings.kernel_folder)
        digests = {f"kernels-{n}": kernel_digest(n, self.settings.kernel_folder) for n in names}
        self.identity = EngineIdentity("multi-vsv", "3", digests)
        self.capability = Capability(frozenset(names), (0.5, 20.0), (0.001, 3.2), heterogeneous=True)

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
        media = mixture(anatomy.density.g_per_cm3, self.settings.between)
        work = self._work(tia, media, nuclide)
        progress(0.2, "far photons")
        far = work.far()
        gy, sigma = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        alpha_gy = np.zeros(shape, np.float32)
        deposited_j, tiles = 0.0, list(tiles_of(shape, self._tile_voxels(shape)))
        for done, window in enumerate(tiles):
            progress(0.4 + 0.6 * done / len(tiles), f"tile {done + 1} of {len(tiles)}")
            found = self._tile(tia, anatomy, nuclide, media, work.value(window, far), window)
            gy[window], sigma[window], alpha_gy[window], part_j = found
            deposited_j += part_j
        progress(1.0, "dose")
        emitted = emitted_j(tia, nuclide)
        balance = EnergyBalance(emitted, deposited_j, emitted - deposited_j)
        return DoseMap(tia.grid, gy, sigma, balance, "medium", alpha_gy if alpha_gy.any() else None)

    def _work(self, tia: TiaMap, media: Mixture, nuclide: Nuclide) -> Work:
        own, grid = self.settings, tia.grid
        recorded = self.identity.digests[f"kernels-{nuclide.name}"]
        points = medium_kernels(nuclide.name, own.kernel_folder, recorded)
        for point in points:
            require_energy(point, nuclide)
        kernels = low_rank(points, grid.spacing_mm, grid.shape_zyx, own.tolerance, own.kernel_of)
        precision: type[np.floating[Any]] = np.float32 if own.precision == "single" else np.float64
        make: type[Work] = Work
        if own.device == "gpu":
            from dicomnode.dose.density_kernels_gpu import GpuWork

            make = GpuWork
        return make(tia, media, kernels, precision, own.workers)

    def _tile(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        media: Mixture,
        value: Float64,
        window: Window,
    ) -> tuple[Float64, Float64, Float64, float]:
        """(dose, its uncertainty, that of alpha particles, energy deposited in J) of the voxels of a tile."""
        body = anatomy.body[window]
        own = anatomy.density.g_per_cm3[window].astype(np.float64)
        medium = media.weights(MEDIA, window)
        # Mixed media have the density of the voxel, but for those thinner or denser than any.
        by_medium = self.settings.mass == "medium" and self.settings.between == "nearest"
        used = medium if by_medium else own
        held = np.maximum(used, self.settings.minimum_density_g_per_cm3)
        counts = np.where(body, tia.mbq_s_per_ml[window] * (tia.grid.voxel_ml * DECAYS_PER_MBQ_S), 0.0)
        alpha_j = counts * (nuclide.energy.alpha_mev * JOULE_PER_MEV)
        mev = value * self._per_g_per_cm3(media, window) if self.settings.kernel_of == "both" else value
        deposit_j = np.where(body, np.maximum(mev, 0.0), 0.0) * JOULE_PER_MEV + alpha_j
        kg = held * (tia.grid.voxel_ml * 1e-3)
        gy = deposit_j / kg
        own_j = counts * (nuclide.energy.electron_mev * JOULE_PER_MEV) + alpha_j
        share = np.divide(own_j, deposit_j, out=np.ones_like(deposit_j), where=deposit_j > own_j)
        relative = relative_sigma(
            anatomy.density.g_per_cm3, medium, nuclide, tia.grid.spacing_mm, share, window,
            by_source=self.settings.kernel_of == "source",
        )  # fmt: skip
        relative = np.where(
            own < self.settings.minimum_density_g_per_cm3, np.maximum(relative, 1.0), relative
        )
        held_j = float((gy * own).sum()) * tia.grid.voxel_ml * 1e-3
        return gy, gy * relative, alpha_j / kg, held_j

    def _per_g_per_cm3(self, media: Mixture, window: Window) -> Float64:
        """Density of each voxel's medium, less the excess of mixed kernels over density by "both".

        1 / rho, mixed straight between two media, is too large by e; of pairs of like voxels by e / 2.
        """
        medium = media.weights(MEDIA, window)
        excess = media.weights(1 / MEDIA, window) * medium - 1
        return np.asarray(medium / (1 + excess / 2))

    def _tile_voxels(self, shape: tuple[int, int, int]) -> int:
        """A GPU takes the grid whole."""
        return self.settings.tile_voxels if self.settings.device == "cpu" else max(shape)

    def _require_memory(self, shape: tuple[int, int, int]) -> None:
        size = 4 if self.settings.precision == "single" else 8
        tile = [min(n, self.settings.tile_voxels) for n in shape]
        padded = float(np.prod([n + 48 for n in tile]))
        coarse = float(np.prod([coarse_length(n) for n in shape]))
        maps = len(MEDIA) if self.settings.kernel_of == "both" else 0
        # maps and media; a tile's spectra and a score of its arrays; coarse spectra (eightfold padding, two)
        needed = 20 * np.prod(shape) + size * 16 * padded + 20 * 8 * np.prod(tile)
        needed += size * (48 + maps) * coarse
        if needed / 1e9 > self.settings.memory_limit_gb:
            raise OutOfDomain(
                f"memory for a grid of {shape}", round(needed / 1e9, 1), "GB",
                f"up to memory_limit_gb = {self.settings.memory_limit_gb}; use precision = single, a coarser "
                f"or smaller grid, or raise the limit",
            )  # fmt: skip
