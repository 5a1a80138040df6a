"""What a decay emits, as the transport samples it, and how decays are spread over voxels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dicomnode.model import Nuclide
from dicomnode.montecarlo.particle import ELECTRON, PHOTON, POSITRON
from dicomnode.physics.chains import chain
from dicomnode.physics.nuclides import BetaSpectrum, Emissions, emissions

Float64 = npt.NDArray[np.float64]

SPECTRUM_BINS = 500
GUIDE = 1024


class Source(NamedTuple):
    """Emissions of one component in the order of energy.

    ``upto`` is the running sum of yields per decay; each entry is even between ``low`` and ``high`` MeV.
    ``guide`` names the entry from which to look for a value of ``upto``, ``per_guide`` of them per particle.
    """

    upto: Any
    low: Any
    high: Any
    kind: Any
    guide: Any
    per_guide: float

    @property
    def per_decay(self) -> float:
        """Particles per decay."""
        return float(self.upto[-1]) if len(self.upto) else 0.0

    @property
    def mev_per_decay(self) -> float:
        """Kinetic energy per decay, MeV; of positrons with their annihilation."""
        yields = np.diff(self.upto, prepend=0.0)
        rest = np.where(self.kind == POSITRON, 2 * 0.51099895, 0.0)
        return float((yields * ((self.low + self.high) / 2 + rest)).sum())

    @property
    def kinetic_mev(self) -> tuple[float, float]:
        """(mean, standard deviation) of the kinetic energy of one particle, MeV."""
        share = np.diff(self.upto, prepend=0.0) / self.per_decay
        mean = float((share * (self.low + self.high) / 2).sum())
        square = float((share * (self.low**2 + self.low * self.high + self.high**2) / 3).sum())
        return mean, max(square - mean**2, 0.0) ** 0.5

    @property
    def highest_mev(self) -> float:
        """Largest kinetic energy."""
        return float(self.high.max()) if len(self.high) else 0.0


class Component(NamedTuple):
    """One kind of emission: what is transported, and what stays where it is emitted."""

    name: str
    source: Source
    local_mev: float
    """Energy per decay of particles below the cuts, deposited on the spot, MeV."""


Member = tuple[Emissions, float]
"""Emissions of one nuclide, and its decays per decay of the parent."""


def members(nuclide: Nuclide) -> tuple[Member, ...]:
    """The nuclide, or the members of its chain as ``physics.chains.with_progeny`` stated them.

    Raises
    ------
    OutOfDomain : unknown nuclide
    Unsupported : beta-minus and beta-plus both, or fission
    """
    name, _, progeny = nuclide.name.partition("+")
    if not progeny:
        return ((emissions(name), 1.0),)
    decays = {m.nuclide.name: m.decays for m in chain(name)}
    if progeny == "assigned":  # "...; decays per parent: Ac-225 1, Fr-221 0.5"
        stated = nuclide.source.rpartition("decays per parent: ")[2].split(", ")
        decays = {n: float(d) for n, d in (pair.split(" ") for pair in stated)}
    return tuple((emissions(n), d) for n, d in decays.items() if d > 0)


def electron_component(found: tuple[Member, ...], cut_mev: float) -> Component:
    """Beta particles, positrons, conversion and Auger electrons."""
    local, kept = 0.0, []
    for emitted, decays in found:
        rows = [(e, e, n, ELECTRON) for e, n in np.concatenate([emitted.conversion, emitted.auger])]
        for spectrum, kind in ((emitted.beta, ELECTRON), (emitted.positron, POSITRON)):
            if spectrum is not None:
                rows += _binned(spectrum, kind)
        for low, high, number, kind in rows:
            # A positron is followed whatever its energy, because it annihilates.
            if kind == ELECTRON and high <= cut_mev:
                local += decays * number * (low + high) / 2
            elif number > 0:
                kept.append((low, high, decays * number, kind))
    return Component("electron", _source(kept), local)


def photon_component(found: tuple[Member, ...], cut_mev: float) -> Component:
    """Gammas and X-rays; annihilation photons come from the positrons that are followed."""
    local, kept = 0.0, []
    for emitted, decays in found:
        lines = np.concatenate([emitted.gamma, emitted.xray])
        if emitted.positron is None:
            lines = np.concatenate([lines, emitted.annihilation])
        local += decays * float((lines[:, 0] * lines[:, 1])[lines[:, 0] <= cut_mev].sum())
        kept += [(e, e, decays * n, PHOTON) for e, n in lines if e > cut_mev and n > 0]
    return Component("photon", _source(kept), local)


def alpha_mev(found: tuple[Member, ...]) -> float:
    """Energy per decay of alpha particles and recoils, MeV: it stays in the voxel."""
    lines = [(d, np.concatenate([e.alpha, e.recoil])) for e, d in found]
    return float(sum(d * (rows[:, 0] * rows[:, 1]).sum() for d, rows in lines))


def _binned(spectrum: BetaSpectrum, kind: int) -> list[tuple[float, float, float, int]]:
    """A spectrum as bins; the mean within a bin is its middle, so the total is set right by a factor."""
    edges, number = spectrum.binned(SPECTRUM_BINS)
    number = number * (spectrum.yield_per_decay / number.sum())
    middle = (edges[1:] + edges[:-1]) / 2
    scale = spectrum.mev_per_decay / float((number * middle).sum())
    return [(a * scale, b * scale, n, kind) for a, b, n in zip(edges[:-1], edges[1:], number, strict=True)]


def _source(rows: list[tuple[float, float, float, int]]) -> Source:
    rows = sorted(rows)
    table = np.array([r[:3] for r in rows], np.float64).reshape(-1, 3)
    kind = np.array([r[3] for r in rows], np.int64)
    upto = np.cumsum(table[:, 2])
    total = float(upto[-1]) if len(upto) else 1.0
    guide = np.searchsorted(upto, np.arange(GUIDE) * (total / GUIDE)).astype(np.int64)
    return Source(upto, table[:, 0].copy(), table[:, 1].copy(), kind, guide, GUIDE / total)


class Allotment(NamedTuple):
    """Source voxels of one batch: how many histories begin in each, and the number of the first."""

    voxel: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]


def allot(weight: Float64, histories: int, offset: float) -> Allotment:
    """Systematic sampling: history h starts where the running sum of ``weight`` reaches (h + offset)/n.

    Each voxel gets its share of the histories to within one, and exactly its share on average over
    offsets (0 to 1).
    """
    upto = np.cumsum(weight)
    end = np.ceil(upto / upto[-1] * histories - offset).astype(np.int64)
    end[-1] = histories
    end = np.minimum(end, histories)
    first = np.concatenate([[0], end[:-1]])
    count = end - first
    voxel = np.flatnonzero(count > 0)
    return Allotment(voxel, first[voxel], count[voxel])
