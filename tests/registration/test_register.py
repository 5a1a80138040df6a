"""Registration finds the shift that was made, says when it failed, and keeps the activity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.errors import Inconsistent
from dicomnode.model import (
    ActivityMap,
    Cycle,
    Finding,
    Grid,
    HuMap,
    LabelMap,
    RegisteredCycle,
    RegistrationQuality,
    Severity,
    TimePoint,
)
from dicomnode.registration import RegistrationSettings, register
from dicomnode.registration.images import rigid
from dicomnode.simulation import SimulatedPatient, SimulatedScan, make_patient, scan
from dicomnode.simulation.scanner import Pose, regions_on

SETTINGS = RegistrationSettings()
QUICK = RegistrationSettings(samples=10_000)
MakePoint = Callable[..., TimePoint]
Scans = tuple[SimulatedScan, ...]


def _errors(quality: RegistrationQuality, pose: Pose) -> tuple[float, float]:
    """Error of the found transform: mm at the patient's origin, degrees."""
    found = rigid(quality.transform, quality.center_mm)
    origin = np.array(found.TransformPoint((0.0, 0.0, 0.0)))
    turn = np.array(found.GetMatrix()).reshape(3, 3) @ pose.rotation.T
    angle = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(origin - pose.to_scanner((0, 0, 0)))), float(angle)


def _holds(result: RegisteredCycle) -> dict[str, Finding]:
    return {f.rule: f for f in result.findings if f.severity is Severity.HOLD}


def _pair(patient: SimulatedPatient, first: TimePoint, second: TimePoint) -> RegisteredCycle:
    return register(Cycle(patient.administration, (first, second)), QUICK)


def test_ct_to_ct_finds_the_shift_within_half_a_millimetre(registered: RegisteredCycle, scans: Scans) -> None:
    for point, made in zip(registered.points, scans, strict=True):
        shift_mm, turn_deg = _errors(point.quality, made.pose)
        assert shift_mm < 0.5, point.label
        assert turn_deg < 0.3, point.label
    assert [p.quality.method for p in registered.points] == ["ct-ct", "identity", "ct-ct", "ct-ct"]


def test_a_good_registration_holds_nothing_and_measures_well(registered: RegisteredCycle) -> None:
    assert _holds(registered) == {}
    for point in registered.points:
        if point.quality.method != "identity":
            assert point.quality.dice_body > 0.98
            assert point.quality.mutual_information > 1.0
            assert point.quality.residual_mm < 2.0


def test_everything_lies_on_the_reference_grid(registered: RegisteredCycle, scans: Scans) -> None:
    grid = scans[1].activity.grid
    assert registered.reference == "T2"
    assert registered.frame_of_reference_uid == "2.25.32"
    assert all(point.activity.grid == grid for point in registered.points)
    assert registered.ct is not None
    assert registered.ct.grid == grid
    assert registered.regions is not None
    assert registered.regions.grid == grid
    assert [p.hours for p in registered.points] == [4.0, 24.0, 72.0, 168.0]


def test_the_reference_is_not_interpolated(registered: RegisteredCycle, scans: Scans) -> None:
    assert registered.points[1].activity is scans[1].activity


def test_the_same_cycle_gives_the_same_bits(registered: RegisteredCycle, cycle: Cycle) -> None:
    again = register(cycle, SETTINGS)
    for one, two in zip(registered.points, again.points, strict=True):
        assert one.quality == two.quality
        assert one.activity.bq_per_ml.tobytes() == two.activity.bq_per_ml.tobytes()
    assert registered.findings == again.findings


def test_totals_are_kept_within_a_hundredth(registered: RegisteredCycle) -> None:
    changes = [f for f in registered.findings if f.rule == "registration-total-activity"]
    assert len(changes) == 3
    for finding in changes:
        assert finding.measured is not None
        assert abs(finding.measured) < 1.0  # percent
        assert "MBq after resampling" in finding.sentence


def test_organs_keep_their_activity_after_registration(
    registered: RegisteredCycle, patient: SimulatedPatient
) -> None:
    # The same regions on scans without shift and on registered ones. 4 %: linear interpolation of 6.6 mm
    # voxels widens the image a little, so that small organs lose to their surroundings.
    assert registered.regions is not None
    for point in registered.points:
        still = scan(patient, point.hours, pose=Pose()).activity
        for name in ("liver", "spleen", "kidney left", "kidney right"):
            share = registered.regions.shares[name]
            found, meant = (float((a.bq_per_ml * share).sum()) for a in (point.activity, still))
            assert found == pytest.approx(meant, rel=0.04), (point.label, name)


def test_spect_to_spect_finds_the_shift_where_there_is_no_ct(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    points = tuple(point(f"T{n}", made, with_ct=False) for n, made in enumerate(scans, 1))
    result = register(Cycle(patient.administration, points), SETTINGS)
    for moved, made in zip(result.points, scans, strict=True):
        shift_mm, turn_deg = _errors(moved.quality, made.pose)
        assert shift_mm < 0.5
        assert turn_deg < 0.3
    assert _holds(result) == {}
    warnings = [f for f in result.findings if f.rule == "registration-without-ct"]
    assert len(warnings) == 3
    assert result.ct is None


def test_a_missing_ct_is_made_up_by_the_spect_of_that_time_point(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    result = _pair(patient, point("T1", scans[1]), point("T2", scans[2], with_ct=False))
    assert result.points[1].quality.method == "spect-spect"


# What must not pass.


@pytest.mark.parametrize("seed", [3, 5, 6])
def test_another_patient_holds_the_cycle(
    patient: SimulatedPatient, scans: Scans, point: MakePoint, seed: int
) -> None:
    stranger = scan(make_patient(seed, size="small"), 72.0)
    holds = _holds(_pair(patient, point("T1", scans[1]), point("T2", stranger)))
    assert "registration-residual" in holds
    assert "another patient" in holds["registration-residual"].sentence


def test_a_mirrored_image_holds_the_cycle(patient: SimulatedPatient, scans: Scans, point: MakePoint) -> None:
    made = scans[2]
    ct = HuMap(made.ct.grid, made.ct.hu[:, :, ::-1])
    activity = ActivityMap(made.activity.grid, made.activity.bq_per_ml[:, :, ::-1])
    holds = _holds(_pair(patient, point("T1", scans[1]), point("T2", made, ct=ct, activity=activity)))
    assert "registration-residual" in holds
    assert holds["registration-residual"].measured == 24.0  # the search's end


def test_an_empty_ct_holds_the_cycle(patient: SimulatedPatient, scans: Scans, point: MakePoint) -> None:
    empty = HuMap(scans[2].ct.grid, np.full(scans[2].ct.grid.shape_zyx, -1000.0))
    for first, second in ((None, empty), (empty, None)):
        result = _pair(patient, point("T1", scans[1], ct=first), point("T2", scans[2], ct=second))
        assert {"registration-body-overlap", "registration-residual"} <= set(_holds(result))


def test_a_spect_without_activity_holds_the_cycle(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    nothing = ActivityMap(scans[2].activity.grid, np.zeros(scans[2].activity.grid.shape_zyx))
    with_ct = _pair(patient, point("T1", scans[1]), point("T2", scans[2], activity=nothing))
    without = _pair(
        patient,
        point("T1", scans[1], with_ct=False),
        point("T2", scans[2], with_ct=False, activity=nothing),
    )
    assert "registration-spect-residual" in _holds(with_ct)
    assert "registration-residual" in _holds(without)


def _moved(grid: Grid, by_mm: tuple[float, float, float]) -> Grid:
    x, y, z = (o + b for o, b in zip(grid.origin_mm, by_mm, strict=True))
    return replace(grid, origin_mm=(x, y, z))


def test_a_spect_100_mm_off_its_own_ct_holds_the_cycle(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    made = scans[2]
    off = ActivityMap(_moved(made.activity.grid, (0.0, 0.0, 100.0)), made.activity.bq_per_ml)
    holds = _holds(_pair(patient, point("T1", scans[1]), point("T2", made, activity=off)))
    assert "the SPECT may not fit its own CT" in holds["registration-spect-residual"].sentence


def test_another_origin_of_the_scanner_is_found(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    # Frames of reference of two visits: the same patient 100 mm to the side and 300 mm up the couch.
    made, offset = scans[2], (100.0, 0.0, 300.0)
    ct = HuMap(_moved(made.ct.grid, offset), made.ct.hu)
    activity = ActivityMap(_moved(made.activity.grid, offset), made.activity.bq_per_ml)
    result = _pair(patient, point("T1", scans[1]), point("T2", made, ct=ct, activity=activity))
    pose = replace(made.pose, shift_mm=tuple(np.add(made.pose.shift_mm, offset).tolist()))
    assert _errors(result.points[1].quality, pose)[0] < 0.5
    assert _holds(result) == {}


def test_a_field_of_view_that_cuts_an_organ_holds_the_cycle(
    patient: SimulatedPatient, scans: Scans, regions: LabelMap, point: MakePoint
) -> None:
    high = scan(patient, 72.0, pose=Pose(shift_mm=(0.0, 0.0, 160.0)))
    result = _pair(patient, point("T1", scans[1], regions=regions), point("T2", high))
    assert _errors(result.points[1].quality, high.pose)[0] < 1.0
    holds = _holds(result)
    assert "registration-region-cut" in holds
    assert "cuts off" in holds["registration-region-cut"].sentence
    # 160 mm of the trunk's 422 mm are missed, the liver's upper part among them.
    assert "registration-field-of-view" in holds


def test_a_ct_that_is_too_short_is_told(patient: SimulatedPatient, scans: Scans, point: MakePoint) -> None:
    ct = scans[1].ct
    half = HuMap(replace(ct.grid, shape_zyx=(42, *ct.grid.shape_zyx[1:])), ct.hu[:42])
    result = _pair(patient, point("T1", scans[1], ct=half), point("T2", scans[2]))
    assert "the CT does not reach" in _holds(result)["registration-ct-reach"].sentence


def test_a_cycle_without_time_points_is_refused(patient: SimulatedPatient) -> None:
    with pytest.raises(Inconsistent, match="no time points"):
        register(Cycle(patient.administration, ()), SETTINGS)


# The reference and its regions.


def test_without_regions_the_time_point_nearest_to_24_hours_is_the_reference(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    result = _pair(patient, point("T1", scans[0]), point("T2", scans[2]))
    assert result.reference == "T1"  # 4 h is 20 h away, 72 h is 48 h away


def test_regions_decide_on_the_reference(
    patient: SimulatedPatient, scans: Scans, point: MakePoint, regions: LabelMap
) -> None:
    drawn = replace(regions, shares={"liver": regions.shares["liver"]})
    result = _pair(patient, point("T1", scans[1]), point("T2", scans[3], regions=drawn))
    assert result.reference == "T2"


def test_regions_of_another_time_point_are_brought_over(
    patient: SimulatedPatient, scans: Scans, point: MakePoint, regions: LabelMap
) -> None:
    # Drawn where the patient lay at 72 h; on the reference they must lie on the patient's true organs.
    late = scans[2]
    shifted = _regions_in_pose(patient, late)
    first = replace(regions, shares={"liver": regions.shares["liver"]})
    second = replace(regions, shares={n: shifted[n] for n in ("liver", "spleen", "kidney left")})
    result = _pair(patient, point("T1", scans[1], regions=first), point("T2", late, regions=second))
    assert result.regions is not None
    assert result.regions.names == ("liver", "spleen", "kidney left")
    assert np.array_equal(result.regions.masks["liver"], regions.masks["liver"])
    for name in ("spleen", "kidney left"):
        found, meant = result.regions.masks[name], regions.masks[name]
        assert 2.0 * (found & meant).sum() / (found.sum() + meant.sum()) > 0.9
    twice = [f for f in result.findings if f.rule == "registration-region-twice"]
    assert [f.subject for f in twice] == ["liver"]


def test_a_region_that_the_reference_does_not_show_whole_holds_the_cycle(
    patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    # The reference's SPECT ends at slice 24; at T2, in the same pose, a lesion lies half beyond, one wholly.
    whole = scans[1].activity
    short = ActivityMap(replace(whole.grid, shape_zyx=(24, *whole.grid.shape_zyx[1:])), whole.bq_per_ml[:24])
    own = regions_on(patient, short.grid)
    first = replace(own, shares={"kidney left": own.shares["kidney left"]}, volume_ml={})
    masks = {name: np.zeros(whole.grid.shape_zyx, dtype=bool) for name in ("inside", "half", "beyond")}
    for name, (low, high) in {"inside": (15, 19), "half": (22, 26), "beyond": (27, 31)}.items():
        masks[name][low:high, 30:36, 30:36] = True
    drawn = LabelMap(whole.grid, masks, {"half": 33.7})
    result = _pair(
        patient, point("T1", scans[1], activity=short, regions=first), point("T2", scans[1], regions=drawn)
    )
    cut = {f.subject: f for f in result.findings if f.rule == "registration-region-cut"}
    assert {name: f.severity for name, f in cut.items()} == dict.fromkeys(("half", "beyond"), Severity.HOLD)
    assert cut["half"].measured == pytest.approx(0.5, abs=0.01)
    assert cut["beyond"].measured == 1.0
    assert "T1: its field of view cuts off 50 % of half" in cut["half"].sentence
    assert result.regions is not None
    assert result.regions.names == ("kidney left", "inside", "half")  # an empty mask is no region


def _regions_in_pose(patient: SimulatedPatient, made: SimulatedScan) -> dict[str, np.ndarray]:
    from dicomnode.simulation.scanner import resample

    return {
        name: resample(mask.astype(np.float32), patient.grid, made.activity.grid, made.pose, 0.0) >= 0.5
        for name, mask in patient.regions.masks.items()
    }


def test_the_ct_is_averaged_not_sampled(registered: RegisteredCycle, patient: SimulatedPatient) -> None:
    # Noise of 12 HU per CT voxel (4.4 x 4.4 x 5 mm) must shrink in a voxel of 6.6 mm, the mean stay.
    from scipy.ndimage import binary_erosion

    assert registered.ct is not None
    assert registered.regions is not None
    liver = binary_erosion(regions_on(patient, registered.ct.grid).masks["liver"], iterations=2)
    assert registered.ct.hu[liver].mean() == pytest.approx(58.0, abs=1.0)
    assert registered.ct.hu[liver].std() < 9.0


def test_progress_is_told(patient: SimulatedPatient, scans: Scans, point: MakePoint) -> None:
    told: list[tuple[float, str]] = []
    cycle = Cycle(patient.administration, (point("T1", scans[1]),))
    register(cycle, SETTINGS, progress=lambda fraction, what: told.append((fraction, what)))
    assert told == [(0.0, "registering T1 to T1"), (1.0, "registered")]


# Real images.


def test_a_shift_of_a_real_ct_is_found(
    shared: Path, tmp_path: Path, patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    # A trunk CT of TotalSegmentator's tests (3 mm voxels), moved by 16 mm and 3 degrees, with 20 HU of noise.
    import tarfile

    import SimpleITK as sitk  # noqa: N813

    from dicomnode.registration.images import grid_of, resample, to_array

    with tarfile.open(shared / "real" / "ct_series" / "totalseg_nifti.tar.xz") as archive:
        archive.extract("totalseg_nifti/example_ct.nii.gz", tmp_path, filter="data")
    image = sitk.ReadImage(str(tmp_path / "totalseg_nifti" / "example_ct.nii.gz"))
    grid = grid_of(image)
    fixed = HuMap(grid, to_array(image))
    center = tuple(grid.to_patient_mm((60, 50, 55)).tolist())
    meant = rigid((0.03, -0.02, 0.04, 9.0, -7.0, 12.0), center)
    noise = np.random.default_rng(1).normal(0, 20, grid.shape_zyx)
    moving = HuMap(grid, resample(image, grid, meant.GetInverse(), -1000.0) + noise)
    flat = ActivityMap(grid, (fixed.hu > 0).astype(np.float32))
    result = _pair(
        patient,
        point("T1", scans[1], ct=fixed, activity=flat),
        point("T2", scans[2], ct=moving, activity=flat),
    )
    quality = result.points[1].quality
    found = rigid(quality.transform, quality.center_mm)
    for corner in ((20, 20, 10), (100, 80, 100), (60, 50, 55)):
        place = tuple(grid.to_patient_mm(corner).tolist())
        error = np.subtract(found.TransformPoint(place), meant.TransformPoint(place))
        assert np.linalg.norm(error) < 0.6
    assert "registration-residual" not in _holds(result)


def test_two_visits_of_a_real_patient_meet_at_the_lesions(
    shared: Path, tmp_path: Path, patient: SimulatedPatient, scans: Scans, point: MakePoint
) -> None:
    # 177Lu-DOTATATE at 3.7 and 27.7 h, unfiltered, other frames of reference (shared/real/lu177_michigan):
    # the contours of two liver lesions lie 34 and 31 mm apart before. Breathing leaves some millimetres.
    import tarfile

    points, lesions = [], []
    for number in (1, 2):
        name = f"SCAN_00{number}"
        with tarfile.open(shared / "real" / "lu177_michigan_NONCOMMERCIAL" / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
        activity, centers = _read_visit(tmp_path / name)
        points.append(point(f"T{number}", scans[number - 1], with_ct=False, activity=activity))
        lesions.append(centers)
    result = _pair(patient, points[0], points[1])
    assert result.reference == "T2"
    quality = result.points[0].quality
    found = rigid(quality.transform, quality.center_mm)
    for name, center in lesions[1].items():
        there = np.array(found.TransformPoint(tuple(center.tolist())))
        assert np.linalg.norm(center - lesions[0][name]) > 30.0
        assert np.linalg.norm(there - lesions[0][name]) < 5.0
    assert _holds(result) == {}


def _read_visit(folder: Path) -> tuple[ActivityMap, dict[str, np.ndarray]]:
    """PT slices and the centres of the contours, read with pydicom alone."""
    import pydicom

    objects = [pydicom.dcmread(path) for path in folder.rglob("*") if path.is_file()]
    slices = [ds for ds in objects if ds.Modality == "PT"]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    values = np.stack([ds.pixel_array * float(ds.RescaleSlope) for ds in slices])
    first, second = (tuple(float(v) for v in ds.ImagePositionPatient) for ds in slices[:2])
    rows, columns = (float(v) for v in slices[0].PixelSpacing)
    grid = Grid(values.shape, (columns, rows, second[2] - first[2]), (first[0], first[1], first[2]))
    structures = next(ds for ds in objects if ds.Modality == "RTSTRUCT")
    centers = {}
    for item, contours in zip(structures.StructureSetROISequence, structures.ROIContourSequence, strict=True):
        nodes = [np.array(c.ContourData, dtype=float).reshape(-1, 3) for c in contours.ContourSequence]
        centers[str(item.ROIName)] = np.concatenate(nodes).mean(axis=0)
    return ActivityMap(grid, values), centers
