"""Writing a reconstructed SPECT: as a PET Image series in Bq/mL, which dosimetry software reads, as an NM
RECON TOMO with real world values, and its uncertainty as a Parametric Map.

All are DERIVED and name the projections they were made of. Stored values are unsigned 16 bits with one slope
for the whole series; the step is 1/32767 of the hottest voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import NuclearMedicineImageStorage, PositronEmissionTomographyImageStorage

from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.modules import (
    SOURCE_IMAGE,
    ObjectIdentity,
    code,
    ds_text,
    encoded,
    new_object,
    put_common_references,
    put_frame_of_reference,
    reference,
)
from dicomnode.dicom.write.nm_modules import put_energy_windows, put_isotope, put_patient_orientation
from dicomnode.dicom.write.rtdose import upright
from dicomnode.errors import OutOfDomain
from dicomnode.model import ActivityMap, Grid
from dicomnode.model.projections import EnergyWindow

TOP = 32767
"""Largest stored value: PET pixels are signed or not by PS3.3 C.8.9.4, and this fits both."""


@dataclass(frozen=True)
class Radiopharmaceutical:
    """What was given, as far as it is known."""

    nuclide: str
    half_life_s: float
    agent: str = ""
    administered_mbq: float | None = None
    administered_at: datetime | None = None


@dataclass(frozen=True, eq=False)
class SpectImage:
    """A calibrated reconstruction and what its objects say of it.

    Attributes
    ----------
    activity : Bq/mL at ``started_at``, the start of the acquisition
    started_at : aware datetime; its offset is that of every time in the objects
    duration_s : of the acquisition, s
    position : HFS, HFP, FFS or FFP
    method, attenuation, scatter : in words, at most 64 characters of each are written
    corrected : values of CorrectedImage (0028,0051); DECY, since counts were corrected to the start
    window : the photopeak
    """

    activity: ActivityMap
    started_at: datetime
    duration_s: float
    isotope: Radiopharmaceutical
    position: str
    method: str
    attenuation: str
    scatter: str
    window: EnergyWindow
    collimator: str = ""
    corrected: tuple[str, ...] = ("DECY", "ATTN", "SCAT")


def write_pt(
    image: SpectImage, patient: PatientStudy, identity: ObjectIdentity, sources: Sequence[SourceImage] = ()
) -> list[bytes]:
    """The image as a PET Image series (PS3.3 A.21), one file per slice; the same arguments, the same bytes.

    ``identity.sop_instance_uid`` is of the first slice; others are named after the series. Raises OutOfDomain
    for negative values, Inconsistent without a frame of reference.
    """
    grid, values = upright(image.activity.grid, image.activity.bq_per_ml)
    stored, slope = stored_with_slope(values)
    return [
        encoded(_pt_slice(image, grid, k, stored, slope, patient, identity, sources))
        for k in range(len(stored))
    ]


def slice_uid(identity: ObjectIdentity, k: int) -> str:
    """SOP Instance UID of slice ``k`` of a PT series."""
    return named_uid(identity.series_uid, str(k)) if k else identity.sop_instance_uid


def stored_with_slope(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint16], str]:
    """Stored values and the slope as its DS text; a value is off by half a step at most."""
    if float(values.min()) < 0:
        raise OutOfDomain("the smallest voxel of a SPECT", float(values.min()), "Bq/mL", "0 and above")
    slope = ds_text(max(float(values.max()), 1e-6) / TOP * (1 + 1e-9))
    return np.rint(values / float(slope)).clip(0, TOP + 1).astype(np.uint16), slope


def _pt_slice(
    image: SpectImage,
    grid: Grid,
    k: int,
    stored: npt.NDArray[np.uint16],
    slope: str,
    patient: PatientStudy,
    identity: ObjectIdentity,
    sources: Sequence[SourceImage],
) -> Dataset:
    one = ObjectIdentity(
        slice_uid(identity, k),
        identity.series_uid,
        identity.series_number,
        identity.description,
        identity.created_at.astimezone(image.started_at.tzinfo),
        k + 1,
    )
    ds = new_object(PositronEmissionTomographyImageStorage, "PT", patient, one)
    put_frame_of_reference(ds, patient)
    _put_derivation(ds, image, patient, sources)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    _put_plane(ds, grid, k)
    _put_pixels(ds, stored[k])
    ds.RescaleIntercept, ds.RescaleSlope = "0", slope
    # PET Series (C.8.9.1) and PET Image (C.8.9.4)
    ds.Units, ds.CountsSource, ds.SeriesType = "BQML", "EMISSION", ["STATIC", "IMAGE"]
    ds.NumberOfSlices, ds.DecayCorrection = len(stored), "START"
    ds.CorrectedImage = list(image.corrected)
    ds.AttenuationCorrectionMethod, ds.ScatterCorrectionMethod = image.attenuation[:64], image.scatter[:64]
    ds.ReconstructionMethod = image.method[:64]
    ds.CollimatorType = "PARA"
    ds.ImageIndex, ds.FrameReferenceTime, ds.DecayFactor = k + 1, "0", "1"
    ds.ActualFrameDuration = round(image.duration_s * 1000)
    put_patient_orientation(ds, image.position)
    iso = image.isotope
    dose_bq = None if iso.administered_mbq is None else iso.administered_mbq * 1e6
    put_isotope(ds, iso.nuclide, iso.half_life_s, iso.agent, dose_bq, _local(iso, image))
    return ds


def write_recon_tomo(
    image: SpectImage, patient: PatientStudy, identity: ObjectIdentity, sources: Sequence[SourceImage] = ()
) -> bytes:
    """The image as one NM object (PS3.3 A.5), RECON TOMO, with a real world value mapping in Bq/ml."""
    grid, values = upright(image.activity.grid, image.activity.bq_per_ml)
    stored, slope = stored_with_slope(values)
    ds = new_object(NuclearMedicineImageStorage, "NM", patient, identity)
    put_frame_of_reference(ds, patient)
    _put_derivation(ds, image, patient, sources)
    ds.ImageType, ds.ImageID = ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"], "SPECT Bq/ml"
    ds.PixelSpacing = [ds_text(grid.spacing_mm[1]), ds_text(grid.spacing_mm[0])]
    ds.SliceThickness = ds.SpacingBetweenSlices = ds_text(grid.spacing_mm[2])
    frames = len(stored)
    ds.NumberOfFrames = ds.NumberOfSlices = frames
    ds.FrameIncrementPointer, ds.SliceVector = Tag("SliceVector"), list(range(1, frames + 1))
    ds.CountsAccumulated = None
    ds.CorrectedImage = list(image.corrected)
    put_patient_orientation(ds, image.position)
    put_energy_windows(ds, (image.window,))
    iso = image.isotope
    put_isotope(ds, iso.nuclide, iso.half_life_s, iso.agent, iso.administered_mbq, _local(iso, image))
    detector = Dataset()
    detector.CollimatorGridName, detector.CollimatorType = image.collimator[:16], "PARA"
    detector.FocalDistance = 0
    detector.ImagePositionPatient, detector.ImageOrientationPatient = _position(grid, 0), _orientation(grid)
    ds.NumberOfDetectors, ds.DetectorInformationSequence = 1, [detector]
    # no item: how the views were taken is said by the projections, to which the object refers
    ds.NumberOfRotations, ds.RotationInformationSequence = 0, []
    ds.RealWorldValueMappingSequence = [_real_world(float(slope), int(stored.max()))]
    _put_pixels(ds, stored)
    return encoded(ds)


def _local(isotope: Radiopharmaceutical, image: SpectImage) -> datetime | None:
    """The administration in the offset of the object's other times."""
    return isotope.administered_at and isotope.administered_at.astimezone(image.started_at.tzinfo)


def _real_world(slope: float, last: int) -> Dataset:
    """Item of the Real World Value Mapping Sequence (PS3.3 C.7.6.16.2.11)."""
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", max(last, 1))
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, slope
    item.LUTExplanation, item.LUTLabel = "activity concentration", "Bq/ml"
    item.MeasurementUnitsCodeSequence = [code("Bq/ml", "UCUM", "Becquerels/milliliter")]
    return item


def _put_derivation(
    ds: Dataset, image: SpectImage, patient: PatientStudy, sources: Sequence[SourceImage]
) -> None:
    """Times of the acquisition, what the image was made of, and how."""
    start = image.started_at
    ds.TimezoneOffsetFromUTC = f"{start:%z}"[:5]
    ds.AcquisitionDate, ds.AcquisitionTime = f"{start:%Y%m%d}", f"{start:%H%M%S.%f}"
    ds.Laterality = ""  # of no paired part
    ds.DerivationDescription = f"{image.method}; attenuation {image.attenuation}; scatter {image.scatter}"[
        :1024
    ]
    if sources:
        ds.SourceImageSequence = [reference(s, SOURCE_IMAGE) for s in sources]
        put_common_references(ds, patient.study_uid, sources)


def _position(grid: Grid, k: int) -> list[str]:
    return [ds_text(round(float(v), 6)) for v in grid.to_patient_mm((0, 0, k))]


def _orientation(grid: Grid) -> list[str]:
    return [ds_text(round(float(a), 9)) for a in grid.axes[:, :2].T.ravel()]


def _put_plane(ds: Dataset, grid: Grid, k: int) -> None:
    """Image Plane (PS3.3 C.7.6.2)."""
    ds.PixelSpacing = [ds_text(grid.spacing_mm[1]), ds_text(grid.spacing_mm[0])]
    ds.ImageOrientationPatient, ds.ImagePositionPatient = _orientation(grid), _position(grid, k)
    ds.SliceThickness = ds_text(grid.spacing_mm[2])


def _put_pixels(ds: Dataset, stored: npt.NDArray[np.uint16]) -> None:
    """Image Pixel (PS3.3 C.7.6.3), 16 bits, the last two axes rows and columns."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.add_new("PixelData", "OW", np.ascontiguousarray(stored, dtype="<u2").tobytes())
