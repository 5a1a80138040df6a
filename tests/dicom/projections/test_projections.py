"""Raw TOMO: every frame lands at its view, every trap is handled or refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomnode.dicom.projections.energy_windows import IMAGED_KEV, peak_window
from dicomnode.dicom.projections.projections import read_projections
from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported
from dicomnode.model import Severity
from dicomnode.model.projections import EnergyWindow, Projections
from dicomnode.physics.nuclides import emissions
from tests.dicom.tomo_objects import LU177, POINTERS, frames_of, items, keep, store, tomo

Save = Callable[[Dataset], Path]
ZONE = ZoneInfo("Europe/Berlin")
POINT = (42.0, -24.0, 21.0)


def place_of_hot_pixel(read: Projections, view: int, window: int = 0) -> tuple[float, float]:
    """Where the point's counts are: along the noun's transaxial direction, and along z, mm from the axis."""
    row, column = np.unravel_index(read.counts[window, view].argmax(), read.counts.shape[2:])
    across = (column - (read.counts.shape[3] - 1) / 2) * read.pixel_mm[0]
    return float(across), float(read.grid.origin_mm[2] + row * read.pixel_mm[1])


def assert_sees_point(read: Projections, point: tuple[float, float, float] = POINT) -> None:
    """Every view of every window shows the point where the noun's geometry puts it."""
    centre = np.array(read.grid.to_patient_mm([(n - 1) / 2 for n in reversed(read.grid.shape_zyx)]))
    for view, angle in enumerate(np.deg2rad(read.angle_deg)):
        expected = (point[0] - centre[0]) * -np.sin(angle) + (point[1] - centre[1]) * np.cos(angle)
        for window in range(len(read.windows)):
            across, z = place_of_hot_pixel(read, view, window)
            assert across == pytest.approx(expected, abs=read.pixel_mm[0] / 2 + 1e-6)
            assert z == pytest.approx(point[2], abs=read.pixel_mm[1] / 2 + 1e-6)
            assert read.counts[window, view].max() == 100 * (window + 1)


@settings(max_examples=25, deadline=None)
@given(
    x=st.floats(-60, 60), y=st.floats(-60, 60), z=st.floats(-40, 40),
    start=st.floats(0, 359), direction=st.sampled_from(["CW", "CC"]),
)  # fmt: skip
def test_a_point_is_seen_where_the_standard_puts_it(
    tmp_path_factory: pytest.TempPathFactory, x: float, y: float, z: float, start: float, direction: str
) -> None:
    ds = tomo((x, y, z), starts=(start, (start + 180) % 360), direction=direction)
    assert_sees_point(read_projections([write(ds, tmp_path_factory.mktemp("tomo"))], ZONE), (x, y, z))


def write(ds: Dataset, folder: Path) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    ds.save_as(folder / "tomo.dcm", enforce_file_format=True)
    return folder / "tomo.dcm"


def test_views_have_their_angle_radius_and_time(save: Save) -> None:
    read = read_projections([save(tomo())], ZONE)
    assert read.counts.shape == (3, 12, 16, 32)
    # Start angles 180 and 0 about the patient, CW by 30: the noun's angle is 90 minus that
    assert read.angle_deg[[0, 1, 6, 7]].tolist() == [270.0, 300.0, 90.0, 120.0]
    assert read.radius_mm[:3].tolist() == [200.0, 202.0, 204.0]
    assert read.seconds.tolist() == [20.0] * 12
    assert read.started_s[[0, 5, 6, 11]].tolist() == [0.0, 100.0, 0.0, 100.0]
    assert read.duration_s == 120.0
    assert read.nuclide == "Lu-177"
    assert read.started_at.utcoffset() == timedelta(hours=1)
    assert (read.peak, read.raw, read.collimator, read.findings) == (0, True, "ME", ())


def test_the_order_of_frames_does_not_matter(save: Save) -> None:
    straight = read_projections([save(tomo())], ZONE)
    order = np.random.default_rng(7).permutation(36).tolist()
    mixed = read_projections([save(keep(tomo(), order))], ZONE)
    assert np.array_equal(straight.counts, mixed.counts)
    assert np.array_equal(straight.angle_deg, mixed.angle_deg)


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP"])
def test_angles_are_about_the_patient_however_the_patient_lies(save: Save, position: str) -> None:
    read = read_projections([save(tomo(PatientPosition=position))], ZONE)
    assert_sees_point(read)
    assert read.facts["patient_position"] == position


# Gantry angle of a detector at patient angle t, and whether the raw frame has the feet on top: from turning
# a patient in front of the gantry (0 below, counter-clockwise seen from the front).
@pytest.mark.parametrize(
    ("position", "gantry_start", "direction", "over"),
    [
        ("HFS", 180.0, "CW", False),
        ("HFP", 0.0, "CW", False),
        ("FFS", 180.0, "CC", True),
        ("FFP", 0.0, "CC", True),
    ],
)
def test_a_camera_that_counts_by_the_gantry_can_be_read_as_such(
    save: Save, position: str, gantry_start: float, direction: str, over: bool
) -> None:
    ds = tomo(PatientPosition=position, starts=(180.0,), views=12)  # as the patient sees it: 180, 150, ...
    frames = frames_of(ds)
    ds = store(ds, np.ascontiguousarray(frames[:, ::-1, ::-1]) if over else frames)
    ds.DetectorInformationSequence[0].StartAngle = gantry_start
    ds.RotationInformationSequence[0].StartAngle = gantry_start
    ds.RotationInformationSequence[0].RotationDirection = direction
    if over:
        ds.DetectorInformationSequence[0].ImagePositionPatient = [0, 0, 45.0 - 15 * 6.0]
    read = read_projections([save(ds)], ZONE, angles_counted="gantry")
    assert_sees_point(read)


def test_a_patient_on_the_side_is_refused(save: Save) -> None:
    with pytest.raises(Unsupported, match=r"HFS, HFP, FFS and FFP.*HFDL"):
        read_projections([save(tomo(PatientPosition="HFDL"))], ZONE)


def test_position_and_orientation_codes_must_agree(save: Save) -> None:
    codes = {
        "PatientOrientationCodeSequence": items(
            {
                "PatientOrientationModifierCodeSequence": items(
                    {"CodeValue": "F-10340", "CodeMeaning": "supine"}
                )
            }
        ),
        "PatientGantryRelationshipCodeSequence": items({"CodeValue": "F-10480", "CodeMeaning": "feet-first"}),
    }
    with pytest.raises(Inconsistent, match=r"HFS by PatientPosition \(0018,5100\) and FFS by"):
        read_projections([save(tomo(**codes))], ZONE)
    ds = tomo(**codes)
    del ds.PatientPosition
    assert read_projections([save(ds)], ZONE).facts["patient_position"] == "FFS"


def test_an_unstated_position_is_assumed_and_said(save: Save) -> None:
    read = read_projections([save(tomo(PatientPosition=None))], ZONE)
    assert [(f.rule, f.severity) for f in read.findings] == [("patient-position", Severity.WARNING)]


def turned_rows(starts: tuple[float, ...]) -> list[list[float]]:
    return [[-np.cos(np.deg2rad(a)), np.sin(np.deg2rad(a)), 0.0, 0.0, 0.0, -1.0] for a in starts]


def with_orientation(ds: Dataset, directions: list[list[float]], positions: Any = None) -> Dataset:
    for k, (detector, direction) in enumerate(zip(ds.DetectorInformationSequence, directions, strict=True)):
        detector.ImageOrientationPatient = direction
        if positions is not None:
            detector.ImagePositionPatient = positions[k]
    return ds


def test_rows_stated_at_another_angle_than_the_detectors_are_refused(save: Save) -> None:
    starts = (239.0, 135.0)
    agreeing = with_orientation(tomo(starts=starts), turned_rows(starts))
    assert_sees_point(read_projections([save(agreeing)], ZONE))
    by_gantry = with_orientation(tomo(starts=starts), turned_rows((121.0, 225.0)))
    with pytest.raises(Inconsistent, match=r"seen from 121, 225 degrees.*start at 239, 135"):
        read_projections([save(by_gantry)], ZONE)


def test_one_direction_for_all_detectors_says_nothing_of_their_views(save: Save) -> None:
    same = [[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]] * 2
    assert_sees_point(read_projections([save(with_orientation(tomo(starts=(90.0, 270.0)), same))], ZONE))


def test_the_axis_is_found_from_the_table_or_from_the_detectors_corners(save: Save) -> None:
    low = tomo()
    low.RotationInformationSequence[0].TableHeight = 150.0
    read = read_projections([save(low)], ZONE)
    assert read.grid.origin_mm == pytest.approx((-15.5 * 6, -150 - 15.5 * 6, 45 - 15 * 6))
    # detectors at 180 (anterior) and 0 (posterior), radius 200, about an axis at (5, -30)
    starts = (180.0, 0.0)
    rows = turned_rows(starts)
    corners = []
    for start, row in zip(starts, rows, strict=True):
        t = np.deg2rad(start)
        face = np.array([5.0, -30.0]) + 200.0 * np.array([np.sin(t), np.cos(t)])
        corners.append([*(face - np.array(row[:2]) * 15.5 * 6), 45.0])
    read = read_projections([save(with_orientation(tomo(starts=starts), rows, corners))], ZONE)
    assert read.grid.origin_mm == pytest.approx((5 - 15.5 * 6, -30 - 15.5 * 6, 45 - 15 * 6))
    assert read.origin["geometry"] == "position of the detectors' first rows"


def test_projections_without_a_position_hold(save: Save) -> None:
    ds = tomo()
    for detector in ds.DetectorInformationSequence:
        del detector.ImagePositionPatient
    read = read_projections([save(ds)], ZONE)
    assert [(f.rule, f.severity) for f in read.findings] == [("projections-unplaced", Severity.HOLD)]


def test_pixels_that_are_not_square_keep_both_sizes(save: Save) -> None:
    read = read_projections([save(tomo(pixel_mm=(6.0, 4.0), top_z=30.0))], ZONE)
    assert read.pixel_mm == (6.0, 4.0)
    assert read.grid.spacing_mm == (6.0, 6.0, 4.0)
    assert read.grid.shape_zyx == (16, 32, 32)
    assert_sees_point(read)


def test_a_window_of_two_ranges_keeps_both(save: Save) -> None:
    dual = (((101.0, 125.0), (187.56, 229.24)), (176.54, 187.46))
    read = read_projections([save(tomo(windows=dual))], ZONE)
    assert read.windows[0].ranges_kev == dual[0]
    assert read.windows[0].width_kev == pytest.approx(24.0 + 41.68)
    assert read.peak == 0


def test_the_peak_window_is_the_one_of_the_nuclides_line_wherever_it_stands(save: Save) -> None:
    read = read_projections([save(tomo(windows=(LU177[1], LU177[2], (101.0, 125.0), LU177[0])))], ZONE)
    assert read.peak == 3
    iodine = EnergyWindow("I", ((328.0, 401.0),))
    assert peak_window([EnergyWindow("low", ((290.0, 328.0),)), iodine], "I-131", "") == 1
    assert peak_window([EnergyWindow("wide", ((50.0, 500.0),))], "Y-90", "") == 0
    with pytest.raises(Unsupported, match="photopeak of Lu-177: 290-328 keV"):
        peak_window([EnergyWindow("low", ((290.0, 328.0),))], "Lu-177", "")


@pytest.mark.parametrize("name", sorted(IMAGED_KEV))
def test_imaged_lines_are_lines_of_the_nuclide_or_its_daughters(name: str) -> None:
    gammas = emissions(name).gamma[:, 0] * 1000.0
    for line in IMAGED_KEV[name]:
        assert np.abs(gammas - line).min() < 0.2


def test_a_missing_view_is_left_out_and_said(save: Save) -> None:
    ds = tomo(step=15.0, views=12)
    whole = read_projections([save(ds)], ZONE)
    read = read_projections([save(keep(tomo(step=15.0, views=12), [k for k in range(72) if k != 3]))], ZONE)
    assert read.counts.shape[1] == 23
    assert read.angle_deg.tolist() == np.delete(whole.angle_deg, 3).tolist()
    assert np.array_equal(read.counts, np.delete(whole.counts, 3, axis=1))
    assert [(f.rule, f.severity, f.measured) for f in read.findings] == [
        ("missing-views", Severity.WARNING, 1)
    ]


def test_many_missing_views_are_refused(save: Save) -> None:
    with pytest.raises(Inconsistent, match="2 of 12 views are missing"):
        read_projections([save(keep(tomo(), [k for k in range(36) if k not in (0, 1)]))], ZONE)


def test_views_missing_at_the_end_show_in_the_arc(save: Save) -> None:
    ds = tomo()
    ds.RotationInformationSequence[0].ScanArc = 360.0
    ds.RotationInformationSequence[0].NumberOfFramesInRotation = 5
    short = keep(ds, [k for k in range(36) if ds.AngularViewVector[k] != 6])
    with pytest.raises(
        Inconsistent, match="5 views in steps of 30 degrees do not make the stated arc of 360"
    ):
        read_projections([save(short)], ZONE)


def test_a_view_that_is_there_twice_is_refused(save: Save) -> None:
    ds = tomo()
    vector = list(ds.AngularViewVector)
    vector[4] = 2
    ds.AngularViewVector = vector
    with pytest.raises(Inconsistent, match="frames 2 and 5 are both view 2 of detector 1"):
        read_projections([save(ds)], ZONE)


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"AngularViewVector": [1] * 35}, Inconsistent, "numbers 35 frames of 36"),
        ({"DetectorVector": [3] * 36}, Inconsistent, "runs from 3 to 3 where 1 to 2"),
        ({"AngularViewVector": None}, MissingAttribute, "vector that numbers the frames"),
        ({"FrameIncrementPointer": [*POINTERS, 0x00540070]}, Unsupported, "gates or time"),
        ({"FrameIncrementPointer": POINTERS[1:]}, MissingAttribute, "EnergyWindowVector"),
        ({"NumberOfEnergyWindows": 2}, Inconsistent, "2 energy windows are stated and 3 described"),
        ({"NumberOfRotations": 2}, MissingAttribute, "2 rotations are stated and 1 described"),
        ({"PixelSpacing": None}, MissingAttribute, "size of a pixel"),
        ({"CorrectedImage": ["UNIF", "ATTN"]}, Unsupported, "already corrected for attenuation"),
        ({"CorrectedImage": ["SCAT"]}, Unsupported, "already corrected for scatter"),
        ({"CorrectedImage": ["DECY"]}, Unsupported, "already corrected for decay, to a time that is not"),
        ({"RescaleSlope": -1, "RescaleIntercept": 0}, Inconsistent, "not positive"),
        ({"AcquisitionDate": None}, MissingAttribute, "when it was acquired"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]}, Unsupported, "role emission"),
        ({"PixelData": b""}, MissingAttribute, "holds no pixels"),
        ({"PixelData": b"\0" * 100}, Inconsistent, "100 bytes of pixels where its matrix needs 36864"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_reason(
    save: Save, change: dict[str, Any], kind: type[Refused], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        read_projections([save(tomo(**change))], ZONE)


@pytest.mark.parametrize("collimator", ["ASTG", "FANB", "CONE", "PINH", "SLNT"])
def test_only_parallel_holes_are_reconstructed(save: Save, collimator: str) -> None:
    ds = tomo()
    for detector in ds.DetectorInformationSequence:
        detector.CollimatorType = collimator
    with pytest.raises(Unsupported, match=f"only parallel-hole collimators.*{collimator}"):
        read_projections([save(ds)], ZONE)


def test_a_collimator_of_unstated_type_is_doubted_only_without_a_focus(save: Save) -> None:
    ds = tomo()
    for detector in ds.DetectorInformationSequence:
        detector.CollimatorType = ""
    assert [f.rule for f in read_projections([save(ds)], ZONE).findings] == ["collimator-type"]
    ds.DetectorInformationSequence[0].FocalDistance = 529
    with pytest.raises(Unsupported, match="focal distance 529 mm"):
        read_projections([save(ds)], ZONE)


@pytest.mark.parametrize(
    ("radii", "reason"),
    [
        ([], "how far the detector stood"),
        ([200.0] * 5, "5 radial positions for 6 views"),
        ([20.0], "20 mm from the axis"),
    ],
)
def test_the_orbit_must_be_whole_and_plausible(save: Save, radii: list[float], reason: str) -> None:
    ds = tomo()
    for detector in ds.DetectorInformationSequence:
        detector.RadialPosition = radii or None
    with pytest.raises(Refused, match=reason):
        read_projections([save(ds)], ZONE)


def test_a_round_orbit_is_one_radius(save: Save) -> None:
    assert read_projections([save(tomo(radii=[250.0]))], ZONE).radius_mm.tolist() == [250.0] * 12


def two_rotations(traverse: float) -> Dataset:
    ds = tomo()
    turn = ds.RotationInformationSequence[0]
    back = deepcopy(turn)
    back.StartAngle, back.RotationDirection, back.TableTraverse = 30.0, "CC", 1000.0 + traverse
    ds.RotationInformationSequence.append(back)
    ds.NumberOfRotations = 2
    frames, vectors = frames_of(ds), {k: list(ds[k].value) for k in ("EnergyWindowVector", "DetectorVector")}
    views = list(ds.AngularViewVector)
    for key, vector in vectors.items():
        setattr(ds, key, vector * 2)
    ds.RotationVector = [1] * 36 + [2] * 36
    ds.AngularViewVector = views + [7 - v for v in views]  # the same places, from the last to the first
    return store(ds, np.concatenate([frames, frames]))


def test_rotations_at_one_table_position_are_all_used(save: Save) -> None:
    read = read_projections([save(two_rotations(0.0))], ZONE)
    assert read.counts.shape == (3, 24, 16, 32)
    assert sorted(read.angle_deg[:12]) == sorted(read.angle_deg[12:])
    assert read.started_s[12] == 120.0
    assert_sees_point(read)


def test_several_beds_are_refused(save: Save) -> None:
    with pytest.raises(Unsupported, match="2 bed positions over 390 mm"):
        read_projections([save(two_rotations(390.0))], ZONE)


def test_a_moving_detector_stands_for_the_middle_of_its_step(save: Save) -> None:
    still = read_projections([save(tomo())], ZONE)
    moving = read_projections([save(tomo(TypeOfDetectorMotion="CONTINUOUS"))], ZONE)
    assert (moving.angle_deg - still.angle_deg) % 360 == pytest.approx(15.0)  # CW: the noun's angle grows
    assert [f.rule for f in moving.findings] == ["continuous-motion"]


def test_full_pixels_hold(save: Save) -> None:
    ds = tomo()
    frames = frames_of(ds)
    frames[0, 0, :3] = 65535
    read = read_projections([save(store(ds, frames))], ZONE)
    assert [(f.rule, f.severity, f.measured) for f in read.findings] == [
        ("saturated-pixels", Severity.HOLD, 3)
    ]


@pytest.mark.parametrize(
    ("slope", "factor", "raw"), [(1.0, 1.0, True), (0.5, 0.5, True), (2.0, 2.0, False), (0.371, 0.371, False)]
)
def test_a_rescale_slope_is_applied_and_whole_counts_are_told_from_scaled_ones(
    save: Save, slope: float, factor: float, raw: bool
) -> None:
    plain = read_projections([save(tomo())], ZONE)
    read = read_projections([save(tomo(RescaleSlope=slope, RescaleIntercept=0))], ZONE)
    assert np.array_equal(read.counts, np.rint(plain.counts * factor))
    assert read.raw is raw
    assert [f.rule for f in read.findings] == ([] if slope == 1.0 else ["rescaled-projections"])


def test_counts_scaled_by_the_camera_are_not_raw(save: Save) -> None:
    read = read_projections([save(tomo(CorrectedImage=["UNIF", "DTIM"]))], ZONE)
    assert not read.raw
    assert [f.rule for f in read.findings] == ["corrected-projections"]


def test_a_view_without_duration_holds(save: Save) -> None:
    ds = tomo()
    del ds.RotationInformationSequence[0].ActualFrameDuration
    read = read_projections([save(ds)], ZONE)
    assert read.seconds.max() == 0.0
    assert [(f.rule, f.severity) for f in read.findings] == [("view-duration", Severity.HOLD)]


def test_windows_in_objects_of_their_own_are_put_together(save: Save) -> None:
    paths = [save(tomo(windows=[w])) for w in (LU177[1], LU177[0])]
    read = read_projections(paths, ZONE)
    assert (read.counts.shape[0], read.peak) == (2, 1)
    with pytest.raises(Unsupported, match="2 acquisitions"):
        read_projections([save(tomo(windows=[LU177[0]])), save(tomo(windows=[LU177[0]]))], ZONE)


# --- the real and the synthetic set ---------------------------------------------------------------------


def test_the_synthetic_nema_set_is_read_with_its_truth(shared: Path) -> None:
    folder = shared / "real" / "spect_raw" / "synthetic_nema_lu177"
    read = read_projections([folder / "nm_tomo.dcm"], ZONE)
    truth = json.loads((folder / "truth.json").read_text())
    assert read.counts.shape == (3, 60, 64, 64)
    assert read.counts.sum() == 6151901  # CountsAccumulated
    assert read.radius_mm == pytest.approx(np.array(truth["orbit_radius_cm"]) * 10)
    assert set(read.seconds) == {truth["frame_s"]}
    assert [round(w.width_kev, 3) for w in read.windows] == [41.6, 20.8, 20.8]
    assert (read.peak, read.nuclide, read.raw, read.findings) == (0, "Lu-177", True, ())
    # README: own projector angle = 270 - ((DICOM angle + 180) mod 360), CW => StartAngle - k * AngularStep
    dicom = np.concatenate([90.0 - 6.0 * np.arange(30), 270.0 - 6.0 * np.arange(30)])
    assert read.angle_deg == pytest.approx((270.0 - (dicom + 180.0) % 360.0) % 360.0)


def test_its_views_show_the_truth_only_in_the_geometry_that_was_read(shared: Path) -> None:
    """Line integrals of the true activity correlate with the counts; mirrored or turned views do not."""
    from scipy.ndimage import rotate

    folder = shared / "real" / "spect_raw" / "synthetic_nema_lu177"
    read = read_projections([folder / "nm_tomo.dcm"], ZONE)
    truth = np.load(folder / "truth.npz")["act_rel"].astype(np.float32)  # x, y, z of 48 slices
    wide = np.zeros((64, 64, 64), np.float32)
    wide[:, :, 8:56] = truth
    views = range(0, 60, 12)

    def likeness(turn: int, flip: bool, upside_down: bool) -> float:
        likenesses = []
        for view in views:
            # bring the viewing direction (cos a, sin a) onto +x: bins are then along y
            turned = rotate(wide, -turn * read.angle_deg[view], axes=(1, 0), reshape=False, order=1)
            line = turned.sum(axis=0)[:: -1 if flip else 1, :: -1 if upside_down else 1].T
            likenesses.append(np.corrcoef(line.ravel(), read.counts[0, view].ravel())[0, 1])
        return float(np.mean(likenesses))

    # attenuation and blur are left out: 0.92 as read, 0.88 at most for any mirrored geometry
    wrong = [likeness(t, f, u) for t in (1, -1) for f in (False, True) for u in (False, True)][1:]
    assert likeness(1, False, False) > max(0.9, max(wrong) + 0.03)


def test_the_real_siemens_header_is_refused_for_its_collimator_and_its_empty_pixels(
    shared: Path, save: Save
) -> None:
    path = shared / "real" / "nm_vendors" / "siemens_encore2_tomo_projections.dcm"
    with pytest.raises(Unsupported, match=r"only parallel-hole collimators.*ASTG"):
        read_projections([path], ZONE)
    ds = dcmread(path)
    for detector in ds.DetectorInformationSequence:
        detector.CollimatorType, detector.FocalDistance = "PARA", 0
    with pytest.raises(MissingAttribute, match="holds no pixels"):
        read_projections([save(ds)], ZONE)


def test_the_real_siemens_geometry_is_understood_once_it_has_pixels(shared: Path, save: Save) -> None:
    """Its arcs, 239 to 135 and 135 to 31 degrees CW, lie about the heart of a feet-first patient."""
    ds = dcmread(shared / "real" / "nm_vendors" / "siemens_encore2_tomo_projections.dcm")
    for detector in ds.DetectorInformationSequence:
        detector.CollimatorType, detector.FocalDistance = "PARA", 0
    ds.PixelData = np.ones(68 * 128 * 128, dtype=np.uint16).tobytes()
    read = read_projections([save(ds)], ZONE)
    assert read.counts.shape == (2, 34, 128, 128)
    assert (read.facts["patient_position"], read.nuclide, read.peak) == ("FFS", "Tc-99m", 0)
    left, posterior = np.cos(np.deg2rad(read.angle_deg)).mean(), np.sin(np.deg2rad(read.angle_deg)).mean()
    assert left > 0.3
    assert posterior < -0.3  # the middle of the arc is left anterior, where the heart is
    assert read.radius_mm.min() > 200
    assert read.grid.to_patient_mm([63.5, 63.5, 63.5]) == pytest.approx(
        [0.0, -173.1, 1797.095 - 63.5 * 4.7952], abs=0.01
    )


@pytest.mark.parametrize("folder", ["nm_vendors", "spect_raw/nm_samples"])
def test_no_other_nm_file_is_taken_for_projections(shared: Path, folder: str) -> None:
    for path in sorted((shared / "real" / folder).rglob("*.dcm")):
        with pytest.raises(Refused) as refusal:
            read_projections([path], ZONE)
        assert any(
            word in str(refusal.value)
            for word in ("planar", "role emission", "of no use", "parallel-hole", "whole-body")
        )
