"""From decays and anatomy to energy deposited: uncertainty, stopping, balance.

Electrons and photons of the decays are separate runs with statistics of their own (``batches``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.montecarlo.batches import PER_MEV, Problem, Run, Tally
from dicomnode.montecarlo.cluster import Spread, cluster
from dicomnode.montecarlo.cpu import EXCESS, GONE
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.source import Component

__all__ = ["PER_MEV", "Deposit", "Problem", "Run", "Tally", "describe", "region", "simulate"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Progress = Callable[[float, str], None]
Batch = Callable[[Component, int, int, Callable[[float], None]], tuple[Int64, Int64]]
"""``Run.batch``, here or elsewhere."""
Reduction = Callable[[Float64], Float64]
"""Energy by voxel (z, y, x), MeV, to the few numbers that are kept of a batch."""

BATCH_LIMIT = 500_000_000
# A photon history takes about so many times the time of an electron history (benchmarks/montecarlo.py). A
# number and not a measurement, so that the same seed gives the same allotment on any machine.
PHOTON_COST = 8.0
PILOT, PILOT_BATCHES = 200_000, 4
FINEST = 0.003
"""Uncertainty that a run which only time ends is laid out for; it goes on until its time is over."""


@dataclass(frozen=True, eq=False)
class Deposit:
    """Energy by voxel, MeV, of all decays of the problem.

    Attributes
    ----------
    mev, sigma_mev : (z, y, x), with standard uncertainty (k = 1). Unbiased: tallies are differences of what
        was expected and what was drawn, so that few histories leave voxels below zero. Setting those to zero
        would raise the mean of every region of low dose; who writes a map that must not be negative does
        so, and says it (``dicom.write.rtdose``)
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


class Plan(NamedTuple):
    """Histories of one batch of each component, and the batches that hold the decays asked for."""

    sizes: dict[str, int]
    batches: float


class Pilot(NamedTuple):
    """What a few batches tell of one component.

    ``relative`` : mean squared relative uncertainty of the region times histories
    ``seconds`` : of one history, by the fastest batch (the first may compile)
    """

    relative: float
    seconds: float


def region(problem: Problem) -> npt.NDArray[np.bool_]:
    """Voxels above 20 % of the largest dose, judged by local deposition; gas left out."""
    solid = problem.density_g_per_cm3 > 0.1
    dose = np.where(solid, problem.decays / problem.density_g_per_cm3, 0.0)
    if not dose.any():
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
    OutOfDomain : seed out of range, more decays asked for than the batches hold, a grid that the GPU has
        no memory for
    EngineUnavailable : no GPU, no scheduler, where one is asked for
    """
    started = time.monotonic()
    run = Run(problem, settings, seed)
    where = region(problem)
    with ExitStack() as stack:
        spread = None
        if settings.scheduler:
            spread = Spread(run, stack.enter_context(cluster(settings.scheduler)))
        compute: Batch = run.batch if spread is None else spread.batch
        plan = _plan(run, where, compute, started, progress)
        if spread is not None:
            spread.begin(run.components, plan.sizes, settings.batches)
        return _batches(run, plan, where, compute, started, progress, reduce)


def _batches(
    run: Run,
    plan: Plan,
    where: npt.NDArray[np.bool_],
    compute: Batch,
    started: float,
    progress: Progress,
    reduce: Reduction | None,
) -> Deposit:
    """Batches in their order until the settings say stop."""
    settings = run.settings
    tallies = {c.name: Tally(c, len(run.weight)) for c in run.components}
    number, kept = 0, []
    while True:
        batch = {}
        for component in run.components:
            n = plan.sizes[component.name]

            def step(part: float, base: int = number) -> None:
                progress(min(0.99, 0.05 + 0.9 * (base + part) / settings.batches), "transport")

            energy, totals = compute(component, number, n, step)
            tallies[component.name].add(energy, totals, n)
            if reduce is not None:
                batch[component.name] = Tally(component, len(run.weight))
                batch[component.name].add(energy, totals, n)
        number += 1
        if reduce is not None:
            kept.append(reduce(_mev(run, scaled(run, batch)[0])))
        late = settings.seconds is not None and time.monotonic() - started > settings.seconds
        if number < (2 if late else settings.batches):
            continue
        found = _deposit(run, tallies, where)
        met = settings.goal is not None and found.uncertainty <= settings.goal
        if late or met or number >= plan.batches:
            progress(1.0, "transport")
            return replace(found, batches=np.array(kept)) if kept else found


def _plan(run: Run, where: npt.NDArray[np.bool_], compute: Batch, started: float, progress: Progress) -> Plan:
    """Enough for the decays or the uncertainty asked for, in batches that are short beside the time."""
    settings = run.settings
    if not run.components:  # all of it stays where it is emitted
        return Plan({}, 0)
    sizes, batches = _asked(run), float(settings.batches)
    if settings.decays is None or settings.seconds is not None:
        pilots = _pilots(run, where, compute, progress)
        if settings.decays is None:
            sizes, batches = _best(pilots, settings), inf
        if settings.seconds is not None:
            left = settings.seconds - (time.monotonic() - started)
            took = settings.batches * sum(n * pilots[k].seconds for k, n in sizes.items())
            share = max(left / took, 1e-9)
            if share < 1 or (settings.goal is None and settings.decays is None):
                sizes, batches = {k: n * share for k, n in sizes.items()}, batches / share
    return Plan({k: _size(n) for k, n in sizes.items()}, batches)


def _asked(run: Run) -> dict[str, float]:
    """Histories of one batch for the decays asked for; none where no number is asked for."""
    share = (run.settings.decays or 0.0) / run.settings.batches
    return {c.name: _fitting(share * c.source.per_decay, run.settings) for c in run.components}


def _best(pilots: dict[str, Pilot], settings: TransportSettings) -> dict[str, float]:
    """Histories of one batch that reach the goal in the least time."""
    cost = {k: PHOTON_COST if k == "photon" else 1.0 for k in pilots}
    goal = settings.goal or FINEST
    root = sum(np.sqrt(p.relative * cost[k]) for k, p in pilots.items())
    return {
        k: max(float(np.sqrt(p.relative / cost[k])) * root / goal**2, 100.0) / settings.batches
        for k, p in pilots.items()
    }


def _pilots(run: Run, where: npt.NDArray[np.bool_], compute: Batch, progress: Progress) -> dict[str, Pilot]:
    """Variance and time of each component by a few small batches of their own."""
    n = min(PILOT, max(2000, 4 * len(run.sources)))
    variance, seconds, energy = {}, {}, _mean_mev(run)[where]
    for index, component in enumerate(run.components):
        progress(0.01 + 0.02 * index, "pilot")
        name, tally, took = component.name, Tally(component, len(run.weight)), inf
        for number in range(PILOT_BATCHES):
            before = time.monotonic()
            tally.add(*compute(component, (1 << 28) + number, n, lambda _: None), n)
            took = min(took, time.monotonic() - before)
        parts, own, _ = scaled(run, {name: tally})
        variance[name], seconds[name] = own.reshape(where.shape)[where] * tally.histories, took / n
        if name == "photon":  # of some nuclides all there is; the mean, because a pilot's voxels are noisy
            energy = np.maximum(energy, float(parts[name].reshape(where.shape)[where].mean()))
    return {k: Pilot(float(np.mean(v / energy**2)), seconds[k]) for k, v in variance.items()}


def _fitting(histories: float, settings: TransportSettings) -> float:
    if histories > BATCH_LIMIT:
        batches = ceil(settings.batches * histories / BATCH_LIMIT)
        valid = f"up to {BATCH_LIMIT:g}: raise batches to {batches}, or ask for fewer decays"
        raise OutOfDomain("number of histories in one batch", f"{histories:.4g}", "", valid)
    return histories


def _size(histories: float) -> int:
    return int(min(max(histories, 200.0), BATCH_LIMIT))


def _mean_mev(run: Run) -> Float64:
    """Energy by local deposition of electrons, as the scale of relative uncertainties."""
    per_decay = run.local_mev + sum(c.source.mev_per_decay for c in run.components if c.name == "electron")
    return np.maximum(run.problem.decays * max(per_decay, 1e-6), 1e-30)


def scaled(run: Run, tallies: dict[str, Tally]) -> tuple[dict[str, Float64], Float64, float]:
    """(energy of each component, variance, escaped) for all decays of the problem."""
    all_decays = float(run.weight.sum())
    variance, escaped, parts = np.zeros(len(run.weight)), 0.0, {}
    for name, tally in tallies.items():
        scale = all_decays / tally.decays
        known = run.weight * tally.component.source.mev_per_decay * run.control[name]
        energy = known + tally.energy / PER_MEV * scale
        # What photons were expected to lose counts, so what they truly lost less goes with the escaped.
        gone = max(float(tally.totals[GONE] - tally.totals[EXCESS]) / PER_MEV * scale, 0.0)
        # What was drawn is not exactly what is emitted on average: one factor makes the balance exact.
        ratio = all_decays * tally.component.source.mev_per_decay / (float(energy.sum()) + gone)
        parts[name] = energy * ratio
        escaped += gone * ratio
        variance += tally.variance() * scale**2
    return parts, variance, escaped


def _of_few(run: Run, tallies: dict[str, Tally]) -> Float64:
    """Variance by voxel of what its own electrons leave there, where a batch has less than one of them.

    Most batches then have none, and their spread says little of what is missing, or nothing at all. Known
    without them is how often a batch has one (systematic sampling), and the spread of its energy.
    """
    if "electron" not in tallies:
        return np.zeros(len(run.weight))
    tally, control, decays = tallies["electron"], run.control["electron"], float(run.weight.sum())
    source = tally.component.source
    mean, spread = source.kinetic_mev
    expected = run.weight * (tally.histories / tally.batches / decays)
    left = mean - control * (source.mev_per_decay / source.per_decay)  # of one, control taken off
    of_batch = expected * ((1 - expected) * left**2 + ((1 - control) * spread) ** 2)
    return np.where(expected < 1, tally.batches * of_batch * (decays / tally.decays) ** 2, 0.0)


def _mev(run: Run, parts: dict[str, Float64]) -> Float64:
    """Energy of all components and of what is not transported (z, y, x)."""
    return np.asarray(sum(parts.values(), run.weight * run.local_mev).reshape(run.problem.decays.shape))


def _deposit(run: Run, tallies: dict[str, Tally], where: npt.NDArray[np.bool_]) -> Deposit:
    shape = run.problem.decays.shape
    parts, variance, escaped = scaled(run, tallies)
    mev = _mev(run, parts)
    sigma = np.sqrt(np.maximum(variance, _of_few(run, tallies))).reshape(shape)
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
