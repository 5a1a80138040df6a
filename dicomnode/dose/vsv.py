"""Voxel S-values: the TIA map convolved with the energy kernel of an unbounded water medium.

MIRD Pamphlet 17 (Bolch et al., J Nucl Med 40 (1999) 11S); density scaling as in Dieudonne et al., J Nucl
Med 54 (2013) 236. The kernel is that of the nuclide at the voxel size in hand, made from a radial kernel
to its full reach (1 m): a truncated one loses 10 to 30 % of the background in soft tissue. Alpha particles
and recoils stay in their voxel.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.dose.convolution import convolve_symmetric, fraction_inside, working_bytes
from dicomnode.dose.density_steps import hot_at_steps, near_a_step
from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.inputs import (
    decays,
    emitted_j,
    face_crossing,
    largest_step,
    require_energy,
    require_inputs,
    scaling_density,
    voxel_mass_kg,
    zero_dose,
)
from dicomnode.errors import OutOfDomain
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, Settings, TiaMap
from dicomnode.physics.kernels import JOULE_PER_MEV, WATER_G_PER_CM3, PointKernel
from dicomnode.physics.media import kernel_digest, kernel_names, water_kernel
from dicomnode.physics.voxel_kernels import component_mev, reach_voxels

Float64 = npt.NDArray[np.float64]

# Relative standard uncertainties (k = 1) of the model, density-scaled and with a full-length kernel. Floors
# are those found with EGSnrc in an anatomical phantom (177Lu): organ means 1 %, lungs 17 %, bone and voxels
# at density steps above 0.3 g/cm3 15 % rms. Cross-fire: what a voxel without decays of its own is off by
# (EGSnrc, phantom of lung, tissue and bone, docs/engines.md; 131I in lungs 90 %).
SOFT, LUNG, BONE, STEP = 0.01, 0.17, 0.15, 0.15
CROSS_SOFT, CROSS_BONE, CROSS_LUNG, CROSS_LUNG_PHOTONS = 0.15, 0.30, 0.17, 0.90
LUNG_BELOW_G_PER_CM3 = 0.6
BONE_ABOVE_G_PER_CM3 = 1.2
STEP_G_PER_CM3 = 0.3
# Error of the transforms in single precision, of the maximum: measured 4e-7 at 128^3 (benchmarks/vsv.py).
SINGLE_ROUNDING = 1e-6


class VsvSettings(Settings):
    """Settings of the engine ``vsv``."""

    density_scaling: Literal["none", "target"] = Field(
        default="target",
        description="target: energy by the mass of the target voxel, dose to its medium; none: dose to water "
        "in an unbounded water medium",
    )
    minimum_density_g_per_cm3: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="dose in thinner voxels of the body (gas) is that of this density: air is never hot",
    )
    precision: Literal["single", "double"] = Field(
        default="double",
        description="of the Fourier transforms; single halves the memory, its error is 4e-7 of the maximum",
    )
    workers: int = Field(
        default=2, ge=1, le=64, description="threads of the transforms; no effect on the result"
    )
    memory_limit_gb: float = Field(
        default=8.0, gt=0, description="refuse a grid that would need more memory than this"
    )
    kernel_folder: str = Field(
        default="", description="kernels of further nuclides, made by `dicomnode kernels --all-media`"
    )


def relative_sigma(anatomy: Anatomy, nuclide: Nuclide, own_share: Float64) -> Float64:
    """Relative standard uncertainty (k = 1) of density-scaled single VSV per voxel.

    Terms in quadrature: 1 %; the floor of the medium, or of the cross-fire share of the dose where that is
    more; near steps of density what crosses them (``hot_at_steps``); and the range of electrons, which water
    gets wrong: a share 1 / (1 + x / rho) of their energy stays in the voxel of the decay (x =
    ``face_crossing``), so the self dose is off by (1 + x / rho) / (1 + x) - 1. Against EGSnrc in lung at
    4 mm: 177Lu 0.22 (0.15), 90Y 1.9 (1.9).

    Parameters
    ----------
    own_share : 0 to 1, the part of the dose given by electrons of decays in the voxel itself
    """
    density = anatomy.density.g_per_cm3.astype(np.float64)
    bone, lung = density > BONE_ABOVE_G_PER_CM3, density < LUNG_BELOW_G_PER_CM3
    photons_lead = nuclide.energy.photon_mev > nuclide.energy.electron_mev
    cross = np.where(bone, CROSS_BONE, CROSS_SOFT)
    cross[lung] = CROSS_LUNG_PHOTONS if photons_lead else CROSS_LUNG
    floor = np.where(bone, BONE, np.where(lung, LUNG, 0.0))
    floor[largest_step(density) > STEP_G_PER_CM3] = STEP
    medium = np.maximum(floor, cross * (1 - own_share))
    x = face_crossing(nuclide, anatomy.grid.spacing_mm)
    electrons = np.abs((1 + x / density) / (1 + x) - 1)
    nz, ny, nx = density.shape
    whole = slice(0, nz), slice(0, ny), slice(0, nx)
    near = near_a_step(anatomy.density.g_per_cm3, nuclide, anatomy.grid.spacing_mm, whole)
    hot = np.where(near, own_share * hot_at_steps(density, nuclide, anatomy.grid.spacing_mm), 0.0)
    return np.asarray(np.sqrt(SOFT**2 + medium**2 + electrons**2 + hot**2))


class SingleVsv:
    """Voxel S-values of water, scaled by density (MIRD 17, Dieudonne)."""

    Settings = VsvSettings

    def __init__(self, settings: VsvSettings | None = None) -> None:
        self.settings = settings or VsvSettings()
        folder = self.settings.kernel_folder
        digests = {f"kernels-{name}": kernel_digest(name, folder) for name in kernel_names(folder)}
        self.identity = EngineIdentity("vsv", "4", digests)
        self.capability = Capability(
            nuclides=frozenset(kernel_names(folder)),
            voxel_mm=(0.5, 20.0),
            density_g_per_cm3=(0.001, 3.2),
            heterogeneous=self.settings.density_scaling != "none",
        )

    @property
    def _medium(self) -> str:
        return "medium" if self.settings.density_scaling == "target" else "water"

    def dose(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> DoseMap:
        """Absorbed dose in each voxel of the body; zero outside it."""
        require_inputs(tia, anatomy, nuclide, self.capability)
        if not tia.mbq_s_per_ml.any():
            return zero_dose(tia, self._medium)
        recorded = self.identity.digests[f"kernels-{nuclide.name}"]
        kernel = water_kernel(nuclide.name, self.settings.kernel_folder, recorded)
        require_energy(kernel, nuclide)
        shape = self._kernel_shape(kernel, tia)
        self._require_memory(tia.grid.shape_zyx, shape)
        progress(0.0, "voxel kernel")
        octant = component_mev(kernel.electron, tia.grid.spacing_mm, shape)
        if kernel.photon is not None:
            octant += component_mev(kernel.photon, tia.grid.spacing_mm, shape)
        count = decays(tia)
        mev = convolve_symmetric(
            count,
            octant,
            dtype=np.float32 if self.settings.precision == "single" else np.float64,
            workers=self.settings.workers,
            step=lambda done: progress(0.4 + 0.5 * done, "convolution"),
        )
        alpha_j = count * (nuclide.energy.alpha_mev * JOULE_PER_MEV)
        deposit_j = np.maximum(mev, 0.0, dtype=np.float64) * JOULE_PER_MEV  # rounding dips below zero
        deposit_j += alpha_j
        gone_j = self._gone_j(count, octant, kernel)
        own_j = count * (nuclide.energy.electron_mev * JOULE_PER_MEV) + alpha_j
        own_share = np.divide(own_j, deposit_j, out=np.ones_like(own_j), where=deposit_j > own_j)
        relative = self._relative_sigma(anatomy, nuclide, own_share)
        result = self._dose_map(tia, anatomy, nuclide, deposit_j, alpha_j, gone_j, relative)
        progress(1.0, "dose")
        return result

    def _kernel_shape(self, kernel: PointKernel, tia: TiaMap) -> tuple[int, int, int]:
        reach = reach_voxels(kernel, tia.grid.spacing_mm)
        nz, ny, nx = (min(n, k + 1) for n, k in zip(tia.grid.shape_zyx, reach, strict=True))
        return nz, ny, nx

    def _require_memory(self, shape: tuple[int, int, int], kernel: tuple[int, int, int]) -> None:
        itemsize = 4 if self.settings.precision == "single" else 8
        arrays = 8 * 5 * int(np.prod(shape)) + 8 * 3 * int(np.prod(kernel))
        needed = (working_bytes(shape, kernel, itemsize) + arrays) / 1e9
        if needed > self.settings.memory_limit_gb:
            raise OutOfDomain(
                f"memory for a grid of {shape}", round(needed, 1), "GB",
                f"up to memory_limit_gb = {self.settings.memory_limit_gb}; use precision = single, a coarser "
                f"or smaller grid, or raise the limit",
            )  # fmt: skip

    def _gone_j(self, count: Float64, octant: Float64, kernel: PointKernel) -> float:
        """Energy that leaves the grid, by sums of the kernel and not by the convolution, J."""
        inside = fraction_inside(octant, count.shape)
        return float((count * (kernel.total_mev - inside)).sum()) * JOULE_PER_MEV

    def _relative_sigma(self, anatomy: Anatomy, nuclide: Nuclide, own_share: Float64) -> Float64:
        """The rule of ``relative_sigma``; gas 100 %. Unscaled: how far water is from the voxel's mass too."""
        relative = relative_sigma(anatomy, nuclide, own_share)
        density = anatomy.density.g_per_cm3.astype(np.float64)
        relative = np.where(density < self.settings.minimum_density_g_per_cm3, 1.0, relative)
        if self.settings.density_scaling == "none":
            return np.hypot(relative, np.minimum(np.abs(WATER_G_PER_CM3 / density - 1), 10.0))
        return relative

    def _dose_map(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        deposit_j: Float64,
        alpha_j: Float64,
        gone_j: float,
        relative: Float64,
    ) -> DoseMap:
        """Energy per voxel to dose; what the body's voxels do not hold counts as escaped."""
        scaled = self.settings.density_scaling == "target"
        own = anatomy.density.g_per_cm3.astype(np.float64)
        used: Any = own if scaled else WATER_G_PER_CM3
        divisor = scaling_density(anatomy, self.settings.minimum_density_g_per_cm3) if scaled else used
        inside = np.where(anatomy.body, deposit_j, 0.0)
        kg = voxel_mass_kg(divisor, tia.grid.voxel_ml)
        gy = inside / kg
        held_j = inside * (used / divisor)
        balance = EnergyBalance(
            emitted_j=emitted_j(tia, nuclide),
            deposited_j=float((gy * voxel_mass_kg(used, tia.grid.voxel_ml)).sum()),
            escaped_j=gone_j + float((deposit_j - held_j).sum()),
        )
        rounding = SINGLE_ROUNDING * float(gy.max()) if self.settings.precision == "single" else 0.0
        sigma = np.where(anatomy.body, np.hypot(gy * relative, rounding), 0.0)
        return DoseMap(
            tia.grid,
            gy.astype(np.float32),
            sigma.astype(np.float32),
            balance,
            self._medium,
            np.where(anatomy.body, alpha_j / kg, 0.0).astype(np.float32) if alpha_j.any() else None,
        )
