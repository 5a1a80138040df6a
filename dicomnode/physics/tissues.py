"""Tissues by name: elemental composition by mass, density, source. Composition and density are separate.

Sources of the tables: data/README.md.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from dicomnode.errors import OutOfDomain

AIR_G_PER_CM3 = 0.0012
"""Density given to air, g/cm3 (dry air at 20 C and 101 kPa is 0.001205)."""


@dataclass(frozen=True)
class Tissue:
    """One material.

    Attributes
    ----------
    name : as in the tables
    density_g_per_cm3 : nominal density; None for the classes of Schneider, whose density follows the CT
    mass_fractions : element symbol -> fraction by mass; fractions add up to one
    source : where the numbers are from
    """

    name: str
    density_g_per_cm3: float | None
    mass_fractions: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class SchneiderClass:
    """A class of CT numbers with one composition: from ``hu_from`` up to that of the next class."""

    hu_from: float
    tissue: Tissue


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("dicomnode.physics") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _fractions(row: dict[str, str], other: set[str]) -> Mapping[str, float]:
    """Fractions that add up to one: tables in steps of 0.1 per cent may sum to 99.8 or 100.2."""
    percent = {element: float(value) for element, value in row.items() if element not in other}
    total = sum(percent.values())
    return MappingProxyType({element: value / total for element, value in percent.items() if value > 0})


@cache
def schneider_classes() -> tuple[SchneiderClass, ...]:
    """The classes of Schneider et al. 2000, table 6, in order of CT number."""
    source = "Schneider 2000, table 6"
    return tuple(
        SchneiderClass(
            float(row["hu_from"]),
            Tissue(row["name"], None, _fractions(row, {"hu_from", "name"}), source),
        )
        for row in _rows("schneider2000.csv")
    )


@cache
def tissues() -> Mapping[str, Tissue]:
    """All tissues by name, those of Schneider's classes included."""
    named = {
        row["name"]: Tissue(
            row["name"],
            float(row["density"]),
            _fractions(row, {"name", "density", "source"}),
            row["source"],
        )
        for row in _rows("tissues.csv")
    }
    return MappingProxyType(named | {c.tissue.name: c.tissue for c in schneider_classes()})


def tissue(name: str) -> Tissue:
    """A tissue by name; case, spaces and hyphens do not matter.

    Raises
    ------
    OutOfDomain : unknown name; the message lists near names
    """
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    if key not in tissues():
        near = get_close_matches(key, list(tissues()), n=6, cutoff=0.4)
        raise OutOfDomain("tissue", repr(name), "", ", ".join(near or list(tissues())))
    return tissues()[key]
