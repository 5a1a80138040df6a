"""Names of radionuclides in the many ways in which people write them."""

from __future__ import annotations

import re
from itertools import pairwise

from dicomnode.physics.nuclide_names import ELEMENTS, KNOWN

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
_SYMBOLS = frozenset(name.split("-")[0] for name in KNOWN)
_TOKEN = re.compile(r"\d{1,3}(?:m(?![a-z])|M(?![A-Za-z]))|\d+|[^\W\d_]+")


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
    return name if name in KNOWN else ""


def _element(word: str) -> str:
    if len(word) <= 2:
        symbol = word.capitalize()
        return symbol if symbol in _SYMBOLS else ""
    lower = word.lower()
    if lower in ELEMENTS:
        return ELEMENTS[lower]
    return next((symbol for stem, symbol in _STEMS.items() if lower.startswith(stem)), "")
