"""The map called standard uncertainty of absorbed dose holds all of it."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.model import DoseMap, EnergyBalance, Grid, RegionTia, TiaFit, TiaMap
from dicomnode.results.voxel_uncertainty import whole_sigma_gy

GRID = Grid((24, 24, 24), (4.0, 4.0, 4.0))


def fit(tia: np.ndarray, relative: float, whole: float) -> TiaFit:
    curve = RegionTia("field-of-view", (1.0,), (1.0,), (0.1,), "mono-exponential", 100.0, whole * 100.0)
    return TiaFit(TiaMap(GRID, tia), TiaMap(GRID, relative * tia), "mono-exponential", (curve,), ())


def dose(gy: np.ndarray, engine: float) -> DoseMap:
    return DoseMap(GRID, gy, engine * gy, EnergyBalance(1.0, 1.0, 0.0))


def test_activity_and_engine_add_in_quadrature() -> None:
    """8 % of the activity and 3 % of the engine: hypot(8, 3) = 8.544 %."""
    even = np.ones(GRID.shape_zyx, "f4")
    found = whole_sigma_gy(dose(2.0 * even, 0.03), fit(even, 0.08, 0.5), 12.0)
    np.testing.assert_allclose(found, 2.0 * 0.08544, rtol=1e-4)


def test_a_voxel_without_activity_nearby_is_as_uncertain_as_the_whole() -> None:
    tia = np.zeros(GRID.shape_zyx, "f4")
    tia[:4] = 1.0
    found = whole_sigma_gy(dose(np.ones(GRID.shape_zyx, "f4"), 0.0), fit(tia, 0.08, 0.11), 12.0)
    assert found[0, 12, 12] == pytest.approx(0.08, rel=1e-3)
    assert found[-1, 12, 12] == pytest.approx(0.11, rel=1e-3)
