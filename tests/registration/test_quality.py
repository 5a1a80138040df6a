"""The measures measure: known shifts, known information, known volumes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from dicomnode.model import ActivityMap, Grid, HuMap, RegistrationQuality
from dicomnode.registration.images import average_onto, body_of, resample_activity, rigid
from dicomnode.registration.limits import rotation_deg
from dicomnode.registration.prepare import Prepared
from dicomnode.registration.quality import dice, mutual_information, residual_mm

GRID = Grid((60, 60, 60), (4.0, 4.0, 4.0), (-118.0, -118.0, -118.0))
RNG = np.random.default_rng(5)
TEXTURE = gaussian_filter(RNG.normal(0, 1, GRID.shape_zyx), 2.0).astype(np.float32)
TEXTURE *= 200.0 / TEXTURE.std()
EVERYWHERE = np.ones(GRID.shape_zyx, dtype=bool)
MIDDLE = np.zeros(GRID.shape_zyx, dtype=bool)
MIDDLE[8:-8, 8:-8, 8:-8] = True  # a rolled array is wrong at its ends


@pytest.mark.parametrize("voxels", [(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 0, -3), (2, -2, 1)])
def test_a_known_shift_is_measured(voxels: tuple[int, int, int]) -> None:
    fixed = Prepared(TEXTURE, EVERYWHERE, GRID, 0.0, 1.0)
    moved = np.roll(TEXTURE, voxels, axis=(0, 1, 2))
    expected = 4.0 * float(np.linalg.norm(voxels))
    assert residual_mm(fixed, moved, MIDDLE) == pytest.approx(expected, abs=0.3)


def test_a_shift_between_voxels_is_measured() -> None:
    from scipy.ndimage import shift

    fixed = Prepared(TEXTURE, EVERYWHERE, GRID, 0.0, 1.0)
    moved = shift(TEXTURE, (0.0, 0.5, 0.0), order=3, mode="nearest")
    assert residual_mm(fixed, moved, EVERYWHERE) == pytest.approx(2.0, abs=0.4)


def test_unrelated_images_are_as_far_apart_as_can_be_measured() -> None:
    other = gaussian_filter(RNG.normal(0, 1, GRID.shape_zyx), 2.0).astype(np.float32)
    fixed = Prepared(TEXTURE, EVERYWHERE, GRID, 0.0, 1.0)
    assert residual_mm(fixed, other, EVERYWHERE) == 24.0
    assert residual_mm(fixed, np.zeros_like(TEXTURE), EVERYWHERE) == 24.0


def test_mutual_information_of_an_image_with_itself_is_its_entropy() -> None:
    # Eight equally frequent values: ln 8 nats; of independent values: 0.
    values = np.tile(np.arange(8.0), 1000)
    assert mutual_information(values, values, 8) == pytest.approx(np.log(8.0), abs=1e-9)
    assert mutual_information(values, np.repeat(np.arange(8.0), 1000), 8) == pytest.approx(0.0, abs=1e-9)
    assert mutual_information(values, np.ones_like(values), 8) == 0.0


def test_dice_of_two_halves() -> None:
    first, second = np.zeros((4, 4, 4), dtype=bool), np.zeros((4, 4, 4), dtype=bool)
    first[:2], second[1:3] = True, True
    assert dice(first, second) == 0.5
    assert dice(first & False, second & False) == 0.0


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-20, 20)] * 3), st.tuples(*[st.floats(-0.3, 0.3)] * 3))
def test_resampling_keeps_the_total_of_what_stays_inside(
    move: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    values = np.zeros(GRID.shape_zyx)
    values[24:36, 24:36, 24:36] = 1e5
    activity = ActivityMap(GRID, gaussian_filter(values, 1.5))
    moved = resample_activity(activity, GRID, rigid((*turn, *move), (0.0, 0.0, 0.0)))
    assert moved.total_mbq == pytest.approx(activity.total_mbq, rel=2e-3)


def test_a_volume_stored_upside_down_is_the_same_volume() -> None:
    values = RNG.random(GRID.shape_zyx)
    flipped = Grid(GRID.shape_zyx, GRID.spacing_mm, (-118.0, -118.0, 118.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    turned = resample_activity(ActivityMap(flipped, values[::-1]), GRID, rigid((0.0,) * 6, (0.0, 0.0, 0.0)))
    assert turned.bq_per_ml == pytest.approx(values, abs=1e-5)


def test_averaging_down_is_the_mean_of_the_voxels_within() -> None:
    fine = Grid((12, 12, 12), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    hu = RNG.integers(-1000, 1000, fine.shape_zyx).astype(np.float32)
    coarse = Grid((4, 4, 4), (6.0, 6.0, 6.0), (2.0, 2.0, 2.0))
    mean = average_onto(HuMap(fine, hu), coarse, rigid((0.0,) * 6, (0.0, 0.0, 0.0)))
    assert mean.hu == pytest.approx(hu.reshape(4, 3, 4, 3, 4, 3).mean(axis=(1, 3, 5)), abs=1e-2)


def test_the_couch_is_not_the_body() -> None:
    hu = np.full(GRID.shape_zyx, -1000.0, dtype=np.float32)
    hu[:, 15:40, 15:45] = 40.0
    hu[:, 20:30, 25:30] = -800.0  # a lung, open at both ends of the scan
    patient = hu[:, 15:40, 15:45].size
    hu[:, 42:44, 5:55] = -100.0  # the couch, thicker than its shell is
    body = body_of(hu, GRID, -300.0)
    assert not body[:, 42:].any()
    assert body[:, 25, 27].all()
    assert int(body.sum()) == pytest.approx(patient, rel=0.02)


def test_rotation_is_the_angle_of_the_whole_turn() -> None:
    def of(*angles: float) -> float:
        quality = RegistrationQuality("ct-ct", (*angles, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0, 1.0, 0.0)
        return rotation_deg(quality)

    assert of(0.1, 0.0, 0.0) == pytest.approx(np.degrees(0.1))
    assert of(0.0, 0.0, -0.2) == pytest.approx(np.degrees(0.2))
    angles = (0.2, -0.3, 0.15)
    matrix = np.array(rigid((*angles, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)).GetMatrix()).reshape(3, 3)
    assert of(*angles) == pytest.approx(np.degrees(np.arccos((np.trace(matrix) - 1) / 2)))
