"""Positrons of 18F and 68Ga in water: where their energy stays, and what annihilation in flight takes."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
from egsnrc import Array
from page import Table, with_sigma
from points import DEFAULT, batches_of_shells, mean_and_sigma, radius
from varied import annihilation_at_rest_only, positrons_scatter_as_electrons

from dicomnode.montecarlo.source import electron_component, members
from dicomnode.physics import electrons
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import BetaSpectrum, emissions, nuclide
from dicomnode.physics.tissues import tissue

NEAR_MM = {"F-18": 2.4, "Ga-68": 9.6}
HISTORIES = {"F-18": 2e5, "Ga-68": 1e5}
SHELLS = 480
ENERGIES = 4000


def spectrum(name: str) -> BetaSpectrum:
    found = emissions(name).positron
    assert found is not None
    return found


def in_flight() -> Table:
    """Share of the positrons that annihilate before they stop, by cross section and stopping power."""
    water, rows = medium_of(tissue("water")), []
    for name in NEAR_MM:
        edges, number = spectrum(name).binned(500)
        top = edges[-1]
        energy = np.linspace(DEFAULT.electron, top, ENERGIES)
        loss = electrons.collision_stopping(water, energy, True)
        loss = loss + electrons.radiative_stopping(water, energy)
        rate = electrons.annihilation(water, energy) / loss
        # Of one positron that begins with an energy: it survives to a lower one by exp(-(optical depth)).
        depth = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(energy))])
        start = np.interp((edges[1:] + edges[:-1]) / 2, energy, depth)
        share = float((number * -np.expm1(-start)).sum() / number.sum())
        lost = float((number * [_kinetic(energy, rate, depth, d) for d in start]).sum())
        mean = spectrum(name).mev_per_decay / spectrum(name).yield_per_decay
        rows.append((
            name, f"{spectrum(name).yield_per_decay:.4f}", f"{1e3 * mean:.1f}", f"{100 * share:.2f} %",
            f"{1e3 * lost:.2f}",
        ))  # fmt: skip
    head = ("nuclide", "positrons per decay", "mean energy, keV", "annihilate in flight",
            "kinetic energy that their photons take, keV per decay")  # fmt: skip
    note = "Heitler's cross section over the stopping power of positrons in water, down to "
    note += f"{1e3 * DEFAULT.electron:.0f} keV."
    return Table("Annihilation in flight", head, rows, note)


def _kinetic(energy: Array, rate: Array, depth: Array, start: float) -> float:
    """Mean kinetic energy at annihilation in flight, of all that begin at a depth."""
    inside = depth <= start
    law = rate * np.exp(depth - start) * energy
    return float(np.trapezoid(law[inside], energy[inside]))


def near_the_source() -> Table:
    """Energy and radii, as it is and with one thing changed."""
    rows = []
    for name, most in NEAR_MM.items():
        component, edges = electron_component(members(nuclide(name)), DEFAULT.electron), _edges(most)
        for label, changed in (
            ("as it is", nullcontext),
            ("annihilation at rest only", annihilation_at_rest_only),
            ("deflected as electrons are", positrons_scatter_as_electrons),
        ):
            with changed():
                found = batches_of_shells(component, edges, HISTORIES[name])
            kev, sigma = mean_and_sigma(1e3 * found.sum(axis=1))
            radii = [mean_and_sigma(np.array([radius(edges, row, x) for row in found])) for x in (0.5, 0.9)]
            rows.append((
                f"{name}, {label}", f"{most}", with_sigma(float(kev), float(sigma), 1),
                *(with_sigma(float(r), float(s)) for r, s in radii),
            ))  # fmt: skip
    counts = ", ".join(f"{n:.0e} of {name}" for name, n in HISTORIES.items())
    note = f"Point source in water; photons of annihilation are followed. Histories: {counts}."
    head = ("nuclide", "within, mm", "energy, keV per decay", "50 % radius, mm", "90 % radius, mm")
    return Table("Energy of positrons near a point source in water", head, rows, note)


def _edges(most_mm: float) -> Array:
    return np.linspace(0.0, most_mm, SHELLS + 1)


def tables() -> list[Table]:
    return [in_flight(), near_the_source()]
