"""Noise of hot voxels: what it is, what it does to D2, and when it warns and holds."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.check import rules
from dicomnode.check.settings import CheckSettings
from dicomnode.model import DoseMap, EnergyBalance, Grid, LabelMap, Severity
from dicomnode.results.noise import hot_voxel_noise
from dicomnode.results.organs import dose_at_volume

GRID = Grid((20, 20, 20), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))


def noisy(relative: float, *, gas: int = 0) -> tuple[DoseMap, LabelMap]:
    """10 Gy everywhere with normal noise; ``gas`` voxels state the dose itself as their uncertainty."""
    rng = np.random.default_rng(1)
    gy = np.clip(10.0 * (1 + relative * rng.standard_normal(GRID.shape_zyx)), 0.0, None).astype(np.float32)
    sigma = np.full(GRID.shape_zyx, 10.0 * relative, np.float32)
    sigma.flat[:gas] = gy.flat[:gas]
    dose = DoseMap(GRID, gy, sigma, EnergyBalance(1.0, 1.0, 0.0))
    return dose, LabelMap(GRID, {"kidney": np.ones(GRID.shape_zyx, bool)})


@pytest.mark.parametrize(
    ("relative", "severity"), [(0.03, None), (0.07, Severity.WARNING), (0.2, Severity.HOLD)]
)
def test_the_noise_of_hot_voxels_warns_at_5_and_holds_at_15_percent(
    relative: float, severity: Severity | None
) -> None:
    by_region = hot_voxel_noise(*noisy(relative))
    assert by_region["kidney"][0] == pytest.approx(relative, rel=0.03)
    found = list(rules.noise_is_small(by_region, CheckSettings()))
    assert [f.severity for f in found] == ([severity] if severity else [])
    assert all("D2 and maximum are too high and D98 too low in kidney" in f.sentence for f in found)


def test_a_noise_of_15_percent_makes_d2_31_percent_too_high() -> None:
    """2.054 sigma of a uniform region: 1.308."""
    dose, _ = noisy(0.15)
    (d2,) = dose_at_volume(dose.gy.ravel().astype(np.float64), np.ones(dose.gy.size), (2.0,))
    assert d2 == pytest.approx(10.0 * (1 + 2.054 * 0.15), rel=0.01)


def test_a_few_voxels_of_gas_do_not_speak_for_the_region() -> None:
    by_region = hot_voxel_noise(*noisy(0.03, gas=200))
    assert by_region["kidney"][0] == pytest.approx(0.03, rel=0.03)


def test_a_cool_region_warns_and_does_not_hold() -> None:
    found = list(rules.noise_is_small({"kidney": (0.02, 20.0), "lung": (0.4, 1.0)}, CheckSettings()))
    assert [(f.severity, f.subject) for f in found] == [(Severity.WARNING, "lung")]
