"""The parts that all objects written here share: patient, study, equipment, references, encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import groupby
from math import isfinite

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode import __version__
from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.uids import IMPLEMENTATION_CLASS_UID, is_uid
from dicomnode.errors import Inconsistent

MANUFACTURER = "dicomnode project"
MODEL = "dicomnode"
CODING_SCHEME = "99DICOMNODE"
"""Private coding scheme (PS3.16 section 8: "99" and a name) for concepts that DICOM does not code."""


@dataclass(frozen=True)
class ObjectIdentity:
    """Which object this is.

    Attributes
    ----------
    sop_instance_uid, series_uid : see ``uids.revision_uid``
    series_number, instance_number : as shown by viewers
    description : of the series, at most 64 characters; name the revision in it
    created_at : aware datetime of the calculation. An argument, so that a repeated run makes the same
        bytes. Written in its own zone, as local time of the site, as images are
    """

    sop_instance_uid: str
    series_uid: str
    series_number: int
    description: str
    created_at: datetime
    instance_number: int = 1

    def __post_init__(self) -> None:
        for uid in (self.sop_instance_uid, self.series_uid):
            if not is_uid(uid):
                raise Inconsistent("not a unique identifier", attribute="UID", value=uid)
        if self.created_at.tzinfo is None:
            raise Inconsistent("the creation time has no time zone", attribute="created_at")

    @property
    def date(self) -> str:
        return f"{self.created_at:%Y%m%d}"

    @property
    def time(self) -> str:
        return f"{self.created_at:%H%M%S}"


def new_object(sop_class_uid: str, modality: str, patient: PatientStudy, identity: ObjectIdentity) -> Dataset:
    """A data set with the Patient, General Study, series, General Equipment and SOP Common modules."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.InstanceCreationDate, ds.InstanceCreationTime = identity.date, identity.time
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = identity.sop_instance_uid
    put_patient_study(ds, patient)
    ds.Modality = modality
    ds.SeriesInstanceUID = identity.series_uid
    ds.SeriesNumber = identity.series_number
    ds.SeriesDescription = identity.description[:64]
    ds.SeriesDate, ds.SeriesTime = identity.date, identity.time
    ds.InstanceNumber = identity.instance_number
    ds.ContentDate, ds.ContentTime = identity.date, identity.time
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = __version__
    return ds


def put_patient_study(ds: Dataset, patient: PatientStudy) -> None:
    """Patient (PS3.3 C.7.1.1) and General Study (C.7.2.1); type 2 attributes may be empty."""
    values = {
        "PatientName": patient.patient_name,
        "PatientID": patient.patient_id,
        "PatientBirthDate": patient.birth_date,
        "PatientSex": patient.sex,
        "StudyInstanceUID": patient.study_uid,
        "StudyDate": patient.study_date,
        "StudyTime": patient.study_time,
        "StudyID": patient.study_id,
        "AccessionNumber": patient.accession_number,
        "ReferringPhysicianName": patient.referring_physician,
    }
    for keyword, value in values.items():
        put_as_is(ds, keyword, value)


def put_as_is(ds: Dataset, keyword: str, value: str) -> None:
    """Set an attribute that was copied from a source, whose form we may not correct."""
    tag = Tag(keyword)
    vr = _VR_OF_COPIED.get(keyword, "UI")
    ds[tag] = DataElement(tag, vr, value, validation_mode=config.IGNORE)


_VR_OF_COPIED = {
    "PatientName": "PN",
    "PatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "StudyID": "SH",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
    "PositionReferenceIndicator": "LO",
}


def put_frame_of_reference(ds: Dataset, patient: PatientStudy) -> None:
    """Frame of Reference (PS3.3 C.7.4.1): that of the reference image, or there is no common space."""
    if not patient.frame_of_reference_uid:
        raise Inconsistent(
            "the reference image has no frame of reference, so a dose could not be shown on it",
            attribute="FrameOfReferenceUID",
            remedy="Use a CT (or SPECT) that states its frame of reference",
        )
    put_as_is(ds, "FrameOfReferenceUID", patient.frame_of_reference_uid)
    put_as_is(ds, "PositionReferenceIndicator", patient.position_reference)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 Table 8.8-1)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


SOURCE_IMAGE = ("121324", "DCM", "Source image")
SUPERSEDED = ("SUPERSEDED", CODING_SCHEME, "Result superseded by this one")


def reference(source: SourceImage, purpose: tuple[str, str, str] | None = None) -> Dataset:
    """An item that refers to one instance, with the purpose of the reference."""
    item = Dataset()
    put_as_is(item, "ReferencedSOPClassUID", source.sop_class_uid)
    put_as_is(item, "ReferencedSOPInstanceUID", source.sop_instance_uid)
    if purpose is not None:
        item.PurposeOfReferenceCodeSequence = [code(*purpose)]
    return item


def put_common_references(ds: Dataset, study_uid: str, sources: Iterable[SourceImage]) -> None:
    """Common Instance Reference (PS3.3 C.12.2): every referenced instance, by study and series."""
    ordered = sorted(sources, key=lambda s: (s.study_uid, s.series_uid, s.sop_instance_uid))
    for study, group in groupby(ordered, key=lambda s: s.study_uid):
        series = _by_series(list(group))
        if study == study_uid:
            ds.ReferencedSeriesSequence = series
            continue
        item = Dataset()
        put_as_is(item, "StudyInstanceUID", study)
        item.ReferencedSeriesSequence = series
        others = list(ds.get("StudiesContainingOtherReferencedInstancesSequence", []))
        ds.StudiesContainingOtherReferencedInstancesSequence = [*others, item]


def _by_series(sources: Sequence[SourceImage]) -> list[Dataset]:
    items = []
    for series, group in groupby(sources, key=lambda s: s.series_uid):
        item = Dataset()
        item.ReferencedInstanceSequence = [reference(s) for s in group]
        put_as_is(item, "SeriesInstanceUID", series)
        items.append(item)
    return items


def ds_text(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2, VR DS) with all the digits that fit."""
    if not isfinite(value):
        raise Inconsistent("a number that is not finite cannot be written", value=str(value))
    text = repr(float(value) + 0.0)
    for digits in range(17, 0, -1):
        if len(text) <= 16:
            return text.removesuffix(".0")
        text = f"{value:.{digits}g}"
    return text


def encoded(ds: Dataset) -> bytes:
    """The DICOM file, explicit VR little endian; the same data set gives the same bytes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"DICOMNODE_{__version__}"[:16]
    ds.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()
