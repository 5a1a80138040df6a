"""Radionuclides: half-lives and emissions of ICRP Publication 107.

The numbers come from the package ``icrp107-database`` (ICRP 107, Ann. ICRP 38(3), 2008); nothing of
it is copied here. Mean beta energies are those of the tabulated spectrum, interpolated by a monotone
cubic and normalised to the tabulated yield: the same spectrum that kernels and Monte Carlo sample, so
that emitted energy and sampled energy agree.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain, Unsupported
from dicomnode.model import EnergyPerDecay, Nuclide
from dicomnode.physics.nuclide_names import ELEMENTS

Float64 = npt.NDArray[np.float64]

SOURCE = "ICRP 107 (icrp107-database 0.0.3)"

# Julian year of 365.25 d, as ICRP 107 uses for half-lives in years.
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 31557600.0}


@dataclass(frozen=True, eq=False)
class BetaSpectrum:
    """A continuous electron or positron spectrum.

    Attributes
    ----------
    energy_mev : nodes, MeV, from 0 to the end point
    per_mev : particles per decay and MeV at the nodes; joined by a monotone cubic (PCHIP)
    """

    energy_mev: Float64
    per_mev: Float64

    def binned(self, bins: int = 2000) -> tuple[Float64, Float64]:
        """(edges in MeV, particles per decay in each bin) of ``bins`` equal bins."""
        from scipy.interpolate import PchipInterpolator

        edges = np.linspace(0.0, self.energy_mev[-1], bins + 1)
        integral = PchipInterpolator(self.energy_mev, self.per_mev).antiderivative()
        return edges, np.diff(integral(edges))

    @property
    def yield_per_decay(self) -> float:
        """Particles per decay."""
        return float(self._moment(0))

    @property
    def mev_per_decay(self) -> float:
        """Mean energy per decay, MeV."""
        return float(self._moment(1))

    def _moment(self, power: int) -> float:
        """Integral of E**power times the spectrum; Gauss-Legendre, exact for the cubic pieces."""
        from scipy.interpolate import PchipInterpolator

        node, weight = np.polynomial.legendre.leggauss(3)
        half = np.diff(self.energy_mev)[:, None] / 2
        energy = self.energy_mev[:-1, None] + half * (1 + node)
        density = PchipInterpolator(self.energy_mev, self.per_mev)(energy)
        return float((half * weight * energy**power * density).sum())


@dataclass(frozen=True, eq=False)
class Emissions:
    """Everything that one nuclide emits, per decay of it.

    Lines are arrays of shape (lines, 2): energy in MeV, yield per decay. Absent kinds have no rows.

    Attributes
    ----------
    beta : beta-minus spectrum, or None
    positron : beta-plus spectrum, or None
    conversion, auger : discrete electrons
    gamma, xray, annihilation : photons
    alpha, recoil : alpha particles, and the nuclei that recoil from them
    """

    name: str
    beta: BetaSpectrum | None
    positron: BetaSpectrum | None
    conversion: Float64
    auger: Float64
    gamma: Float64
    xray: Float64
    annihilation: Float64
    alpha: Float64
    recoil: Float64
    source: str = SOURCE


def canonical_name(name: str) -> str:
    """``name`` as ICRP 107 writes it: "lu177", "177Lu", "^177^Lutetium" and "Lu-177" are "Lu-177".

    Raises
    ------
    OutOfDomain : no such nuclide in ICRP 107; the message lists near names
    """
    text = re.sub(r"[\s^_\-\[\]]", "", name)
    match = re.fullmatch(r"(?P<a>\d+)(?P<m>[mn]?)(?P<e>[A-Za-z]+)", text) or re.fullmatch(
        r"(?P<e>[A-Za-z]+)(?P<a>\d+)(?P<m>[mnMN]?)", text
    )
    if match is None:
        raise _unknown(name, name)
    for candidate in _candidates(match, text):
        if candidate in available_names():
            return candidate
    raise _unknown(name, _candidates(match, text)[0])


def _candidates(match: re.Match[str], text: str) -> list[str]:
    """Spellings to try: the pattern's own, then 99mTc versus 99-Mt style ambiguities."""
    element, mass, state = match["e"], match["a"], match["m"].lower()
    symbol = ELEMENTS.get(element.lower(), element.capitalize())
    found = [f"{symbol}-{mass}{state}"]
    whole = re.fullmatch(r"(\d+)([A-Za-z]+)", text)
    if whole:  # "99Mo": the m belongs to the element
        letters = whole[2]
        found.append(f"{ELEMENTS.get(letters.lower(), letters.capitalize())}-{whole[1]}")
    return found


def _unknown(name: str, guess: str) -> OutOfDomain:
    near = get_close_matches(guess, sorted(available_names()), n=6, cutoff=0.5)
    valid = f"names of ICRP 107 such as {', '.join(near) or 'Lu-177, Y-90, I-131'}"
    return OutOfDomain("nuclide", repr(name), "", valid)


@cache
def available_names() -> frozenset[str]:
    """Names of all nuclides of ICRP 107."""
    folder = files("icrp107_database") / "icrp107"
    return frozenset(f.name.removesuffix(".json") for f in folder.iterdir() if f.name.endswith(".json"))


@cache
def _record(name: str) -> dict[str, Any]:
    """The package's record of one canonical name; its files hold JSON within a JSON string."""
    text = (files("icrp107_database") / "icrp107" / f"{name}.json").read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(json.loads(text))
    return record


def _lines(emitted: dict[str, Any], kind: str) -> Float64:
    lines = np.asarray(emitted.get(kind) or np.empty((0, 2)), dtype=np.float64).reshape(-1, 2)
    lines.flags.writeable = False
    return lines


def _energy(lines: Float64) -> float:
    return float((lines[:, 0] * lines[:, 1]).sum())


def _spectrum(emitted: dict[str, Any], branches: Float64) -> BetaSpectrum:
    """The tabulated spectrum, scaled to the yield of the branches."""
    table = _lines(emitted, "b-spectra")
    raw = BetaSpectrum(table[:, 0], table[:, 1])
    return BetaSpectrum(raw.energy_mev, raw.per_mev * (branches[:, 1].sum() / raw.yield_per_decay))


def emissions(name: str) -> Emissions:
    """Emissions of one nuclide, its progeny not included.

    Raises
    ------
    OutOfDomain : unknown nuclide
    Unsupported : spontaneous fission, or beta-minus and beta-plus both (ICRP 107 tabulates only their
        sum, so that neither spectrum is known)
    """
    name = canonical_name(name)
    emitted = _record(name)["emissions"]
    if emitted.get("fission") or emitted.get("neutron"):
        raise Unsupported("spontaneous fission is not handled", attribute="nuclide", value=name)
    minus, plus = _lines(emitted, "beta-"), _lines(emitted, "beta+")
    if len(minus) and len(plus):
        raise Unsupported(
            "ICRP 107 gives only the sum of the beta-minus and beta-plus spectra",
            attribute="nuclide", value=name, remedy="Use its mean energies (local deposition)",
        )  # fmt: skip
    return Emissions(
        name=name,
        beta=_spectrum(emitted, minus) if len(minus) else None,
        positron=_spectrum(emitted, plus) if len(plus) else None,
        conversion=_lines(emitted, "IE"),
        auger=_lines(emitted, "auger"),
        gamma=_lines(emitted, "gamma"),
        xray=_lines(emitted, "X"),
        annihilation=_lines(emitted, "annihilation"),
        alpha=_lines(emitted, "alpha"),
        recoil=_lines(emitted, "alpha recoil"),
    )


def _beta_energy(emitted: dict[str, Any]) -> tuple[float, float]:
    """Mean energies per decay of electrons and positrons, MeV."""
    minus, plus = _lines(emitted, "beta-"), _lines(emitted, "beta+")
    if len(minus) and len(plus):
        return _energy(minus), _energy(plus)  # no spectra apart: the means of the branches
    if len(minus):
        return _spectrum(emitted, minus).mev_per_decay, 0.0
    return 0.0, _spectrum(emitted, plus).mev_per_decay if len(plus) else 0.0


def nuclide(name: str) -> Nuclide:
    """One radionuclide without its progeny (see ``chains`` for those with a decay chain).

    Raises
    ------
    OutOfDomain : unknown nuclide; the message lists near names
    """
    name = canonical_name(name)
    record = _record(name)
    emitted = record["emissions"]
    beta_mev, positron_mev = _beta_energy(emitted)
    energy = EnergyPerDecay(
        electron_mev=beta_mev + sum(_energy(_lines(emitted, kind)) for kind in ("IE", "auger")),
        photon_mev=sum(_energy(_lines(emitted, kind)) for kind in ("gamma", "X", "annihilation")),
        positron_mev=positron_mev,
        alpha_mev=sum(_energy(_lines(emitted, kind)) for kind in ("alpha", "alpha recoil")),
    )
    return Nuclide(name, float(record["half_life"]) * SECONDS[record["time_unit"]], energy, SOURCE)
