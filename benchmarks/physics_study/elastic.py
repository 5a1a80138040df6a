"""Elastic scattering: partial waves over Born, ours over ELSEPA, and the share of atomic electrons."""

from __future__ import annotations

from importlib.resources import files
from itertools import product

import numpy as np
from egsnrc import Array
from page import Table
from published import ELSEPA_WATER
from varied import born_law

from dicomnode.physics import scattering
from dicomnode.physics.interactions import elements, medium_of
from dicomnode.physics.tissues import tissue

KEV = (10, 20, 50, 100, 200, 400, 1000)
ELEMENTS = {"hydrogen": 1, "oxygen": 8, "phosphorus": 15, "calcium": 20, "iodine": 53}
ANGLES = (10, 30, 60, 90, 120, 180)
NODES = (4, 10, 14)
"""Of the table's energies: 16, 128 and 512 keV."""
CUT_MEV = 0.01
CHARGES = {"electrons": False, "positrons": True}


def over_born() -> Table:
    """First transport cross section of an atom, with partial waves and without."""
    mev, rows = np.array(KEV) * 1e-3, []
    for name, z in ELEMENTS.items():
        for charge, positron in CHARGES.items():
            exact = scattering.elastic_coefficients({z: 1.0}, mev, positron)[:, 1]
            with born_law():
                born = scattering.elastic_coefficients({z: 1.0}, mev, positron)[:, 1]
            rows.append((f"{name}, {charge}", *(f"{x:.4f}" for x in exact / born)))
    note = (
        "Born: Rutherford, form factor, correction of McKinley and Feshbach. Partial waves: "
        "`physics/data/elastic.npz`, the same form factor."
    )
    head = ("first transport cross section", *(f"{e} keV" for e in KEV))
    return Table("Elastic scattering: partial waves over Born's law", head, rows, note)


def by_angle() -> Table:
    """The same ratio of oxygen at single angles."""
    rows, t = [], np.sin(np.radians(ANGLES) / 2) ** 2
    with np.load(str(files("dicomnode.physics") / "data" / scattering.DATA)) as book:
        of_oxygen = book["ratio"][elements().index(8)].astype(float)
        for (charge, positron), n in product(CHARGES.items(), NODES):
            ratio = np.interp(t, book["t"], of_oxygen[int(positron), n])
            rows.append((f"{charge}, {1e3 * book['mev'][n]:.0f} keV", *(f"{x:.3f}" for x in ratio)))
    head = ("oxygen", *(f"{angle} degrees" for angle in ANGLES))
    return Table("The same by angle", head, rows, "At energies of the table.")


def over_elsepa() -> Table:
    """First and second transport cross sections of water over the published ones."""
    mev, rows = ELSEPA_WATER[:, 0], []
    for charge, positron in CHARGES.items():
        ours = scattering.elastic_coefficients({1: 2.0, 8: 1.0}, mev, positron)
        for order, which in ((1, "first"), (2, "second")):
            ratio = ours[:, order] / ELSEPA_WATER[:, order + 2 * positron]
            rows.append((f"{charge}, {which}", *(f"{x:.4f}" for x in ratio)))
    note = (
        "Two atoms of hydrogen and one of oxygen; ELSEPA's values (Dirac-Fock density, exchange) are in "
        "`published.py`, which the test reads too."
    )
    head = ("transport cross section", *(f"{1e3 * e:.0f} keV" for e in mev))
    return Table("Elastic scattering in water: ours over ELSEPA", head, rows, note)


def soft_share() -> Table:
    """What collisions with atomic electrons below the cut add in water."""
    water, mev, rows = medium_of(tissue("water")), np.array(KEV[1:]) * 1e-3, []
    for charge, positron in CHARGES.items():
        whole: Array = scattering.transport_coefficients(water, mev, CUT_MEV, positron)[0][:, 1]
        elastic = scattering.elastic_coefficients(water.atoms_per_g, mev, positron)[:, 1]
        rows.append((charge, *(f"{100 * x:.1f} %" for x in whole / elastic - 1)))
    note = f"First transport cross section, losses below {1e3 * CUT_MEV:.0f} keV."
    head = ("water", *(f"{e} keV" for e in KEV[1:]))
    return Table("Soft inelastic collisions over elastic ones", head, rows, note)


def tables() -> list[Table]:
    return [over_born(), by_angle(), over_elsepa(), soft_share()]
