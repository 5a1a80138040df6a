"""Whether the energy windows of a SPECT can see the nuclide that its header names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dicomnode.errors import OutOfDomain, Unsupported
from dicomnode.model import Finding
from dicomnode.model.series import SeriesSummary
from dicomnode.model.statements import Fact, Statement, at_time_point
from dicomnode.physics.chains import BRANCHES, chain
from dicomnode.physics.nuclides import emissions

Ranges = tuple[tuple[float, float], ...]
SEEN_YIELD = 0.01
"""Photons per decay from which a line is imaged; 90Y has none, and its bremsstrahlung has no peak."""
SEEN_ABOVE_KEV = 30.0


def _one_in_the_other(lines: Ranges, windows: Ranges) -> bool:
    return any(low <= line <= high for line, _ in lines for low, high in windows)


def _shown(ranges: Ranges) -> str:
    edges = (f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in ranges[:6])
    return f"{', '.join(edges)} keV"


PHOTOPEAK: Fact[Ranges] = Fact(
    name="what the camera looked at",
    rule="energy-windows-contradict",
    places=(
        "the photons of RadionuclideCodeSequence (0054,0300), by ICRP 107",
        "EnergyWindowInformationSequence (0054,0012)",
    ),
    agree=_one_in_the_other,
    tolerance="one line of 1 % or more, above 30 keV, of the nuclide or its progeny lies in one window",
    absent="not compared; nor a nuclide without such lines, such as 90Y",
    remedy="release the cycle only where the nuclide is right; else state it with `dicomnode administer`",
    show=_shown,
    standard="PS3.3 C.8.4.10",
)


def photopeak_is_seen(label: str, emission: SeriesSummary) -> Iterable[Finding]:
    """Whether a series names a nuclide whose photons lie in its windows."""
    edges = re.findall(r"([\d.]+)-([\d.]+)", emission.facts.get("EnergyWindows", ""))
    windows = tuple((float(low), float(high)) for low, high in edges)
    stated = [(lines_kev(emission.nuclide) if emission.nuclide else ()), windows]
    two = [Statement(place, ranges or None) for place, ranges in zip(PHOTOPEAK.places, stated, strict=True)]
    return at_time_point(PHOTOPEAK.settle(two, emission.series_uid).findings, label)


def lines_kev(nuclide: str) -> Ranges:
    """Photon lines of a nuclide and its progeny that a camera sees, strongest first, each as (keV, keV)."""
    found: list[tuple[float, float]] = []
    members = [m.nuclide.name for m in chain(nuclide)] if nuclide in BRANCHES else [nuclide]
    for name in members:
        try:
            photons = emissions(name)
        except (OutOfDomain, Unsupported):
            continue
        for lines in (photons.gamma, photons.xray, photons.annihilation):
            found += [(y, 1e3 * e) for e, y in lines if y >= SEEN_YIELD and 1e3 * e >= SEEN_ABOVE_KEV]
    return tuple((kev, kev) for _, kev in sorted(found, reverse=True))
