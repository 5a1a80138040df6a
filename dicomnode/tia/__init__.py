"""From activity at a few times to time-integrated activity, with its uncertainty."""

from dicomnode.tia.integrate import integrate, integrate_points
from dicomnode.tia.settings import PopulationHalfLife, RecoveryCurve, TiaSettings, UncertaintySettings

__all__ = [
    "PopulationHalfLife",
    "RecoveryCurve",
    "TiaSettings",
    "UncertaintySettings",
    "integrate",
    "integrate_points",
]
