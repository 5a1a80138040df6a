"""Both values of a region's dose, and an interval that holds the truth."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest

from dicomnode.model import (
    DensityMap,
    EnergyPerDecay,
    Grid,
    LabelMap,
    OrganDose,
    RegionRecovery,
    RegionTia,
    TiaFit,
    TiaMap,
)
from dicomnode.model.recovery import corrected_interval, uncorrected_interval
from dicomnode.results.recovered import with_recovery

GRID = Grid((4, 4, 4), (10.0, 10.0, 10.0), (0.0, 0.0, 0.0))


def organ(mean_gy: float, sigma_gy: float, tia_mbq_s: float) -> OrganDose:
    return OrganDose("node", mean_gy, sigma_gy, 1.0, 1.0, 1.0, 1.0, 8.0, 8.0, tia_mbq_s)


def recovery(withheld: str = "") -> RegionRecovery:
    parts = {"width": 0.05, "contour": 0.2, "shift": 0.03, "model": 0.1}
    return RegionRecovery("node", (4.0,), (8.0,), parts, -0.02, 8.0, log(2.0), withheld)


def both(found: RegionRecovery) -> OrganDose:
    share = np.zeros(GRID.shape_zyx, np.float32)
    share[1:3, 1:3, 1:3] = 1.0
    curve = RegionTia("node", (1.0,), (1.0,), (0.1,), "hybrid", 800.0, 80.0)
    tia = TiaMap(GRID, np.ones(GRID.shape_zyx))
    (one,) = with_recovery(
        [organ(2.0, 0.2, 400.0)],
        [organ(3.6, 0.9, 720.0)],
        TiaFit(tia, tia, "hybrid", (curve,)),
        LabelMap(GRID, {"node": share}),
        DensityMap(GRID, np.ones(GRID.shape_zyx)),
        {"node": found},
        EnergyPerDecay(electron_mev=0.1473, photon_mev=0.035),
    )
    return one


def test_the_corrected_dose_takes_the_regions_activity_over_its_mass() -> None:
    """800/8 - 720/8 MBq s/g lack, of 0.1473 MeV each: D = 3.6 + 10 x 0.1473 x 1.602e-4 = 3.600236 Gy; u stays
    25 %; 2 Gy reaches from 2 e^-0.5 to that times e^0.5."""
    one = both(recovery())
    assert one.mean_gy == 2.0
    assert one.recovered_gy == pytest.approx(3.600236, rel=1e-7)
    assert one.recovered_sigma_gy == pytest.approx(one.recovered_gy / 4)
    assert (one.low_gy, one.high_gy) == pytest.approx((2 * exp(-0.5), 3.600236 * exp(0.5)))
    assert (one.recovery, one.recovery_limit) == (pytest.approx(0.5), "contour")


def test_a_withheld_dose_still_widens_the_interval_upwards() -> None:
    one = both(recovery("the width of the image is not known"))
    assert one.recovered_gy is None
    assert one.recovery_limit == "the width of the image is not known"
    assert one.low_gy is not None
    assert one.high_gy is not None
    assert one.high_gy / one.mean_gy > 2.0 * one.mean_gy / one.low_gy


def test_a_known_bias_widens_its_own_side_only() -> None:
    low, high = uncorrected_interval(1.0, 0.1, log(1.5), 2.0)
    assert (low, high) == pytest.approx((exp(-0.2), 1.5 * exp(0.2)))
    assert uncorrected_interval(1.0, 0.1, log(0.8), 2.0) == pytest.approx((0.8 * exp(-0.2), exp(0.2)))
    assert corrected_interval(1.0, 0.1, 1.0) == pytest.approx((exp(-0.1), exp(0.1)))
