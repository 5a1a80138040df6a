"""Maps other than dose as Parametric Map Storage (PS3.3 A.75): TIA, and the uncertainty of the dose.

Values are float32 in Float Pixel Data with an identity real-world-value mapping in UCUM units. Frames
carry explicit plane positions: NM sources keep theirs in the Detector Information Sequence, where
highdicom does not look, so nothing is inferred from the sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID

from dicomnode import __version__
from dicomnode.dicom.header.headers import NOISE_LABEL
from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.sop_classes import PARAMETRIC_MAP
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.modules import (
    CODING_SCHEME,
    MANUFACTURER,
    MODEL,
    SOURCE_IMAGE,
    ObjectIdentity,
    code,
    ds_text,
    encoded,
    put_as_is,
    put_common_references,
    put_frame_of_reference,
    put_patient_study,
    reference,
)
from dicomnode.dicom.write.rtdose import upright
from dicomnode.model import CountingNoise, Grid, TiaMap

PARAMETRIC_MAP_STORAGE = PARAMETRIC_MAP


DERIVATION = ("VOXDOSE", CODING_SCHEME, "Voxel dosimetry of radionuclide therapy")


@dataclass(frozen=True)
class Quantity:
    """What the voxels of a map hold: a coded concept, its UCUM unit, and a label of at most 16 capitals."""

    concept: tuple[str, str, str]
    unit: tuple[str, str]
    label: str


TIA = Quantity(
    ("TIAC", CODING_SCHEME, "Time-integrated activity concentration"), ("MBq.s/mL", "MBq.s/mL"), "TIA"
)
"""MIRD Pamphlet 21 (Bolch et al. 2009): time-integrated activity, here per volume."""
DOSE_SIGMA = Quantity(
    ("SIGMA_D", CODING_SCHEME, "Standard uncertainty of absorbed dose"), ("Gy", "Gy"), "DOSE_SIGMA"
)
"""k = 1, everything included that is known of a voxel: counts, fit, calibration, recovery and engine."""

ACTIVITY_SIGMA = Quantity(
    ("SIGMA_A", CODING_SCHEME, "Standard uncertainty of activity concentration"),
    ("Bq/mL", "Bq/mL"),
    "ACTIVITY_SIGMA",
)

ACTIVITY_NOISE = Quantity(
    ("NOISE_A", CODING_SCHEME, "Activity concentration, bootstrap replicate less mean"),
    ("Bq/mL", "Bq/mL"),
    NOISE_LABEL,
)


def write_tia_map(
    tia: TiaMap, patient: PatientStudy, identity: ObjectIdentity, *, sources: Sequence[SourceImage] = ()
) -> bytes:
    """Time-integrated activity concentration, MBq s / mL."""
    return write_map(tia.grid, tia.mbq_s_per_ml, TIA, patient, identity, sources=sources)


def write_dose_sigma(
    grid: Grid,
    sigma_gy: npt.NDArray[np.float32],
    patient: PatientStudy,
    identity: ObjectIdentity,
    *,
    sources: Sequence[SourceImage] = (),
) -> bytes:
    """Standard uncertainty (k = 1) of the absorbed dose of each voxel, Gy, as
    ``results.voxel_uncertainty.whole_sigma_gy`` gives it: activity over time and engine together."""
    return write_map(grid, sigma_gy, DOSE_SIGMA, patient, identity, sources=sources)


def write_activity_sigma(
    grid: Grid,
    bq_per_ml: npt.NDArray[np.float32],
    patient: PatientStudy,
    identity: ObjectIdentity,
    *,
    sources: Sequence[SourceImage] = (),
) -> bytes:
    """Standard uncertainty (k = 1) of the activity concentration of each voxel of a SPECT, Bq/mL.

    No image class: software that looks for activity must not find this.
    """
    return write_map(grid, bq_per_ml, ACTIVITY_SIGMA, patient, identity, sources=sources)


def write_activity_noise(
    noise: CountingNoise,
    patient: PatientStudy,
    identities: Sequence[ObjectIdentity],
    *,
    sources: Sequence[SourceImage] = (),
) -> list[bytes]:
    """Replicates of a SPECT under redrawn counts, less their mean, Bq/mL: one object each, of one series.

    ``sources`` are the images whose noise it is: a reader pairs the series with them.
    """
    return [
        write_map(noise.box, values, ACTIVITY_NOISE, patient, identity, sources=sources)
        for values, identity in zip(noise.bq_per_ml, identities, strict=True)
    ]


def write_map(
    grid: Grid,
    values: npt.NDArray[np.float32],
    quantity: Quantity,
    patient: PatientStudy,
    identity: ObjectIdentity,
    *,
    sources: Sequence[SourceImage] = (),
) -> bytes:
    """A map of float32 values as a DICOM file; the same arguments give the same bytes."""
    grid, values = upright(grid, values)
    positions = grid.to_patient_mm([(0, 0, k) for k in range(grid.shape_zyx[0])])
    sx, sy, sz = (float(ds_text(s)) for s in grid.spacing_mm)
    orientation = tuple(float(ds_text(round(float(a), 9))) for a in grid.axes[:, :2].T.ravel())
    ds = hd.pm.ParametricMap(
        source_images=[_stub(grid, patient)],
        pixel_array=np.ascontiguousarray(values, dtype=np.float32),
        series_instance_uid=identity.series_uid,
        series_number=identity.series_number,
        sop_instance_uid=identity.sop_instance_uid,
        instance_number=identity.instance_number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=__version__,
        device_serial_number="0",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(quantity, values)],
        voi_lut_transformations=[_window(values)],
        pixel_measures=hd.PixelMeasuresSequence((sy, sx), slice_thickness=sz, spacing_between_slices=sz),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", orientation),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", [float(ds_text(round(float(c), 6))) for c in p])
            for p in positions
        ],
        content_label=quantity.label,
        content_description=quantity.concept[2],
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        specific_character_set="ISO_IR 192",
    )
    return encoded(_settled(ds, patient, identity, sources))


def _mapping(quantity: Quantity, values: npt.NDArray[np.float32]) -> hd.pm.RealWorldValueMapping:
    value, unit = quantity.unit
    return hd.pm.RealWorldValueMapping(
        lut_label=quantity.label,
        lut_explanation=quantity.concept[2],
        unit=Code(value, "UCUM", unit),
        value_range=(float(values.min()), float(values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=Code(*quantity.concept),
    )


def _window(values: npt.NDArray[np.float32]) -> hd.VOILUTTransformation:
    """Show everything from zero to the maximum."""
    width = max(float(ds_text(float(f"{float(values.max()):.6g}"))), 1e-6)
    return hd.VOILUTTransformation(
        window_center=width / 2, window_width=width, voi_lut_function="LINEAR_EXACT"
    )


def _stub(grid: Grid, patient: PatientStudy) -> Dataset:
    """What highdicom wants of a source image: patient, study, matrix and frame of reference, no more."""
    ds = Dataset()
    put_patient_study(ds, patient)
    put_frame_of_reference(ds, patient)
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", named_uid("unused")
    put_as_is(ds, "SeriesInstanceUID", named_uid("unused series"))
    ds.Rows, ds.Columns = grid.shape_zyx[1:]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    return ds


def _settled(
    ds: Dataset, patient: PatientStudy, identity: ObjectIdentity, sources: Sequence[SourceImage]
) -> Dataset:
    """Replace what highdicom draws at random or from the clock, and refer to the true sources."""
    put_patient_study(ds, patient)
    put_frame_of_reference(ds, patient)
    ds.SeriesDescription = identity.description[:64]
    for keyword in ("ContentDate", "SeriesDate", "InstanceCreationDate", "AcquisitionDate"):
        setattr(ds, keyword, identity.date)
    for keyword in ("ContentTime", "SeriesTime", "InstanceCreationTime", "AcquisitionTime"):
        setattr(ds, keyword, identity.time)
    for item in ds.ContributingEquipmentSequence:
        item.ContributionDateTime = identity.date + identity.time
    ds.Laterality = ""
    _rename_dimension(ds, UID(named_uid("dimensions", identity.sop_instance_uid)))
    if "ReferencedSeriesSequence" in ds:
        del ds.ReferencedSeriesSequence
    _put_derivation(ds, sources)
    put_common_references(ds, patient.study_uid, sources)
    return ds


def _rename_dimension(ds: Dataset, uid: UID) -> None:
    ds.DimensionOrganizationSequence[0].DimensionOrganizationUID = uid
    for item in ds.DimensionIndexSequence:
        item.DimensionOrganizationUID = uid


def _put_derivation(ds: Dataset, sources: Sequence[SourceImage]) -> None:
    """One Derivation Image macro for all frames (PS3.3 C.7.6.16.2.6): each frame is made of every source."""
    for frame in ds.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in frame:
            del frame.DerivationImageSequence
    if not sources:
        return
    derivation = Dataset()
    derivation.DerivationDescription = "Voxel dosimetry of radionuclide therapy"
    derivation.DerivationCodeSequence = [code(*DERIVATION)]
    derivation.SourceImageSequence = [reference(s, SOURCE_IMAGE) for s in sources]
    ds.SharedFunctionalGroupsSequence[0].DerivationImageSequence = [derivation]
