"""Batches of histories of one problem, and their sums.

Histories are spread over voxels by systematic sampling and, within a voxel, over energy, position and
direction by a randomly shifted low-discrepancy sequence. Of the energy of electrons a share that
depends on the voxel is added exactly, by its known mean, and taken off as it is drawn (a control variate), so
that little more than what crosses voxel faces has a variance. Photons leave expected values
(``photon``). All are unbiased.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.montecarlo import cpu
from dicomnode.montecarlo.batch_order import Order
from dicomnode.montecarlo.cpu import TOTALS
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

if TYPE_CHECKING:
    from dicomnode.montecarlo.gpu import Gpus

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

PER_MEV = 2.0**30
"""Units of the tallies in one MeV: a batch may hold 8e9 MeV, and a deposit is known to 1 meV."""
CONTROL = 3.2
"""The best coefficient was 0.4, 0.65, 0.8 and 0.9 where the voxel is 4.5, 9, 17 and 50 ranges of the mean
electron wide (177Lu and 131I in water): 1 - 3.2/(1 + ranges)."""
PIECE = 2_000_000
"""Histories between two calls of ``progress``."""


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
    """Sums over batches of one component, in units of ``PER_MEV``.

    Whole numbers in double precision: exact up to 2^53 of them (8e6 MeV in a voxel) and rounded beyond, where
    64 bits would turn negative at 8.6e9 MeV, which is 1e10 decays of 90Y. Batches are added in their order.
    """

    component: Component
    voxels: int
    batches: int = 0
    histories: int = 0
    energy: Float64 = field(init=False)
    squares: Float64 = field(init=False)
    totals: Float64 = field(init=False)
    size: int = 0

    def __post_init__(self) -> None:
        self.energy = np.zeros(self.voxels)
        self.squares = np.zeros(self.voxels)
        self.totals = np.zeros(TOTALS)

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


class Run:
    """One simulation: the tables of its problem, and batches on request.

    ``analogue`` : histories leave what they lose where they lose it (for comparisons)
    ``only`` : "electron" or "photon": nothing of the other is emitted; None: both
    """

    def __init__(
        self,
        problem: Problem,
        settings: TransportSettings,
        seed: int,
        analogue: bool = False,
        only: str | None = None,
    ) -> None:
        if not 0 <= seed < 2**64:
            raise OutOfDomain("seed", seed, "", "0 to 2^64 - 1")
        cuts = settings.cuts
        found = problem.members
        self.problem, self.settings, self.seed, self.analogue = problem, settings, seed, analogue
        both = (electron_component(found, cuts.electron), photon_component(found, cuts.photon))
        components = [c for c in both if only in (None, c.name)]
        self.local_mev = sum(c.local_mev for c in components)
        self.components = tuple(c for c in components if c.source.per_decay > 0)
        highest = max((c.source.highest_mev for c in self.components), default=0.1)
        emits = only != "photon" and any(e.positron is not None for e, _ in found)
        positrons = highest > 2 * REST or emits
        self.world: World = make_world(
            problem.density_g_per_cm3, problem.material, problem.spacing_mm, problem.media, cuts,
            max(highest, 2 * cuts.delta, 0.05) * 1.001, positrons,
        )  # fmt: skip
        self.weight = problem.decays.ravel()
        self.sources = np.flatnonzero(self.weight > 0)
        self.control = {c.name: self._control(c) for c in self.components}
        self.device = chosen(settings)
        self._gpus: Gpus | None = None  # made where the first batch is computed

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: it has GPUs of its own."""
        return self.__dict__ | {"_gpus": None}

    def _control(self, component: Component) -> Float64:
        """Share of its energy that an electron is taken to leave in its voxel: near the best coefficient."""
        if component.name != "electron" or self.analogue:
            return np.zeros(self.weight.shape)
        source = component.source
        ranges = np.array(
            [csda_range(m, source.mev_per_decay / source.per_decay)[0] for m in self.problem.media]
        )
        path = 0.1 * self.problem.density_g_per_cm3.ravel() * min(self.problem.spacing_mm)
        wide = path / ranges[self.problem.material.ravel()]
        if self.settings.shared_block_voxels > 1:  # neighbours give back what is lost: all or nothing
            return np.asarray(wide > 2, np.float64)
        return np.asarray(np.maximum(0.0, 1 - CONTROL / (1 + wide)))

    def batch(
        self, component: Component, number: int, histories: int, step: Callable[[float], None]
    ) -> tuple[Int64, Int64]:
        """(energy by voxel, totals) of one batch: the same for any number of threads or of GPUs, here or
        elsewhere."""
        order = self.order(component, number, histories)
        if self.device == "cpu":
            return self._by_threads(order, step)
        from dicomnode.montecarlo.gpu import Gpus

        if self._gpus is None:
            self._gpus = Gpus(self.world)
        return self._gpus.batch(order, step)

    def order(self, component: Component, number: int, histories: int) -> Order:
        """A batch in figures."""
        share, groups = self.shares(component, number, histories)
        stream = 2 * number + (component.name == "photon")
        control = self.control[component.name]
        return Order(
            component.name, component.source, share, groups, self.seed, stream, PER_MEV, control,
            not self.analogue,
        )  # fmt: skip

    def _by_threads(self, order: Order, step: Callable[[float], None]) -> tuple[Int64, Int64]:
        """A batch on the cores of this machine."""
        threads, share = self.settings.threads or os.cpu_count() or 1, order.share
        tallies = [np.zeros(len(self.weight), np.int64) for _ in range(threads)]
        totals = np.zeros((threads, TOTALS), np.int64)
        rooms = [cpu.scratch() for _ in range(threads)]
        cuts = _cuts(share.number, max(threads, threads * -(-order.histories // PIECE)))

        def work(thread: int, part: slice) -> None:
            cpu.run(
                self.world, order.source, share.voxel[part], order.groups[part], share.number[part],
                np.uint64(order.seed), order.stream, order.per_mev, order.control, order.expected,
                tallies[thread], totals[thread], rooms[thread],
            )  # fmt: skip

        with ThreadPoolExecutor(threads) as pool:
            for n in range(0, len(cuts), threads):
                group = cuts[n : n + threads]
                list(pool.map(work, range(len(group)), group))
                step((n + len(group)) / len(cuts))
        return np.sum(tallies, axis=0), totals.sum(axis=0)

    def _random(self, number: int, use: int) -> np.random.Generator:
        """Random numbers of a batch: streams that never meet, for they begin 2^128 numbers apart."""
        return np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, number, use]))

    def shares(self, component: Component, number: int, histories: int) -> tuple[Allotment, Int64]:
        """Histories of each source voxel in a batch, and its group."""
        weight = self.weight[self.sources]
        if self.analogue:  # every history on its own: its voxel drawn, its place and direction too
            random = self._random(number, 2)
            drawn = np.sort(random.choice(self.sources, size=histories, p=weight / weight.sum()))
            order = np.arange(histories)
            return Allotment(drawn, order, np.ones_like(order)), order
        share = allot(weight, histories, float(self._random(number, 0).random()))
        share = Allotment(self.sources[share.voxel], share.first, share.number)
        return share, self._groups(component, number, share.voxel)

    def _groups(self, component: Component, number: int, voxel: Int64) -> Int64:
        """Group of each source voxel: voxels of a group have the same histories (``history.shift``).

        Electrons of blocks of voxels, at a random place in each batch: what neighbours exchange then cancels
        but for the differences between them.
        """
        edge = self.settings.shared_block_voxels
        if component.name != "electron" or edge == 1:
            return voxel
        random, shape = self._random(number, 1), self.problem.decays.shape
        place = np.array(np.unravel_index(voxel, shape)) + random.integers(edge, size=3)[:, None]
        return np.asarray(np.ravel_multi_index(tuple(place // edge), tuple(n // edge + 2 for n in shape)))


def chosen(settings: TransportSettings) -> str:
    """ "cpu" or "cuda": the device that computes.

    Raises
    ------
    EngineUnavailable : a GPU of this machine is asked for, and there is none
    """
    if settings.device == "cpu" or settings.scheduler:  # what its workers have, they say
        return settings.device
    from dicomnode.montecarlo import gpu

    if settings.device == "auto":
        return "cuda" if gpu.names() else "cpu"
    gpu.model()
    return "cuda"


def device_name(settings: TransportSettings) -> str:
    """The device that computes, for the record: same name, seed and settings, same bytes."""
    if chosen(settings) == "cpu":
        return "cpu"
    if settings.scheduler:
        return "cuda of the workers"
    from dicomnode.montecarlo import gpu

    return f"cuda: {gpu.model()}"


def _cuts(count: Int64, pieces: int) -> list[slice]:
    """Slices of about equal numbers of histories; empty ones left out."""
    upto = np.cumsum(count)
    edges = np.searchsorted(upto, np.linspace(0, upto[-1], pieces + 1)[1:-1])
    bounds = [0, *(edges + 1).tolist(), len(count)]
    return [slice(a, b) for a, b in pairwise(bounds) if b > a]
