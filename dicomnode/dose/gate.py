"""GATE 10 (Geant4) as an engine: the peer that users trust, on the same volumes and emission data.

opengate runs in processes of its own (``montecarlo.gate.run``). Dose is the energy deposited in a voxel over
the mass of that voxel in the density map, to its own medium; around the grid is vacuum.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.dose.engine import Capability, EngineIdentity, Progress, no_progress
from dicomnode.dose.inputs import decays, emitted_j, require_inputs, scaling_density, voxel_mass_kg, zero_dose
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, Settings, TiaMap
from dicomnode.montecarlo.gate.data import PhysicsList, find, require_data
from dicomnode.montecarlo.gate.run import Machine, Scene, Tally, parts_of, simulate
from dicomnode.montecarlo.gate.source import Emitted, emitted
from dicomnode.montecarlo.gate.volumes import materials_of
from dicomnode.physics.kernels import JOULE_PER_MEV

Float64 = npt.NDArray[np.float64]

DEFAULT_DECAYS = 1e6
PILOT_DECAYS = 1e5  # first round where the number of decays follows from uncertainty or time
MARGIN = 1.05  # on decays that an uncertainty seems to need
GROWTH = 20.0  # at most this many times the decays so far in one round: the estimate is noisy
REGION = 0.2  # of the largest dose: voxels whose uncertainty counts


class GateSettings(Settings):
    """Settings of the engine ``gate``."""

    decays: float | None = Field(
        default=None, gt=0, le=1e12, description="stop after so many decays; 1e6 where no limit is given"
    )
    uncertainty: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="stop at this mean relative standard uncertainty of the voxels above 20 % of the largest "
        "dose",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="start no round of simulation that would end later than this, s",
    )
    physics_list: PhysicsList = Field(
        default="G4EmStandardPhysics_option3",
        description="Geant4 electromagnetic physics; option 4 needs more of the official data",
    )
    cut_mm: float = Field(
        default=0.05, gt=0, le=1, description="production cut of electrons, positrons and photons, mm"
    )
    density_step: float = Field(
        default=0.02,
        gt=0,
        le=0.2,
        description="densities of one tissue closer than this (relative) share a material",
    )
    minimum_density_g_per_cm3: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="dose in thinner voxels of the body (gas) is that of this density: air is never hot",
    )
    jobs: int = Field(
        default=2, ge=1, le=256, description="processes side by side; part of what fixes the result"
    )
    threads: int = Field(
        default=1, ge=1, le=256, description="threads in each; above one sums depend on their order"
    )
    python: str = Field(default="", description="the Python that has opengate; empty: the one that runs this")
    data_folder: str = Field(default="", description="Geant4 data; empty: where opengate looks for them")
    scratch_folder: str = Field(default="", description="for temporary files; empty: the system's")


@dataclass(eq=False)
class Run:
    """What has been simulated so far."""

    decays: float
    seconds: float
    tallies: dict[str, Tally]
    uncertainty: float = np.inf

    def add(self, decays_done: float, seconds: float, found: dict[str, Tally]) -> None:
        self.decays += decays_done
        self.seconds += seconds
        for name, tally in found.items():
            if name in self.tallies:
                self.tallies[name].add(tally)
            else:
                self.tallies[name] = tally


def next_round(settings: GateSettings, run: Run) -> float:
    """Decays to simulate next; zero when a limit is reached.

    Raises nothing: a pure rule. Rounds grow at most twentyfold, and none is begun that seems to end after
    ``seconds``.
    """
    open_ended = settings.uncertainty is not None or settings.seconds is not None
    limit = settings.decays or (np.inf if open_ended else DEFAULT_DECAYS)
    left = limit - run.decays
    if run.decays == 0:
        return min(left, PILOT_DECAYS) if open_ended else left
    wanted = min(left, GROWTH * run.decays)
    if settings.uncertainty is not None:
        more = (run.uncertainty / settings.uncertainty) ** 2 - 1
        wanted = min(wanted, MARGIN * run.decays * more)
    if settings.seconds is not None:
        wanted = min(wanted, run.decays / run.seconds * (settings.seconds - run.seconds))
        if wanted < 0.1 * min(run.decays, PILOT_DECAYS):  # not worth the start of a process
            return 0.0
    return max(0.0, float(wanted)) if wanted >= 1 else 0.0


class Gate:
    """GATE 10 (Geant4) on the same volumes and emission data; needs ``dicomnode[gate]``.

    Raises
    ------
    EngineUnavailable : opengate or the Geant4 data are not installed; said at once, not after the scan
    """

    Settings = GateSettings

    def __init__(self, settings: GateSettings | None = None) -> None:
        self.settings = settings or GateSettings()
        self.installation = find(self.settings.python, self.settings.data_folder)
        require_data(self.installation, self.settings.physics_list, ["H", "O"])
        kind = "stand-in data, not for clinical use" if self.installation.stand_in else "geant4-data"
        version = f"1 (opengate {self.installation.opengate}, core {self.installation.core})"
        self.identity = EngineIdentity("gate", version, {kind: self.installation.digest})
        self.capability = Capability(None, (0.1, 50.0), (0.001, 3.2), heterogeneous=True)

    def dose(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> DoseMap:
        """Absorbed dose in each voxel of the body; zero outside it. ``sigma_gy`` is statistical."""
        require_inputs(tia, anatomy, nuclide, self.capability)
        source = emitted(nuclide)
        if not tia.mbq_s_per_ml.any():
            return zero_dose(tia, "medium")
        progress(0.0, "GATE: materials")
        scene = self._scene(tia, anatomy)
        run = self._rounds(scene, source, seed, progress)
        mev, sigma_mev = _per_decay(source, run.tallies, scene.activity)
        total = float(decays(tia).sum())
        alpha = scene.activity / scene.activity.sum() * source.alpha_mev if source.alpha_mev else None
        return self._dose_map(tia, anatomy, nuclide, mev * total, sigma_mev * total,
                              None if alpha is None else alpha * total)  # fmt: skip

    def _scene(self, tia: TiaMap, anatomy: Anatomy) -> Scene:
        label, materials = materials_of(anatomy, self.settings.density_step)
        elements = {element for material in materials for element in material.composition.mass_fractions}
        require_data(self.installation, self.settings.physics_list, elements)
        return Scene(label, materials, tia.mbq_s_per_ml.astype(np.float64), tia.grid.spacing_mm)

    def _machine(self) -> Machine:
        own = self.settings
        return Machine(
            self.installation, own.physics_list, own.cut_mm, own.jobs, own.threads, own.scratch_folder
        )

    def _rounds(self, scene: Scene, source: Emitted, seed: int, progress: Progress) -> Run:
        machine, run, seeds = self._machine(), Run(0.0, 0.0, {}), _seeds(seed)
        while (wanted := next_round(self.settings, run)) > 0:
            start, before = time.monotonic(), self._share(run)
            parts = [p for one in source.components for p in parts_of(one, wanted, machine, seeds)]
            what = f"GATE: {ceil(run.decays + wanted)} decays, {len(parts)} processes"

            def report(done: float, before: float = before, what: str = what) -> None:
                progress(min(0.99, before + (0.99 - before) * done), what)

            found = simulate(scene, parts, machine, report) if parts else {}
            run.add(wanted, time.monotonic() - start, found)
            run.uncertainty = _uncertainty(source, run.tallies, scene.activity)
        progress(1.0, f"GATE: {ceil(run.decays)} decays, {run.uncertainty:.2%}")
        return run

    def _share(self, run: Run) -> float:
        """Fraction done before a round, by the limit that is nearest."""
        own, shares = self.settings, [0.0]
        if own.decays:
            shares.append(run.decays / own.decays)
        if own.seconds:
            shares.append(run.seconds / own.seconds)
        if own.uncertainty and np.isfinite(run.uncertainty):
            shares.append((own.uncertainty / run.uncertainty) ** 2)
        return min(0.99, max(shares))

    def _dose_map(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        mev: Float64,
        sigma_mev: Float64,
        alpha_mev: Float64 | None,
    ) -> DoseMap:
        """Energy per voxel to dose. What lies outside the body, or is not held by gas, counts as escaped."""
        density = anatomy.density.g_per_cm3.astype(np.float64)
        kg = voxel_mass_kg(
            scaling_density(anatomy, self.settings.minimum_density_g_per_cm3), tia.grid.voxel_ml
        )
        gy_per_mev = np.where(anatomy.body, JOULE_PER_MEV / kg, 0.0)
        gy, sigma = mev * gy_per_mev, sigma_mev * gy_per_mev
        gas = density < self.settings.minimum_density_g_per_cm3
        sigma = np.where(gas, np.maximum(sigma, gy), sigma)
        deposited = float((gy * voxel_mass_kg(density, tia.grid.voxel_ml)).sum())
        emitted_ = emitted_j(tia, nuclide)
        return DoseMap(
            tia.grid,
            gy.astype(np.float32),
            sigma.astype(np.float32),
            EnergyBalance(emitted_, deposited, emitted_ - deposited),
            "medium",
            None if alpha_mev is None else (alpha_mev * gy_per_mev).astype(np.float32),
        )


def _seeds(seed: int) -> Iterator[int]:
    """Seeds of the processes, in the order in which they are made: below 2^31, as Geant4 takes them."""
    children = np.random.SeedSequence(seed)
    while True:
        yield int(children.spawn(1)[0].generate_state(1, np.uint32)[0]) % (2**31 - 2) + 1


def _per_decay(source: Emitted, tallies: dict[str, Tally], activity: Float64) -> tuple[Float64, Float64]:
    """(energy, standard uncertainty) per voxel and decay of the whole map, MeV.

    A voxel with energy of its own (left where the decay is) and no event yet has the uncertainty of
    one mean event.
    """
    mev = activity / activity.sum() * source.local_mev
    variance, one_event = np.zeros_like(mev), 0.0
    for component in source.components:
        tally = tallies[component.name]
        mean, sigma = tally.per_decay(component)
        mev += mean
        variance += sigma**2
        one_event = max(one_event, component.nominal_mev / tally.events)
    return mev, np.where((variance == 0) & (mev > 0), one_event, np.sqrt(variance))


def _uncertainty(source: Emitted, tallies: dict[str, Tally], activity: Float64) -> float:
    """Mean relative standard uncertainty of the voxels above 20 % of the largest energy."""
    mev, sigma = _per_decay(source, tallies, activity)
    region = mev > REGION * mev.max()
    return float((sigma[region] / mev[region]).mean())
