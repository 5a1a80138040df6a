"""What each idea of variance reduction brings: variance of a voxel times CPU time, with it and without."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from costs import Array, Mask, patient
from page import Table, with_sigma

from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import PER_MEV, Problem, Run, Tally, region
from dicomnode.montecarlo.source import Component
from dicomnode.montecarlo.world import Cuts

BATCHES, SEEDS = 20, (1, 2, 3)
PHOTON_EDGE, PHOTON_DECAYS, PHOTON_ANALOGUE = 128, 3e5, 1e6
ELECTRON_EDGE, PER_VOXEL = 64, 6
"""Voxels along an edge, and histories of electrons per voxel of the body and batch."""
TISSUES = {"tissue": 1, "lung": 2, "bone": 3}


class Steps(TransportSettings):
    """Steps away from faces so many times as long as near them."""

    far_steps: float = 4.0

    @property
    def cuts(self) -> Cuts:
        return super().cuts._replace(far_steps=self.far_steps)


@dataclass(frozen=True)
class Found:
    """Of one component of one run: variances for one decay of all, MeV^2, by voxel; CPU s per decay.

    ``share`` : of the decays, by voxel; ``lung`` : standard deviation of the energy of the lungs for one of
    their decays, MeV, and what the voxels of the lungs give in quadrature
    """

    variance: Array
    share: Array
    seconds: float
    lung: tuple[float, float]

    def of_one_decay(self, where: Mask) -> float:
        """Mean over voxels of the variance for one decay in the voxel itself, keV^2."""
        return 1e6 * float((self.variance[where] / self.share[where]).mean())


def found(run: Run, component: Component, histories: int) -> Found:
    """After compilation; ``histories`` of each batch."""
    run.batch(component, 99, 500, lambda _: None)
    tally, lung = Tally(component, len(run.weight)), run.problem.material.ravel() == TISSUES["lung"]
    sums, started = [], time.process_time()
    for number in range(BATCHES):
        energy, totals = run.batch(component, number, histories, lambda _: None)
        tally.add(energy, totals, histories)
        sums.append(energy[lung].sum() / PER_MEV)
    seconds = (time.process_time() - started) / tally.decays
    share, variance = run.weight / run.weight.sum(), tally.variance() / tally.decays
    in_lung = max(float(share[lung].sum()), 1e-30)
    whole = np.std(sums, ddof=1) * (BATCHES / tally.decays / in_lung) ** 0.5
    return Found(variance, share, seconds, (float(whole), float((variance[lung].sum() / in_lung) ** 0.5)))


def component_of(run: Run, name: str) -> Component:
    return next(c for c in run.components if c.name == name)


def told(values: list[float], digits: int = 1) -> str:
    """Mean of the seeds, and its standard uncertainty."""
    return with_sigma(float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5), digits)


def photons(name: str) -> tuple[str, ...]:
    """Analogue variance over that of expected values, outside the source by tissue and within; times."""
    problem = patient(PHOTON_EDGE, name, background=0.0)
    source, material = problem.decays.ravel() > 0, problem.material.ravel()
    where = [source, *((material == n) & ~source for n in TISSUES.values())]
    ratios: list[list[float]] = [[] for _ in range(len(where) + 1)]
    for seed in SEEDS:
        ours, plain = (
            _photons(problem, seed, decays, analogue)
            for decays, analogue in ((PHOTON_DECAYS, False), (PHOTON_ANALOGUE, True))
        )
        for column, here in zip(ratios, where, strict=False):
            column.append(float(plain.variance[here].mean() / ours.variance[here].mean()))
        ratios[-1].append(ours.seconds / plain.seconds)
    return name, *(told(column) for column in ratios)


def _photons(problem: Problem, seed: int, decays: float, analogue: bool) -> Found:
    run = Run(problem, TransportSettings(threads=1), seed, analogue)
    component = component_of(run, "photon")
    return found(run, component, int(decays * component.source.per_decay / BATCHES))


def expected_values() -> Table:
    """Photons with expected values against analogue ones."""
    head = ("photons of", "in the source", *(f"{one} outside" for one in TISSUES), "time")
    note = (
        f"Analogue over expected-value mode: mean variance of voxels for a decay; last column: CPU time of "
        f"expected values over analogue, for a decay. {PHOTON_EDGE}^3 voxels of 4 mm, air around a body, two "
        f"organs as source; {PHOTON_DECAYS:.0e} and {PHOTON_ANALOGUE:.0e} decays, {BATCHES} batches; means "
        f"of {len(SEEDS)} seeds."
    )
    return Table("Photons: expected values", head, [photons(name) for name in ("Lu-177", "I-131")], note)


def no_control(run: Run) -> None:
    run.control["electron"] = np.zeros_like(run.weight)


def all_or_nothing(run: Run) -> None:
    """Of the control in use: whole where the voxel is more than two ranges wide, none elsewhere."""
    run.control["electron"] = np.asarray(run.control["electron"] > 0, np.float64)


def as_it_is(_run: Run) -> None:
    return


PLAIN = TransportSettings(threads=1)
BLOCKS = TransportSettings(threads=1, shared_block_voxels=8)
ELECTRONS: tuple[tuple[str, bool, TransportSettings, bool, Callable[[Run], None]], ...] = (
    ("default", False, PLAIN, False, as_it_is),
    ("analogue", False, PLAIN, True, as_it_is),
    ("no control variate", False, PLAIN, False, no_control),
    (
        "control whole or none, by 2.2 ranges",
        False,
        PLAIN,
        False,
        all_or_nothing,
    ),
    ("steps no longer away from faces", False, Steps(threads=1, far_steps=1.0), False, as_it_is),
    ("8 times longer (default 4)", False, Steps(threads=1, far_steps=8.0), False, as_it_is),
    ("blocks of 8 voxels share histories", False, BLOCKS, False, as_it_is),
    ("noisy patient, default", True, PLAIN, False, as_it_is),
    ("noisy patient, blocks of 8", True, BLOCKS, False, as_it_is),
)


def electrons() -> Table:
    """177Lu's electrons, activity everywhere in the body."""
    rows, bases = [], {}
    for label, noisy, settings, analogue, change in ELECTRONS:
        runs = _electrons(noisy, settings, analogue, change)
        cost = [of[0] * seconds for of, seconds, _ in runs]
        base = bases.setdefault(noisy, cost)
        columns = [told([of[n] for of, _, _ in runs], 0) for n in range(1 + len(TISSUES))]
        sums = [told([1e3 * lung[n] for _, _, lung in runs], 0) for n in (0, 1)]
        rows.append((
            label, told([1e6 * seconds for _, seconds, _ in runs], 2), *columns,
            f"{np.mean(base) / np.mean(cost):.2f}", *sums,
        ))  # fmt: skip
    head = ("electrons", "us per decay", "region", *TISSUES, "efficiency", "sum over lungs", "in quadrature")
    note = (
        "keV^2 for one decay in the voxel; region: above 20 % of the largest dose, mostly lung. Efficiency: "
        "1 / (variance x time) over that of the default. Sum over lungs: standard deviation of their energy "
        "from batches, keV per root of their decays, and what their voxels give in quadrature. "
        f"{ELECTRON_EDGE}^3 voxels of 4 mm, {PER_VOXEL} histories per voxel of the body in each of {BATCHES} "
        f"batches; means of {len(SEEDS)} seeds. Noisy: 30 % in activity before 8 mm FWHM, 3 % in density."
    )
    return Table("177Lu's electrons: variance by idea", head, rows, note)


Measured = tuple[list[float], float, tuple[float, float]]
"""Variances of the region and of each tissue, keV^2; CPU s per decay; ``Found.lung``."""


def _electrons(
    noisy: bool, settings: TransportSettings, analogue: bool, change: Callable[[Run], None]
) -> list[Measured]:
    problem = patient(ELECTRON_EDGE, "Lu-177", noisy)
    body, material = problem.decays.ravel() > 0, problem.material.ravel()
    where = [region(problem).ravel(), *((material == n) & body for n in TISSUES.values())]
    out = []
    for seed in SEEDS:
        run = Run(problem, settings, seed, analogue)
        change(run)
        got = found(run, component_of(run, "electron"), PER_VOXEL * int(body.sum()))
        out.append(([got.of_one_decay(here) for here in where], got.seconds, got.lung))
    return out


def tables() -> list[Table]:
    return [expected_values(), electrons()]
