"""The engine ``montecarlo``: our own transport of electrons and photons in the patient's voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.dose.batch_moments import batch_moments
from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.inputs import decays, require_inputs, scaling_density, voxel_mass_kg, zero_dose
from dicomnode.dose.transported import transported_media
from dicomnode.errors import EngineUnavailable
from dicomnode.model import Anatomy, BatchNoise, DoseMap, EnergyBalance, Nuclide, TiaMap
from dicomnode.physics import scattering
from dicomnode.physics.electrons import collision_stopping
from dicomnode.physics.interactions import data_digest, medium_of
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.tissues import tissue

try:
    from dicomnode.montecarlo.batches import device_name
    from dicomnode.montecarlo.settings import TransportSettings
    from dicomnode.montecarlo.simulate import Deposit, Problem, simulate
    from dicomnode.montecarlo.source import alpha_mev, members
except ImportError as error:
    raise EngineUnavailable(f"the engine montecarlo needs numba: pip install numba ({error})") from error

Float64 = npt.NDArray[np.float64]

WATER = "water"
RATIO_AT_MEV = 0.1
"""Energy at which dose to medium becomes dose to water: for tissues the ratio of collision stopping powers
changes by less than 1 % from 10 keV to 2 MeV (bone 3 %)."""


class MonteCarlo:
    """Monte Carlo transport of electrons and photons in the patient's voxels.

    Its ``sigma_gy`` (k = 1) is statistical, by batches, and the dose itself in gas; ``noise`` keeps the
    batches. The device that it computes on is part of its identity, because CPU and GPU round differently.

    Raises
    ------
    EngineUnavailable : device = cuda, and there is none
    """

    Settings = TransportSettings

    def __init__(self, settings: TransportSettings | None = None) -> None:
        self.settings = settings or TransportSettings()
        made_by = {
            "interactions": data_digest(),
            "elastic": scattering.data_digest(),
            "device": device_name(self.settings),
        }
        self.identity = EngineIdentity("montecarlo", "3", made_by)
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
        """Absorbed dose in each voxel of the body; zero outside it.

        Raises
        ------
        Inconsistent, OutOfDomain : see ``inputs.require_inputs``; unknown nuclide or tissue
        Unsupported : ICRP 107 has no spectrum of its own for the nuclide's beta particles
        """
        require_inputs(tia, anatomy, nuclide, self.capability)
        if not tia.mbq_s_per_ml.any():
            return zero_dose(tia, self.settings.dose_to)
        progress(0.0, "tables")
        found = members(nuclide)
        material, media = transported_media(anatomy)
        problem = Problem(decays(tia), anatomy.density.g_per_cm3, material, media, tia.grid.spacing_mm, found)
        per_joule = np.where(anatomy.body, self._to_water(problem) / self._mass_kg(anatomy), 0.0)
        alpha_j = problem.decays * (alpha_mev(found) * JOULE_PER_MEV)
        kept = batch_moments(anatomy.body, JOULE_PER_MEV * per_joule, alpha_j * per_joule)
        deposit = simulate(problem, self.settings, seed, progress, kept)
        made = deposit.decays_simulated.values()
        noise = kept.noise(deposit.batches, min(made)) if kept and made else None
        return self._dose_map(tia, anatomy, deposit, per_joule, alpha_j, noise)

    def _dose_map(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        deposit: Deposit,
        per_joule: Float64,
        alpha_j: Float64,
        noise: BatchNoise | None,
    ) -> DoseMap:
        """Energy to dose; what is deposited outside the body, or is not held by gas, counts as escaped."""
        joule = np.where(anatomy.body, deposit.mev * JOULE_PER_MEV + alpha_j, 0.0)
        gy, sigma = joule * per_joule, deposit.sigma_mev * JOULE_PER_MEV * per_joule
        solidity = np.minimum(1.0, anatomy.density.g_per_cm3 / self.settings.minimum_density_g_per_cm3)
        sigma = np.where(solidity < 1, np.maximum(sigma, np.abs(gy)), sigma)
        joule = joule * solidity
        held, gone = float(joule.sum()), self._gone(deposit, joule, alpha_j)
        # By the transport's own count: ICRP 107 prints 0.511 MeV for photons of annihilation.
        emitted = deposit.emitted_mev * JOULE_PER_MEV + float(alpha_j.sum())
        if self._is_water:  # what the dose stands for in voxels of water; the rest counts as escaped
            held = float(gy.sum()) * tia.grid.voxel_ml * 1e-3
            gone = emitted - held
        return DoseMap(
            tia.grid,
            gy.astype(np.float32),
            sigma.astype(np.float32),
            EnergyBalance(emitted, held, gone),
            self.settings.dose_to,
            (alpha_j * per_joule).astype(np.float32) if alpha_j.any() else None,
            noise,
        )

    @property
    def _is_water(self) -> bool:
        return self.settings.dose_to == WATER

    def _gone(self, deposit: Deposit, held_j: Float64, alpha_j: Float64) -> float:
        """Energy that left the grid, lies outside the body or is not held by gas, J, by the transport's own
        count."""
        everywhere = float(deposit.mev.sum()) * JOULE_PER_MEV + float(alpha_j.sum())
        return deposit.escaped_mev * JOULE_PER_MEV + everywhere - float(held_j.sum())

    def _to_water(self, problem: Problem) -> Float64:
        """Dose to water over dose to medium, by voxel."""
        if not self._is_water:
            return np.ones(problem.decays.shape)
        water = collision_stopping(medium_of(tissue(WATER)), [RATIO_AT_MEV])[0]
        ratio = np.array([water / collision_stopping(m, [RATIO_AT_MEV])[0] for m in problem.media])
        return np.asarray(ratio[problem.material])

    def _mass_kg(self, anatomy: Anatomy) -> Float64:
        """Mass that energy is divided by: never that of gas."""
        scaled = scaling_density(anatomy, self.settings.minimum_density_g_per_cm3)
        return voxel_mass_kg(scaled, anatomy.grid.voxel_ml)
