"""GATE where it is installed: elsewhere its tests are skipped with what to do."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.errors import EngineUnavailable
from dicomnode.model import Anatomy, DensityMap, Grid
from dicomnode.montecarlo.gate.data import find, require_data


@pytest.fixture(scope="session")
def installation():
    """opengate and its data, as `make test-gate` sets them up."""
    try:
        found = find()
        require_data(found, "G4EmStandardPhysics_option3", ["H", "O", "Ca"])
    except EngineUnavailable as error:
        pytest.skip(f"run make test-gate ({error})")
    return found


@pytest.fixture
def water():
    """A block of water: shape (z, y, x) and spacing (x, y, z) in mm."""

    def make(shape, spacing) -> Anatomy:
        grid = Grid(shape, spacing)
        density = DensityMap(grid, np.ones(shape, np.float32))
        return Anatomy(density, np.ones(shape, bool), np.zeros(shape, np.uint16), ("water",))

    return make
