"""Writers of images: NM reconstructions, PT, CT and SEG, as data sets. Pure: same arguments, same bytes.

What is written follows PS3.3 A.5 (NM), A.21 (PT), A.3 (CT) and A.51 (SEG); validity is tested with
dciodvfy, and reading back with independent programs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, NuclearMedicineImageStorage, PositronEmissionTomographyImageStorage

from dicomnode.dicom.write.scan_modules import (
    Acquisition,
    Equipment,
    Subject,
    code,
    ds_text,
    dt_text,
    new_object,
    orientation,
    pixel_spacing,
    radiopharmaceutical,
    set_pixels,
    signed_slice_spacing_mm,
    slice_position,
    supine_head_first,
)
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import ActivityMap, Administration, Grid, HuMap, LabelMap

__all__ = [
    "Acquisition",
    "Equipment",
    "SegmentCode",
    "Subject",
    "TomoAcquisition",
    "ct_series",
    "nm_recon_tomo",
    "pt_series",
    "segmentation",
]

UidOf = Callable[[int], str]
"""SOP Instance UID of the k-th instance of a series."""


@dataclass(frozen=True)
class TomoAcquisition:
    """How the projections behind an NM reconstruction were taken.

    Attributes
    ----------
    projections : over the whole arc, all detectors together
    windows_kev : name -> lower and upper limit of each energy window
    collimator : free text of (0018,1180)
    """

    projections: int = 60
    detectors: int = 2
    windows_kev: tuple[tuple[str, float, float], ...] = (("208 keV", 187.2, 228.8),)
    collimator: str = "MEGP"
    start_angle_deg: float = 0.0


def nm_recon_tomo(
    grid: Grid,
    values: npt.NDArray[np.float32],
    unit: Literal["Bq/ml", "counts"],
    *,
    subject: Subject,
    acquisition: Acquisition,
    administration: Administration,
    sop_instance_uid: str,
    tomo: TomoAcquisition = TomoAcquisition(),
) -> Dataset:
    """A reconstructed SPECT as one multi-frame NM object (image type RECON TOMO).

    Parameters
    ----------
    values : float32 (z, y, x), not negative; Bq/mL (written with a Real World Value Mapping), or whole
        counts (written as they are: a calibration factor has to come from elsewhere)

    Raises
    ------
    Inconsistent
        A shape other than the grid's, or counts that are not whole.
    OutOfDomain
        Negative values, or counts beyond 16 bits.
    """
    stored, slope = _stored(grid, values, unit)
    ds = new_object(NuclearMedicineImageStorage, sop_instance_uid, "NM", subject, acquisition)
    ds.ImageType = ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.InstanceNumber, ds.ImageID = 1, acquisition.series_description[:16]
    ds.PixelSpacing = pixel_spacing(grid)
    ds.SliceThickness = ds_text(grid.spacing_mm[2])
    ds.SpacingBetweenSlices = ds_text(signed_slice_spacing_mm(grid))
    frames = grid.shape_zyx[0]
    ds.NumberOfFrames, ds.NumberOfSlices = frames, frames
    ds.FrameIncrementPointer = Tag("SliceVector")
    ds.SliceVector = list(range(1, frames + 1))
    ds.CountsAccumulated = None
    supine_head_first(ds)
    _isotope_and_detector(ds, grid, administration, tomo)
    _rotation(ds, acquisition, tomo)
    if unit == "Bq/ml":
        ds.RealWorldValueMappingSequence = Items([_real_world(slope, int(stored.max()))])
    set_pixels(ds, stored)
    return ds


def _stored(
    grid: Grid, values: npt.NDArray[np.float32], unit: Literal["Bq/ml", "counts"]
) -> tuple[npt.NDArray[np.uint16], float]:
    """Stored values and the slope that turns them into ``unit``."""
    if values.shape != grid.shape_zyx:
        raise Inconsistent(f"the volume has shape {values.shape}, its grid {grid.shape_zyx}")
    low, high = float(values.min()), float(values.max())
    if low < 0:
        raise OutOfDomain("the smallest voxel of an NM reconstruction", low, unit, "0 and above")
    if unit == "Bq/ml":
        slope = high / 65535.0 if high > 0 else 1.0
        return np.rint(values / slope).astype(np.uint16), slope
    if high > 65535:
        raise OutOfDomain("the largest voxel of an NM reconstruction", high, unit, "up to 65535 (16 bits)")
    whole = np.rint(values)
    if not np.array_equal(whole, values):
        raise Inconsistent("counts must be whole numbers; round them, keeping their sum")
    return whole.astype(np.uint16), 1.0


def _real_world(slope: float, last: int) -> Dataset:
    """Item of the Real World Value Mapping Sequence, PS3.3 C.7.6.16.2.11."""
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "US", 0)
    item.add_new("RealWorldValueLastValueMapped", "US", max(last, 1))
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, slope
    item.LUTExplanation, item.LUTLabel = "activity concentration", "Bq/ml"
    item.MeasurementUnitsCodeSequence = Items([code("Bq/ml", "UCUM", "Becquerels/milliliter")])
    return item


def _isotope_and_detector(
    ds: Dataset, grid: Grid, administration: Administration, tomo: TomoAcquisition
) -> None:
    """NM Isotope and NM Detector modules; the geometry lies in the detector's item (C.8.4.11)."""
    windows = []
    for name, low, high in tomo.windows_kev:
        limits = Dataset()
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = ds_text(low), ds_text(high)
        window = Dataset()
        window.EnergyWindowName, window.EnergyWindowRangeSequence = name, Items([limits])
        windows.append(window)
    ds.NumberOfEnergyWindows, ds.EnergyWindowInformationSequence = len(windows), Items(windows)
    ds.RadiopharmaceuticalInformationSequence = Items([radiopharmaceutical(administration, becquerel=False)])
    detector = Dataset()
    detector.CollimatorGridName, detector.CollimatorType = tomo.collimator, "PARA"
    detector.FocalDistance = 0
    detector.ImagePositionPatient, detector.ImageOrientationPatient = (
        slice_position(grid, 0),
        orientation(grid),
    )
    ds.NumberOfDetectors, ds.DetectorInformationSequence = 1, Items([detector])


def _rotation(ds: Dataset, acquisition: Acquisition, tomo: TomoAcquisition) -> None:
    """NM TOMO Acquisition module."""
    rotation = Dataset()
    rotation.StartAngle = ds_text(tomo.start_angle_deg)
    # Each detector sees its part of the arc; frames are counted per detector, as cameras write them.
    frames = tomo.projections // tomo.detectors
    rotation.AngularStep = ds_text(360.0 / tomo.projections)
    rotation.ScanArc = ds_text(360.0 / tomo.detectors)
    rotation.RotationDirection = "CW"
    rotation.ActualFrameDuration = round(acquisition.duration_s * 1000.0 / frames)
    rotation.NumberOfFramesInRotation = frames
    rotation.RadialPosition = [ds_text(250.0)] * frames
    ds.NumberOfRotations, ds.RotationInformationSequence = 1, Items([rotation])
    ds.TypeOfDetectorMotion = "STEP AND SHOOT"


def ct_series(
    ct: HuMap, *, subject: Subject, acquisition: Acquisition, uid_of: UidOf, kvp: float = 120.0
) -> list[Dataset]:
    """A CT as single-frame objects in the order of the grid's slices; stored value = HU + 1024."""
    if float(ct.hu.min()) < -1024:
        raise OutOfDomain("the smallest CT number", float(ct.hu.min()), "HU", "-1024 and above")
    stored = np.rint(ct.hu + 1024.0).astype(np.uint16)
    return [
        _ct_slice(ct.grid, stored[k], k, kvp, subject, acquisition, uid_of(k)) for k in range(stored.shape[0])
    ]


def _ct_slice(
    grid: Grid,
    stored: npt.NDArray[np.uint16],
    k: int,
    kvp: float,
    subject: Subject,
    acquisition: Acquisition,
    uid: str,
) -> Dataset:
    ds = new_object(CTImageStorage, uid, "CT", subject, acquisition)
    ds.ImageType, ds.PatientPosition = ["ORIGINAL", "PRIMARY", "AXIAL"], "HFS"
    _plane(ds, grid, k)
    ds.AcquisitionNumber, ds.KVP = 1, ds_text(kvp)
    ds.ExposureTime, ds.XRayTubeCurrent, ds.ConvolutionKernel = 500, 60, "SOFT"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = ds_text(-1024), ds_text(1), "HU"
    ds.WindowCenter, ds.WindowWidth = ds_text(40), ds_text(400)
    set_pixels(ds, stored)
    return ds


def _plane(ds: Dataset, grid: Grid, k: int) -> None:
    """Image Plane module."""
    ds.InstanceNumber = k + 1
    ds.PixelSpacing = pixel_spacing(grid)
    ds.ImageOrientationPatient = orientation(grid)
    ds.ImagePositionPatient = slice_position(grid, k)
    ds.SliceThickness = ds_text(grid.spacing_mm[2])


def pt_series(
    activity: ActivityMap,
    *,
    subject: Subject,
    acquisition: Acquisition,
    administration: Administration,
    uid_of: UidOf,
) -> list[Dataset]:
    """A SPECT or PET in Bq/mL as single-frame PT objects, decay-corrected to the start, each slice with
    a slope of its own."""
    if float(activity.bq_per_ml.min()) < 0:
        raise OutOfDomain("the smallest voxel", float(activity.bq_per_ml.min()), "Bq/mL", "0 and above")
    return [
        _pt_slice(activity, k, subject, acquisition, administration, uid_of(k))
        for k in range(activity.grid.shape_zyx[0])
    ]


def _pt_slice(
    activity: ActivityMap,
    k: int,
    subject: Subject,
    acquisition: Acquisition,
    administration: Administration,
    uid: str,
) -> Dataset:
    plane = activity.bq_per_ml[k].astype(np.float64)
    # PS3.3 C.8.9.4: stored values are signed or unsigned 16 bits; 32767 is safe with either reading.
    slope = ds_text(max(float(plane.max()), 1e-6) / 32767.0)
    ds = new_object(PositronEmissionTomographyImageStorage, uid, "PT", subject, acquisition)
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    _plane(ds, activity.grid, k)
    ds.RescaleIntercept, ds.RescaleSlope = ds_text(0), slope
    _pet_series(ds, activity.grid.shape_zyx[0], administration)
    ds.ImageIndex, ds.FrameReferenceTime = k + 1, ds_text(0.0)
    ds.ActualFrameDuration = round(acquisition.duration_s * 1000.0)
    ds.DecayFactor = ds_text(1.0)
    set_pixels(ds, np.rint(plane / float(slope)).clip(0, 65535).astype(np.uint16))
    return ds


def _pet_series(ds: Dataset, slices: int, administration: Administration) -> None:
    """PET Series and PET Isotope modules."""
    ds.Units, ds.CountsSource, ds.SeriesType = "BQML", "EMISSION", ["STATIC", "IMAGE"]
    ds.NumberOfSlices, ds.DecayCorrection = slices, "START"
    ds.CorrectedImage = ["DECY", "ATTN", "SCAT"]
    ds.CollimatorType = "NONE"
    supine_head_first(ds)
    ds.RadiopharmaceuticalInformationSequence = Items([radiopharmaceutical(administration, becquerel=True)])


@dataclass(frozen=True)
class SegmentCode:
    """Category and type of a segment: (value, scheme, meaning) each (CID 7150, 7151)."""

    category: tuple[str, str, str]
    type: tuple[str, str, str]


def segmentation(
    regions: LabelMap,
    source: Sequence[Dataset],
    codes: dict[str, SegmentCode],
    *,
    acquisition: Acquisition,
    sop_instance_uid: str,
    dimension_uid: str,
) -> Dataset:
    """Regions as one binary SEG on the slices of ``source``, a CT series.

    Parameters
    ----------
    regions : LabelMap on the grid of the CT, slices in the order of ``source``
    codes : region name -> SegmentCode
    dimension_uid : Dimension Organization UID

    Raises
    ------
    Inconsistent
        Another number or size of slices than the source has.
    """
    import highdicom as hd
    from pydicom.uid import ExplicitVRLittleEndian

    shape = (len(source), source[0].Rows, source[0].Columns)
    if regions.grid.shape_zyx != shape:
        raise Inconsistent(f"the regions have shape {regions.grid.shape_zyx}, the source series {shape}")
    made_by = acquisition.equipment
    seg = hd.seg.Segmentation(
        source_images=list(source),
        pixel_array=np.stack([regions.masks[name] for name in regions.names], axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(i, name, codes[name]) for i, name in enumerate(regions.names, 1)],
        series_instance_uid=acquisition.series_uid,
        series_number=acquisition.series_number,
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        manufacturer=made_by.manufacturer,
        manufacturer_model_name=made_by.model,
        software_versions=made_by.software_version,
        device_serial_number=made_by.serial_number,
        content_label="ORGANS",
        series_description=acquisition.series_description,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    _pin(seg, acquisition, dimension_uid)
    return seg


def _segment(number: int, name: str, segment: SegmentCode) -> Any:
    import highdicom as hd
    from highdicom.sr import CodedConcept

    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=CodedConcept(*segment.category),
        segmented_property_type=CodedConcept(*segment.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def _pin(seg: Dataset, acquisition: Acquisition, dimension_uid: str) -> None:
    """Replace what the library takes from the clock or draws at random."""
    start = acquisition.started_at
    for name in ("Series", "Content", "InstanceCreation"):
        setattr(seg, f"{name}Date", start.strftime("%Y%m%d"))
        setattr(seg, f"{name}Time", start.strftime("%H%M%S"))
    seg.TimezoneOffsetFromUTC = start.strftime("%z")
    for item in seg.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = dt_text(start)
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimension_uid
    for item in seg.DimensionIndexSequence:
        item.DimensionOrganizationUID = dimension_uid
