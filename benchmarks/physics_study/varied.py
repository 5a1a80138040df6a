"""The transport with one thing in it changed, for as long as a ``with`` lasts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.physics import electrons, scattering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager


@contextmanager
def replaced(module: Any, name: str, by: Callable[..., Any]) -> Iterator[None]:
    """A function of a module by another."""
    law = getattr(module, name)
    setattr(module, name, by)
    try:
        yield
    finally:
        setattr(module, name, law)


def scattering_times(factor: float) -> AbstractContextManager[None]:
    """Elastic and soft inelastic scattering so many times as strong."""
    law = scattering.transport_coefficients

    def scaled(*given: Any, **named: Any) -> Any:
        return tuple(factor * value for value in law(*given, **named))

    return replaced(scattering, "transport_coefficients", scaled)


def born_law() -> AbstractContextManager[None]:
    """Elastic scattering by Rutherford, form factor and McKinley and Feshbach, without partial waves."""
    return replaced(scattering, "_higher_terms", lambda _z, _mev, _positron: 1.0)


def positrons_scatter_as_electrons() -> AbstractContextManager[None]:
    """Their elastic and soft inelastic deflections; losses and hard collisions stay Bhabha's."""
    law = scattering.transport_coefficients

    def of_electrons(medium: Any, mev: Any, cut_mev: float, _positron: bool = False) -> Any:
        return law(medium, mev, cut_mev)

    return replaced(scattering, "transport_coefficients", of_electrons)


def annihilation_at_rest_only() -> AbstractContextManager[None]:
    """Positrons annihilate where they stop and nowhere else."""
    return replaced(electrons, "annihilation", lambda _medium, mev: np.zeros_like(mev))
