"""From decays and anatomy to energy deposited: batches, uncertainty, stopping, balance.

Electrons and photons of the decays are separate runs with statistics of their own. Histories are spread over
voxels by systematic sampling and, within a voxel, over energy, position and direction by a randomly shifted
low-discrepancy sequence. Where most electron energy stays in the voxel of the decay, the known mean energy
emitted is added exactly and the energy drawn is taken off (a control variate of coefficient one), so that
only what crosses voxel faces has a variance. All three are unbiased.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.montecarlo import cpu
from dicomnode.montecarlo.electron import REST
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.source import (
    Allotment,
    Component,
    Member,
    allot,
    electron_component,
    photon_component,
)
from dicomnode.montecarlo.world import World, make_world
from dicomnode.physics.electrons import csda_range
from dicomnode.physics.interactions import Medium

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Progress = Callable[[float, str], None]
Reduction = Callable[[Float64], Float64]
"""Energy by voxel (z, y, x), MeV, to the few numbers that are kept of a batch."""

PER_MEV = 2.0**30
"""Units of the tallies in one MeV: a batch may hold 8e9 MeV, and a deposit is known to 1 meV."""
BATCH_LIMIT = 500_000_000
PIECE = 2_000_000
"""Histories between two calls of ``progress``."""
# A photon history takes about so many times the time of an electron history (benchmarks/montecarlo.py). A
# number and not a measurement, so that the same seed gives the same allotment on any machine.
PHOTON_COST = 2.0
PILOT = 200_000


@dataclass(frozen=True, eq=False)
class Problem:
    """What is simulated.

    Attributes
    ----------
    decays : in each voxel (z, y, x)
    density_g_per_cm3, material : of each voxel; material is an index into ``media``
    spacing_mm : voxel edges x, y, z
    members : what decays
    """

    decays: Float64
    density_g_per_cm3: npt.NDArray[np.float32]
    material: npt.NDArray[np.integer]
    media: tuple[Medium, ...]
    spacing_mm: tuple[float, float, float]
    members: tuple[Member, ...]


@dataclass(eq=False)
class Tally:
    """Sums over batches of one component; integers, so that they merge exactly in any order."""

    component: Component
    voxels: int
    batches: int = 0
    histories: int = 0
    energy: Int64 = field(init=False)
    squares: Float64 = field(init=False)
    totals: Int64 = field(init=False)
    size: int = 0

    def __post_init__(self) -> None:
        self.energy = np.zeros(self.voxels, np.int64)
        self.squares = np.zeros(self.voxels)
        self.totals = np.zeros(3, np.int64)

    def add(self, energy: Int64, totals: Int64, histories: int) -> None:
        """One more batch, of the same size as those before."""
        self.energy += energy
        self.squares += (energy / PER_MEV) ** 2
        self.totals += totals
        self.batches += 1
        self.histories += histories

    @property
    def decays(self) -> float:
        """Decays that were simulated."""
        return self.histories / self.component.source.per_decay

    def variance(self) -> Float64:
        """Of ``energy`` in MeV, summed over batches."""
        mean = self.energy / PER_MEV / self.batches
        spread = np.maximum(self.squares - self.batches * mean**2, 0.0)
        return np.asarray(spread * (self.batches / max(self.batches - 1, 1)))


@dataclass(frozen=True, eq=False)
class Deposit:
    """Energy by voxel, MeV, of all decays of the problem.

    Attributes
    ----------
    mev, sigma_mev : (z, y, x), with standard uncertainty (k = 1)
    parts : component name -> its energy (z, y, x)
    escaped_mev, emitted_mev : deposited + escaped = emitted
    decays_simulated : component name -> decays
    uncertainty : mean relative standard uncertainty where the dose is above 20 % of its maximum
    batches : (batches, numbers) each batch's own estimate of all decays, reduced; empty where not asked for
    """

    mev: Float64
    sigma_mev: Float64
    parts: dict[str, Float64]
    escaped_mev: float
    emitted_mev: float
    decays_simulated: dict[str, float]
    uncertainty: float
    batches: Float64 = field(default_factory=lambda: np.zeros((0, 0)))


class Run:
    """One simulation: the tables of its problem, and batches on request."""

    def __init__(self, problem: Problem, settings: TransportSettings, seed: int) -> None:
        if not 0 <= seed < 2**64:
            raise OutOfDomain("seed", seed, "", "0 to 2^64 - 1")
        cuts = settings.cuts
        found = problem.members
        self.problem, self.settings, self.seed = problem, settings, seed
        components = (electron_component(found, cuts.electron), photon_component(found, cuts.photon))
        self.local_mev = sum(c.local_mev for c in components)
        self.components = tuple(c for c in components if c.source.per_decay > 0)
        highest = max((c.source.highest_mev for c in self.components), default=0.1)
        positrons = highest > 2 * REST or any(e.positron is not None for e, _ in found)
        self.world: World = make_world(
            problem.density_g_per_cm3, problem.material, problem.spacing_mm, problem.media, cuts,
            max(highest, 2 * cuts.delta, 0.05) * 1.001, positrons,
        )  # fmt: skip
        self.weight = problem.decays.ravel()
        self.sources = np.flatnonzero(self.weight > 0)
        self.threads = settings.threads or os.cpu_count() or 1
        self.control = {c.name: self._control(c) for c in self.components}

    def _control(self, component: Component) -> npt.NDArray[np.uint8]:
        """1 in voxels where twice the range of the mean electron is less than the smallest edge."""
        shape = self.weight.shape
        if component.name != "electron":
            return np.zeros(shape, np.uint8)
        source = component.source
        ranges = np.array(
            [csda_range(m, source.mev_per_decay / source.per_decay)[0] for m in self.problem.media]
        )
        path = 0.1 * self.problem.density_g_per_cm3.ravel() * min(self.problem.spacing_mm)
        return np.asarray(path > 2 * ranges[self.problem.material.ravel()], np.uint8)

    def batch(
        self, component: Component, number: int, histories: int, step: Callable[[float], None]
    ) -> tuple[Int64, Int64]:
        """(energy by voxel, totals) of one batch: the same for any number of threads, here or elsewhere."""
        offset = float(np.random.Generator(np.random.Philox(key=self.seed, counter=number)).random())
        share = allot(self.weight[self.sources], histories, offset)
        share = Allotment(self.sources[share.voxel], share.first, share.number)
        stream = 2 * number + (component.name == "photon")
        control = self.control[component.name]
        tallies = [np.zeros(len(self.weight), np.int64) for _ in range(self.threads)]
        totals = np.zeros((self.threads, 3), np.int64)
        rooms = [cpu.scratch() for _ in range(self.threads)]
        cuts = _cuts(share.number, max(self.threads, self.threads * -(-histories // PIECE)))

        def work(thread: int, part: slice) -> None:
            cpu.run(
                self.world, component.source, share.voxel[part], share.first[part], share.number[part],
                np.uint64(self.seed), stream, PER_MEV, control, tallies[thread], totals[thread],
                rooms[thread],
            )  # fmt: skip

        with ThreadPoolExecutor(self.threads) as pool:
            for n in range(0, len(cuts), self.threads):
                group = cuts[n : n + self.threads]
                list(pool.map(work, range(len(group)), group))
                step((n + len(group)) / len(cuts))
        return np.sum(tallies, axis=0), totals.sum(axis=0)


def _cuts(count: Int64, pieces: int) -> list[slice]:
    """Slices of about equal numbers of histories; empty ones left out."""
    upto = np.cumsum(count)
    edges = np.searchsorted(upto, np.linspace(0, upto[-1], pieces + 1)[1:-1])
    bounds = [0, *(edges + 1).tolist(), len(count)]
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]


def region(problem: Problem, local_mev: float) -> npt.NDArray[np.bool_]:
    """Voxels above 20 % of the largest dose, judged by local deposition; gas left out."""
    solid = problem.density_g_per_cm3 > 0.1
    dose = np.where(solid, problem.decays / problem.density_g_per_cm3, 0.0)
    if local_mev <= 0 or not dose.any():
        return np.asarray(problem.decays > 0)
    return np.asarray(dose > 0.2 * dose.max())


def simulate(
    problem: Problem,
    settings: TransportSettings,
    seed: int,
    progress: Progress,
    reduce: Reduction | None = None,
) -> Deposit:
    """Run until the settings say stop. ``reduce`` is applied to the estimate of every batch by itself.

    Raises
    ------
    OutOfDomain : seed out of range
    """
    started = time.monotonic()
    run = Run(problem, settings, seed)
    where = region(problem, 1.0)
    sizes = _plan(run, where, progress)
    tallies = {c.name: Tally(c, len(run.weight)) for c in run.components}
    number, kept = 0, []
    while True:
        batch = {}
        for component in run.components:
            n = sizes[component.name]

            def step(part: float, base: int = number) -> None:
                progress(min(0.99, 0.05 + 0.9 * (base + part) / settings.batches), "transport")

            energy, totals = run.batch(component, number, n, step)
            tallies[component.name].add(energy, totals, n)
            if reduce is not None:
                batch[component.name] = Tally(component, len(run.weight))
                batch[component.name].add(energy, totals, n)
        number += 1
        if reduce is not None:
            kept.append(reduce(_mev(run, _scaled(run, batch)[0])))
        late = settings.seconds is not None and time.monotonic() - started > settings.seconds
        if number < (2 if late else settings.batches):
            continue
        found = _deposit(run, tallies, where)
        goal = settings.goal
        if late or goal is None or found.uncertainty <= goal or settings.decays is not None:
            progress(1.0, "transport")
            return replace(found, batches=np.array(kept)) if kept else found


def _plan(run: Run, where: npt.NDArray[np.bool_], progress: Progress) -> dict[str, int]:
    """Histories of one batch of each component."""
    settings = run.settings
    if settings.decays is not None:
        share = settings.decays / settings.batches
        return {c.name: _size(share * c.source.per_decay) for c in run.components}
    terms = {}
    for index, component in enumerate(run.components):
        progress(0.01 + 0.02 * index, "pilot")
        n = min(PILOT, max(2000, 4 * len(run.sources)))
        tally = Tally(component, len(run.weight))
        for number in range(4):
            tally.add(*run.batch(component, (1 << 28) + number, n, lambda _: None), n)
        own = _scaled(run, {component.name: tally})
        terms[component.name] = (own[1].reshape(where.shape)[where] * tally.histories, component)
    total = _mean_mev(run)[where]
    relative = {k: float(np.mean(v / total**2)) for k, (v, _) in terms.items()}
    cost = {k: PHOTON_COST if k == "photon" else 1.0 for k in relative}
    goal = settings.goal or 0.003
    root = sum(np.sqrt(relative[k] * cost[k]) for k in relative)
    return {
        k: _size(max(np.sqrt(relative[k] / cost[k]) * root / goal**2, 100.0) / settings.batches)
        for k in relative
    }


def _size(histories: float) -> int:
    return int(min(max(histories, 200.0), BATCH_LIMIT))


def _mean_mev(run: Run) -> Float64:
    """Energy by local deposition of electrons, as the scale of relative uncertainties."""
    per_decay = run.local_mev + sum(c.source.mev_per_decay for c in run.components if c.name == "electron")
    return np.maximum(run.problem.decays * max(per_decay, 1e-6), 1e-30)


def _scaled(run: Run, tallies: dict[str, Tally]) -> tuple[dict[str, Float64], Float64, float]:
    """(energy of each component, variance, escaped) for all decays of the problem."""
    all_decays = float(run.weight.sum())
    variance, escaped, parts = np.zeros(len(run.weight)), 0.0, {}
    for name, tally in tallies.items():
        scale = all_decays / tally.decays
        known = run.weight * tally.component.source.mev_per_decay * run.control[name]
        energy = known + tally.energy / PER_MEV * scale
        gone = float(tally.totals[1]) / PER_MEV * scale
        # What was drawn is not exactly what is emitted on average: one factor makes the balance exact.
        ratio = all_decays * tally.component.source.mev_per_decay / (float(energy.sum()) + gone)
        parts[name] = energy * ratio
        escaped += gone * ratio
        variance += tally.variance() * scale**2
    return parts, variance, escaped


def _mev(run: Run, parts: dict[str, Float64]) -> Float64:
    """Energy of all components and of what is not transported (z, y, x)."""
    return np.asarray(sum(parts.values(), run.weight * run.local_mev).reshape(run.problem.decays.shape))


def _deposit(run: Run, tallies: dict[str, Tally], where: npt.NDArray[np.bool_]) -> Deposit:
    shape = run.problem.decays.shape
    parts, variance, escaped = _scaled(run, tallies)
    mev = _mev(run, parts)
    sigma = np.sqrt(variance).reshape(shape)
    relative = sigma[where] / np.maximum(mev[where], 1e-300)
    per_decay = run.local_mev + sum(c.source.mev_per_decay for c in run.components)
    return Deposit(
        mev=mev,
        sigma_mev=sigma,
        parts={k: v.reshape(shape) for k, v in parts.items()},
        escaped_mev=escaped,
        emitted_mev=float(run.weight.sum()) * per_decay,
        decays_simulated={k: t.decays for k, t in tallies.items()},
        uncertainty=float(relative.mean()) if relative.size else 0.0,
    )


def describe(found: Deposit) -> dict[str, Any]:
    """For reports."""
    return {"decays_simulated": found.decays_simulated, "uncertainty": found.uncertainty}
