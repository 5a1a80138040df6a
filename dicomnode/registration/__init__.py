"""Registration: every time point of a cycle on the SPECT grid of one of them."""

from dicomnode.registration.register import register
from dicomnode.registration.settings import RegistrationSettings

__all__ = ["RegistrationSettings", "register"]
