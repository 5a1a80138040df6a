"""What the phantom is made of: CT number, density and uptake weight of each tissue, by name.

Densities: ICRU Report 46 (1992), and ICRP Publication 89 (2002); lung inflated.
CT numbers: those such densities show at 120 kV without contrast medium, on the line of Schneider,
Pedroni and Lomax, Phys Med Biol 41:111 (1996), rounded. The weight says how the remainder's
activity is shared out per gram (blood-rich tissue more, fat less): our choice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhantomTissue:
    """CT number (HU), density (g/cm3), and relative uptake per gram of the remainder's activity."""

    name: str
    hu: float
    g_per_cm3: float
    weight: float


TISSUES = (
    PhantomTissue("air", -1000.0, 0.0012, 0.0),
    PhantomTissue("skin", 40.0, 1.09, 0.5),
    PhantomTissue("adipose", -100.0, 0.95, 0.3),
    PhantomTissue("muscle", 50.0, 1.05, 0.8),
    PhantomTissue("lung", -742.0, 0.26, 1.5),
    PhantomTissue("blood", 42.0, 1.06, 3.0),
    PhantomTissue("myocardium", 46.0, 1.05, 2.0),
    PhantomTissue("liver", 58.0, 1.06, 1.0),
    PhantomTissue("spleen", 48.0, 1.06, 1.0),
    PhantomTissue("kidney cortex", 36.0, 1.05, 1.0),
    PhantomTissue("kidney medulla", 28.0, 1.05, 1.0),
    PhantomTissue("kidney pelvis", 8.0, 1.02, 1.0),
    PhantomTissue("stomach wall", 40.0, 1.05, 1.5),
    PhantomTissue("gut wall", 38.0, 1.04, 2.0),
    PhantomTissue("contents", 18.0, 1.03, 0.3),
    PhantomTissue("gas", -950.0, 0.0012, 0.0),
    PhantomTissue("spongiosa", 190.0, 1.18, 2.0),
    PhantomTissue("cortical bone", 1150.0, 1.85, 0.2),
    PhantomTissue("disc", 85.0, 1.10, 0.3),
    PhantomTissue("spinal cord", 35.0, 1.04, 0.5),
    PhantomTissue("soft lesion", 45.0, 1.05, 1.0),
    PhantomTissue("bone lesion", 420.0, 1.30, 1.0),
)
"""Index in this tuple is the value in the phantom's tissue array."""

TISSUE_INDEX = {tissue.name: index for index, tissue in enumerate(TISSUES)}
