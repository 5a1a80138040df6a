"""The DICOM modules that every image written here shares: patient, study, series, equipment, isotope."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from dicomnode.errors import Inconsistent
from dicomnode.model import Administration, Grid
from dicomnode.physics.nuclide_names import code_of_nuclide
from dicomnode.physics.nuclides import nuclide

# DICOM CID 25; the other radiopharmaceuticals are written as text only.
RADIOPHARMACEUTICALS = {"177Lu-DOTATATE": ("781259000", "Lutetium^177^ DOTATATE")}


@dataclass(frozen=True)
class Subject:
    """Patient module. ``birth_date`` as YYYYMMDD, ``sex`` M, F or O."""

    patient_id: str
    patient_name: str
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True)
class Equipment:
    """General Equipment module."""

    manufacturer: str = "dicomnode"
    model: str = "simulation"
    station: str = "SIMULATOR"
    serial_number: str = "0"
    software_version: str = "0"


@dataclass(frozen=True)
class Acquisition:
    """Study, series and frame of reference that an object belongs to, and when it was made.

    Attributes
    ----------
    study_uid, series_uid, frame_of_reference_uid : UIDs
    started_at : aware datetime of the start of the acquisition; its offset becomes (0008,0201)
    duration_s : whole acquisition, s
    study_id, study_description, series_description, series_number : as shown by viewers
    body_part : defined term of PS3.16 annex L
    equipment : what made it
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    started_at: datetime
    duration_s: float
    study_id: str = ""
    study_description: str = ""
    series_description: str = ""
    series_number: int = 1
    body_part: str = "ABDOMEN"
    equipment: Equipment = Equipment()


def ds_text(value: float) -> DSfloat:
    """A number as DS, rounded to its 16 characters (PS3.5 table 6.2-1)."""
    return DSfloat(float(value), auto_format=True)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def new_object(
    sop_class_uid: str, sop_instance_uid: str, modality: str, subject: Subject, acquisition: Acquisition
) -> Dataset:
    """A data set with file meta and the modules that every image has."""
    if acquisition.started_at.tzinfo is None:
        raise Inconsistent("the start of the acquisition has no time zone", attribute="AcquisitionDateTime")
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class_uid
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = sop_instance_uid
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.Modality = modality
    _patient_and_study(ds, subject, acquisition)
    _series_and_equipment(ds, acquisition)
    return ds


def _patient_and_study(ds: Dataset, subject: Subject, acquisition: Acquisition) -> None:
    ds.PatientName, ds.PatientID = subject.patient_name, subject.patient_id
    ds.PatientBirthDate, ds.PatientSex = subject.birth_date, subject.sex
    ds.StudyInstanceUID, ds.StudyID = acquisition.study_uid, acquisition.study_id
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    if acquisition.study_description:
        ds.StudyDescription = acquisition.study_description
    start = acquisition.started_at
    ds.TimezoneOffsetFromUTC = start.strftime("%z")
    for name in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{name}Date", start.strftime("%Y%m%d"))
        setattr(ds, f"{name}Time", start.strftime("%H%M%S"))
    ds.AcquisitionDateTime = dt_text(start)


def _series_and_equipment(ds: Dataset, acquisition: Acquisition) -> None:
    ds.SeriesInstanceUID, ds.SeriesNumber = acquisition.series_uid, acquisition.series_number
    if acquisition.series_description:
        ds.SeriesDescription = acquisition.series_description
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = acquisition.frame_of_reference_uid, ""
    made_by = acquisition.equipment
    ds.Manufacturer, ds.ManufacturerModelName = made_by.manufacturer, made_by.model
    ds.StationName, ds.DeviceSerialNumber = made_by.station, made_by.serial_number
    ds.SoftwareVersions = made_by.software_version
    ds.BodyPartExamined = acquisition.body_part


def dt_text(moment: datetime) -> str:
    """An aware datetime as DT with its offset."""
    return moment.strftime("%Y%m%d%H%M%S.%f%z")


def set_pixels(ds: Dataset, stored: npt.NDArray[np.uint16] | npt.NDArray[np.int16]) -> None:
    """Image Pixel module for 16-bit monochrome frames, the last two axes rows and columns."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(np.issubdtype(stored.dtype, np.signedinteger))
    ds.add_new(
        "PixelData", "OW", np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("<"))).tobytes()
    )


def slice_position(grid: Grid, k: int) -> list[DSfloat]:
    """Image Position (Patient) of slice ``k``."""
    return [ds_text(v) for v in grid.to_patient_mm((0, 0, k))]


def orientation(grid: Grid) -> list[DSfloat]:
    """Image Orientation (Patient): direction along a row, then along a column (PS3.3 C.7.6.2.1.1)."""
    return [ds_text(v) for v in (*grid.axes[:, 0], *grid.axes[:, 1])]


def pixel_spacing(grid: Grid) -> list[DSfloat]:
    """Pixel Spacing: between rows (y), then between columns (x)."""
    return [ds_text(grid.spacing_mm[1]), ds_text(grid.spacing_mm[0])]


def signed_slice_spacing_mm(grid: Grid) -> float:
    """Spacing Between Slices of the NM image module: negative where slices are stacked against the
    normal of the first (PS3.3 C.8.4.15)."""
    normal = np.cross(grid.axes[:, 0], grid.axes[:, 1])
    return float(grid.spacing_mm[2] * np.sign(normal @ grid.axes[:, 2]))


def radiopharmaceutical(administration: Administration, *, becquerel: bool) -> Dataset:
    """Item of the Radiopharmaceutical Information Sequence.

    Radionuclide Total Dose is in MBq in the NM isotope module and in Bq in the PET isotope module; both
    carry date and time in (0018,1078), without which a scan days later cannot be used.
    """
    item = Dataset()
    item.Radiopharmaceutical = administration.radiopharmaceutical
    item.RadiopharmaceuticalRoute = "intravenous"
    item.RadiopharmaceuticalStartTime = administration.at.strftime("%H%M%S")
    item.RadiopharmaceuticalStartDateTime = dt_text(administration.at)
    item.RadionuclideTotalDose = ds_text(administration.activity_mbq * (1e6 if becquerel else 1.0))
    item.RadionuclideHalfLife = ds_text(nuclide(administration.nuclide).half_life_s)
    item.RadionuclideCodeSequence = Sequence([code(*code_of_nuclide(administration.nuclide))])
    agent = RADIOPHARMACEUTICALS.get(administration.radiopharmaceutical)
    item.RadiopharmaceuticalCodeSequence = Sequence([code(agent[0], "SCT", agent[1])] if agent else [])
    return item


def supine_head_first(ds: Dataset) -> None:
    """NM/PET Patient Orientation module: recumbent, supine, head first (CID 19, 20, 21)."""
    posture = code("102538003", "SCT", "recumbent")
    posture.PatientOrientationModifierCodeSequence = Sequence([code("40199007", "SCT", "supine")])
    ds.PatientOrientationCodeSequence = Sequence([posture])
    ds.PatientGantryRelationshipCodeSequence = Sequence([code("102540008", "SCT", "headfirst")])
