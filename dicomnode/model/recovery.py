"""What the blur of the image took from a region, and what its activity is without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, hypot


@dataclass(frozen=True)
class RegionRecovery:
    """Activity of one region as the image shows it, and corrected for partial volume.

    Attributes
    ----------
    region : name
    measured_mbq, corrected_mbq : at each time point, within the region as drawn, MBq
    parts : "width", "contour", "shift", "model" -> standard uncertainty of ln(corrected concentration); the
        contour's holds the mass, so nothing about the volume is to be added for a dose
    loss : expected change of ln(concentration) by the unknown shift of the image; not positive, and not
        taken out of ``corrected_mbq``
    volume_ml : of the region as drawn
    bias : ln(corrected / measured) at the time point that sets the amount
    withheld : why no corrected value may be stated; empty where it may
    """

    region: str
    measured_mbq: tuple[float, ...]
    corrected_mbq: tuple[float, ...]
    parts: Mapping[str, float]
    loss: float
    volume_ml: float
    bias: float
    withheld: str = ""

    @property
    def coefficient(self) -> float:
        """What the image shows over what is there; above 1 where neighbours spill in."""
        return exp(-self.bias)

    @property
    def sigma_log(self) -> float:
        """Standard uncertainty of ln(corrected concentration), the expected loss in it."""
        return hypot(*self.parts.values(), self.loss)

    @property
    def limited_by(self) -> str:
        """The largest part of the uncertainty."""
        return max(self.parts, key=lambda part: self.parts[part])


def uncorrected_interval(value: float, sigma_log: float, bias: float, k: float) -> tuple[float, float]:
    """Interval of an uncorrected value whose known bias stands in it in full.

    From x e^(-k u) to x e^(k u + b) for a true value that lies e^b above x; on the other side for b < 0
    (Phillips, Eberhardt and Estler, NIST 1999: the bias widens its own side of the interval).
    """
    spread = k * sigma_log
    return value * exp(min(bias, 0.0) - spread), value * exp(max(bias, 0.0) + spread)


def corrected_interval(value: float, sigma_log: float, k: float) -> tuple[float, float]:
    """Interval of a corrected value, symmetric in the logarithm."""
    return value * exp(-k * sigma_log), value * exp(k * sigma_log)
