"""How the patient lay on the table, from text and from codes (PS3.3 C.7.3.1.1.2 and C.8.4.6)."""

from __future__ import annotations

from dataclasses import replace

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.model.statements import Fact, Settled, Statement

_TEXT = "PatientPosition (0018,5100)"
_CODES = "PatientOrientationCodeSequence and PatientGantryRelationshipCodeSequence (0054,0410 and 0414)"
PATIENT_POSITION = Fact(
    name="the patient's position",
    rule="patient-position-contradicts",
    places=(_TEXT, _CODES),
    agree=str.__eq__,
    tolerance="none",
    absent="projections: head first supine, with a warning; volumes: not compared with their CT",
    remedy="one of them may be turned over or upside down; compare SPECT and CT in the pictures, and release "
    "the cycle only where they fit",
    standard="PS3.3 C.8.4.6",
)


def stated_position(obj: Attributes, *, refused: bool = False) -> Settled[str]:
    """HFS, HFP, FFS, FFP (or another term of Patient Position), and whether text and codes agree.

    Raises Inconsistent where they do not and ``refused``: of projections, whose angles depend on it.
    """
    text, codes = obj.text("PatientPosition").upper(), _coded_position(obj)
    stated = [Statement(_TEXT, text or None), Statement(_CODES, codes or None)]
    fact = replace(PATIENT_POSITION, refused=refused)
    return fact.settle(stated, obj.text("SeriesInstanceUID"))


# CID 20 and CID 21 of PS3.16, SNOMED-RT and SNOMED CT values, and Siemens' own for feet first; else the
# meaning.
_LIES = {"F-10340": "S", "40199007": "S", "F-10310": "P", "1240000": "P"}
_ENTERS = {"F-10470": "HF", "102540008": "HF", "F-10480": "FF", "102541007": "FF", "G-5191": "FF"}


def _coded_position(obj: Attributes) -> str:
    orientation = obj.first("PatientOrientationCodeSequence")
    lies = orientation.first("PatientOrientationModifierCodeSequence")
    enters = obj.first("PatientGantryRelationshipCodeSequence")
    meaning, way = lies.text("CodeMeaning").lower(), enters.text("CodeMeaning").lower()
    back = _LIES.get(lies.text("CodeValue")) or (
        "S" if "supine" in meaning else "P" if "prone" in meaning else ""
    )
    head = _ENTERS.get(enters.text("CodeValue")) or ("HF" if "head" in way else "FF" if "feet" in way else "")
    return head + back if head and back else ""
