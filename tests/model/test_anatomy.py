"""An anatomy takes what people hand it, or says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.dose.registry import build
from dicomnode.errors import Inconsistent
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.physics.nuclides import nuclide

GRID = Grid((4, 5, 6), (4.0, 4.0, 4.0))
DENSITY = DensityMap(GRID, np.ones(GRID.shape_zyx))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_a_body_of_zeros_and_ones_is_a_mask_and_not_an_index(kind):
    """As an index it picked the first two slices, 40 times over, and ``local`` weighed a body of them."""
    mask = np.ones(GRID.shape_zyx, kind)
    mask[0] = 0
    made = Anatomy(DENSITY, mask)
    assert made.body.dtype == bool
    assert made.body.sum() == 3 * 5 * 6
    tia = TiaMap(GRID, np.ones(GRID.shape_zyx))
    found, plain = (
        build("local").dose(tia, one, nuclide("I-131")) for one in (made, Anatomy(DENSITY, mask > 0))
    )
    assert found.sigma_gy.tobytes() == plain.sigma_gy.tobytes()


def test_a_material_without_a_name_is_refused():
    with pytest.raises(Inconsistent, match="numbered 0 to 2, and 2 names are given"):
        Anatomy(
            DENSITY, np.ones(GRID.shape_zyx, bool), np.arange(120).reshape(GRID.shape_zyx) % 3, ("a", "b")
        )
