"""From activity at a few times to time-integrated activity, with its uncertainty."""

from dicomnode.tia.integrate import integrate, integrate_points
from dicomnode.tia.settings import PopulationHalfLife, TiaSettings, UncertaintySettings

__all__ = [
    "PopulationHalfLife",
    "TiaSettings",
    "UncertaintySettings",
    "integrate",
    "integrate_points",
]
