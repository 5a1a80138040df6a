"""The trapezoid against numbers worked by hand, and its properties."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.tia import TiaSettings, integrate_points
from dicomnode.tia.trapezoid import weights_h

PHYSICAL = log(2) / (6.647 * 24)


def test_the_published_trapezoid_worked_by_hand(lu177, make_points):
    """One voxel of 1 mL: 0, 80, 100, 60, 20 kBq at 0, 4, 24, 72, 168 h.

    Areas (kBq h): 160 + 1800 + 3840 + 3840 = 9640; tail 20 x 159.528 / ln 2 = 4603.01; in all 14243.0 kBq h =
    14.243 MBq h = 51274.8 MBq s.
    """
    volumes = [np.full((1, 1, 1), 1000.0 * a) for a in (80, 100, 60, 20)]
    fit = integrate_points(make_points((4, 24, 72, 168), volumes), None, lu177, TiaSettings())
    assert fit.tia.total_mbq_s == pytest.approx(51274.8, rel=1e-5)
    whole = fit.regions[-1]
    assert (whole.region, whole.method) == ("field-of-view", "trapezoid")
    assert whole.tia_mbq_s == pytest.approx(51274.8, rel=1e-5)
    assert whole.extrapolated_fraction == pytest.approx(4603.01 / 14243.01, rel=1e-4)
    assert "activity at administration: zero" in fit.findings[0].sentence


def test_one_scan_is_as_uncertain_as_the_assumption_it_rests_on_and_holds(lu177, make_points):
    """177Lu, T_eff 50 h, one scan at 24 h. Truth 50 / ln 2 MBq h for 1 MBq; the trapezoid gives 2^(-24/50)
    (12 + 230.14) MBq h, 2.41 times that, nearly all of it tail: 0.50 x 230.14 / 242.14 = 0.475 model."""
    points = make_points((24,), [np.full((1, 1, 1), 1e6 * 2 ** (-24 / 50))])
    fit = integrate_points(points, None, lu177, TiaSettings())
    whole = fit.regions[-1]
    assert whole.tia_mbq_s / 3600 * log(2) / 50 == pytest.approx(2.41, abs=0.005)
    assert whole.budget["model"] == pytest.approx(0.50 / PHYSICAL / (12 + 1 / PHYSICAL), rel=1e-6)
    assert whole.budget["model"] == pytest.approx(0.475, abs=0.001)
    assert whole.sigma_tia_mbq_s > 0.47 * whole.tia_mbq_s
    assert float(fit.sigma.mbq_s_per_ml[0, 0, 0]) > 0.47 * float(fit.tia.mbq_s_per_ml[0, 0, 0])
    (held,) = [f for f in fit.findings if f.severity == "hold"]
    assert held.rule == "tia-one-scan"
    chosen = integrate_points(points, None, lu177, TiaSettings(method="stp-physical"))
    assert not [f for f in chosen.findings if f.severity == "hold"]


def test_a_rise_at_the_end_leaves_the_tail_as_uncertain_as_one_scan_does(lu177, make_points):
    """80 and 100 kBq at 4 and 24 h: tail 100 / lambda = 23014 kBq h of 160 + 1800 + 23014."""
    points = make_points((4, 24), [np.full((1, 1, 1), 1000.0 * a) for a in (80, 100)])
    budget = integrate_points(points, None, lu177, TiaSettings()).regions[-1].budget
    assert budget["model"] == pytest.approx(0.5 * 23014 / 24974, rel=1e-3)


def test_the_error_of_the_trapezoid_is_that_of_the_upper_end_of_an_interval(lu177, make_points):
    """100 and 50 kBq at 24 and 72 h. Lines: 48 (75 - 50 / ln 2) = 137.5; tail: 50 (230.14 - 69.25) = 8044.6
    kBq h; uniform below the value: (137.5 + 8044.6) / sqrt(3) of 1200 + 3600 + 11507."""
    points = make_points((24, 72), [np.full((1, 1, 1), 1000.0 * a) for a in (100, 50)])
    budget = integrate_points(points, None, lu177, TiaSettings()).regions[-1].budget
    assert budget["model"] == pytest.approx((137.5 + 8044.6) / 3**0.5 / 16307, rel=1e-3)


def test_back_decay_of_the_first_scan_adds_its_triangle():
    """A_0 = A_1 exp(lambda t_1): the first interval gains A_0 t_1 / 2."""
    zero = weights_h(np.array([4.0, 24.0]), PHYSICAL)
    back = weights_h(np.array([4.0, 24.0]), PHYSICAL, exp(4 * PHYSICAL))
    assert zero.tolist() == pytest.approx([2 + 10, 10 + 1 / PHYSICAL])
    assert (back - zero).tolist() == pytest.approx([2 * exp(4 * PHYSICAL), 0])


def test_start_from_the_fit_is_exact_for_a_dense_mono_exponential(lu177, make_points):
    """A_0 = 1 MBq, T_eff 60 h, scans every 2 h to 400 h: integral 60 / ln 2 = 86.56 MBq h plus
    the excess of the physical tail."""
    hours = np.arange(2.0, 401.0, 2.0)
    rate = log(2) / 60
    points = make_points(hours, [np.full((1, 1, 1), 1e6 * exp(-rate * t)) for t in hours])
    fit = integrate_points(points, None, lu177, TiaSettings(start="fit", shape="mono-exponential"))
    excess = exp(-rate * 400) * (1 / PHYSICAL - 1 / rate)
    assert fit.tia.total_mbq_s / 3600 == pytest.approx(1 / rate + excess, rel=1e-4)
    published = integrate_points(points, None, lu177, TiaSettings())
    assert fit.tia.total_mbq_s - published.tia.total_mbq_s == pytest.approx(3600 * 1.0, rel=1e-4)


def test_no_activity_at_the_first_scan_leaves_no_start_to_fit(lu177, make_points):
    points = make_points((1, 2, 3), [np.full((1, 1, 2), a) for a in (0.0, 2.0, 1.0)])
    fitted, zero = (integrate_points(points, None, lu177, TiaSettings(start=s)) for s in ("fit", "zero"))
    assert fitted.tia.total_mbq_s == zero.tia.total_mbq_s > 0
    assert [f.subject for f in fitted.findings if f.rule == "tia-no-start"] == ["field-of-view"]


@settings(max_examples=30, deadline=None)
@given(
    hours=st.lists(st.floats(0.5, 40.0), min_size=1, max_size=5),
    factor=st.floats(1e-3, 1e3),
    seed=st.integers(0, 2**16),
)
def test_linear_in_activity_and_indifferent_to_the_order_of_voxels(lu177, make_points, hours, factor, seed):
    times = np.cumsum(hours)
    rng = np.random.default_rng(seed)
    volumes = [rng.normal(1e5, 5e4, (2, 3, 4)) for _ in times]
    order = rng.permutation(24)
    plain = integrate_points(make_points(times, volumes), None, lu177, TiaSettings()).tia.mbq_s_per_ml
    scaled = make_points(times, [v * factor for v in volumes])
    shuffled = make_points(times, [v.ravel()[order].reshape(v.shape) for v in volumes])
    scale = float(np.abs(plain).max())
    assert integrate_points(scaled, None, lu177, TiaSettings()).tia.mbq_s_per_ml == pytest.approx(
        plain * factor, rel=1e-4, abs=1e-5 * scale * factor
    )
    moved = integrate_points(shuffled, None, lu177, TiaSettings()).tia.mbq_s_per_ml
    assert np.array_equal(moved.ravel(), plain.ravel()[order])


@settings(max_examples=30, deadline=None)
@given(half_life=st.floats(5.0, 159.0), first=st.floats(0.5, 6.0))
def test_never_below_what_physics_leaves_after_the_first_scan(lu177, make_points, half_life, first):
    """For any mono-exponential clearance the trapezoid is at least the integral after the first scan."""
    hours = [first, first + 20, first + 70, first + 160]
    rate = log(2) / half_life
    points = make_points(hours, [np.full((1, 1, 1), 1e6 * exp(-rate * t)) for t in hours])
    total = integrate_points(points, None, lu177, TiaSettings()).tia.total_mbq_s / 3600
    assert total > exp(-rate * first) / rate


def test_noise_about_zero_is_not_clipped_and_sums_to_nothing(lu177, make_points):
    """100,000 voxels of pure noise, mean 0: the TIA's mean lies within 4 standard errors of 0; clipping
    would put it at +0.4 standard deviations, 126 standard errors away."""
    rng = np.random.default_rng(7)
    points = make_points((4, 24, 72), [rng.normal(0, 1e4, (10, 100, 100)) for _ in range(3)])
    fit = integrate_points(points, None, lu177, TiaSettings())
    values = fit.tia.mbq_s_per_ml.astype(float)
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(values.size)
    finding = next(f for f in fit.findings if f.rule == "tia-negative-voxels")
    assert finding.severity == "warning"
    assert finding.measured == pytest.approx(values[values < 0].sum(), rel=1e-5)
    zeroed = integrate_points(points, None, lu177, TiaSettings(negative_voxels="zero"))
    assert zeroed.tia.mbq_s_per_ml.min() == 0
    assert "set to zero" in next(f for f in zeroed.findings if f.rule == "tia-negative-voxels").sentence


def test_the_sigma_map_covers_the_noise_it_is_told_of(lu177, make_points):
    """Poisson counts in every voxel at the stated sensitivity, calibration and time-point scatter made
    negligible: the spread of the TIA over voxels is the mean sigma within 3 %."""
    u = {
        "calibration_relative": 0.0,
        "time_point_relative": 1e-6,
        "sensitivity_cps_per_mbq": 6.0,
        "acquisition_s": 1000.0,
    }
    rng = np.random.default_rng(3)
    per_bq = 6.0 * 1000.0 / 1e6
    truth = [5e4 * exp(-log(2) / 60 * t) for t in (4, 24, 72)]
    points = make_points((4, 24, 72), [rng.poisson(a * per_bq, (20, 20, 20)) / per_bq for a in truth])
    fit = integrate_points(points, None, lu177, TiaSettings(uncertainty=u))
    counts_only = fit.sigma.mbq_s_per_ml.astype(float) ** 2
    model = fit.regions[-1].budget["model"] * fit.tia.mbq_s_per_ml.astype(float)
    assert np.sqrt((counts_only - model**2).mean()) == pytest.approx(fit.tia.mbq_s_per_ml.std(), rel=0.03)
