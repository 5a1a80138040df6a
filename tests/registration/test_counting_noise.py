"""Counting noise is registered with the image that it belongs to."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.model import ActivityMap, CountingNoise, Grid
from dicomnode.registration.images import resample_activity, rigid

GRID = Grid((10, 12, 14), (4.0, 4.0, 4.0))


def noisy(seed: int) -> ActivityMap:
    values = np.zeros((200, *GRID.shape_zyx), np.float32)
    values[:, 2:8, 2:9, 2:9] = np.random.default_rng(seed).normal(0, 1e4, (200, 6, 7, 7))
    return ActivityMap(GRID, np.full(GRID.shape_zyx, 1e5), CountingNoise.of(GRID, values))


def test_a_shift_by_whole_voxels_moves_the_noise_and_leaves_it_as_it_was() -> None:
    before = noisy(1)
    after = resample_activity(before, GRID, rigid((0, 0, 0, 8.0, 0, 0), (0, 0, 0)))
    assert before.counting is not None
    assert after.counting is not None
    # the transform maps points of the target into the source: what was at x = 2 voxels comes to 0
    assert after.counting.first_zyx == (2, 2, 0)
    assert after.counting.region_mbq(None) == pytest.approx(before.counting.region_mbq(None), rel=1e-3)


def test_half_a_voxel_halves_the_variance_of_voxels_and_not_of_the_region() -> None:
    """Linear interpolation half-way is the mean of two: sigma / sqrt(2) in a voxel; the total keeps its."""
    before = noisy(2)
    after = resample_activity(before, GRID, rigid((0, 0, 0, 2.0, 0, 0), (0, 0, 0)))
    assert before.counting is not None
    assert after.counting is not None
    inside = np.s_[3:7, 3:8, 3:7]
    ratio = after.counting.sigma_bq_per_ml()[inside].mean() / before.counting.sigma_bq_per_ml()[inside].mean()
    assert ratio == pytest.approx(0.5**0.5, rel=0.03)
    assert after.counting.region_mbq(None) == pytest.approx(before.counting.region_mbq(None), rel=1e-3)
