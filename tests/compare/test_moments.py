"""Moments and what follows: exact covariance, calibrated tests, over-dispersion, bounds, the hierarchy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.compare.moments.chisquare import (
    Tolerance,
    batch_law,
    hotelling,
    moment_chi_square,
    residual_covariance,
    tolerance_covariance,
)
from dicomnode.compare.moments.christoffel import christoffel
from dicomnode.compare.moments.displacement import (
    best_witness,
    certified_shift,
    legendre_moments,
    polynomial_w1,
)
from dicomnode.compare.moments.sos import moment_bound
from dicomnode.compare.pair import paired
from dicomnode.compare.transport.bures import gelbrich
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import BatchNoise, DoseMap, EnergyBalance, Grid
from dicomnode.model.moments import (
    bases,
    basis,
    batch_noise,
    covariance_of_mean,
    cut,
    dispersion_of,
    exponents,
    gram,
    mean_moments,
    moments,
    quadratic_map,
)

SHAPE = (7, 9, 8)


def phi(shape, degree):
    """(voxels, K) all polynomials at all voxels, the slow way."""
    z, y, x = bases(shape, degree)
    return np.stack(
        [np.einsum("i,j,k->ijk", z[:, a], y[:, b], x[:, c]).ravel() for a, b, c in exponents(degree)], 1
    )


@pytest.mark.parametrize("degree", [1, 4])
def test_moments_covariance_and_quadratic_form_equal_their_definitions(degree) -> None:
    rng = np.random.default_rng(0)
    values, variance = rng.standard_normal(SHAPE), rng.random(SHAPE)
    matrix = phi(SHAPE, degree)
    assert np.allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-13)
    assert np.allclose(moments(values, degree), matrix.T @ values.ravel(), atol=1e-13)
    covariance = matrix.T @ (variance.ravel()[:, None] * matrix)
    assert np.abs(gram(variance, degree) - covariance).max() < 1e-14 * SHAPE[0] * 10
    form = rng.standard_normal(covariance.shape)
    expected = np.einsum("ik,kl,il->i", matrix, form, matrix).reshape(SHAPE)
    assert np.allclose(quadratic_map(form, SHAPE, degree), expected, atol=1e-12)


def test_a_degree_above_the_box_is_refused() -> None:
    with pytest.raises(OutOfDomain, match="below the 4 voxels"):
        basis(4, 4)


@pytest.mark.parametrize("degree", [2, 4, 8])
def test_chi_square_raises_false_alarms_at_its_nominal_rate(degree) -> None:
    """400 draws at 5 %: the standard error of the rate is 1.1 %."""
    n, rng = 14, np.random.default_rng(degree)
    grid, truth = Grid((n,) * 3, (4.0,) * 3), 1.0 + rng.random((n, n, n))
    sigma = 0.1 * np.sqrt(truth)
    zero = EnergyBalance(1.0, 1.0, 0.0)
    alarms = 0
    for _ in range(400):
        noisy = DoseMap(grid, truth + sigma * rng.standard_normal(truth.shape), sigma, zero)
        alarms += (
            moment_chi_square(paired(DoseMap(grid, truth, 0 * truth, zero), noisy), degree).p_value or 0
        ) < 0.05
    assert abs(alarms / 400 - 0.05) <= 0.022


def clustered(rng, truth, decays, touches):
    """Histories that each deposit in ``touches`` neighbouring voxels, as batches of maps."""
    n = truth.shape[0]
    starts = rng.choice(truth.size, size=decays, p=(truth / truth.sum()).ravel())
    z, y, x = np.unravel_index(starts, truth.shape)
    total = np.zeros(truth.shape)
    for _ in range(touches):
        dz, dy, dx = rng.integers(-1, 2, (3, decays))
        np.add.at(
            total, (np.clip(z + dz, 0, n - 1), np.clip(y + dy, 0, n - 1), np.clip(x + dx, 0, n - 1)), 1.0
        )
    return total


def test_histories_that_touch_many_voxels_are_noticed_and_corrected() -> None:
    """With voxel variances alone every test rejects: chi-square / K is about the number of touches."""
    n, zero = 12, EnergyBalance(1.0, 1.0, 0.0)
    grid = Grid((n,) * 3, (4.0,) * 3)
    rng = np.random.default_rng(99)
    decays, touches, runs = 20_000, 6, 40
    expected = sum(clustered(rng, np.ones((n,) * 3), decays, touches) for _ in range(60)) / 60
    plain, corrected, dispersions = 0, 0, []
    for _ in range(runs):
        maps = np.array([clustered(rng, np.ones((n,) * 3), decays // 20, touches) for _ in range(20)]) * 20.0
        mean = maps.mean(axis=0)
        sigma = np.sqrt(expected)  # counts: in a voxel Poisson, as independent voxels would be
        noise = batch_noise(maps, np.full(20, decays // 20), ((0, n),) * 3, 2)
        reference = DoseMap(grid, mean, sigma, zero, noise=noise)
        evaluated = DoseMap(grid, expected, 0 * expected, zero)
        pair = paired(evaluated, reference)
        dispersions.append(pair.dispersion)
        corrected += (moment_chi_square(pair, 2).p_value or 0) < 0.05
        without = paired(evaluated, replace(reference, noise=None))
        plain += (moment_chi_square(without, 2).p_value or 0) < 0.05
    assert plain > 0.9 * runs
    assert np.median(dispersions) > 3.0
    assert corrected <= 0.15 * runs  # nominal 5 %; 3 sd of 40 runs


def exchanged(rng, shape, number):
    """What crosses voxel faces: each event takes one from a voxel and gives it to the next along an axis."""
    found = np.zeros(shape)
    for axis in range(3):
        n = list(shape)
        n[axis] -= 1
        moved = rng.poisson(number, n) - rng.poisson(number, n)
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        found[tuple(low)] -= moved
        found[tuple(high)] += moved
    return found


def test_noise_that_neighbours_share_with_opposite_sign_keeps_its_false_alarms_and_is_used() -> None:
    """Voxel variances alone overstate the noise of moments 20 times here; the batches know, and the test of a
    small smooth error is the sharper for it. False alarms: 0.05 and 0.01 within three standard deviations."""
    n, runs, zero = 12, 150, EnergyBalance(1.0, 1.0, 0.0)
    grid, rng = Grid((n,) * 3, (4.0,) * 3), np.random.default_rng(5)
    truth = np.full((n,) * 3, 500.0)
    faces = sum(
        np.pad(
            np.ones([n - (k == a) for k in range(3)]), [(s * (k == a), (1 - s) * (k == a)) for k in range(3)]
        )
        for a in range(3) for s in (0, 1)
    )  # fmt: skip
    sigma = np.sqrt(2.0 * 4.0 * faces / 20)
    wrong = truth * (1.0 + 0.0003 * np.linspace(-1, 1, n))
    p, seen, alone = [], [], []
    for _ in range(runs):
        maps = truth + np.array([exchanged(rng, (n,) * 3, 4.0) for _ in range(20)])
        noise = batch_noise(maps, np.full(20, 1.0), ((0, n),) * 3, 4)
        reference = DoseMap(grid, maps.mean(axis=0), sigma, zero, noise=noise)
        p.append(moment_chi_square(paired(DoseMap(grid, truth, 0 * truth, zero), reference), 4).p_value)
        evaluated = DoseMap(grid, wrong, 0 * truth, zero)
        seen.append(moment_chi_square(paired(evaluated, reference), 4).p_value)
        alone.append(moment_chi_square(paired(evaluated, replace(reference, noise=None)), 4).p_value)
    assert np.mean(np.array(p) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    assert np.mean(np.array(p) < 0.05) > 0.005
    assert np.mean(np.array(p) < 0.01) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / runs)
    assert np.mean(np.array(seen) < 0.01) > 0.95
    assert np.mean(np.array(alone) < 0.01) < 0.5


def test_the_law_from_batches_has_the_mean_and_variance_of_the_quadratic_form() -> None:
    """E and h of x^T W x from 20 batches, on average over runs, against the covariance that made them."""
    rng, size = np.random.default_rng(8), 10
    root = rng.standard_normal((size, size))
    covariance, weight = root @ root.T / size, np.diag(np.arange(1.0, size + 1))
    exact = np.linalg.solve(weight, covariance)
    laws = []
    for _ in range(400):
        rows = rng.multivariate_normal(np.zeros(size), covariance * 20, 20)
        noise = BatchNoise(((0, 9),) * 3, 2, np.ones(20), rows)
        laws.append(batch_law(noise, weight, np.zeros((size, size))))
    mean, count, _ = np.array(laws).T
    assert mean.mean() == pytest.approx(np.trace(exact), rel=0.02)
    # 2 E^2 / h is the variance: compared as such, for the mean of a ratio is not the ratio of the means.
    variance = (2.0 * mean**2 / count).mean()
    assert variance == pytest.approx(2.0 * np.trace(exact @ exact), rel=0.05)


def test_batches_merge_exactly_over_workers() -> None:
    rng = np.random.default_rng(3)
    maps, decays, box = (
        rng.random((6, *SHAPE)),
        np.array([1.0, 2.0, 1.0, 3.0, 1.0, 2.0]),
        ((1, 6), (0, 9), (2, 8)),
    )
    whole = batch_noise(maps, decays, box, 2)
    parts = batch_noise(maps[:2], decays[:2], box, 2).merged(batch_noise(maps[2:], decays[2:], box, 2))
    assert np.array_equal(whole.moments_gy, parts.moments_gy)
    mean = np.average(maps, axis=0, weights=decays)
    assert np.allclose(mean_moments(parts), moments(np.ascontiguousarray(cut(mean, box)), 2), atol=1e-13)
    with pytest.raises(Inconsistent, match="different boxes or degrees"):
        whole.merged(batch_noise(maps, decays, box, 1))
    with pytest.raises(Inconsistent, match="need \\(6, 10\\)"):
        BatchNoise(box, 2, decays, whole.moments_gy[:, :5])


def test_independent_noise_has_dispersion_one_and_hotelling_agrees() -> None:
    rng = np.random.default_rng(4)
    shape, batches = (10, 10, 10), 60
    truth, sigma = 1.0 + rng.random(shape), 0.2
    maps = truth + sigma * np.sqrt(batches) * rng.standard_normal((batches, *shape))
    noise = batch_noise(maps, np.ones(batches), ((0, 10),) * 3, 2)
    assert dispersion_of(noise, np.full(shape, sigma**2)) == pytest.approx(1.0, abs=0.3)
    grid, zero = Grid(shape, (4.0,) * 3), EnergyBalance(1.0, 1.0, 0.0)
    reference = DoseMap(grid, maps.mean(axis=0), np.full(shape, sigma), zero, noise=noise)
    right = hotelling(paired(DoseMap(grid, truth, 0 * truth, zero), reference))
    wrong = hotelling(paired(DoseMap(grid, truth + 0.1 * np.linspace(-1, 1, 10), 0 * truth, zero), reference))
    assert right.p_value > 0.001 > wrong.p_value
    assert covariance_of_mean(noise).shape == (10, 10)


def test_tolerance_covers_a_smooth_error_and_not_a_shift(phantom, pairing) -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(8)
    p_values = []
    for seed in range(12):
        field = gaussian_filter(rng.standard_normal((64,) * 3), 5.0)[16:48, 16:48, 16:48]  # 20 mm
        field /= gaussian_filter(rng.standard_normal((64,) * 3), 5.0).std()
        pair = pairing(phantom.dose() * (1.0 + 0.01 * field), noise=0.02, seed=seed)
        p_values.append(moment_chi_square(pair, 4, Tolerance(0.01, 20.0)).p_value)
    assert np.count_nonzero(np.array(p_values) < 0.01) <= 2
    assert (
        moment_chi_square(pairing(phantom.dose(shift=(2.0, 0.0, 0.0)), noise=0.02), 4, Tolerance()).p_value
        < 1e-6
    )


def test_tolerance_covariance_equals_its_definition_on_voxels(phantom, pairing) -> None:
    """tau^2 sum phi R C R phi with C = exp(-d^2 / 4 s^2), the slow way on a small map."""
    small = type(phantom)(8, 10.0)
    gy = small.dose()
    pair = paired(small.map(gy), small.map(gy, 0.1), body=np.ones((8,) * 3, bool))
    ours = tolerance_covariance(pair, 2, Tolerance(0.01, 15.0))
    weighted = phi((8,) * 3, 2) * gy.ravel()[:, None]
    place = np.argwhere(gy > 0) * 10.0
    distance2 = np.square(place[:, None] - place[None]).sum(axis=2)
    expected = 1e-4 * weighted.T @ np.exp(-distance2 / (4 * 15.0**2)) @ weighted
    assert np.allclose(ours, expected, rtol=1e-6, atol=1e-7 * expected.max())


def test_shrunk_residual_covariance_is_positive_with_few_cases() -> None:
    found = residual_covariance(np.random.default_rng(0).standard_normal((20, 35)))
    assert np.linalg.eigvalsh(found).min() > 0.1


def test_the_witness_is_nowhere_steeper_than_one() -> None:
    rng = np.random.default_rng(6)
    p, q = rng.random((9, 11, 10)), rng.random((9, 11, 10))
    h = (3.0, 5.0, 4.0)
    off = legendre_moments(p / p.sum(), 4) - legendre_moments(q / q.sum(), 4)
    values = best_witness(off, (9, 11, 10), h, 4).values()
    for axis in range(3):
        assert np.abs(np.diff(values, axis=axis)).max() <= h[axis] * (1 + 1e-9)
    assert float(((p / p.sum() - q / q.sum()) * values).sum()) == pytest.approx(
        polynomial_w1(p, q, h, 4), rel=1e-6
    )


def test_a_shift_is_certified_and_no_shift_is_not(phantom, pairing) -> None:
    shifted = [
        certified_shift(pairing(phantom.dose(shift=(0.0, 2.0, 0.0)), 0.1, seed=s)).value for s in range(6)
    ]
    right = [certified_shift(pairing(phantom.dose(), 0.1, seed=s), seed=s) for s in range(40)]
    assert all(1.0 < v < 2.1 for v in shifted)
    assert sum(m.value > 0 for m in right) <= 6  # nominal 5 % of 40
    assert np.std([m.detail["estimate_mm"] / m.spread for m in right]) == pytest.approx(1.0, abs=0.35)


@pytest.mark.parametrize("dim", [1, 3])
def test_the_first_rung_of_the_hierarchy_is_gelbrich_and_rungs_rise_to_w2(dim) -> None:
    import ot

    rng = np.random.default_rng(dim)
    a, b, mass = rng.random((30, dim)), rng.random((30, dim)) ** 1.6, np.ones(30)
    exact = np.sqrt(ot.emd2(mass / 30, mass / 30, ot.dist(a, b)))
    spread = [np.atleast_2d(np.cov(m.T, bias=True)) for m in (a, b)]
    first, second = (moment_bound(a, mass, b, mass, rung) for rung in (1, 2))
    assert first == pytest.approx(gelbrich(a.mean(0), spread[0], b.mean(0), spread[1]), rel=1e-5)
    assert first < second <= exact * (1 + 1e-6)
    with pytest.raises(OutOfDomain, match="rung of the moment hierarchy"):
        moment_bound(a, mass, b, mass, 4)


def test_dose_outside_the_support_is_scored(phantom, pairing) -> None:
    right = christoffel(pairing(phantom.dose(), noise=0.02), draws=6)
    assert right.value == pytest.approx(1.0, abs=4 * right.spread + 1e-3)
    z, y, x = phantom.axes
    far = 3.0 * np.exp(-((z - 20) ** 2 + (y + 45) ** 2 + (x + 20) ** 2) / (2 * 6.0**2))
    wrong = christoffel(pairing(phantom.dose() + far, noise=0.02), draws=6)
    assert wrong.p_value < 0.2
    assert wrong.value > right.value + 10 * right.spread
    assert wrong.detail["outside_share"] > 0.0115
    place = np.array([wrong.detail[k] for k in ("x_mm", "y_mm", "z_mm")]) - 31 / 2 * 4.0
    assert np.linalg.norm(place - np.array([-20.0, -45.0, 20.0])) < 15.0
