"""Plausible absorbed dose per administered activity, by organ: each number beside its source.

These are alarms for a person, not clinical limits: a value outside holds the cycle with a sentence.
The published figures stand in ``source``; the bounds around them are our own choice, wide on purpose and
not calibrated on patients. Upper bounds lie at or above the largest published mean plus three standard
deviations (about three times the mean where no deviation is given), lower bounds at a seventh of the
smallest published mean or below. A slip of ten in a typical organ is caught, a slip of two is not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DoseRange:
    """Plausible mean absorbed dose of an organ, Gy per GBq administered."""

    nuclide: str
    organ: str
    low_gy_per_gbq: float
    high_gy_per_gbq: float
    source: str


DOSE_RANGES = (
    DoseRange(
        "Lu-177",
        "kidney",
        0.05,
        1.8,
        "DOTATATE 0.43 +- 0.13 (Santoro 2018, doi 10.1186/s13550-018-0459-4), 0.57 (61 patients, 2013), "
        "0.38 +- 0.19 (PMC6300448); PSMA-617 0.82 +- 0.25 (PMC5472088), 0.81 +- 0.32 (JNM 60:1579)",
    ),
    DoseRange(
        "Lu-177",
        "liver",
        0.02,
        2.5,
        "DOTATATE 0.54 +- 0.58 (Santoro 2018), 0.27 (2013)",
    ),
    DoseRange(
        "Lu-177",
        "spleen",
        0.05,
        3.5,
        "DOTATATE 0.61 +- 0.13 (Santoro 2018), 1.17 (2013)",
    ),
    DoseRange(
        "Lu-177",
        "marrow",
        0.002,
        0.2,
        "DOTATATE 0.04 +- 0.02 (Santoro 2018); PSMA-617 0.030 +- 0.008 (PMC5472088)",
    ),
    DoseRange(
        "Lu-177",
        "parotid",
        0.1,
        5.5,
        "PSMA-617 1.90 +- 1.19 (PMC5472088)",
    ),
)


def dose_range(nuclide: str, region: str) -> DoseRange | None:
    """The range for a region whose name contains the organ's name, if one is published here.

    Parts of an organ (cortex, medulla) and lesions within it have no range: names that say so do not
    match.
    """
    name = region.casefold()
    if any(part in name for part in ("lesion", "tumour", "tumor", "cortex", "medulla", "metasta")):
        return None
    return next((r for r in DOSE_RANGES if r.nuclide == nuclide and r.organ in name), None)
