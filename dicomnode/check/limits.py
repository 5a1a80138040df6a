"""Plausible absorbed dose per administered activity, by organ: each number beside its source.

These are alarms for a person, not clinical limits: a value outside holds the cycle with a sentence.
The published figures stand in ``source``; the bounds around them are our own choice, wide on purpose and
not calibrated on patients. Upper bounds lie at or above the largest published mean plus three standard
deviations (about three times the mean where no deviation is given), lower bounds at a seventh of the
smallest published mean or below. A slip of ten in a typical organ is caught, a slip of two is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from unicodedata import combining, normalize


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


WORDS = {
    "kidney": "kidney", "kidneys": "kidney", "niere": "kidney", "nieren": "kidney", "rein": "kidney",
    "reins": "kidney", "liver": "liver", "leber": "liver", "foie": "liver", "spleen": "spleen",
    "milz": "spleen", "rate": "spleen", "marrow": "marrow", "knochenmark": "marrow", "moelle": "marrow",
    "parotid": "parotid", "parotids": "parotid", "parotis": "parotid", "parotide": "parotid",
}  # fmt: skip
"""Words of region names, English, German and French, that mean an organ of ``DOSE_RANGES``."""

NOT_THE_ORGAN = frozenset(
    {"gtv", "ctv", "itv", "ptv", "met", "mets", "hcc", "ccc", "nodule", "node", "target", "cortex", "medulla",
     "rinde", "pelvis", "vein", "artery", "vessel", "vessels", "ring", "margin", "spill"}
)  # fmt: skip
NOT_THE_ORGAN_FROM = ("lesion", "lasion", "tumo", "tume", "metasta", "cyst", "zyste", "kyste", "abscess")
"""Words, and beginnings of words, of a part of an organ or of something within it."""


def dose_range(nuclide: str, region: str) -> DoseRange | None:
    """The range for a region one of whose words is an organ's, if one is published here.

    Parts of an organ (cortex, medulla), and lesions and targets within it have no range: names that say so
    do not match. Words are letters between anything else, or from a capital on: "KidneyLeft", "liver_GTV1".
    """
    words = _words(region)
    if any(w in NOT_THE_ORGAN or w.startswith(NOT_THE_ORGAN_FROM) for w in words):
        return None
    organs = {WORDS[w] for w in words if w in WORDS}
    return next((r for r in DOSE_RANGES if r.nuclide == nuclide and r.organ in organs), None)


def _words(region: str) -> list[str]:
    """The words of a name in lower case, without accents."""
    plain = "".join(c for c in normalize("NFKD", region) if not combining(c))
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain).casefold())
