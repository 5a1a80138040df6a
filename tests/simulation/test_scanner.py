"""Scans of the simulated patient: totals, resolution, noise, pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.model import Grid
from dicomnode.simulation import SimulatedPatient, SimulatedScan, make_patient, scan
from dicomnode.simulation.scanner import CT_NOISE_HU, PSF_FWHM_MM, Pose, regions_on

angle, shift = st.floats(-20, 20), st.floats(-50, 50)


@given(st.tuples(angle, angle, angle), st.tuples(shift, shift, shift))
def test_a_pose_keeps_distances(turn: tuple[float, float, float], move: tuple[float, float, float]) -> None:
    points = np.array([[0.0, 0.0, 0.0], [100.0, -30.0, 60.0]])
    moved = Pose(turn, move).to_scanner(points)
    assert moved[0] == pytest.approx(np.array(move))
    assert np.linalg.norm(moved[1] - moved[0]) == pytest.approx(np.linalg.norm(points[1]))


def test_the_scan_holds_the_activity_in_its_field_of_view(
    patient: SimulatedPatient, day: SimulatedScan
) -> None:
    field = patient.concentration(patient.activity_mbq(24.0))
    z = patient.grid.origin_mm[2] + patient.grid.spacing_mm[2] * np.arange(field.shape[0])
    within = np.abs(z) <= day.activity.grid.extent_mm[2] / 2
    expected_mbq = float(field[within].sum(dtype=np.float64)) * patient.grid.voxel_ml
    # 0.5 %: the planes at both ends are cut by half a voxel of the fine grid.
    assert day.activity.total_mbq == pytest.approx(expected_mbq, rel=5e-3)


def test_counts_are_activity_times_sensitivity_and_duration(day: SimulatedScan) -> None:
    counts = day.activity.total_mbq * day.sensitivity_cps_per_mbq * day.duration_s
    assert float(day.counts.sum(dtype=np.float64)) == pytest.approx(counts, rel=1e-4)


def _only_the_bone_lesion(patient: SimulatedPatient) -> SimulatedPatient:
    """The same anatomy, with activity in one lesion alone."""
    mute = {n: replace(c, amplitudes_mbq=(0.0, 0.0)) for n, c in patient.curves.items()}
    return replace(patient, curves={**mute, "lesion bone": patient.curves["lesion bone"]})


def _moments_mm(values: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Centre (x, y, z, mm) and variance (mm2) of a distribution."""
    centers, variances = [], []
    for axis, spacing in zip((2, 1, 0), grid.spacing_mm, strict=True):
        profile = values.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        place = np.arange(profile.size) * spacing
        center = profile @ place / profile.sum()
        centers.append(center)
        variances.append(profile @ (place - center) ** 2 / profile.sum())
    return np.array(centers) + grid.origin_mm, np.array(variances)


def test_blur_leaves_the_resolution_that_is_stated(patient: SimulatedPatient) -> None:
    # A Gaussian blur adds its variance to a shape's own, along each axis: 12 mm FWHM is 5.096 mm.
    image = scan(_only_the_bone_lesion(patient), 24.0, noise=False).activity
    _, blurred = _moments_mm(image.bq_per_ml, image.grid)
    _, sharp = _moments_mm(patient.regions.masks["lesion bone"], patient.grid)
    # Linear interpolation on 6.6 mm voxels and cut-off kernels change the width a little.
    assert 2.3548 * np.sqrt(blurred - sharp) == pytest.approx(np.full(3, PSF_FWHM_MM), rel=0.06)


def test_a_shift_moves_the_image_by_as_much(patient: SimulatedPatient) -> None:
    move, alone = (7.0, -5.0, 11.0), _only_the_bone_lesion(patient)
    here, there = (
        scan(alone, 24.0, pose=pose, noise=False).activity for pose in (Pose(), Pose(shift_mm=move))
    )
    shift = _moments_mm(there.bq_per_ml, there.grid)[0] - _moments_mm(here.bq_per_ml, here.grid)[0]
    assert shift == pytest.approx(np.array(move), abs=0.1)


def test_noise_of_the_ct_is_what_is_stated(patient: SimulatedPatient, day: SimulatedScan) -> None:
    from scipy.ndimage import binary_erosion

    liver = binary_erosion(regions_on(patient, day.ct.grid).masks["liver"], iterations=3)
    values = day.ct.hu[liver]
    # Liver 58 HU (simulation.tissues); the mean of thousands of voxels is sharper than 0.5 HU.
    assert values.mean() == pytest.approx(58.0, abs=1.0)
    assert values.std() == pytest.approx(CT_NOISE_HU, rel=0.05)


def test_the_couch_lies_behind_the_patient(day: SimulatedScan) -> None:
    grid = day.ct.grid
    below = round(float(grid.to_index((0.0, 137.5, 0.0))[1]))
    assert (day.ct.hu[:, below, grid.shape_zyx[2] // 2] > -500).mean() > 0.95


def test_the_same_seed_gives_the_same_scan(patient: SimulatedPatient, day: SimulatedScan) -> None:
    again = scan(patient, 24.0)
    assert np.array_equal(again.counts, day.counts)
    assert np.array_equal(again.ct.hu, day.ct.hu)
    assert not np.array_equal(scan(patient, 24.0, seed=1).counts, day.counts)


def test_only_the_reference_scan_has_no_shift(patient: SimulatedPatient, day: SimulatedScan) -> None:
    assert day.pose == Pose()
    late = scan(patient, 72.0).pose
    assert all(3.0 <= abs(s) <= 8.0 for s in late.shift_mm)
    assert all(0.6 <= abs(a) <= 2.0 for a in late.rotation_deg)


@pytest.mark.long
def test_a_full_patient_is_made_and_scanned_within_half_a_minute() -> None:
    import time

    start = time.process_time()
    made = make_patient(3)
    for hours in (4.0, 24.0, 72.0, 168.0):
        scan(made, hours)
    assert time.process_time() - start < 30.0
