"""A radionuclide as the dose calculation needs it."""

from __future__ import annotations

from dataclasses import dataclass
from math import log


@dataclass(frozen=True)
class EnergyPerDecay:
    """Mean energy emitted per decay by component, MeV (ICRP 107)."""

    electron_mev: float
    """Beta, conversion and Auger electrons."""
    photon_mev: float
    """Gamma, X-ray and annihilation photons."""
    positron_mev: float = 0.0
    alpha_mev: float = 0.0
    """Alpha particles and recoil nuclei."""


@dataclass(frozen=True)
class Nuclide:
    """One radionuclide.

    Attributes
    ----------
    name : as ICRP 107 writes it: "Lu-177", "Y-90", "I-131"
    half_life_s : physical half-life, s
    energy : mean energies per decay
    source : where the numbers are from
    """

    name: str
    half_life_s: float
    energy: EnergyPerDecay
    source: str

    @property
    def decay_per_s(self) -> float:
        """Physical decay constant, 1/s."""
        return log(2.0) / self.half_life_s
