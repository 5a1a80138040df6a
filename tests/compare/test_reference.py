"""The two independent 177Lu calculations, compared where their phantoms agree: voxel S values of 4.42 mm in
water, EGSnrc against Geant4 (option 3, cut 0.05 mm). Their voxel phantoms differ and cannot be compared."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.compare import paired, verdict
from dicomnode.compare.classical.gamma import gamma_pass_rate
from dicomnode.compare.classical.organs import State, region_errors
from dicomnode.compare.moments.scan_statistic import scan
from dicomnode.model import DoseMap, EnergyBalance, Grid, LabelMap


@pytest.fixture(scope="module")
def kernels(shared):
    egs = np.load(shared / "reference/egsnrc/vsv_4p42mm_Lu177.npz")
    geant = np.load(shared / "reference/geant4/lu177_voxel_S_water_4p42mm.npz")
    grid, zero = Grid((13,) * 3, (4.42,) * 3), EnergyBalance(1.0, 1.0, 0.0)
    r2 = np.square(np.indices((13,) * 3)).sum(axis=0)
    regions = LabelMap(
        grid, {"self": r2 == 0, "face": r2 == 1, "edge": r2 == 2, "second": (r2 > 3) & (r2 <= 9)}
    )
    return paired(
        DoseMap(grid, geant["S_total"], geant["SE_total"], zero),
        DoseMap(grid, egs["S_total"], egs["S_total_sigma"], zero),
        regions=regions, evaluated_is_noisy=True,
    )  # fmt: skip


def test_the_self_dose_agrees_and_the_neighbours_do_not(kernels) -> None:
    found = {e.region: e for e in region_errors(kernels, 0.05)}
    # 0.2573 + 0.0007 against 0.2523 + 0.0008 mGy/(MBq s); the READMEs of both give these.
    assert 100 * found["self"].error == pytest.approx(1.98, abs=0.1)
    assert found["self"].state is State.PASS
    # Geant4 with this physics keeps too much inside; its README notes the trend for finer cuts.
    assert 100 * found["face"].error == pytest.approx(-13.8, abs=0.5)
    assert found["face"].state is State.FAIL
    assert abs(found["second"].z) < 3.0  # photons: no difference beyond noise


def test_gamma_does_not_see_it_and_the_scan_does(kernels) -> None:
    assert gamma_pass_rate(kernels).value == 100.0
    deviant = scan(kernels)
    assert deviant.p_value < 1e-10
    # The face neighbour (the self voxel differs by less of itself).
    assert sorted(round(deviant.detail[k] / 4.42) for k in ("x_mm", "y_mm", "z_mm")) == [0, 0, 1]
    assert verdict(kernels).state is State.FAIL
