"""The engine ``denoise``: electrons by kernels, photons by a short transport, smoothed as a ratio to kernels.

What kernels are wrong about in a patient are the photons: their medium is unbounded, and one and the same
from source to target. A short run of our own transport (``montecarlo``) knows better and is noisy. Its ratio
to the kernels' photons varies slowly, and with the anatomy: it is fitted to columns of the anatomy on this
patient's own histories, what is left is smoothed and shrunk (``denoising``). Nothing is learned beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.dose.denoising.columns import GAS_BELOW, LUNG_BELOW, absorption
from dicomnode.dose.denoising.correction import Corrected, corrected
from dicomnode.dose.denoising.prior import electron_mev, photon_prior
from dicomnode.dose.denoising.thin import Thin, thin_correction, thin_tissue
from dicomnode.dose.density_steps import THINNEST_G_PER_CM3, hot_at_steps, near_a_step
from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.inputs import (
    decays,
    emitted_j,
    mean_range_mm,
    require_energy,
    require_inputs,
    scaling_density,
    voxel_mass_kg,
    zero_dose,
)
from dicomnode.dose.low_rank import By
from dicomnode.dose.transported import transported_media
from dicomnode.errors import EngineUnavailable, OutOfDomain
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, Settings, TiaMap
from dicomnode.physics.interactions import data_digest
from dicomnode.physics.kernels import JOULE_PER_MEV, PointKernel
from dicomnode.physics.media import kernel_digest, kernel_names, medium_kernels

try:
    from dicomnode.montecarlo.component import component_estimates
    from dicomnode.montecarlo.settings import TransportSettings
    from dicomnode.montecarlo.simulate import Problem
    from dicomnode.montecarlo.source import members
except ImportError as error:
    raise EngineUnavailable(f"the engine denoise needs numba: pip install numba ({error})") from error

Float64 = npt.NDArray[np.float64]

HALVES = 2
LEAST_HISTORIES = 100_000
BYTES_PER_BODY_VOXEL, BYTES_PER_VOXEL = 500, 160
"""Columns and their copy; maps of the grid (measured as the peak of a torso; upper estimates)."""
FEW_PHOTONS = 0.001
"""Photons with a smaller share of the electrons' energy (90Y) are left as the kernels have them."""
KERNEL_PHOTONS = 0.25
"""Relative error of photons by kernels."""
ELECTRONS, LONG_RANGE = 0.005, 0.01
"""Relative error of electrons by the kernel of the source's medium, away from gas; where they reach beyond a
voxel of lung (90Y: a ball of 36 mm in voxels of 2 and 4 mm is 1.1 % off) the second."""
SHORT_RANGE = 0.25
"""Of what kernels of the target's medium are off by at steps (``density_steps``) and in lung: the kernel of
the source's medium knows the step's nearer side (our choice)."""
THIN = 0.05
"""Relative error, at steps and in lung, of electrons corrected by transport (tests/dose/test_thin.py)."""
BY_MEDIUM: tuple[By, By] = ("source", "target")
PHOTONS = np.array([[0.010, 0.030, 0.030], [0.030, 0.050, 0.060], [0.040, 0.040, 0.060]])
"""Relative error of the corrected photons beyond noise, 1 sd: rows soft tissue, lung, bone; columns inside,
at a density step, at the skin (simulated patient 4, 177Lu: docs/prediction.md)."""


class DenoiseSettings(Settings):
    """Settings of the engine ``denoise``."""

    histories: int = Field(
        default=0,
        ge=0,
        le=10**10,
        description="photons to transport; 0: one for each voxel of the body, and at least 100 000",
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="threads, 0 for all cores; no effect on the result"
    )
    minimum_density_g_per_cm3: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="dose in thinner voxels of the body (gas) is that of this density: air is never hot",
    )
    memory_limit_gb: float = Field(
        default=8.0, gt=0, description="refuse a grid that would need more memory than this"
    )
    kernel_folder: str = Field(
        default="", description="kernels of further nuclides, made by `dicomnode kernels --all-media`"
    )


@dataclass(frozen=True, eq=False)
class _Energy:
    """By voxel (z, y, x), MeV, zero outside the body; ``sigma`` with all that is known of the error."""

    mev: Float64
    sigma: Float64


@dataclass(frozen=True, eq=False)
class _Task:
    tia: TiaMap
    anatomy: Anatomy
    nuclide: Nuclide
    points: tuple[PointKernel, ...]
    seed: int

    @property
    def whole(self) -> tuple[slice, slice, slice]:
        nz, ny, nx = self.tia.grid.shape_zyx
        return slice(0, nz), slice(0, ny), slice(0, nx)

    @cached_property
    def problem(self) -> Problem:
        """What is transported."""
        material, media = transported_media(self.anatomy)
        density, spacing = self.anatomy.density.g_per_cm3, self.tia.grid.spacing_mm
        return Problem(decays(self.tia), density, material, media, spacing, members(self.nuclide))


class Denoise:
    """The engine ``denoise``."""

    Settings = DenoiseSettings

    def __init__(self, settings: DenoiseSettings | None = None) -> None:
        self.settings = settings or DenoiseSettings()
        names = kernel_names(self.settings.kernel_folder)
        digests = {f"kernels-{n}": kernel_digest(n, self.settings.kernel_folder) for n in names}
        self.identity = EngineIdentity("denoise", "1", digests | {"interactions": data_digest()})
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
        """Absorbed dose in each voxel of the body, to its medium; zero outside it.

        Raises
        ------
        Inconsistent, OutOfDomain : see ``inputs.require_inputs``; no kernels, or not enough memory
        """
        require_inputs(tia, anatomy, nuclide, self.capability)
        if not tia.mbq_s_per_ml.any():
            return zero_dose(tia, "medium")
        self._require_memory(anatomy)
        progress(0.0, "kernels")
        task = _Task(tia, anatomy, nuclide, self._points(nuclide), seed)
        electrons = self._electrons(task, progress)
        progress(0.3, "kernels of photons")
        photons = self._photons(task, progress)
        progress(1.0, "dose")
        return self._dose_map(tia, anatomy, nuclide, electrons, photons)

    def _points(self, nuclide: Nuclide) -> tuple[PointKernel, ...]:
        recorded = self.identity.digests[f"kernels-{nuclide.name}"]
        points = medium_kernels(nuclide.name, self.settings.kernel_folder, recorded)
        for point in points:
            require_energy(point, nuclide)
        return points

    def _electrons(self, task: _Task, progress: Progress) -> _Energy:
        """By kernels; those of sources beside lung and gas corrected by transport, where they reach far."""
        density, spacing_mm = task.anatomy.density.g_per_cm3, task.tia.grid.spacing_mm
        mev = electron_mev(task.tia, density, task.points, self._workers)
        near = near_a_step(density, task.nuclide, spacing_mm, task.whole) | (density < LUNG_BELOW)
        solid = scaling_density(task.anatomy, self.settings.minimum_density_g_per_cm3)
        range_mm = mean_range_mm(task.nuclide.energy.electron_mev)
        everywhere, share = ELECTRONS, SHORT_RANGE
        if range_mm > THINNEST_G_PER_CM3 * min(spacing_mm):
            everywhere, share = LONG_RANGE, 1.0
        model = np.where(near, share * hot_at_steps(solid, task.nuclide, spacing_mm), 0.0)
        noise = np.zeros_like(mev)
        thin = thin_tissue(task.tia, task.anatomy, task.nuclide)
        if thin is not None:
            progress(0.1, "transport of electrons beside lung and gas")
            added, noise = self._thin(task, thin, progress)
            mev += added
            model = np.where(near & thin.targets, THIN, model)
        model = np.hypot(everywhere, model)
        inside = task.anatomy.body
        return _Energy(np.where(inside, mev, 0.0), np.where(inside, np.hypot(model * mev, noise), 0.0))

    def _thin(self, task: _Task, thin: Thin, progress: Progress) -> tuple[Float64, Float64]:
        density = task.anatomy.density.g_per_cm3
        problem = replace(task.problem, decays=decays(thin.tia))
        halves = self._halves(task, problem, "electron", lambda done: progress(0.1 + 0.2 * done, "electrons"))
        source, target = (electron_mev(thin.tia, density, task.points, self._workers, by) for by in BY_MEDIUM)
        return thin_correction(halves, source, target, density, thin.targets, task.tia.grid.spacing_mm[::-1])

    def _photons(self, task: _Task, progress: Progress) -> _Energy:
        anatomy = task.anatomy
        if any(p.photon is None for p in task.points):
            nothing = np.zeros(task.tia.grid.shape_zyx)
            return _Energy(nothing, nothing)
        prior = photon_prior(task.tia, anatomy.density.g_per_cm3, task.points, self._workers)
        if task.nuclide.energy.photon_mev < FEW_PHOTONS * task.nuclide.energy.electron_mev:
            mev = np.where(anatomy.body, prior.target * anatomy.density.mass_g, 0.0)
            return _Energy(mev, KERNEL_PHOTONS * mev)
        problem = task.problem
        halves = self._halves(task, problem, "photon", lambda done: progress(0.5 + 0.3 * done, "photons"))
        progress(0.8, "correction of photons")
        found = corrected(
            halves, prior, anatomy.density.g_per_cm3, anatomy.body,
            absorption(problem.media)[problem.material], task.tia.grid.spacing_mm[::-1],
        )  # fmt: skip
        return self._on_grid(found, anatomy)

    def _halves(
        self, task: _Task, problem: Problem, component: str, step: Callable[[float], None]
    ) -> Float64:
        settings = TransportSettings(threads=self.settings.threads, batches=5)
        count = self.settings.histories or max(LEAST_HISTORIES, int(np.count_nonzero(task.anatomy.body)))
        return component_estimates(problem, settings, task.seed, component, count, HALVES, step)

    @property
    def _workers(self) -> int:
        return self.settings.threads or 1

    @staticmethod
    def _on_grid(found: Corrected, anatomy: Anatomy) -> _Energy:
        mev, sigma = np.zeros((2, *anatomy.grid.shape_zyx))
        mev[anatomy.body] = found.mev
        model = PHOTONS[found.kind, found.place] * found.kernel_mev
        sigma[anatomy.body] = np.hypot(found.noise_mev, model)
        return _Energy(mev, sigma)

    def _dose_map(
        self, tia: TiaMap, anatomy: Anatomy, nuclide: Nuclide, electrons: _Energy, photons: _Energy
    ) -> DoseMap:
        least = self.settings.minimum_density_g_per_cm3
        own, held = anatomy.density.g_per_cm3.astype(np.float64), scaling_density(anatomy, least)
        per_joule = 1 / voxel_mass_kg(held, tia.grid.voxel_ml)
        alpha_j = np.where(anatomy.body, decays(tia) * (nuclide.energy.alpha_mev * JOULE_PER_MEV), 0.0)
        gy = ((electrons.mev + photons.mev) * JOULE_PER_MEV + alpha_j) * per_joule
        sigma = np.hypot(electrons.sigma, photons.sigma) * JOULE_PER_MEV * per_joule
        sigma = np.where(own < max(least, GAS_BELOW), np.maximum(sigma, np.abs(gy)), sigma)
        deposited = float((gy * own).sum()) * tia.grid.voxel_ml * 1e-3
        emitted = emitted_j(tia, nuclide)
        return DoseMap(
            tia.grid,
            gy.astype(np.float32),
            sigma.astype(np.float32),
            EnergyBalance(emitted, deposited, emitted - deposited),
            "medium",
            (alpha_j * per_joule).astype(np.float32) if alpha_j.any() else None,
        )

    def _require_memory(self, anatomy: Anatomy) -> None:
        voxels, inside = anatomy.body.size, int(np.count_nonzero(anatomy.body))
        needed = (BYTES_PER_VOXEL * voxels + BYTES_PER_BODY_VOXEL * inside) / 1e9
        if needed > self.settings.memory_limit_gb:
            raise OutOfDomain(
                f"memory for a grid of {anatomy.grid.shape_zyx}", round(needed, 1), "GB",
                f"up to memory_limit_gb = {self.settings.memory_limit_gb}; use a coarser or smaller grid, or "
                "raise the limit",
            )  # fmt: skip
