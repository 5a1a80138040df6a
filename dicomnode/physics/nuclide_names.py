"""Names, symbols and DICOM codes of radionuclides: the one table for reading, writing and physics.

Half-lives are those of ICRP 107 (``nuclides``), for every name here.
"""

from __future__ import annotations

# Names of elements as DICOM (PS3.16 CID 18) and people spell them, for those met in nuclear medicine.
ELEMENTS = {
    "actinium": "Ac", "arsenic": "As", "astatine": "At", "bismuth": "Bi", "bromine": "Br", "carbon": "C",
    "caesium": "Cs", "cesium": "Cs", "chromium": "Cr", "cobalt": "Co", "copper": "Cu", "dysprosium": "Dy",
    "erbium": "Er", "fluorine": "F", "francium": "Fr", "gadolinium": "Gd", "gallium": "Ga", "gold": "Au",
    "holmium": "Ho", "indium": "In", "iodine": "I", "iron": "Fe", "krypton": "Kr", "lead": "Pb",
    "lutetium": "Lu", "manganese": "Mn", "nitrogen": "N", "oxygen": "O", "phosphorus": "P",
    "polonium": "Po", "praseodymium": "Pr", "radium": "Ra", "radon": "Rn", "rhenium": "Re",
    "rubidium": "Rb", "samarium": "Sm", "scandium": "Sc", "strontium": "Sr", "technetium": "Tc",
    "terbium": "Tb", "thallium": "Tl", "thorium": "Th", "thulium": "Tm", "tin": "Sn", "xenon": "Xe",
    "ytterbium": "Yb", "yttrium": "Y", "zirconium": "Zr",
}  # fmt: skip
_NAMES = {symbol: name.capitalize() for name, symbol in reversed(ELEMENTS.items())}

# Nuclides that nuclear medicine uses (PS3.16 CID 18 and CID 4020, and those of therapy that came since).
# A closed list: "In 24 h" is no indium-24.
KNOWN = frozenset((
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
# The rest of CID 18 and CID 4020, in other schemes.
_OTHER_CODES = {
    ("NCIT", "C1943"): "Ho-166", ("DCM", "126600"): "Sc-44", ("DCM", "126605"): "Sc-43",
    ("DCM", "126606"): "Tb-152",
}  # fmt: skip
PRIVATE = "99ICRP107"
"""Scheme of the names of ICRP 107 as code values, for nuclides that no context group lists (161Tb, 225Ac,
212Pb, 211At): an image without a code loses its nuclide."""


def nuclide_of_code(value: str, scheme: str) -> str:
    """ICRP 107 name for a code value of CID 18, CID 4020 or ours; empty where the code is not known."""
    value, scheme = value.strip(), scheme.strip().upper()
    if scheme == PRIVATE:
        return value if value in KNOWN else ""
    if scheme in _SNOMED:
        return _CODES.get(value.upper(), "")
    return _OTHER_CODES.get((scheme, value.upper()), "")


def code_of_nuclide(name: str) -> tuple[str, str, str]:
    """Code value, scheme and meaning: SNOMED CT, else another of the context groups, else ours."""
    symbol, mass = name.split("-")
    meaning = f"^{mass}^{_NAMES.get(symbol, symbol)}"
    for value, known in _CODES.items():
        if known == name and value.isdigit():
            return value, "SCT", meaning
    for (scheme, value), known in _OTHER_CODES.items():
        if known == name:
            return value, "NCIt" if scheme == "NCIT" else scheme, meaning
    return name, PRIVATE, meaning
