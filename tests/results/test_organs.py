"""Organ doses, radiobiology, DVH and course: numbers with independent values."""

from __future__ import annotations

from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad

from dicomnode.errors import Inconsistent
from dicomnode.model import (
    DensityMap,
    DoseMap,
    EnergyBalance,
    Grid,
    LabelMap,
    OrganDose,
    RegionTia,
    TiaFit,
    TiaMap,
)
from dicomnode.results.course import course_doses
from dicomnode.results.dvh import cumulative_dvh
from dicomnode.results.organs import Filled, dose_at_volume, organ_doses, uncertainty
from dicomnode.results.radiobiology import (
    bed_map,
    biologically_effective_dose,
    equivalent_dose_2gy,
    protraction_factor,
    region_bed,
)
from dicomnode.results.settings import Radiobiology, ResultsSettings

GRID = Grid((2, 10, 10), (10.0, 10.0, 10.0))  # voxels of 1 mL


def curve(region: str, relative: float = 0.08, **parameters: float) -> RegionTia:
    return RegionTia(region, (24.0,), (1.0,), (0.1,), "stp-physical", 100.0, 100.0 * relative, parameters)


def scene(
    gy: np.ndarray, density: float | np.ndarray = 1.0, curves: tuple[RegionTia, ...] = ()
) -> tuple[DoseMap, DensityMap, LabelMap, TiaFit]:
    masks = {"organ": np.zeros(GRID.shape_zyx, bool), "body": np.ones(GRID.shape_zyx, bool)}
    masks["organ"][0] = True
    dose = DoseMap(GRID, gy, 0.05 * gy, EnergyBalance(1, 1, 0))
    ones = np.ones(GRID.shape_zyx)
    fit = TiaFit(TiaMap(GRID, 2.0 * ones), TiaMap(GRID, 0.2 * ones), "trapezoid", curves)
    return dose, DensityMap(GRID, density * ones), LabelMap(GRID, masks), fit


def test_a_uniform_organ_has_one_dose_everywhere() -> None:
    parts = scene(np.full(GRID.shape_zyx, 3.0), 1.05, (curve("organ"),))
    organ = organ_doses(*parts, ResultsSettings())[0]
    assert [organ.mean_gy, organ.d2_gy, organ.d50_gy, organ.d98_gy, organ.max_gy] == [3.0] * 5
    assert organ.volume_ml == pytest.approx(100.0)  # 100 voxels of 1 mL
    assert organ.mass_g == pytest.approx(105.0)
    assert organ.tia_mbq_s == pytest.approx(200.0)  # 2 MBq s/mL in 100 mL
    assert organ.sigma_gy == pytest.approx(3.0 * np.hypot(0.08, 0.05))  # TIA 8 %, engine 5 %


def test_the_mean_is_energy_over_mass_unless_the_volume_is_asked_for() -> None:
    """Half the organ at 4 Gy and 0.25 g/mL, half at 2 Gy and 1 g/mL: (4 x 0.25 + 2 x 1) / 1.25 = 2.4 Gy."""
    gy, density = np.full(GRID.shape_zyx, 2.0), np.ones(GRID.shape_zyx)
    gy[:, :5], density[:, :5] = 4.0, 0.25
    parts = scene(gy, density)
    assert organ_doses(*parts, ResultsSettings())[0].mean_gy == pytest.approx(2.4)
    assert organ_doses(*parts, ResultsSettings(mean="volume"))[0].mean_gy == pytest.approx(3.0)


def test_near_maximum_median_and_near_minimum_are_those_of_1_to_100() -> None:
    """Voxels of 1, 2, ... 100 Gy: 2 % receive at least 99, 50 % at least 51, 98 % at least 3 Gy."""
    assert dose_at_volume(np.arange(1.0, 101.0), np.ones(100), (2.0, 50.0, 98.0, 100.0)) == (
        99.0,
        51.0,
        3.0,
        1.0,
    )


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60), st.floats(0.01, 100.0))
def test_at_least_x_percent_receive_dx_and_no_greater_voxel_dose_does(doses: list[float], x: float) -> None:
    gy = np.array(doses)
    (found,) = dose_at_volume(gy, np.ones(gy.size), (x,))
    assert 100.0 * np.mean(gy >= found) >= x - 1e-9
    greater = gy[gy > found]
    if greater.size:
        assert 100.0 * np.mean(gy >= greater.min()) < x


def test_noise_of_a_region_without_a_curve_falls_with_its_size() -> None:
    """10 % per voxel, 1 mL; 12 mm FWHM makes 1.505^3 x 1.728 = 5.90 mL vary as one: 10 % sqrt(5.90/N)."""
    dose, _, regions, fit = scene(np.ones(GRID.shape_zyx), curves=(curve("field-of-view", 0.04),))
    curves = {c.region: c for c in fit.regions}
    for name, voxels in (("organ", 100), ("body", 200)):
        found = uncertainty(name, Filled.of(regions.shares[name]), dose, fit, curves, ResultsSettings())
        assert found.noise == pytest.approx(0.1 * np.sqrt(5.896 / voxels), rel=1e-3)
        assert (found.tia, found.engine) == (pytest.approx(0.04), pytest.approx(0.05))


def test_without_any_curve_the_map_errs_as_one() -> None:
    dose, _, regions, fit = scene(np.ones(GRID.shape_zyx))
    found = uncertainty("organ", Filled.of(regions.shares["organ"]), dose, fit, {}, ResultsSettings())
    assert (found.tia, found.noise) == (pytest.approx(0.1), 0.0)


def test_an_empty_region_and_a_strange_grid_are_refused() -> None:
    dose, density, _, fit = scene(np.ones(GRID.shape_zyx))
    empty = LabelMap(GRID, {"point": np.zeros(GRID.shape_zyx, bool)})
    with pytest.raises(Inconsistent, match="'point' has no voxel on the dose grid"):
        organ_doses(dose, density, empty, fit, ResultsSettings())
    shifted = LabelMap(Grid(GRID.shape_zyx, GRID.spacing_mm, (1.0, 0.0, 0.0)), empty.masks)
    with pytest.raises(Inconsistent, match="grid of regions is not that of the dose map"):
        organ_doses(dose, density, shifted, fit, ResultsSettings())


# ---- BED ------------------------------------------------------------------------------------------------


def test_bed_of_a_kidney_is_that_of_the_published_formula() -> None:
    """Dale 1985, as used for 177Lu kidneys: D = 23 Gy, T_eff 51 h, T_rep 2.8 h, alpha/beta 2.5 Gy:
    BED = 23 (1 + 2.8 / (2.8 + 51) x 23 / 2.5) = 34.01 Gy."""
    found = protraction_factor([1.0], [log(2) / 51.0], log(2) / 2.8)
    assert biologically_effective_dose(23.0, found, 2.5) == pytest.approx(34.013, abs=0.001)


def test_a_dose_in_2_gy_fractions_is_its_own_eqd2() -> None:
    """n fractions of 2 Gy: BED = 2 n (1 + 2 / (alpha/beta)), EQD2 = 2 n."""
    assert equivalent_dose_2gy(20 * (1 + 2 / 2.5), 2.5) == pytest.approx(20.0)


def test_the_protraction_factor_of_an_uptake_and_washout_curve_is_the_double_integral() -> None:
    """Lea-Catcheside by numerical quadrature of its definition."""
    a, rates, mu = [10.0, -7.0], [0.02, 0.3], 0.25

    def rate(t: float) -> float:
        return sum(x * exp(-k * t) for x, k in zip(a, rates, strict=True))

    total = sum(x / k for x, k in zip(a, rates, strict=True))
    integral, _ = dblquad(lambda w, t: rate(t) * rate(w) * exp(-mu * (t - w)), 0, 900, 0, lambda t: t)
    assert protraction_factor(a, rates, mu) == pytest.approx(2 * integral / total**2, rel=1e-5)


@given(st.floats(1.0, 300.0), st.floats(0.1, 20.0))
def test_faster_repair_than_decay_spares_and_an_instant_dose_does_not(eff_h: float, repair_h: float) -> None:
    found = protraction_factor([1.0], [log(2) / eff_h], log(2) / repair_h)
    assert found == pytest.approx(repair_h / (repair_h + eff_h))
    assert protraction_factor([1.0], [log(2) / eff_h], 1e-12) == pytest.approx(1.0)


def test_bed_takes_the_fitted_curve_then_the_stated_half_life_then_refuses() -> None:
    biology = Radiobiology(alpha_beta_gy=2.5, repair_half_time_h=2.8)
    fitted = curve("kidney", a1_mbq=5.0, lambda1_per_h=log(2) / 51.0)
    stated = Radiobiology(alpha_beta_gy=2.5, repair_half_time_h=2.8, effective_half_life_h=51.0)
    assert region_bed("kidney", 23.0, fitted, biology) == region_bed("kidney", 23.0, None, stated)
    with pytest.raises(Inconsistent, match="'kidney' needs its effective half-life"):
        region_bed("kidney", 23.0, curve("kidney"), biology)


def test_the_bed_map_is_bed_in_its_regions_and_zero_elsewhere() -> None:
    dose, _, regions, fit = scene(np.full(GRID.shape_zyx, 23.0))
    biology = Radiobiology(alpha_beta_gy=2.5, repair_half_time_h=2.8, effective_half_life_h=51.0)
    found = bed_map(dose, regions, fit, ResultsSettings(radiobiology={"organ": biology}))
    np.testing.assert_allclose(found.gy[0], 34.013, atol=1e-3)
    assert not found.gy[1].any()
    step = 23.01 * (1 + 2.8 / 53.8 * 23.01 / 2.5) - 34.0126  # dBED for 0.01 Gy
    assert found.sigma_gy[0, 0, 0] == pytest.approx(0.05 * 23.0 * step / 0.01, rel=2e-2)


# ---- DVH and course -------------------------------------------------------------------------------------


def test_the_dvh_falls_from_100_percent_and_its_area_is_the_mean_dose() -> None:
    gy = np.random.default_rng(2).gamma(2.0, 1.5, GRID.shape_zyx)
    dose, _, regions, _ = scene(gy)
    dvh = cumulative_dvh(dose, regions, bins=2000)[0]
    assert dvh.volume_percent[0] == 100.0
    assert (np.diff(dvh.volume_percent) <= 0).all()
    area = np.trapezoid(dvh.volume_percent / 100.0, dvh.dose_gy)
    assert area == pytest.approx(float(dose.gy[0].mean()), rel=2e-3)
    assert dvh.volume_ml == pytest.approx(100.0)


def organ(region: str, mean: float, sigma: float, bed: float | None = None) -> OrganDose:
    return OrganDose(region, mean, sigma, mean, mean, mean, mean, 1.0, 1.0, 1.0, bed, bed)


def test_a_course_adds_common_errors_linearly_and_others_in_quadrature() -> None:
    """Two cycles of 3 +- 0.5 Gy, 10 % of it common: 0.3 + 0.3 = 0.6 common, 0.4 and 0.4 apart:
    sigma^2 = 0.36 + 0.32."""
    (found,) = course_doses([[organ("k", 3.0, 0.5)], [organ("k", 3.0, 0.5)]], common_relative=0.1)
    assert found.mean_gy == pytest.approx(6.0)
    assert found.sigma_gy == pytest.approx(0.68**0.5)


def test_a_region_missing_from_a_cycle_is_counted_and_bed_needs_all() -> None:
    both = course_doses([[organ("k", 3.0, 0.1, 4.0), organ("l", 1.0, 0.1)], [organ("k", 2.0, 0.1)]])
    found = {c.region: c for c in both}
    assert (found["k"].cycles, found["k"].of_cycles, found["k"].bed_gy) == (2, 2, None)
    assert (found["l"].cycles, found["l"].of_cycles, found["l"].mean_gy) == (1, 2, 1.0)


def test_a_cycle_without_dose_is_counted() -> None:
    (found,) = course_doses([[organ("k", 3.0, 0.1)]], without_dose=2)
    assert (found.cycles, found.of_cycles, found.mean_gy) == (1, 3, 3.0)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5)), min_size=1, max_size=6), st.floats(0, 0.5))
def test_a_course_is_no_more_certain_than_independence_and_no_less_than_full_correlation(
    cycles: list[tuple[float, float]], common: float
) -> None:
    (found,) = course_doses([[organ("k", m, s)] for m, s in cycles], common_relative=common)
    sigmas = [s for _, s in cycles]
    assert np.linalg.norm(sigmas) * (1 - 1e-9) <= found.sigma_gy <= sum(sigmas) * (1 + 1e-9) + 1e-12
    assert found.sigma_gy < inf
