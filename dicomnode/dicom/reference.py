"""What a result copies from the images it was made of: a white list, normalised.

Nothing is deep-copied from a source header: one odd element of a scanner would make our own object
unwritable or wrong. The patient's name and number are carried as they came, so that the PACS finds the
same patient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dicomnode.errors import MissingAttribute, Unsupported

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_SOURCE_UID = re.compile(r"[0-9.]{1,64}")
"""UIDs of other makers may carry leading zeros: they must be repeated as they are."""


@dataclass(frozen=True)
class PatientStudy:
    """Patient, study and frame of reference that a result belongs to.

    Attributes
    ----------
    patient_name, patient_id : as in the reference image, character for character
    birth_date, study_date : YYYYMMDD or empty
    study_time : HHMMSS.FFFFFF or empty
    sex : "M", "F", "O" or empty
    frame_of_reference_uid, position_reference : of the reference CT; empty where it has none
    """

    patient_name: str
    patient_id: str
    study_uid: str
    birth_date: str = ""
    sex: str = ""
    study_date: str = ""
    study_time: str = ""
    study_id: str = ""
    accession_number: str = ""
    referring_physician: str = ""
    frame_of_reference_uid: str = ""
    position_reference: str = ""


@dataclass(frozen=True)
class SourceImage:
    """One instance a result was made of, or refers to."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str


def patient_study(header: Dataset) -> PatientStudy:
    """Patient and study as the reference CT (or, without a CT, the emission image) states them.

    Parameters
    ----------
    header : data set of one instance; pixel data are not looked at

    Raises
    ------
    MissingAttribute, Unsupported
        no Study Instance UID, or a UID that is none.
    """
    return PatientStudy(
        patient_name=_free_text(header, "PatientName", 0),
        patient_id=_free_text(header, "PatientID", 0),
        study_uid=_uid(header, "StudyInstanceUID", required=True),
        birth_date=_date(header, "PatientBirthDate"),
        sex=_matching(header, "PatientSex", re.compile("[MFO]")),
        study_date=_date(header, "StudyDate"),
        study_time=_matching(header, "StudyTime", _TIME),
        study_id=_free_text(header, "StudyID", 16),
        accession_number=_free_text(header, "AccessionNumber", 16),
        referring_physician=_free_text(header, "ReferringPhysicianName", 0),
        frame_of_reference_uid=_uid(header, "FrameOfReferenceUID", required=False),
        position_reference=_free_text(header, "PositionReferenceIndicator", 64),
    )


def source_image(header: Dataset) -> SourceImage:
    """Reference to the instance whose header this is."""
    return SourceImage(
        sop_class_uid=_uid(header, "SOPClassUID", required=True),
        sop_instance_uid=_uid(header, "SOPInstanceUID", required=True),
        series_uid=_uid(header, "SeriesInstanceUID", required=True),
        study_uid=_uid(header, "StudyInstanceUID", required=True),
    )


def _free_text(header: Dataset, keyword: str, longest: int) -> str:
    """Text without control characters, which could not be written again; cut to ``longest`` if not 0."""
    value = header.get(keyword)
    text = _CONTROL.sub("", "" if value is None else str(value)).rstrip()
    return text[:longest] if longest else text


def _matching(header: Dataset, keyword: str, pattern: re.Pattern[str]) -> str:
    """The value where it has the form its type asks for, else empty: these attributes are type 2."""
    text = _free_text(header, keyword, 0).strip()
    return text if pattern.fullmatch(text) else ""


def _date(header: Dataset, keyword: str) -> str:
    """A day that exists, else empty: "00000000" occurs, as does the 30th of February."""
    text = _matching(header, keyword, re.compile(r"\d{8}"))
    try:
        datetime.strptime(text, "%Y%m%d")  # noqa: DTZ007  a day has no zone
    except ValueError:
        return ""
    return text


def _uid(header: Dataset, keyword: str, *, required: bool) -> str:
    text = _free_text(header, keyword, 0).strip()
    if not text and required:
        raise MissingAttribute(
            "a result cannot refer to an image without this identifier",
            attribute=keyword,
            uid=_free_text(header, "SOPInstanceUID", 64),
            remedy="Send the series again from its archive",
        )
    if text and not _SOURCE_UID.fullmatch(text):
        raise Unsupported(
            "not a unique identifier: digits and dots, at most 64",
            attribute=keyword,
            remedy="Correct the series at its source and send it again",
        )
    return text
