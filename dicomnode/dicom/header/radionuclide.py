"""Names of radionuclides, from codes and from the many ways in which people write them."""

from __future__ import annotations

import re
from itertools import pairwise

# Nuclides that nuclear medicine uses (PS3.16 CID 18 and CID 4020, and those of therapy that came since).
# A closed list: "In 24 h" is no indium-24.
_KNOWN = frozenset((
    "C-11", "N-13", "O-15", "F-18", "P-32", "Sc-43", "Sc-44", "Sc-47", "Cr-51", "Fe-52", "Fe-59",
    "Co-57", "Co-58", "Co-60", "Cu-60", "Cu-61", "Cu-62", "Cu-64", "Cu-67", "Ga-66", "Ga-67", "Ga-68",
    "Ge-68", "Se-75", "Br-75", "Br-76", "Br-77", "Rb-82", "Kr-81m", "Kr-85", "Sr-82", "Sr-85", "Sr-89",
    "Y-86", "Y-87", "Y-90", "Zr-89", "Tc-94m", "Tc-99m", "Ru-97", "Pd-103", "In-111", "In-113m",
    "Sn-117m", "I-123", "I-124", "I-125", "I-131", "Xe-127", "Xe-133", "Cs-137", "Ba-133", "Gd-153",
    "Sm-153", "Tb-149", "Tb-152", "Tb-155", "Tb-161", "Dy-165", "Ho-166", "Er-169", "Yb-169", "Yb-175",
    "Lu-177", "Lu-177m", "Re-186", "Re-188", "Ir-192", "Au-198", "Au-199", "Tl-201", "Pb-203", "Pb-212",
    "Bi-212", "Bi-213", "At-211", "Ra-223", "Ra-224", "Ra-225", "Ac-225", "Th-226", "Th-227", "Na-22",
    "Na-24", "C-14", "H-3", "K-42", "K-43",
))  # fmt: skip

# Code values of PS3.16 CID 18 and CID 4020 for those met in practice: SNOMED-RT style, then SNOMED CT.
_CODES = {
    "C-111A1": "F-18",
    "77004003": "F-18",
    "C-114A4": "I-123",
    "21572004": "I-123",
    "C-114A5": "I-124",
    "40937006": "I-124",
    "C-114A6": "I-125",
    "68630002": "I-125",
    "C-114B1": "I-131",
    "1368003": "I-131",
    "C-145A4": "In-111",
    "56609000": "In-111",
    "C-101ED": "Lu-177",
    "447553000": "Lu-177",
    "C-B1134": "Sm-153",
    "419804008": "Sm-153",
    "C-11906": "Re-186",
    "395865006": "Re-186",
    "C-1018D": "Re-188",
    "423578007": "Re-188",
    "C-136A2": "Ra-223",
    "24853006": "Ra-223",
    "C-127A2": "Cu-64",
    "3932008": "Cu-64",
    "C-127A3": "Cu-67",
    "53700003": "Cu-67",
    "C-131A2": "Ga-67",
    "2008008": "Ga-67",
    "C-131A3": "Ga-68",
    "35337001": "Ga-68",
    "C-158A6": "Sr-89",
    "7770004": "Sr-89",
    "C-162A3": "Y-86",
    "10738001": "Y-86",
    "C-162A7": "Y-90",
    "14691008": "Y-90",
    "C-168A4": "Zr-89",
    "63360001": "Zr-89",
    "C-163A8": "Tc-99m",
    "72454006": "Tc-99m",
    "C-138A9": "Tl-201",
    "60057003": "Tl-201",
    "C-132A8": "Pb-203",
    "47588004": "Pb-203",
}
_SNOMED = frozenset({"SRT", "SNM3", "99SDM", "SCT", "SNOMED-RT", ""})

# Beginnings of element names in the languages seen in code meanings.
_STEMS = {
    "lutet": "Lu",
    "lutec": "Lu",
    "lutez": "Lu",
    "yttri": "Y",
    "itri": "Y",
    "ittri": "Y",
    "iod": "I",
    "yodo": "I",
    "jod": "I",
    "techn": "Tc",
    "tecne": "Tc",
    "indi": "In",
    "galli": "Ga",
    "gali": "Ga",
    "actin": "Ac",
    "bismu": "Bi",
    "astat": "At",
    "radium": "Ra",
    "lead": "Pb",
    "plomb": "Pb",
    "plomo": "Pb",
    "blei": "Pb",
    "terbi": "Tb",
    "holmi": "Ho",
    "rheni": "Re",
    "renio": "Re",
    "samar": "Sm",
    "stront": "Sr",
    "copper": "Cu",
    "cobre": "Cu",
    "kupfer": "Cu",
    "zirc": "Zr",
    "zirk": "Zr",
    "scand": "Sc",
    "skand": "Sc",
    "thall": "Tl",
    "thori": "Th",
    "phosph": "P",
    "rubid": "Rb",
    "krypt": "Kr",
    "xenon": "Xe",
    "fluor": "F",
    "carbon": "C",
    "nitrog": "N",
    "oxyg": "O",
    "erbi": "Er",
    "ytterb": "Yb",
}
_SYMBOLS = frozenset(name.split("-")[0] for name in _KNOWN)
_TOKEN = re.compile(r"\d{1,3}(?:m(?![a-z])|M(?![A-Za-z]))|\d+|[^\W\d_]+")


def nuclide_of_code(value: str, scheme: str) -> str:
    """ICRP 107 name for a code value of CID 18 or CID 4020; empty where the code is not known."""
    return _CODES.get(value.strip().upper(), "") if scheme.strip().upper() in _SNOMED else ""


def code_of_nuclide(name: str) -> str:
    """SNOMED CT code value of a nuclide; empty where none is known here."""
    return next((c for c, known in _CODES.items() if known == name and c.isdigit()), "")


def nuclides_of_text(text: str) -> tuple[str, ...]:
    """Every nuclide that a text names, as ICRP 107 writes it, in order and each once.

    >>> nuclides_of_text("^177^Lutetium"), nuclides_of_text("Yodo 131"), nuclides_of_text("[177Lu]Lu-DOTA")
    (('Lu-177',), ('I-131',), ('Lu-177',))
    """
    tokens = _TOKEN.findall(text)
    found: dict[str, None] = {}
    for left, right in pairwise(tokens):
        name = _join(left, right) or _join(right, left)
        if name:
            found[name] = None
    return tuple(found)


def _join(word: str, mass: str) -> str:
    """``word`` as an element with ``mass``, if the two make a known nuclide."""
    if not mass[0].isdigit() or word[0].isdigit():
        return ""
    name = f"{_element(word)}-{mass.lower()}"
    return name if name in _KNOWN else ""


def _element(word: str) -> str:
    if len(word) <= 2:
        symbol = word.capitalize()
        return symbol if symbol in _SYMBOLS else ""
    lower = word.lower()
    return next((symbol for stem, symbol in _STEMS.items() if lower.startswith(stem)), "")
