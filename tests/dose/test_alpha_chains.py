"""Chains of alpha emitters: engines with kernels against the transport, with all that follows the parent."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.dose.registry import build
from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.physics.chains import with_progeny
from dicomnode.physics.media import kernel_names

GRID = Grid((18, 18, 18), (4.0, 4.0, 4.0))
MIDDLE = (slice(6, 12),) * 3


def block(density: float) -> tuple[TiaMap, Anatomy]:
    """Lung or tissue with a source of 24 mm in its middle."""
    values = np.zeros(GRID.shape_zyx, np.float32)
    values[MIDDLE] = 1.0
    anatomy = Anatomy(
        DensityMap(GRID, np.full(GRID.shape_zyx, density, np.float32)), np.ones(GRID.shape_zyx, bool)
    )
    return TiaMap(GRID, values), anatomy


@pytest.mark.parametrize("parent", [name.partition("+")[0] for name in kernel_names() if "+" in name])
@pytest.mark.parametrize("density", [1.04, 0.31])
def test_dose_of_a_chain_is_that_of_the_transport(parent, density):
    """Alphas: the same to rounding. The rest in the source: within 1 % and 2 sigma.

    The transport ends at the grid, kernels do not: what comes back from beyond 24 mm is less than that.
    """
    chain, (tia, anatomy) = with_progeny(parent), block(density)
    true = build("montecarlo", {"decays": 2e5}).dose(tia, anatomy, chain, seed=3)
    rest = (true.gy - true.alpha_gy)[MIDDLE].astype(float)
    sigma = np.sqrt((true.sigma_gy[MIDDLE].astype(float) ** 2).sum()) / rest.size
    for engine in ("multi-vsv", *(["vsv"] if density == 1.04 else [])):
        found = build(engine).dose(tia, anatomy, chain)
        assert np.allclose(found.alpha_gy, true.alpha_gy, rtol=2e-6)
        mean = float((found.gy - found.alpha_gy)[MIDDLE].mean(dtype=np.float64))
        assert abs(mean - rest.mean()) <= 0.01 * rest.mean() + 2 * sigma
