"""Enhanced PET and enhanced CT: functional groups, shared and per frame."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.volumes import read_ct, read_emission
from dicomnode.errors import Inconsistent, Unsupported
from dicomnode.model.series import Role

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]


@pytest.fixture
def make_enhanced(sq: Build) -> Build:
    """Enhanced object of (frames, rows, columns) stored values; frames are stored from the top down."""

    def make(sop_class: str, stored: np.ndarray, unit: str | None = "Bq/ml") -> Dataset:
        ds = sq(
            SOPClassUID=sop_class,
            SOPInstanceUID="1.2.5",
            SeriesInstanceUID="1.2.6",
            StudyInstanceUID="1.2",
            FrameOfReferenceUID="1.2.9",
            Modality="PT",
            PatientID="T",
            NumberOfFrames=len(stored),
            ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
            AcquisitionDateTime="20240310101500",
            DecayCorrected="YES",
            DecayCorrectionDateTime="20240310101500",
            SamplesPerPixel=1,
            BitsAllocated=16,
            BitsStored=16,
            HighBit=15,
            PixelRepresentation=0,
        )
        ds.Rows, ds.Columns = stored.shape[1:]
        ds.PixelData = stored.astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        measures = sq(PixelSpacing=[4.0, 4.0], SliceThickness=2.0)
        shared = sq(
            PixelMeasuresSequence=[measures],
            PlaneOrientationSequence=[sq(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        )
        ds.SharedFunctionalGroupsSequence = Sequence([shared])
        ds.PerFrameFunctionalGroupsSequence = Sequence(_frame(sq, k, unit) for k in range(len(stored)))
        return ds

    return make


def _frame(sq: Build, k: int, unit: str | None) -> Dataset:
    frame = sq(
        PlanePositionSequence=[sq(ImagePositionPatient=[0, 0, -2.0 * k])],
        PixelValueTransformationSequence=[sq(RescaleSlope=2.0 + k, RescaleIntercept=-1000, RescaleType="HU")],
        FrameContentSequence=[
            sq(FrameAcquisitionDateTime=f"2024031010{15 + k}00", FrameAcquisitionDuration=60_000.0)
        ],
    )
    if unit:
        mapping = sq(
            RealWorldValueSlope=0.5 + k,
            RealWorldValueIntercept=0.0,
            MeasurementUnitsCodeSequence=[
                sq(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
            ],
        )
        mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
        mapping.add_new("RealWorldValueLastValueMapped", "US", 65535)
        frame.RealWorldValueMappingSequence = Sequence([mapping])
    return frame


PET, CT = "1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.2.1"


def test_enhanced_pet_is_sorted_and_scaled_frame_by_frame(
    make_enhanced: Build, save: Save, zone: ZoneInfo
) -> None:
    path = save(make_enhanced(PET, np.full((4, 3, 3), 10)))
    assert read_header(path, zone).role is Role.EMISSION
    volume = read_emission([path], zone)
    np.testing.assert_allclose(volume.values[:, 0, 0], [35.0, 25.0, 15.0, 5.0])  # the last frame lies lowest
    assert volume.grid.origin_mm == (0.0, 0.0, -6.0)
    assert volume.started_at == datetime(2024, 3, 10, 9, 15, tzinfo=UTC)
    assert (volume.decay_reference, volume.decay_reference_at) == ("START", volume.started_at)
    assert volume.duration_s == 4 * 60


def test_enhanced_pet_corrected_to_the_administration_says_so(
    make_enhanced: Build, sq: Build, save: Save, zone: ZoneInfo
) -> None:
    ds = make_enhanced(PET, np.full((4, 3, 3), 10))
    ds.DecayCorrectionDateTime = "20240309101500"
    dose = sq(RadionuclideTotalDose=7400.0, RadiopharmaceuticalStartDateTime="20240309101500")
    ds.RadiopharmaceuticalInformationSequence = Sequence([dose])
    path = save(ds)
    volume = read_emission([path], zone)
    assert (volume.decay_reference, volume.decay_reference_at) == (
        "ADMIN",
        datetime(2024, 3, 9, 9, 15, tzinfo=UTC),
    )
    assert read_header(path, zone).administered_mbq == 7400.0  # MBq in enhanced PET


def test_enhanced_pet_without_a_unit_is_refused(make_enhanced: Build, save: Save, zone: ZoneInfo) -> None:
    with pytest.raises(Unsupported, match="states no unit"):
        read_emission([save(make_enhanced(PET, np.ones((4, 3, 3)), unit=None))], zone)


def test_enhanced_ct_is_read_by_its_groups(make_enhanced: Build, save: Save) -> None:
    ct, _ = read_ct([save(make_enhanced(CT, np.full((4, 3, 3), 100)))])
    np.testing.assert_allclose(ct.hu[:, 0, 0], [-500.0, -600.0, -700.0, -800.0])
    assert ct.grid.spacing_mm == (4.0, 4.0, 2.0)


def test_groups_that_do_not_match_the_frames_are_refused(make_enhanced: Build, save: Save) -> None:
    ds = make_enhanced(CT, np.full((4, 3, 3), 100))
    ds.PerFrameFunctionalGroupsSequence = ds.PerFrameFunctionalGroupsSequence[:3]
    with pytest.raises(Inconsistent, match="4 frames have 3 functional groups"):
        read_ct([save(ds)])
