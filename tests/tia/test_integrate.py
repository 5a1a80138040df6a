"""The room's door: maps, regions, refusals."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from math import exp, log

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomnode.errors import Inconsistent, NotConverged
from dicomnode.model import (
    ActivityMap,
    Administration,
    Grid,
    LabelMap,
    RegisteredCycle,
    RegisteredTimePoint,
)
from dicomnode.tia import PopulationHalfLife, TiaSettings, integrate, integrate_points
from dicomnode.tia.voxels import fit_voxels

HOURS = (4.0, 24.0, 72.0, 168.0)
ORGAN, LESION, REST = 51.0, 100.0, 30.0
POPULATION = {"default": PopulationHalfLife(effective_half_life_hours=60, source="test")}
METHODS = [
    "trapezoid",
    "voxel-mono-exponential",
    "mono-exponential",
    "bi-exponential",
    "model-average",
    "hybrid",
    "stp-physical",
    "stp-population",
    "stp-haenscheid",
    "stp-madsen",
]


@pytest.fixture(scope="module")
def phantom(make_points):
    """16^3 of 4.42 mm: rest 20 kBq/mL (30 h), organ 0.5 MBq/mL (51 h), in it a lesion 3 MBq/mL (100 h)."""
    organ, lesion = np.zeros((2, 16, 16, 16), bool)
    organ[4:12, 4:12, 4:12] = True
    lesion[6:9, 6:9, 6:9] = True
    volumes = []
    for t in HOURS:
        a = np.full(organ.shape, 2e4 * exp(-log(2) * t / REST))
        a[organ] = 5e5 * exp(-log(2) * t / ORGAN)
        a[lesion] = 3e6 * exp(-log(2) * t / LESION)
        volumes.append(a)
    points = make_points(HOURS, volumes, spacing_mm=4.42)
    return points, LabelMap(points[0].activity.grid, {"organ": organ, "lesion": lesion})


def truth(half_life: float, bq_per_ml: float) -> float:
    """Integral of a mono-exponential, MBq s/mL."""
    return bq_per_ml / 1e6 * half_life * 3600 / log(2)


@pytest.mark.parametrize("method", ["voxel-mono-exponential", "mono-exponential", "hybrid", "model-average"])
def test_each_tissue_gets_the_integral_of_its_own_curve(lu177, phantom, method):
    """The lesion inside the organ follows its own curve, the organ's other voxels theirs."""
    points, regions = phantom
    tia = integrate_points(points, regions, lu177, TiaSettings(method=method)).tia.mbq_s_per_ml
    assert tia[7, 7, 7] == pytest.approx(truth(LESION, 3e6), rel=1e-4)
    assert tia[4, 4, 4] == pytest.approx(truth(ORGAN, 5e5), rel=1e-4)
    assert tia[0, 0, 0] == pytest.approx(truth(REST, 2e4), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_regions_a_sigma_map_and_linear_results(lu177, phantom, method):
    points, regions = phantom
    settings = TiaSettings(method=method, populations=POPULATION)
    fit = integrate_points(points, regions, lu177, settings)
    assert [r.region for r in fit.regions] == ["organ", "lesion", "remainder-of-body", "field-of-view"]
    assert fit.method == method
    assert (fit.sigma.mbq_s_per_ml > 0).all()
    for region in fit.regions:
        assert region.sigma_tia_mbq_s > region.budget["calibration"] * region.tia_mbq_s
        assert region.hours == HOURS
    lesion = float(fit.tia.mbq_s_per_ml[regions.masks["lesion"]].sum(dtype=float)) * fit.tia.grid.voxel_ml
    assert lesion == pytest.approx(fit.regions[1].tia_mbq_s, rel=1e-3)
    # Relative noise weighs the fit, so doubling activity doubles the answer but for the counting part.
    double = [
        RegisteredTimePoint(
            p.label, p.hours, ActivityMap(p.activity.grid, 2 * p.activity.bq_per_ml), p.quality
        )
        for p in points
    ]
    twice = integrate_points(double, regions, lu177, settings)
    assert twice.tia.total_mbq_s == pytest.approx(2 * fit.tia.total_mbq_s, rel=1e-3)


def test_without_regions_the_field_of_view_is_the_one_curve(lu177, phantom):
    fit = integrate_points(phantom[0], None, lu177, TiaSettings(method="hybrid"))
    assert [r.region for r in fit.regions] == ["field-of-view"]
    assert fit.tia.total_mbq_s == pytest.approx(fit.regions[0].tia_mbq_s, rel=1e-5)


def test_voxels_outside_regions_follow_the_stated_rule(lu177, phantom):
    points, regions = phantom
    rest = truth(REST, 2e4)
    by_rule = {
        rule: integrate_points(
            points, regions, lu177, TiaSettings(method="mono-exponential", outside=rule)
        ).tia.mbq_s_per_ml[0, 0, 0]
        for rule in ("remainder", "field-of-view", "trapezoid")
    }
    assert by_rule["remainder"] == pytest.approx(rest, rel=1e-4)
    trapezoid = integrate_points(points, regions, lu177, TiaSettings()).tia.mbq_s_per_ml[0, 0, 0]
    assert by_rule["trapezoid"] == pytest.approx(trapezoid, rel=1e-6)
    # The field of view clears more slowly than the rest of the body, so its curve gives more.
    assert by_rule["field-of-view"] > 1.05 * rest


def test_hybrid_takes_the_amount_of_one_scan_and_the_shape_of_all(lu177, phantom):
    """A voxel twice as hot as its organ at 24 h only: twice the TIA by hybrid at 24 h, unchanged at 72 h."""
    points, regions = phantom
    hot = points[1].activity.bq_per_ml.copy()
    hot[5, 5, 5] *= 2
    changed = [
        points[0],
        RegisteredTimePoint("T2", 24.0, ActivityMap(points[1].activity.grid, hot), points[1].quality),
        *points[2:],
    ]
    for at, factor in ((24.0, 2.0), (72.0, 1.0)):
        tia = integrate_points(
            changed,
            regions,
            lu177,
            TiaSettings(method="hybrid", time_point_hours=at, shape="mono-exponential"),
        ).tia.mbq_s_per_ml
        assert tia[5, 5, 5] / tia[4, 4, 4] == pytest.approx(factor, rel=1e-5)


def test_voxel_fits_recover_noisy_voxels_without_bias_and_with_coverage():
    """20,000 voxels, 8 % noise, T_eff 60 h: mean within 1 %, the 68 % interval covers 64 to 72 %."""
    rng, hours = np.random.default_rng(4), np.array(HOURS)
    clean = 1e5 * np.exp(-log(2) / 60 * hours)[:, None] * np.ones((1, 20_000))
    noisy = clean * (1 + rng.normal(0, 0.08, clean.shape))
    fit = fit_voxels(hours, noisy, 0.08 * clean, log(2) / 159.528)
    assert fit.fitted.all()
    expected = 1e5 * 60 / log(2)
    assert fit.integral.mean() == pytest.approx(expected, rel=0.01)
    sigma = np.sqrt((fit.sensitivity_h**2 * (0.08 * clean) ** 2).sum(axis=0))
    assert 0.64 < (np.abs(fit.integral - expected) < sigma).mean() < 0.72


def test_voxel_fits_stop_at_physical_decay_and_leave_rising_voxels_alone():
    hours, physical = np.array(HOURS), log(2) / 159.528
    columns = np.stack(
        [np.exp(-log(2) / 300 * hours), 1 + hours, np.zeros(4), np.exp(-log(2) / 20 * hours)], axis=1
    )
    fit = fit_voxels(hours, columns, np.maximum(columns, 0.1) * 0.05, physical)
    assert fit.fitted.tolist() == [True, False, False, True]
    assert fit.at_bound.tolist() == [True, False, False, False]
    assert fit.integral[3] == pytest.approx(20 / log(2), rel=1e-4)


def test_grids_that_differ_are_refused(lu177, phantom):
    points, _ = phantom
    other = Grid((16, 16, 16), (4.42,) * 3, (0.0, 0.0, 5.0))
    moved = RegisteredTimePoint(
        "T5", 200.0, ActivityMap(other, points[0].activity.bq_per_ml), points[0].quality
    )
    with pytest.raises(Inconsistent, match=r"the grid of T5 differs from that of T1.*register and resample"):
        integrate_points([*points, moved], None, lu177, TiaSettings())


@pytest.mark.parametrize("order", [(1, 0), (0, 0)])
def test_times_that_do_not_increase_are_refused(lu177, phantom, order):
    points = [phantom[0][i] for i in order]
    with pytest.raises(Inconsistent, match="must be positive and increasing"):
        integrate_points(points, None, lu177, TiaSettings())


def test_a_scan_at_the_administration_is_refused(lu177, make_points):
    with pytest.raises(Inconsistent, match=r"positive and increasing \[hours=0\]"):
        integrate_points(make_points((0.0,), [np.ones((1, 1, 1))]), None, lu177, TiaSettings())


def test_another_nuclide_than_the_administered_is_refused(lu177, phantom):
    administration = Administration("Y-90", 1000.0, datetime(2026, 1, 1, tzinfo=UTC))
    cycle = RegisteredCycle(administration, tuple(phantom[0]), "T1", None, None, "1.2.3")
    with pytest.raises(Inconsistent, match="the administration is of Y-90, the calculation for Lu-177"):
        integrate(cycle, lu177, TiaSettings())


def test_a_region_with_a_reserved_name_is_refused(lu177, phantom):
    points, regions = phantom
    named = LabelMap(regions.grid, {"field-of-view": regions.masks["organ"]})
    with pytest.raises(Inconsistent, match="a region is named 'field-of-view', which is reserved"):
        integrate_points(points, named, lu177, TiaSettings())


def test_an_empty_region_is_named_and_left_out(lu177, phantom):
    points, regions = phantom
    masks = {"organ": regions.masks["organ"], "gone": np.zeros((16, 16, 16), bool)}
    fit = integrate_points(
        points, LabelMap(regions.grid, masks), lu177, TiaSettings(method="mono-exponential")
    )
    assert "gone" not in [r.region for r in fit.regions]
    assert next(f for f in fit.findings if f.rule == "tia-empty-region").subject == "gone"


def test_a_cold_region_is_no_failure(lu177, phantom):
    points, regions = phantom
    cold = np.zeros((16, 16, 16), bool)
    cold[0, 0, 0] = True
    dark = [
        RegisteredTimePoint(
            p.label, p.hours, ActivityMap(p.activity.grid, np.where(cold, 0, p.activity.bq_per_ml)), p.quality
        )
        for p in points
    ]
    fit = integrate_points(
        dark, LabelMap(regions.grid, {"cold": cold}), lu177, TiaSettings(method="model-average")
    )
    assert fit.regions[0].tia_mbq_s == 0
    assert fit.regions[0].sigma_tia_mbq_s > 0
    assert "tia-no-activity" in [f.rule for f in fit.findings]


def test_progress_may_interrupt(lu177, phantom):
    def stop(_done: float, _what: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        integrate_points(phantom[0], None, lu177, TiaSettings(), progress=stop)


@pytest.mark.parametrize(("method", "most_s"), [("trapezoid", 5.0), ("voxel-mono-exponential", 60.0)])
def test_a_clinical_grid_is_integrated_in_seconds(lu177, make_points, method, most_s):
    """128 x 128 x 128 x 4 time points on one core: 0.2 s and 4.5 s when written; room for a busy machine."""
    rng = np.random.default_rng(1)
    base = rng.gamma(2.0, 5e4, (128, 128, 128)).astype(np.float32)
    points = make_points(HOURS, [base * np.float32(exp(-log(2) * t / 60)) for t in HOURS], spacing_mm=4.42)
    started = time.process_time()
    fit = integrate_points(points, None, lu177, TiaSettings(method=method))
    assert time.process_time() - started < most_s
    assert fit.tia.total_mbq_s > 0


@settings(max_examples=50, deadline=None)
@given(
    # below 1 kBq in the field of view there is nothing to be seen
    activity=st.lists(
        st.one_of(st.just(0.0), st.floats(1e-3, 1e6), st.floats(-100, -1e-3)), min_size=1, max_size=7
    ),
    gap=st.floats(1.0, 60.0),
    method=st.sampled_from([*METHODS, "tri-exponential"]),
    start=st.sampled_from(["zero", "physical-back-decay", "fit"]),
    uptake=st.sampled_from([None, 2.0]),
)
@example(activity=[1.5, 1.2e-38], gap=57.0, method="voxel-mono-exponential", start="zero", uptake=None)
@example(activity=[1.0, 1.2e-38], gap=32.0, method="trapezoid", start="fit", uptake=None)
@example(activity=[1.0, 1.2e-38], gap=6.0, method="voxel-mono-exponential", start="zero", uptake=None)
def test_any_curve_gives_a_finite_answer_or_a_reason(
    lu177, make_points, activity, gap, method, start, uptake
):
    hours = [gap * (i + 1) for i in range(len(activity))]
    points = make_points(hours, [np.full((1, 1, 2), a) for a in activity])
    chosen = TiaSettings(method=method, start=start, uptake_half_life_hours=uptake, populations=POPULATION)
    try:
        fit = integrate_points(points, None, lu177, chosen)
    except NotConverged as refused:
        reasons = ("time points", "holds no activity", "did not converge")
        assert any(reason in str(refused) for reason in reasons)  # noqa: PT017
        return
    whole = fit.regions[-1]
    assert np.isfinite([whole.tia_mbq_s, whole.sigma_tia_mbq_s]).all()
    assert whole.sigma_tia_mbq_s > 0
    assert np.isfinite(fit.sigma.mbq_s_per_ml).all()


def test_a_scan_that_shows_nothing_of_a_region_holds(make_points, lu177):
    """Organ of 64 voxels at 4, 24 and 72 h, cut away at 168 h: 160 MBq h +- 51 for the true 277."""
    organ = np.zeros((8, 8, 8), bool)
    organ[2:6, 2:6, 2:6] = True
    volumes = [np.full(organ.shape, 1e4) for _ in HOURS]
    for t, volume in zip(HOURS, volumes, strict=True):
        volume[organ] = 0.0 if t == 168 else 5e5 * exp(-log(2) * t / ORGAN)
    points = make_points(HOURS, volumes, spacing_mm=4.0)
    regions = LabelMap(points[0].activity.grid, {"organ": organ})
    fit = integrate_points(points, regions, lu177, TiaSettings())
    (finding,) = [f for f in fit.findings if f.rule == "tia-reads-zero"]
    assert (finding.severity.value, finding.subject) == ("hold", "organ")
    assert "exactly 0 MBq at 168 h" in finding.sentence
    volumes[-1][2, 2, 2] = 1.0
    fit = integrate_points(make_points(HOURS, volumes, spacing_mm=4.0), regions, lu177, TiaSettings())
    assert "tia-reads-zero" not in {f.rule for f in fit.findings}
