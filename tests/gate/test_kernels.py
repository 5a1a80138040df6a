"""Kernels of nuclides for which there is no EGSnrc reference, against GATE."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.dose.registry import build
from dicomnode.model import Anatomy, DensityMap, Grid, Nuclide, TiaMap
from dicomnode.physics.chains import has_progeny, with_progeny
from dicomnode.physics.nuclides import nuclide

GRID = Grid((7, 7, 7), (4.0, 4.0, 4.0))
DECAYS = 1e5


def emitter(name: str) -> Nuclide:
    return with_progeny(name) if has_progeny(name) else nuclide(name)


@pytest.mark.long
@pytest.mark.parametrize("name", ["Ho-166", "Tb-161", "Cu-67", "Sm-153"])
def test_voxel_s_values_are_those_of_gate(installation, name):
    """Water, 4 mm, option 3: self voxel within 1 % + 2 sigma, mean of the face neighbours 3 % + 3 sigma."""
    anatomy = Anatomy(
        DensityMap(GRID, np.ones(GRID.shape_zyx, np.float32)), np.ones(GRID.shape_zyx, bool),
        np.zeros(GRID.shape_zyx, np.uint16), ("water",),
    )  # fmt: skip
    values = np.zeros(GRID.shape_zyx, np.float32)
    values[3, 3, 3] = 1.0
    tia, found = TiaMap(GRID, values), emitter(name)
    gate = build("gate", {"decays": DECAYS, "jobs": 1}).dose(tia, anatomy, found)
    ours = build("vsv").dose(tia, anatomy, found)
    alpha = np.zeros(GRID.shape_zyx) if gate.alpha_gy is None else gate.alpha_gy
    rest, kernel = gate.gy - alpha, ours.gy - alpha
    away = tuple((np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)]) + 3).T)
    sigma = np.sqrt((gate.sigma_gy[away].astype(float) ** 2).sum()) / 6
    assert abs(kernel[3, 3, 3] - rest[3, 3, 3]) <= 0.01 * rest[3, 3, 3] + 2 * gate.sigma_gy[3, 3, 3]
    assert abs(kernel[away].mean() - rest[away].mean()) <= 0.03 * rest[away].mean() + 3 * sigma
