"""The engine interface: what turns decays into absorbed dose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dicomnode.model import Anatomy, DoseMap, Nuclide, TiaMap

Progress = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a word on what is being done. May raise to interrupt."""


def no_progress(_fraction: float, _what: str) -> None:
    """A Progress that says nothing."""


@dataclass(frozen=True)
class EngineIdentity:
    """Name and version of an engine, and SHA-256 digests of the data and weights it computes with."""

    name: str
    version: str
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Capability:
    """What an engine was validated for.

    Attributes
    ----------
    nuclides : ICRP 107 names, or None for any nuclide with emission data
    voxel_mm : smallest and largest voxel edge
    density_g_per_cm3 : lowest and highest density
    heterogeneous : True where the density of the tissue changes the dose
    """

    nuclides: frozenset[str] | None
    voxel_mm: tuple[float, float]
    density_g_per_cm3: tuple[float, float]
    heterogeneous: bool


class DoseEngine(Protocol):
    """Turns decays into absorbed dose. Same arguments and seed, same bytes.

    No files, no configuration, no globals, no silent fall-back. Raises ``OutOfDomain`` where
    quantity, nuclide or voxel size is not covered, ``EngineUnavailable`` where something is not
    installed, ``Inconsistent`` where the grids differ or the TIA is negative.
    """

    @property
    def identity(self) -> EngineIdentity: ...

    @property
    def capability(self) -> Capability: ...

    def dose(
        self,
        tia: TiaMap,
        anatomy: Anatomy,
        nuclide: Nuclide,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
    ) -> DoseMap: ...
