"""Fitted curves: closed forms, known parameters, the Akaike choice, coverage, rising activity."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from scipy.integrate import quad

from dicomnode.errors import NotConverged
from dicomnode.model import Grid, LabelMap
from dicomnode.tia import TiaSettings, integrate_points
from dicomnode.tia.curves import FIXED_UPTAKE_MODELS, MODELS, MONO, Curve
from dicomnode.tia.fit import aicc, fit_model
from dicomnode.tia.measure import Measured
from dicomnode.tia.select import Rising, fitted, rise

PHYSICAL = log(2) / 159.528
HOURS = np.array([4.0, 24.0, 72.0, 168.0])
MANY = np.array([1.0, 4.0, 10.0, 24.0, 48.0, 96.0, 168.0])
BY_NAME = {m.name: m for m in (*MODELS, *FIXED_UPTAKE_MODELS)}


def measured(hours, activity, relative=0.05) -> Measured:
    a = np.asarray(activity, dtype=float)
    return Measured(
        "kidney", np.asarray(hours, dtype=float), a, np.zeros(len(a)), relative, {"calibration": 0.0}
    )


def test_a_mono_exponential_integrates_to_amplitude_over_rate():
    """100 MBq, T_eff 51 h: 100 x 51 / ln 2 = 7357.75 MBq h; after 51 h half of it is left."""
    curve = Curve(np.array([100.0]), np.array([log(2) / 51]))
    assert curve.integral_mbq_h() == pytest.approx(7357.75, abs=0.1)
    assert curve.integral_mbq_h(51.0) == pytest.approx(7357.75 / 2, abs=0.1)
    assert curve.effective_half_life_h == pytest.approx(51)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_integral_and_derivatives_agree_with_numerical_ones(name):
    model = BY_NAME[name]
    theta = np.concatenate(
        [[50.0, 20.0][: model.n_amplitudes], [0.01, 0.05, 0.4][: model.n_parameters - model.n_amplitudes]]
    )
    curve = model.curve(theta, PHYSICAL, 0.7)
    numeric = quad(lambda t: float(curve.at([t])[0]), 0, 5000, limit=500)[0]
    assert curve.integral_mbq_h() == pytest.approx(numeric, rel=1e-6)
    full = np.concatenate([curve.amplitude_mbq, curve.rate_per_h])
    m = len(curve.amplitude_mbq)
    for j, step in enumerate(np.maximum(np.abs(full), 1e-3) * 1e-6):
        up, down = full.copy(), full.copy()
        up[j] += step
        down[j] -= step
        high, low = Curve(up[:m], up[m:]), Curve(down[:m], down[m:])
        assert curve.jacobian(MANY)[:, j] == pytest.approx(
            (high.at(MANY) - low.at(MANY)) / (2 * step), rel=1e-4, abs=1e-6
        )
        slope = (high.integral_mbq_h() - low.integral_mbq_h()) / (2 * step)
        assert curve.integral_gradient()[j] == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "theta"),
    [
        ("mono-exponential", [100.0, 0.009]),
        ("bi-uptake", [100.0, 0.009, 0.3]),
        ("bi-slow-physical", [40.0, 60.0, 0.05]),
        ("bi-clearance", [40.0, 60.0, 0.003, 0.2]),
        ("tri-uptake", [40.0, 60.0, 0.003, 0.05, 0.8]),
        ("bi-fixed-uptake", [100.0, 0.009]),
        ("tri-fixed-uptake", [40.0, 60.0, 0.003, 0.05]),
    ],
)
def test_noiseless_curves_give_their_integral_back(name, theta):
    model = BY_NAME[name]
    truth = model.curve(np.array(theta), PHYSICAL, 0.7)
    activity = truth.at(MANY)
    fit = fit_model(model, MANY, activity, 0.05 * activity, PHYSICAL, 0.7)
    assert fit.integral_mbq_h == pytest.approx(truth.integral_mbq_h(), rel=2e-4)
    assert fit.chi2 < 1e-3


def test_the_sensitivity_is_the_derivative_of_the_integral():
    """Moving one scan by 0.1 % moves the integral as the stated sensitivity says."""
    activity = 100 * np.exp(-0.012 * HOURS) * (1 + np.array([0.02, -0.03, 0.03, -0.02]))
    fit = fit_model(MONO, HOURS, activity, 0.05 * activity, PHYSICAL)
    for i in range(4):
        moved = activity.copy()
        moved[i] *= 1.001
        change = fit_model(MONO, HOURS, moved, 0.05 * activity, PHYSICAL).integral_mbq_h - fit.integral_mbq_h
        # Gauss-Newton leaves out the curvature of the residuals: a few per cent here.
        assert change == pytest.approx(fit.sensitivity_h[i] * 0.001 * activity[i], rel=0.12, abs=0.05)


@pytest.mark.parametrize("draws", [200, pytest.param(1000, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("name", "theta", "hours"),
    [("mono-exponential", [100.0, 0.009], HOURS), ("bi-uptake", [100.0, 0.009, 0.15], MANY)],
)
def test_the_stated_uncertainty_covers_the_truth(name, theta, hours, draws):
    """Noisy curves (5 % per scan, fixed seed): the 68.3 % interval holds the truth as often as it says,
    within three standard errors of the draws, and the mean bias is under 1 % and three standard errors."""
    model = BY_NAME[name]
    truth = model.curve(np.array(theta), PHYSICAL)
    clean, rng = truth.at(hours), np.random.default_rng(20)
    inside, ratios = 0, []
    for _ in range(draws):
        noisy = clean * (1 + rng.normal(0, 0.05, len(hours)))
        fit = fit_model(model, hours, noisy, 0.05 * np.abs(noisy), PHYSICAL)
        sigma = np.linalg.norm(fit.sensitivity_h * 0.05 * noisy)
        inside += abs(fit.integral_mbq_h - truth.integral_mbq_h()) < sigma
        ratios.append(fit.integral_mbq_h / truth.integral_mbq_h())
    assert inside / draws == pytest.approx(0.683, abs=3 * np.sqrt(0.683 * 0.317 / draws))
    assert np.mean(ratios) == pytest.approx(1, abs=0.01 + 3 * np.std(ratios) / np.sqrt(draws))


def test_aicc_by_hand():
    """chi2 3.2, 7 points, 3 parameters: 3.2 + 6 + 24/3 = 17.2. Not defined with 4 points and 3 parameters."""
    assert aicc(3.2, 7, 3) == pytest.approx(17.2)
    assert aicc(3.2, 4, 3) is None


@pytest.mark.parametrize("draws", [10, pytest.param(50, marks=pytest.mark.long)])
def test_aicc_prefers_the_true_model(draws):
    """Noisy mono-exponentials choose mono, two clear phases choose two; at least 9 of 10 each."""
    rng = np.random.default_rng(5)
    mono = two = 0
    for _ in range(draws):
        noise = 1 + rng.normal(0, 0.05, len(MANY))
        one = fitted(
            measured(MANY, 100 * np.exp(-0.012 * MANY) * noise), PHYSICAL, "model-average", TiaSettings()
        )
        phases = 30 * np.exp(-0.006 * MANY) + 70 * np.exp(-0.15 * MANY)
        both = fitted(measured(MANY, phases * noise), PHYSICAL, "model-average", TiaSettings())
        mono += max(one.model_weights, key=one.model_weights.__getitem__) == "mono-exponential"
        two += max(both.model_weights, key=both.model_weights.__getitem__).startswith("bi-")
    assert mono >= 0.9 * draws
    assert two >= 0.9 * draws


def test_an_average_lies_between_its_models_and_says_its_weights():
    activity = [60.0, 75.0, 72.0, 61.0, 45.0, 23.0, 11.0]
    estimate = fitted(measured(MANY, activity), PHYSICAL, "model-average", TiaSettings())
    assert sum(estimate.model_weights.values()) == pytest.approx(1)
    assert set(estimate.model_weights) <= set(BY_NAME)
    assert estimate.model_mbq_h >= 0


def test_a_fit_on_the_physical_bound_says_so():
    """Activity falling with 200 h, physical 159.5 h: the rate stops at the bound, the finding says it."""
    estimate = fitted(
        measured(HOURS, 100 * np.exp(-log(2) / 200 * HOURS)), PHYSICAL, "mono-exponential", TiaSettings()
    )
    assert estimate.effective_half_life_h == pytest.approx(159.528)
    assert [f.rule for f in estimate.findings] == ["tia-physical-bound"]
    assert estimate.findings[0].severity == "warning"


@pytest.mark.parametrize(
    ("activity", "shape"),
    [
        ((100, 80, 50, 20), "none"),
        ((100, 105, 60, 20), "none"),  # 5 % up is within the noise of 5 % scans
        ((50, 100, 60, 20), "early"),
        ((100, 80, 50, 70), "late"),
        ((10, 20, 30, 40), "late"),
        ((39.1, 151.1, 137.6, 251.7), "late"),
        ((100, 101, 102, 103), "late"),  # each step within the noise, yet it does not fall
    ],
)
def test_rising_activity_is_recognised(activity, shape):
    assert rise(measured(HOURS, activity), 2.0) == shape


def test_uptake_is_never_fitted_with_a_falling_curve():
    """50, 100, 60, 20: mono-exponential is refused; the uptake model (3 parameters, 4 points) is used."""
    curve = measured(HOURS, (50, 100, 60, 20))
    with pytest.raises(Rising, match=r"activity rises before it falls .*no mono-exponential curve is fitted"):
        fitted(curve, PHYSICAL, "mono-exponential", TiaSettings())
    estimate = fitted(curve, PHYSICAL, "model-average", TiaSettings())
    assert estimate.model_weights == {"bi-uptake": 1.0}
    assert estimate.parameters["a2_mbq"] == -estimate.parameters["a1_mbq"]


def test_too_few_points_for_the_model_are_refused():
    with pytest.raises(NotConverged, match="bi-exponential needs at least 4 time points, the cycle has 3"):
        fitted(measured(HOURS[:3], (100, 60, 20)), PHYSICAL, "bi-exponential", TiaSettings())


def test_a_fixed_uptake_saves_a_point():
    settings = TiaSettings(uptake_half_life_hours=2.0)
    truth = BY_NAME["bi-fixed-uptake"].curve(np.array([100.0, 0.01]), PHYSICAL, log(2) / 2)
    curve = measured([2.0, 24.0, 96.0], truth.at([2.0, 24.0, 96.0]))
    assert fitted(curve, PHYSICAL, "bi-exponential", settings).tia_mbq_h == pytest.approx(
        truth.integral_mbq_h(), rel=1e-4
    )


def test_residuals_beyond_the_stated_noise_widen_the_uncertainty():
    """Scans 30 % off their curve, 2 % stated."""
    activity = 100 * np.exp(-0.012 * MANY) * np.array([1.3, 0.7, 1.3, 0.7, 1.3, 0.7, 1.3])
    estimate = fitted(
        measured(MANY, activity, 0.02), PHYSICAL, "mono-exponential", TiaSettings(rise_sigmas=100)
    )
    assert estimate.lack_of_fit > 5
    assert "misses the scans by more than their uncertainty" in estimate.findings[0].sentence


def test_a_rising_organ_falls_to_the_stated_alternative_or_is_refused(lu177, make_points):
    volumes = [np.full((2, 2, 2), a) for a in (1e4, 2e4, 3e4, 4e4)]
    points = make_points(HOURS, volumes)
    regions = LabelMap(points[0].activity.grid, {"lesion": np.ones((2, 2, 2), bool)})
    fit = integrate_points(points, regions, lu177, TiaSettings(method="mono-exponential"))
    assert [r.method for r in fit.regions] == ["trapezoid", "trapezoid"]
    rules = {(f.rule, str(f.severity)) for f in fit.findings}
    assert {("tia-rising", "warning"), ("tia-total-rises", "hold")} <= rules
    refusing = TiaSettings(method="mono-exponential", when_rising="refuse")
    with pytest.raises(NotConverged, match="activity does not fall at the end") as caught:
        integrate_points(points, regions, lu177, refusing)
    assert caught.value.detail[0] == [4.0, 24.0, 72.0, 168.0]


def test_recovery_from_an_snmmi_like_kidney(lu177, make_points):
    """177Lu-DOTATATE kidney: T_eff 51 h (Haenscheid et al. 2018), 150 mL. Four scans at 4, 24, 96, 168 h
    with 3 % noise give the known integral within three stated uncertainties, and half-life within 5 %."""
    rng, rate, hours = np.random.default_rng(2), log(2) / 51, (4.0, 24.0, 96.0, 168.0)
    volumes = [np.full((6, 5, 5), 2e6 * exp(-rate * t) * (1 + rng.normal(0, 0.03))) for t in hours]
    points = make_points(hours, volumes)
    regions = LabelMap(Grid((6, 5, 5), (10.0,) * 3), {"kidney": np.ones((6, 5, 5), bool)})
    kidney = integrate_points(points, regions, lu177, TiaSettings(method="model-average")).regions[0]
    truth = 2e6 * 150 / 1e6 / rate * 3600
    fit_only = kidney.tia_mbq_s * np.hypot(kidney.budget["fit"], kidney.budget["counts"])
    assert abs(kidney.tia_mbq_s - truth) < 3 * fit_only
    assert kidney.effective_half_life_h == pytest.approx(51, rel=0.05)
    assert len(kidney.covariance) == len(kidney.parameters) == 2
