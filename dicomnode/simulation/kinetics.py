"""Time-activity curves of the simulated patient, with their integrals in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log

from dicomnode.physics.nuclides import nuclide


@dataclass(frozen=True)
class Curve:
    """Sum of exponentials A(t) = sum a_i exp(-ln2 t / T_i), MBq; physical decay is included.

    Attributes
    ----------
    amplitudes_mbq : a_i, negative for an uptake phase
    half_lives_h : T_i, effective
    """

    amplitudes_mbq: tuple[float, ...]
    half_lives_h: tuple[float, ...]

    def activity_mbq(self, hours: float) -> float:
        """Activity ``hours`` after administration, MBq."""
        return sum(a * exp(-log(2.0) * hours / t) for a, t in self._terms())

    @property
    def tia_mbq_s(self) -> float:
        """Integral from administration to infinity, MBq s."""
        return sum(a * t * 3600.0 / log(2.0) for a, t in self._terms())

    def _terms(self) -> zip[tuple[float, float]]:
        return zip(self.amplitudes_mbq, self.half_lives_h, strict=True)


def uptake_and_washout(amount_mbq: float, effective_h: float, uptake_h: float = 0.7) -> Curve:
    """Uptake with half-time ``uptake_h``, then washout with the effective half-life.

    ``amount_mbq`` is the washout phase extrapolated back to administration.
    """
    rise = 1.0 / (1.0 / effective_h + 1.0 / uptake_h)
    return Curve((amount_mbq, -amount_mbq), (effective_h, rise))


def remainder(administered_mbq: float, organs_mbq: float, slow_fraction: float) -> Curve:
    """Remainder of the body: what no organ takes up clears in two phases.

    The fast phase (renal excretion, biological half-time 2 h) and the slow phase (60 h) are our choice;
    they leave about a fifth of the activity in the whole body at 24 h, organs included.
    """
    left = administered_mbq - organs_mbq
    physical_h = nuclide("Lu-177").half_life_s / 3600.0
    fast, slow = (1.0 / (1.0 / physical_h + 1.0 / b) for b in (2.0, 60.0))
    return Curve((left * (1.0 - slow_fraction), left * slow_fraction), (fast, slow))
