"""Local deposition: all charged particles stop in the voxel where the decay happens.

D_v = TIA_v Delta_charged / m_v (MIRD pamphlet 17). Photons deposit nothing: their
energy is counted as escaped.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.inputs import (
    DECAYS_PER_MBQ_S,
    decays,
    emitted_j,
    face_crossing,
    largest_step,
    mean_range_mm,
    require_inputs,
    scaling_density,
    voxel_mass_kg,
    zero_dose,
)
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, Settings, TiaMap
from dicomnode.physics.kernels import JOULE_PER_MEV

Float64 = npt.NDArray[np.float64]

# Share of the photon energy absorbed in an organ: by the EGSnrc water kernels 0.11 (177Lu) and 0.10 (131I)
# for a ball of 300 g, 0.17 and 0.15 for one of 1 kg (tests/dose/test_local.py computes them).
ORGAN_PHOTON_SHARE = 0.15


class LocalSettings(Settings):
    """Settings of the engine ``local``."""

    minimum_density_g_per_cm3: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="dose in thinner voxels of the body (gas) is that of this density: air is never hot",
    )


class LocalDeposition:
    """Charged particles stop in the voxel of the decay, photons leave (MIRD 17); quick.

    Its ``sigma_gy`` (k = 1) adds in quadrature what the model leaves out: (1) electrons that cross voxel
    faces, the share ``face_crossing`` (at most 1) of the largest step of their dose to a voxel within reach,
    with nothing beyond the grid; (2) photons, the dose of the share absorbed in an organ of 300 g, and all
    photon energy spread over the body.
    """

    Settings = LocalSettings

    def __init__(self, settings: LocalSettings | None = None) -> None:
        self.settings = settings or LocalSettings()
        self.identity = EngineIdentity("local", "2", {})
        self.capability = Capability(
            nuclides=None, voxel_mm=(0.5, 50.0), density_g_per_cm3=(0.001, 3.2), heterogeneous=True
        )

    def dose(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> DoseMap:
        """Absorbed dose to the medium of each voxel of the body; zero outside it."""
        require_inputs(tia, anatomy, nuclide, self.capability)
        if not tia.mbq_s_per_ml.any():
            return zero_dose(tia, "medium")
        progress(0.1, "local deposition")
        energy = nuclide.energy
        charged_mev = energy.electron_mev + energy.positron_mev + energy.alpha_mev
        density = scaling_density(anatomy, self.settings.minimum_density_g_per_cm3)
        kg = voxel_mass_kg(density, tia.grid.voxel_ml)
        per_mev = np.where(anatomy.body, decays(tia) * JOULE_PER_MEV / kg, 0.0)
        gy = per_mev * charged_mev
        sigma = self._sigma(gy, per_mev, density, tia, anatomy, nuclide)
        balance = self._balance(gy, tia, anatomy, nuclide)
        progress(1.0, "local deposition")
        alpha = per_mev * energy.alpha_mev if energy.alpha_mev > 0 else None
        return DoseMap(
            tia.grid,
            gy.astype(np.float32),
            sigma.astype(np.float32),
            balance,
            "medium",
            None if alpha is None else alpha.astype(np.float32),
        )

    def _sigma(
        self,
        gy: Float64,
        per_mev: Float64,
        density: Float64,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
    ) -> Float64:
        crossing = np.minimum(1.0, face_crossing(nuclide, tia.grid.spacing_mm) / density)
        photon_mev = nuclide.energy.photon_mev
        body_kg = float(anatomy.density.mass_g[anatomy.body].sum()) * 1e-3
        photon_j = tia.total_mbq_s * DECAYS_PER_MBQ_S * photon_mev * JOULE_PER_MEV
        everywhere = photon_j / body_kg if body_kg else 0.0
        electrons = per_mev * (nuclide.energy.electron_mev + nuclide.energy.positron_mev)
        total = (crossing * largest_step(electrons, self._reach(nuclide, tia))) ** 2
        total += (ORGAN_PHOTON_SHARE * photon_mev * per_mev) ** 2 + everywhere**2
        gas = anatomy.density.g_per_cm3 < self.settings.minimum_density_g_per_cm3
        total[gas] += gy[gas] ** 2
        return np.asarray(np.where(anatomy.body, np.sqrt(total), 0.0))

    def _reach(self, nuclide: Nuclide, tia: TiaMap) -> tuple[int, int, int]:
        """Voxels along z, y, x within twice the mean range of the electrons in water, one at least."""
        range_mm = mean_range_mm(nuclide.energy.electron_mev + nuclide.energy.positron_mev)
        x, y, z = (max(1, ceil(2 * range_mm / edge)) for edge in tia.grid.spacing_mm)
        return z, y, x

    def _balance(self, gy: Float64, tia: TiaMap, anatomy: Anatomy, nuclide: Nuclide) -> EnergyBalance:
        """Escaped: photons, decays outside the body, and what gas is too thin to hold."""
        emitted = emitted_j(tia, nuclide)
        kg = voxel_mass_kg(anatomy.density.g_per_cm3.astype(np.float64), tia.grid.voxel_ml)
        deposited = float((gy * kg).sum())
        share = np.minimum(
            1.0, anatomy.density.g_per_cm3 / np.float64(self.settings.minimum_density_g_per_cm3)
        )
        lost = np.where(anatomy.body, 1.0 - share, 1.0)
        energy = nuclide.energy
        charged_mev = energy.electron_mev + energy.positron_mev + energy.alpha_mev
        escaped_mev = decays(tia) * (charged_mev * lost + energy.photon_mev)
        return EnergyBalance(emitted, deposited, float(escaped_mev.sum()) * JOULE_PER_MEV)
