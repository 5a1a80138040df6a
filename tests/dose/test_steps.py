"""Kernels at steps of density: what they say of themselves in voxels smaller than electrons reach."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.dose.registry import build
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.nuclides import nuclide


@pytest.mark.parametrize(
    ("name", "spacing"),
    [("Lu-177", (1.0, 1.0, 5.0)), ("Y-90", (2.4, 2.4, 3.0)), ("Y-90", (10.0, 10.0, 10.0))],
)
def test_sources_beside_lung_and_bone_are_right_within_what_is_stated(name, spacing):
    """Against our Monte Carlo. Electrons of the voxel's own decays were taken to stay in it: at 1 x 1 x 5 mm
    17 % of the source voxels of 177Lu lay beyond 4 sigma, at 2.4 mm 7 % of all of 90Y."""
    grid = Grid((16, 16, 16), spacing)
    density = np.full(grid.shape_zyx, 1.04, np.float32)
    density[:, :, 5:10], density[:, :, 12:14] = 0.26, 1.9
    found = anatomy_from_density(DensityMap(grid, density))
    anatomy = Anatomy(found.density, np.ones(grid.shape_zyx, bool), found.material, found.material_names)
    values = np.zeros(grid.shape_zyx)
    values[5:11, 5:11, 2:14] = 1000
    tia, source = TiaMap(grid, values), values > 0
    true = build("montecarlo", {"decays": 4e5, "threads": 1}).dose(tia, anatomy, nuclide(name), seed=1)
    dose = build("multi-vsv").dose(tia, anatomy, nuclide(name))
    error = (dose.gy.astype(float) - true.gy)[source]
    stated = np.hypot(dose.sigma_gy.astype(float), true.sigma_gy)[source]
    assert np.sqrt(np.mean((error / true.gy[source]) ** 2)) > 0.03  # there is something to state
    assert (np.abs(error) > 4 * stated).mean() < 0.01
    assert 0.5 < np.sqrt(np.mean((error / stated) ** 2)) < 1.6
