"""Geometry, scale, decay and limits of emission and CT volumes, on objects of known content."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import exp, log
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.volumes import read_ct, read_emission
from dicomnode.dicom.volumes.decay import SliceTimes, decay_of, frame_factor, scan_start
from dicomnode.dicom.volumes.nm import nm_grid
from dicomnode.dicom.volumes.scale import real_world
from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported
from dicomnode.model import Severity

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]
RAMP = np.arange(5 * 3 * 4).reshape(5, 3, 4)
LU177_S = 574_300.0


# --- NM geometry -----------------------------------------------------------------------------------------


@given(
    spacing=st.floats(1.0, 10.0),
    sign=st.sampled_from([-1, 1]),
    turn=st.floats(-3.1, 3.1),
    nod=st.floats(-1.5, 1.5),
)
@settings(deadline=None, max_examples=60)
def test_every_voxel_lies_at_position_plus_k_times_signed_spacing(
    make_nm: Build, spacing: float, sign: int, turn: float, nod: float
) -> None:
    row = np.array([np.cos(turn), np.sin(turn), 0.0])
    column = np.array([-np.sin(turn) * np.cos(nod), np.cos(turn) * np.cos(nod), np.sin(nod)])
    iop = [f"{v:.9f}" for v in (*row, *column)]
    ds = make_nm(RAMP, spacing=f"{sign * spacing:.6f}", iop=iop)
    grid, flipped = nm_grid(Attributes(ds))
    assert flipped == (sign < 0)
    assert np.linalg.det(grid.axes) == pytest.approx(1.0)
    for k, j, i in ((0, 0, 0), (4, 2, 3), (2, 1, 0)):  # PS3.3 C.8.4.15, written out
        place = np.array([-10, -20, 30]) + i * 3.0 * row + j * 4.0 * column
        place = place + k * sign * spacing * np.cross(row, column)
        stored_at = 4 - k if flipped else k
        np.testing.assert_allclose(grid.to_patient_mm((i, j, stored_at)), place, atol=1e-4)


def test_plastimatch_puts_an_nm_volume_with_negative_spacing_in_the_same_place(
    make_nm: Build, save: Save, zone: ZoneInfo, tmp_path: Path
) -> None:
    import shutil

    import SimpleITK as sitk  # noqa: N813

    if shutil.which("plastimatch") is None:
        pytest.skip("needs the program plastimatch: run deploy/test-peers.sh")
    path, out = save(make_nm(RAMP, spacing=-4.0)), tmp_path / "peer.mha"
    subprocess.run(
        ["plastimatch", "convert", "--input", path, "--output-img", out], check=True, capture_output=True
    )
    peer, ours = sitk.ReadImage(str(out)), read_emission([path], zone)
    for index in np.ndindex(5, 3, 4):
        place = ours.grid.to_patient_mm(index[::-1])
        there = peer.TransformPhysicalPointToIndex([float(v) for v in place])
        assert peer[there] == ours.values[index]


def test_slices_are_sorted_by_the_slice_vector(make_nm: Build, save: Save, zone: ZoneInfo) -> None:
    vector = [1, 3, 2, 5, 4]
    volume = read_emission([save(make_nm(RAMP, SliceVector=vector))], zone)
    np.testing.assert_array_equal(volume.values, RAMP[[0, 2, 1, 4, 3]])
    assert "slice-order" in {f.rule for f in volume.findings}


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"spacing": None}, "direction in which slices are stacked"),
        ({"spacing": 0}, "direction in which slices are stacked"),
        ({"SliceVector": [5, 4, 3, 2, 1]}, "first frame is not slice 1"),
        ({"SliceVector": [1, 1, 2, 3, 4]}, "does not number the 5 frames"),
        ({"NumberOfSlices": 4}, "does not number the 5 frames"),
        ({"FrameIncrementPointer": [0x00540080, 0x00540070]}, "frames vary in more than the slice"),
        ({"NumberOfEnergyWindows": 2}, "frames vary in more than the slice"),
        (
            {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
            "stated twice, differently",
        ),
        ({"iop": [1, 0, 0, 1, 0, 0]}, "not orthogonal"),
        ({"DetectorInformationSequence": Sequence([])}, "where it lies in the patient"),
        ({"AcquisitionDate": ""}, "does not say when it was acquired"),
        ({"NumberOfFrames": 500_000_000}, "number of frames is absurd"),
        (
            {"NumberOfFrames": 6, "NumberOfSlices": 6, "SliceVector": [1, 2, 3, 4, 5, 6]},
            "120 bytes of pixels where its matrix needs 144",
        ),
        ({"Rows": 60_000, "Columns": 60_000}, "larger than any volume"),
        ({"PixelData": b""}, "holds no pixels"),
        ({"BitsAllocated": 12}, "only one sample of 8, 16 or 32 bits"),
    ],
)
def test_an_nm_object_that_is_ambiguous_or_hostile_is_refused(
    make_nm: Build, save: Save, zone: ZoneInfo, values: dict[str, Any], match: str
) -> None:
    with pytest.raises(Refused, match=match):
        read_emission([save(make_nm(RAMP, **values))], zone)


def test_the_duration_is_views_times_frame_duration(
    make_nm: Build, sq: Build, save: Save, zone: ZoneInfo
) -> None:
    rotation = sq(ActualFrameDuration=14695, NumberOfFramesInRotation=60, ScanArc=180, AngularStep=3)
    volume = read_emission([save(make_nm(RAMP, RotationInformationSequence=[rotation]))], zone)
    assert volume.duration_s == pytest.approx(881.7)


# --- scale -----------------------------------------------------------------------------------------------


def mapping(sq: Build, unit: str, first: int, last: int, slope: float, intercept: float = 0.0) -> Dataset:
    item = sq(
        RealWorldValueSlope=slope,
        RealWorldValueIntercept=intercept,
        MeasurementUnitsCodeSequence=[sq(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)],
    )
    item.add_new("RealWorldValueFirstValueMapped", "US", first)
    item.add_new("RealWorldValueLastValueMapped", "US", last)
    return item


def test_real_world_mapping_wins_over_the_rescale_slope(
    make_nm: Build, sq: Build, save: Save, zone: ZoneInfo
) -> None:
    mappings = [mapping(sq, "{counts}", 0, 65535, 7.0), mapping(sq, "kBq/ml", 0, 65535, 0.5)]
    ds = make_nm(RAMP, RealWorldValueMappingSequence=mappings, RescaleSlope=9, RescaleIntercept=0)
    volume = read_emission([save(ds)], zone)
    assert (volume.unit, volume.origin["unit"]) == ("Bq/mL", "RealWorldValueMapping UCUM kBq/ml")
    np.testing.assert_allclose(volume.values, RAMP * 500.0)


@given(split=st.integers(1, 58), low=st.floats(0.1, 10), high=st.floats(0.1, 10))
@settings(deadline=None, max_examples=30)
def test_each_range_of_a_mapping_has_its_own_slope(sq: Build, split: int, low: float, high: float) -> None:
    items = (mapping(sq, "Bq/ml", split + 1, 59, high, -1.0), mapping(sq, "Bq/ml", 0, split, low))
    scaling = real_world(tuple(Attributes(i) for i in items), "1.2")
    assert scaling is not None
    stored = np.arange(60).reshape(3, 4, 5)
    expected = np.where(stored <= split, stored * low, stored * high - 1.0)
    np.testing.assert_allclose(scaling.apply(stored, "1.2"), expected, rtol=1e-5)


def test_values_outside_every_range_are_refused(
    make_nm: Build, sq: Build, save: Save, zone: ZoneInfo
) -> None:
    ds = make_nm(RAMP, RealWorldValueMappingSequence=[mapping(sq, "Bq/ml", 0, 50, 1.0)])
    with pytest.raises(Inconsistent, match="9 voxels, up to the stored value 59, lie outside every range"):
        read_emission([save(ds)], zone)


def test_nm_without_a_scale_is_counts_and_with_a_slope_scaled_counts(
    make_nm: Build, save: Save, zone: ZoneInfo
) -> None:
    assert read_emission([save(make_nm(RAMP))], zone).unit == "counts"
    volume = read_emission([save(make_nm(RAMP, RescaleSlope=0.5, RescaleIntercept=1))], zone)
    assert volume.unit == "counts"
    np.testing.assert_allclose(volume.values, RAMP * 0.5 + 1)


@pytest.mark.parametrize(("units", "unit"), [("BQML", "Bq/mL"), ("CNTS", "counts"), ("PROPCPS", "counts/s")])
def test_pet_units_are_kept_apart(make_pt: Build, save: Save, zone: ZoneInfo, units: str, unit: str) -> None:
    assert read_emission([save(make_pt(z, Units=units)) for z in (0, 4, 8)], zone).unit == unit


def test_philips_counts_become_bq_per_ml_by_their_private_factor(
    make_pt: Build, save: Save, zone: ZoneInfo
) -> None:
    paths = []
    for z in (0, 4, 8):
        ds = make_pt(z, stored=10, slope=2.0, Units="CNTS")
        block = ds.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x09, "DS", "1.5")
        paths.append(save(ds))
    volume = read_emission(paths, zone)
    assert volume.unit == "Bq/mL"
    np.testing.assert_allclose(volume.values, 30.0)


# --- PET slices ------------------------------------------------------------------------------------------


@given(order=st.permutations(range(5)), slopes=st.lists(st.floats(1e-8, 1e3), min_size=5, max_size=5))
@settings(deadline=None, max_examples=20)
def test_slices_in_any_order_keep_their_own_slope(
    make_pt: Build, tmp_path_factory: pytest.TempPathFactory, order: list[int], slopes: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("pt")
    paths = []
    for k in order:
        ds = make_pt(4.0 * k, stored=k + 1, slope=f"{slopes[k]:.8g}", count=5)
        path = folder / f"{k}.dcm"
        ds.save_as(path, implicit_vr=False, little_endian=True, enforce_file_format=True) if hasattr(
            ds, "file_meta"
        ) else _write(ds, path)
        paths.append(path)
    volume = read_emission(paths, ZoneInfo("UTC"))
    np.testing.assert_allclose(volume.values[:, 0, 0], [(k + 1) * slopes[k] for k in range(5)], rtol=1e-5)


def _write(ds: Dataset, path: Path) -> None:
    from pydicom.dataset import FileMetaDataset

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    ds.save_as(path, enforce_file_format=True)


def test_gaps_duplicates_and_missing_slices_are_refused(make_pt: Build, save: Save, zone: ZoneInfo) -> None:
    with pytest.raises(Inconsistent, match="2 of 3 slices are there"):
        read_emission([save(make_pt(z)) for z in (0, 4)], zone)
    with pytest.raises(Inconsistent, match=r"widest gap is between 4.00 and 12.00 mm"):
        read_emission([save(make_pt(z, count=4)) for z in (0, 4, 12, 16)], zone)
    with pytest.raises(Inconsistent, match="two slices lie in one place"):
        read_emission([save(make_pt(z, count=4)) for z in (0, 4, 4, 8)], zone)
    with pytest.raises(Unsupported, match="gantry tilt"):
        read_emission([save(make_pt(z, ImagePositionPatient=[0, z / 4, z])) for z in (0, 4, 8)], zone)
    with pytest.raises(Inconsistent, match="2 different values of SeriesInstanceUID"):
        read_emission([save(make_pt(z, SeriesInstanceUID=f"1.{z + 1}")) for z in (0, 4)], zone)


# --- decay -----------------------------------------------------------------------------------------------

T0 = datetime(2024, 3, 10, 10, 15, tzinfo=UTC)


def test_uncorrected_beds_are_brought_to_the_start_of_the_scan(
    make_pt: Build, save: Save, zone: ZoneInfo
) -> None:
    times = {0: "101500", 4: "104500", 8: "111500"}
    paths = [
        save(make_pt(z, DecayCorrection="NONE", CorrectedImage=["ATTN", "SCAT"], AcquisitionTime=t))
        for z, t in times.items()
    ]
    volume = read_emission(paths, zone)
    rate = log(2) / LU177_S
    x = rate * 600.0  # mean over a frame of 600 s, to its start
    expected = [200.0 * exp(rate * s) * x / (1 - exp(-x)) for s in (0, 1800, 3600)]
    np.testing.assert_allclose(volume.values[:, 0, 0], expected, rtol=1e-6)
    assert (volume.decay_reference, volume.decay_reference_at) == ("START", volume.started_at)
    assert volume.origin["decay_reference"] == "DecayCorrection NONE; corrected here per slice"
    assert volume.duration_s == 3600 + 600
    assert volume.facts["bed_positions"] == "3"


def test_uncorrected_slices_without_a_half_life_hold(make_pt: Build, save: Save, zone: ZoneInfo) -> None:
    paths = []
    for z in (0, 4, 8):
        ds = make_pt(z, DecayCorrection="NONE", CorrectedImage=["ATTN", "SCAT"])
        del ds.RadiopharmaceuticalInformationSequence
        paths.append(save(ds))
    volume = read_emission(paths, zone)
    assert [(f.rule, f.severity) for f in volume.findings] == [("decay-reference", Severity.HOLD)]
    np.testing.assert_allclose(volume.values, 200.0)


def test_a_series_that_states_no_decay_correction_holds(make_pt: Build, save: Save, zone: ZoneInfo) -> None:
    volume = read_emission([save(make_pt(z, DecayCorrection="")) for z in (0, 4, 8)], zone)
    assert (volume.decay_reference, volume.decay_reference_at) == ("", None)
    assert [f.severity for f in volume.findings] == [Severity.HOLD]


def slices(*decay_factors: float | None, reference_s: float | None = None) -> list[SliceTimes]:
    return [SliceTimes(T0, reference_s, 600.0, f) for f in decay_factors]


@pytest.mark.parametrize(
    ("series", "ge", "zero", "origin"),
    [
        (T0, None, T0, "SeriesDate and SeriesTime"),
        # Siemens, late window: values are corrected to SeriesTime, 50 minutes before the window
        (T0 - timedelta(minutes=50), None, T0 - timedelta(minutes=50), "SeriesDate and SeriesTime"),
        # post-processing rewrote SeriesTime to later than the acquisition
        (T0 + timedelta(hours=2), None, T0, "first AcquisitionTime"),
        (T0 - timedelta(days=1), None, T0, "first AcquisitionTime"),
        (None, None, T0, "first AcquisitionTime"),
        (T0, T0 - timedelta(minutes=3), T0 - timedelta(minutes=3), "GE scan date and time (0009,100D)"),
        (T0 + timedelta(seconds=1), None, T0, "SeriesDate and SeriesTime"),
    ],
)
def test_the_zero_of_start_follows_the_order_of_trust(
    series: datetime | None, ge: datetime | None, zero: datetime, origin: str
) -> None:
    assert scan_start(slices(None), series, ge) == (zero, origin)


F18_S = 6588.0


@pytest.mark.parametrize("factor", [1.0, 1.03208, 1.0655])
def test_a_decay_factor_of_any_convention_is_accepted(factor: float) -> None:
    # 600 s of fluorine: at its start 1; mean of the frame 1.0319; by a reference time of 603 s 1.0655
    found = decay_of("START", slices(factor, reference_s=603.0), (T0, ""), None, F18_S, "1.2")
    assert found.findings == ()
    assert frame_factor(log(2) / F18_S, 600.0) == pytest.approx(1.0319, abs=2e-4)


def test_a_decay_factor_of_no_convention_holds_and_names_the_key() -> None:
    found = decay_of("START", slices(1.2, reference_s=300.0), (T0, ""), None, F18_S, "1.2")
    (finding,) = found.findings
    assert finding.severity is Severity.HOLD
    assert "[[cycle.calibration]] decay_reference" in finding.sentence


def test_admin_with_its_factor_is_taken_and_without_an_administration_warns() -> None:
    given = T0 - timedelta(hours=24)
    factor = exp(log(2) / LU177_S * 86400)
    good = decay_of("ADMIN", slices(factor), (T0, ""), given, LU177_S, "1.2")
    assert (good.label, good.at, good.findings) == ("ADMIN", given, ())
    lost = decay_of("ADMIN", slices(factor), (T0, ""), None, LU177_S, "1.2")
    assert [f.severity for f in lost.findings] == [Severity.WARNING]


# --- CT --------------------------------------------------------------------------------------------------


def test_ct_is_sorted_scaled_per_slice_and_padded_with_air(make_ct: Build, save: Save) -> None:
    paths = [save(make_ct((0, 0, z), stored=1024 + z)) for z in (6, 0, 3)]
    paths.append(save(make_ct((0, 0, 9), stored=-2000, PixelPaddingValue=-2000)))
    paths.append(save(make_ct((0, 0, 12), stored=-3000)))
    paths.append(save(make_ct((0, 0, 99), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])))
    ct, findings = read_ct(paths)
    np.testing.assert_array_equal(ct.hu[:, 0, 0], [0, 3, 6, -1000, -1000])
    assert ct.grid.spacing_mm == (1.0, 1.0, 3.0)
    assert [f.rule for f in findings] == ["localiser"]


@pytest.mark.parametrize(
    ("positions", "match"),
    [
        ([(0, 0, 0), (0, 0, 3)], "2 slices make no volume"),
        ([(0, 0, 0), (0, 0, 3), (0, 0, 9), (0, 0, 12)], "widest gap is between 3.00 and 9.00 mm"),
        ([(0, 0, 0), (0, 0, 3), (0, 0, 3), (0, 0, 6)], "two slices lie in one place"),
        ([(0, 0, 0), (0, 1, 3), (0, 2, 6)], "gantry tilt"),
    ],
)
def test_a_ct_series_that_is_not_whole_is_refused(
    make_ct: Build, save: Save, positions: list[tuple[int, ...]], match: str
) -> None:
    with pytest.raises(Refused, match=match):
        read_ct([save(make_ct(p)) for p in positions])


def test_ct_without_a_rescale_slope_is_refused(make_ct: Build, save: Save) -> None:
    paths = []
    for z in (0, 1, 2):
        ds = make_ct((0, 0, z))
        del ds.RescaleSlope
        paths.append(save(ds))
    with pytest.raises(MissingAttribute, match="no rescale slope"):
        read_ct(paths)


def test_twelve_bits_in_sixteen_lose_the_overlay_above_them(make_ct: Build, save: Save) -> None:
    stored = np.full((3, 4), 0x0400 | 0x8000, dtype=np.uint16)  # bit 15 is an old overlay
    paths = []
    for z in (0, 1, 2):
        ds = make_ct((0, 0, z))
        ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = stored.tobytes(), 12, 11, 0
        paths.append(save(ds))
    ct, _ = read_ct(paths)
    np.testing.assert_array_equal(ct.hu, 0.0)


def test_a_short_pixel_element_is_refused_before_it_is_an_array(make_ct: Build, save: Save) -> None:
    paths = [save(make_ct((0, 0, z), PixelData=b"\0" * 20)) for z in (0, 1, 2)]
    with pytest.raises(Inconsistent, match="20 bytes of pixels where its matrix needs 24"):
        read_ct(paths)
