"""What the TIA tests share: 177Lu, small grids, and time points from curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dicomnode.model import (
    ActivityMap,
    EnergyPerDecay,
    Grid,
    Nuclide,
    RegisteredTimePoint,
    RegistrationQuality,
)

QUALITY = RegistrationQuality("identity", (0.0,) * 6, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0)


@pytest.fixture(scope="session")
def lu177() -> Nuclide:
    """Half-life 6.647 d and energies: ICRP 107."""
    return Nuclide("Lu-177", 6.647 * 86400, EnergyPerDecay(0.147, 0.035), "ICRP 107")


@pytest.fixture(scope="session")
def make_points() -> Callable[..., list[RegisteredTimePoint]]:
    def make(
        hours: Sequence[float], volumes: Sequence[np.ndarray], spacing_mm: float = 10.0
    ) -> list[RegisteredTimePoint]:
        grid = Grid(np.asarray(volumes[0]).shape, (spacing_mm,) * 3)
        return [
            RegisteredTimePoint(f"T{i}", t, ActivityMap(grid, v), QUALITY)
            for i, (t, v) in enumerate(zip(hours, volumes, strict=True), start=1)
        ]

    return make
