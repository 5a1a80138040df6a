"""Small anatomies and sources."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap


def uniform(shape=(16, 18, 20), spacing=(4.0, 4.0, 4.0), density=1.0) -> Anatomy:
    grid = Grid(shape, spacing)
    return Anatomy(DensityMap(grid, np.full(shape, density, np.float32)), np.ones(shape, bool))


def source(anatomy: Anatomy, where: tuple, mbq_s_per_ml: float = 1000.0) -> TiaMap:
    values = np.zeros(anatomy.grid.shape_zyx, np.float32)
    values[where] = mbq_s_per_ml
    return TiaMap(anatomy.grid, values)


@pytest.fixture
def make_uniform():
    return uniform


@pytest.fixture
def make_source():
    return source
