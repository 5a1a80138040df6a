"""Voxel measures, regions, histograms and the scan, each against its law under noise."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.compare import paired
from dicomnode.compare.classical.dvh import dose_at_volume, dvh_differences, dvh_distance, volume_at_dose
from dicomnode.compare.classical.organs import State, decided, region_errors, worst_region
from dicomnode.compare.classical.voxelwise import (
    debiased_squared_error,
    mean_absolute_error,
    mean_squared_error,
    root_mean_squared_error,
    structural_similarity,
)
from dicomnode.compare.moments.scan_statistic import scan, smoothed_z
from dicomnode.compare.transport.sliced import sliced
from dicomnode.errors import OutOfDomain

CLOSED = (mean_absolute_error, mean_squared_error, root_mean_squared_error, debiased_squared_error)


@pytest.mark.parametrize("measure", CLOSED)
def test_under_noise_alone_a_measure_follows_its_stated_law(phantom, pairing, measure) -> None:
    found = [measure(pairing(phantom.dose(), noise=0.1, seed=s)) for s in range(40)]
    values, first = np.array([m.value for m in found]), found[0]
    assert values.mean() == pytest.approx(first.expected, abs=4 * first.spread / np.sqrt(40))
    assert values.std(ddof=1) == pytest.approx(first.spread, rel=0.4)
    assert 0 <= sum(m.p_value < 0.05 for m in found) <= 7


def test_the_debiased_error_finds_the_model_error_under_the_noise(phantom, pairing) -> None:
    """2 % model error under 10 % noise: RMSE shows the noise, the debiased form the error."""
    pair = pairing(1.02 * phantom.dose(), noise=0.1)
    truth = 0.02 * np.sqrt(np.square(phantom.dose()[phantom.body]).mean())
    assert root_mean_squared_error(pair).value > 3 * truth
    found = debiased_squared_error(pair)
    assert found.detail["rmse_gy"] == pytest.approx(truth, abs=5 * found.spread / truth)


def test_ssim_equals_its_formula_by_explicit_windows(phantom, pairing) -> None:
    """Wang et al. 2004 at one voxel, with the window written out."""
    pair = pairing(phantom.dose(shift=(2.0, 0.0, 0.0)), noise=0.05)
    k = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.einsum("i,j,k->ijk", k, k, k) / k.sum() ** 3
    inside = np.zeros_like(pair.body)
    inside[16, 14, 12] = True
    a, b = (m[11:22, 9:20, 7:18] for m in (pair.evaluated, pair.reference))
    ma, mb = (window * a).sum(), (window * b).sum()
    va, vb, ab = (
        (window * a * a).sum() - ma**2,
        (window * b * b).sum() - mb**2,
        (window * a * b).sum() - ma * mb,
    )
    c1, c2 = (0.01 * pair.hot_gy) ** 2, (0.03 * pair.hot_gy) ** 2
    expected = (2 * ma * mb + c1) * (2 * ab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    object.__setattr__(pair, "body", inside)
    assert structural_similarity(pair).value == pytest.approx(expected, rel=1e-9)


def test_the_mean_of_a_region_passes_fails_or_waits_for_decays(phantom, pairing) -> None:
    off = phantom.dose(scale={"liver": 1.10})
    states = {
        noise: {e.region: e for e in region_errors(pairing(off, noise=noise), 0.05)} for noise in (0.01, 1.2)
    }
    assert states[0.01]["liver"].state is State.FAIL
    assert states[0.01]["kidney"].state is State.PASS
    waiting = [e for e in states[1.2].values() if e.state is State.UNDECIDED]
    assert waiting
    assert "times the decays made would decide" in waiting[0].sentence
    assert worst_region(tuple(states[0.01].values())).p_value < 1e-6


def test_the_stated_further_decays_do_decide() -> None:
    state, more = decided(0.03, 0.02, 0.05)
    assert state is State.UNDECIDED
    assert decided(0.03, 0.02 / np.sqrt(1.0 + more * 1.0001), 0.05)[0] is State.PASS
    assert decided(0.05, 0.01, 0.05) == (State.UNDECIDED, np.inf)


def test_standard_errors_of_regions_hold_their_level(phantom, pairing) -> None:
    z = [region_errors(pairing(phantom.dose(), noise=0.1, seed=s), 0.05)[0].z for s in range(60)]
    assert np.std(z) == pytest.approx(1.0, abs=0.3)


def test_dvh_distance_is_the_area_between_the_histograms(phantom, pairing) -> None:
    pair = pairing(phantom.dose() + 0.1, noise=1e-6)
    assert dvh_distance(pair, "liver").value == pytest.approx(0.1, rel=1e-3)
    noisy = dvh_distance(pairing(phantom.dose(), noise=0.2), "liver", draws=8)
    assert noisy.value == pytest.approx(noisy.expected, rel=0.5)  # noise alone: biased, and known to be


def test_dose_at_volume_of_known_doses() -> None:
    doses = np.arange(101.0)
    whole = np.ones(101)
    assert [dose_at_volume(doses, whole, x) for x in (2, 50, 98)] == pytest.approx([98.0, 50.0, 2.0])
    assert volume_at_dose(doses, whole, 90.0) == pytest.approx(100 * 11 / 101)
    assert dose_at_volume(np.array([7.0]), np.array([0.3]), 2) == 7.0
    with pytest.raises(OutOfDomain, match="volume is 101"):
        dose_at_volume(doses, whole, 101)


def test_dvh_differences_name_d2_d50_d98_and_v(phantom, pairing) -> None:
    found = dvh_differences(pairing(phantom.dose() + 0.1, noise=1e-6), "liver", levels_gy=(0.5,))
    assert [m.name for m in found] == ["d2-difference", "d50-difference", "d98-difference", "v0.5-difference"]
    assert found[1].value == pytest.approx(0.1, rel=1e-3)


def test_the_scan_finds_the_missing_lesion_and_says_where(phantom, pairing) -> None:
    found = scan(pairing(phantom.dose(without="lesion"), noise=0.3), tolerance=0.01)
    place = np.array([found.detail[k] for k in ("z_mm", "y_mm", "x_mm")]) - 31 / 2 * 4.0
    assert np.linalg.norm(place - np.array([28.0, 12.0, 26.0])) < 12.0  # radius 7, blurred by 6
    assert found.p_value < 1e-4
    assert "too little dose" in found.sentence


def test_a_right_map_does_not_alarm_where_few_histories_reach(phantom) -> None:
    """Counts as Monte Carlo has them: Poisson, with the variance estimated from the same counts, so that a
    voxel without a hit claims to have no noise. Taken at its word it is hundreds of sd off."""
    truth = phantom.dose()
    worst = []
    for seed in range(8):
        counts = np.random.default_rng(seed).poisson(truth * 3.0)
        pair = paired(phantom.map(truth), phantom.map(counts / 3.0, np.sqrt(counts) / 3.0), body=phantom.body)
        worst.append(scan(pair).p_value)
        naive = (truth - counts / 3.0) / np.maximum(np.sqrt(counts) / 3.0, 1e-4)
        assert np.abs(naive[phantom.body]).max() > 100
    assert min(worst) > 0.01


@pytest.mark.parametrize("scale_mm", [0.0, 4.0, 8.0])
def test_smoothed_z_has_unit_variance_under_noise(phantom, pairing, scale_mm) -> None:
    z = [smoothed_z(pairing(phantom.dose(), noise=0.1, seed=s), scale_mm)[phantom.body] for s in range(6)]
    assert 0.92 < np.std(z) < 1.05  # voxels with few histories are pooled, on the safe side


def test_the_scan_seldom_alarms_under_noise(phantom, pairing) -> None:
    p = [scan(pairing(phantom.dose(), noise=0.1, seed=s)).p_value for s in range(40)]
    assert sum(v < 0.05 for v in p) <= 6


def test_negative_voxels_are_taken(phantom, pairing) -> None:
    pair = pairing(phantom.dose() - 0.07, noise=0.3)
    assert (pair.evaluated < 0).any()
    assert np.isfinite(sliced(pair).value)


def test_the_bias_of_d2_and_d98_under_noise_is_told_and_only_a_real_change_stands_out(
    phantom, pairing
) -> None:
    """Noise of 10 % widens the histogram: D2 of a right map is below, D98 above that of the reference, by
    what ``expected`` says. 20 references: all within 4 sd each time (p of 4 sd: 6e-5); a liver 10 % too hot
    is not."""
    for seed in range(20):
        d2, d50, d98, v = dvh_differences(
            pairing(phantom.dose(), noise=0.1, seed=seed), "liver", levels_gy=(0.5,), draws=5
        )
        assert d2.expected < -3 * d2.spread / np.sqrt(20)
        assert d98.expected > 0
        assert all(abs(m.value - m.expected) < 4.0 * m.spread for m in (d2, d50, d98, v))
        assert d2.null == "bootstrap of 200"
    hot = pairing(phantom.dose(scale={"liver": 1.1}), noise=0.1)
    assert dvh_differences(hot, "liver", draws=5)[1].p_value < 1e-6


def test_without_noise_or_draws_the_differences_stand_alone(phantom, pairing) -> None:
    found = dvh_differences(pairing(phantom.dose()), "lesion")
    assert [m.expected for m in found] == [None, None, None]
