"""What a decay emits, as GATE samples it: spectra of electrons, photons and positrons.

Emissions of ICRP 107. Electrons below 10 keV and photons below 1 keV are not transported: 10 keV reach
2.5 um in water (NIST ESTAR), 1 keV photons 2.4 um (mean free path, NIST XCOM); the X-ray list of 177Lu alone
holds a line of 19 eV with a yield of 1.28 per decay, on which primaries would be wasted. Their energy is
left where the decay is, as is that of alphas and recoils (range in tissue below 0.1 mm).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.model import Nuclide
from dicomnode.physics.chains import ChainMember, chain
from dicomnode.physics.nuclides import BetaSpectrum, Emissions, emissions, nuclide

Float64 = npt.NDArray[np.float64]

ELECTRONS_LOCAL_BELOW_MEV = 0.010
PHOTONS_LOCAL_BELOW_MEV = 0.001
ANNIHILATION_MEV = 2 * 0.51099895  # CODATA 2018


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Particles of one kind.

    Attributes
    ----------
    energy_mev : edges of bins (continuous, one more than ``weight``) or lines
    weight : densities per MeV (continuous), or yields. GATE multiplies by the width of each bin
    per_decay : particles per decay
    mean_mev, mean_square_mev2 : moments of the energy of one particle
    """

    continuous: bool
    energy_mev: Float64
    weight: Float64
    per_decay: float
    mean_mev: float
    mean_square_mev2: float


@dataclass(frozen=True)
class Component:
    """What is simulated together: one kind of particle.

    Attributes
    ----------
    name, particle : "electron", "photon", "positron", and GATE's word for it
    nominal_mev : energy per decay that the transport hands out (positrons: with their annihilation)
    rest_mev : energy that each particle brings beside its kinetic energy
    """

    name: str
    particle: str
    spectra: tuple[Spectrum, ...]
    nominal_mev: float
    rest_mev: float = 0.0

    @property
    def per_decay(self) -> float:
        """Particles per decay."""
        return sum(spectrum.per_decay for spectrum in self.spectra)


@dataclass(frozen=True)
class Emitted:
    """All that one decay gives: components to transport, and energy that stays, MeV per decay."""

    components: tuple[Component, ...]
    local_mev: float
    alpha_mev: float


def emitted(source: Nuclide) -> Emitted:
    """Components of a nuclide, or of a chain in equilibrium ("Ac-225+progeny").

    Raises
    ------
    OutOfDomain : unknown nuclide, or progeny assigned by hand
    Unsupported : no separate beta spectra, or fission
    """
    members = _members(source.name)
    lists = [(emissions(member.nuclide.name), member.decays) for member in members]
    electrons, electrons_local = _electrons(lists)
    photons, photons_local = _photons(lists)
    alpha = sum(n * _energy(np.vstack([one.alpha, one.recoil])) for one, n in lists)
    found = (electrons, photons, _positrons(lists))
    kept = tuple(component for component in found if component.spectra)
    return Emitted(kept, electrons_local + photons_local + alpha, alpha)


def _members(name: str) -> tuple[ChainMember, ...]:
    base, _, how = name.partition("+")
    if how == "":
        return (ChainMember(nuclide(base), 1.0),)
    if how != "progeny":
        raise OutOfDomain("nuclide", name, "", "one nuclide, or a chain in equilibrium (+progeny)")
    return chain(base)


def _electrons(lists: list[tuple[Emissions, float]]) -> tuple[Component, float]:
    betas = [_continuous(one.beta, n) for one, n in lists if one.beta is not None]
    lines = [np.vstack([one.conversion, one.auger]) * [1.0, n] for one, n in lists]
    line, local = _lines(lines, ELECTRONS_LOCAL_BELOW_MEV)
    nominal = sum(n * one.beta.mev_per_decay for one, n in lists if one.beta is not None)
    nominal += sum(part.mean_mev * part.per_decay for part in line)
    return Component("electron", "e-", (*betas, *line), nominal), local


def _photons(lists: list[tuple[Emissions, float]]) -> tuple[Component, float]:
    """Gammas and X-rays; annihilation photons come with the positrons."""
    lines = [np.vstack([one.gamma, one.xray]) * [1.0, n] for one, n in lists]
    line, local = _lines(lines, PHOTONS_LOCAL_BELOW_MEV)
    nominal = sum(part.mean_mev * part.per_decay for part in line)
    return Component("photon", "gamma", line, nominal), local


def _positrons(lists: list[tuple[Emissions, float]]) -> Component:
    found = [(one, one.positron, n) for one, n in lists if one.positron is not None]
    spectra = tuple(_continuous(spectrum, n) for _, spectrum, n in found)
    nominal = sum(n * (spectrum.mev_per_decay + _energy(one.annihilation)) for one, spectrum, n in found)
    return Component("positron", "e+", spectra, nominal, ANNIHILATION_MEV)


def _energy(lines: Float64) -> float:
    return float((lines[:, 0] * lines[:, 1]).sum())


def _continuous(spectrum: BetaSpectrum, decays: float) -> Spectrum:
    edges, particles = spectrum.binned()
    width, middle = np.diff(edges), (edges[1:] + edges[:-1]) / 2
    share = particles / particles.sum()
    square = float((share * (middle**2 + width**2 / 12)).sum())
    per_decay = decays * spectrum.yield_per_decay
    return Spectrum(True, edges, share / width, per_decay, float((share * middle).sum()), square)


def _lines(found: list[Float64], local_below_mev: float) -> tuple[tuple[Spectrum, ...], float]:
    """(lines to transport, energy of those below, MeV per decay); lines of no yield are left out."""
    lines = np.vstack(found)
    low = lines[:, 0] < local_below_mev
    local = _energy(lines[low])
    energy, weight = lines[~low & (lines[:, 1] > 0)].T
    if not len(energy):
        return (), local
    per_decay = float(weight.sum())
    mean, square = (float((weight * energy**k).sum()) / per_decay for k in (1, 2))
    return (Spectrum(False, energy, weight, per_decay, mean, square),), local
