"""Counting noise that comes with a time point enters the budget in place of the estimate, once."""

from __future__ import annotations

from dataclasses import replace
from math import hypot, log

import numpy as np
import pytest

from dicomnode.errors import Inconsistent
from dicomnode.model import CountingNoise, Grid, LabelMap
from dicomnode.tia import TiaSettings, integrate_points

HOURS = (4.0, 24.0, 72.0, 168.0)
RATE = log(2) / 60
GRID = Grid((6, 6, 6), (10.0, 10.0, 10.0))


def noise(
    relative: float, level: float, seed: int, replicates: int = 400, blur: bool = True
) -> CountingNoise:
    """Noise of ``relative`` times ``level`` in each voxel; with blur, voxels go together in pairs along x."""
    white = np.random.default_rng(seed).normal(0, relative * level, (replicates, *GRID.shape_zyx))
    if blur:
        white[..., 1::2] = white[..., 0::2]
    return CountingNoise.of(GRID, white)


@pytest.fixture
def points(make_points):
    return make_points(HOURS, [np.full(GRID.shape_zyx, 1e6 * np.exp(-RATE * t)) for t in HOURS])


def with_noise(points, relative=0.1, which=(0, 1, 2, 3)):
    def known(point, n):
        level = float(point.activity.bq_per_ml[0, 0, 0])
        return replace(point, activity=replace(point.activity, counting=noise(relative, level, n)))

    return [known(p, n) if n in which else p for n, p in enumerate(points)]


@pytest.fixture
def regions() -> LabelMap:
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[2:4, 2:4, 2:4] = True
    return LabelMap(GRID, {"lesion": mask})


def test_a_region_is_known_as_well_as_the_sums_of_the_replicates_say(regions) -> None:
    """8 voxels that go together in 4 pairs: sigma of the sum = 2 sqrt(4) of a voxel's, not sqrt(8). 400
    replicates know it to 3.5 %."""
    known = noise(0.1, 1e6, 3)
    each_mbq = 0.1e6 * GRID.voxel_ml / 1e6
    assert known.region_mbq(regions.masks["lesion"]) == pytest.approx(4 * each_mbq, rel=0.1)
    assert noise(0.1, 1e6, 3, blur=False).region_mbq(regions.masks["lesion"]) == pytest.approx(
        8**0.5 * each_mbq, rel=0.1
    )
    assert known.scaled(2.0).region_mbq(None) == pytest.approx(2 * known.region_mbq(None), rel=1e-6)
    assert known.sigma_bq_per_ml() == pytest.approx(np.full(GRID.shape_zyx, 0.1e6), rel=0.15)
    assert np.array_equal(known.sigma_bq_per_ml(slice(2, 4)), known.sigma_bq_per_ml()[2:4])


def test_its_part_of_the_budget_is_what_the_trapezoid_makes_of_independent_time_points(
    points, regions, lu177
) -> None:
    """u^2 = sum_i (dTIA/dA_i)^2 u_i^2, with u_i = 4/8 of 10 % of each A_i; the 5 % of ``fit`` beside it."""
    plain = integrate_points(points, regions, lu177, TiaSettings()).regions[0]
    known = with_noise(points)
    told = integrate_points(known, regions, lu177, TiaSettings())
    lesion, mask = told.regions[0], regions.masks["lesion"]
    u = np.array([p.activity.counting.region_mbq(mask) for p in known])
    t = np.array([0.0, *HOURS])
    weights = np.array([(t[i + 1] - t[i - 1]) / 2 if i < 4 else (t[4] - t[3]) / 2 for i in range(1, 5)])
    weights[-1] += 1 / (lu177.decay_per_s * 3600)
    expected = np.linalg.norm(weights * u) * 3600 / lesion.tia_mbq_s
    assert lesion.budget["counts"] == pytest.approx(expected, rel=1e-6)
    assert lesion.budget["counts"] > 5 * plain.budget["counts"]
    assert {k: v for k, v in lesion.budget.items() if k != "counts"} == pytest.approx(
        {k: v for k, v in plain.budget.items() if k != "counts"}, rel=1e-6
    )
    assert lesion.tia_mbq_s == plain.tia_mbq_s
    assert hypot(*lesion.budget.values()) * lesion.tia_mbq_s == pytest.approx(lesion.sigma_tia_mbq_s)
    assert [f.rule for f in told.findings if f.rule == "tia-counting"] == ["tia-counting"]


def test_without_it_nothing_changes_and_a_mixed_cycle_uses_what_there_is(points, regions, lu177) -> None:
    plain = integrate_points(points, regions, lu177, TiaSettings())
    assert "tia-counting" not in {f.rule for f in plain.findings}
    mixed = integrate_points(with_noise(points, which=(1,)), regions, lu177, TiaSettings())
    before, after = plain.regions[0].sigma_mbq, mixed.regions[0].sigma_mbq
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
    (said,) = [f.sentence for f in mixed.findings if f.rule == "tia-counting"]
    assert "T2" in said
    assert "of the others" in said


@pytest.mark.parametrize("method", ["trapezoid", "voxel-mono-exponential", "hybrid", "stp-physical"])
def test_voxels_of_the_map_carry_the_noise_of_their_own_replicates(points, lu177, method) -> None:
    """A noise of 30 % instead of one of nearly none widens each voxel's sigma by what is independent."""
    settings = TiaSettings(method=method)
    quiet = integrate_points(with_noise(points, 1e-6), None, lu177, settings)
    loud = integrate_points(with_noise(points, 0.3), None, lu177, settings)
    added = loud.sigma.mbq_s_per_ml.astype(float) ** 2 - quiet.sigma.mbq_s_per_ml.astype(float) ** 2
    relative = np.sqrt(added) / loud.tia.mbq_s_per_ml
    # one scan: 30 %; several: less, by how many of them share the integral
    assert (
        (0.1 < relative.mean() < 0.31)
        if method != "stp-physical"
        else relative.mean() == pytest.approx(0.3, rel=0.03)
    )


def test_the_stated_sigma_covers_simulated_measurements(lu177, make_points) -> None:
    """300 simulated cycles with 20 % noise in each voxel of a region of 8, in pairs, and no other error: 68 %
    intervals of mono-exponential fits, with replicates of their own, cover the truth in 60 to 76 %."""
    rng, inside = np.random.default_rng(11), 0
    shape = (2, 2, 2)
    grid = Grid(shape, (10.0,) * 3)
    settings = TiaSettings.model_validate(
        {
            "method": "mono-exponential",
            "uncertainty": {"calibration_relative": 0, "time_point_relative": 1e-6},
        }
    )

    def scatter(level: float, n: int) -> np.ndarray:
        return np.repeat(rng.normal(0, 0.2 * level, (n, 2, 2, 1)), 2, axis=3)

    levels = [1e6 * np.exp(-RATE * t) for t in HOURS]
    for _ in range(300):
        bare = make_points(HOURS, [level + scatter(level, 1)[0] for level in levels])
        known = [
            replace(p, activity=replace(p.activity, counting=CountingNoise.of(grid, scatter(level, 20))))
            for p, level in zip(bare, levels, strict=True)
        ]
        whole = integrate_points(known, None, lu177, settings).regions[-1]
        truth = 8 * grid.voxel_ml * 1e6 / RATE * 3600 / 1e6
        inside += abs(whole.tia_mbq_s - truth) < whole.sigma_tia_mbq_s
    assert 0.60 <= inside / 300 <= 0.76


def test_a_box_of_noise_finds_its_place_and_another_grid_is_refused() -> None:
    values = np.zeros((5, *GRID.shape_zyx), np.float32)
    values[:, 1:3, 2:5, 3:6] = np.random.default_rng(0).normal(0, 1e5, (5, 2, 3, 3))
    made = CountingNoise.of(GRID, values)
    assert made.first_zyx == (1, 2, 3)
    assert made.deviations.shape == (5, 2, 3, 3)
    again = CountingNoise.on(GRID, made.box, made.bq_per_ml)
    assert again.first_zyx == made.first_zyx
    assert again.region_mbq(None) == pytest.approx(made.region_mbq(None), rel=1e-3)
    shifted = Grid(GRID.shape_zyx, GRID.spacing_mm, (1.0, 0.0, 0.0))
    with pytest.raises(Inconsistent, match="does not lie on the voxels of its activity map"):
        CountingNoise.on(shifted, made.box, made.bq_per_ml)
