"""Held-out counts, and the Poisson bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.recon.algorithms.bootstrap import bootstrap
from dicomnode.recon.algorithms.held_out import compare, held_out_score, split_counts
from dicomnode.recon.algorithms.iterative import osem
from dicomnode.recon.camera.collimator import collimator
from dicomnode.recon.camera.model import Geometry
from dicomnode.recon.camera.projector import ParallelHoleModel


@pytest.fixture(scope="module")
def model() -> ParallelHoleModel:
    angle = np.arange(20) * 18.0
    geometry = Geometry((12, 24, 24), (4.8, 4.8), angle, np.full(20, 110.0))
    return ParallelHoleModel(geometry, collimator("siemens-me").response(208.4), None)


def object_of(level: float) -> Tensor:
    axis, along = ((np.arange(n) - (n - 1) / 2) * 4.8 for n in (24, 12))
    z, y, x = np.meshgrid(along, axis, axis, indexing="ij", sparse=True)
    body = (np.hypot(x, y) < 45) & (np.abs(z) < 24)
    ball = np.hypot(np.hypot(x - 15, y), z) < 12
    return torch.from_numpy((level * (body + 6 * ball)).astype(np.float32))


def counts_of(model: ParallelHoleModel, level: float, seed: int = 5) -> np.ndarray:
    expected = model.forward(object_of(level)).numpy() + 0.2 * level
    return np.random.default_rng(seed).poisson(np.maximum(expected, 0)).astype(np.int32)


def scatter_of(model: ParallelHoleModel, level: float) -> Tensor:
    return torch.full(model.geometry.projection_shape, 0.2 * level)


def test_thinned_parts_add_up_and_are_independent() -> None:
    """Poisson of mean 4: both parts have variance = mean, and their correlation is 0 (10^6 bins: 0.001)."""
    counts = np.random.default_rng(2).poisson(4.0, (1, 1000, 1000)).astype(np.int32)
    split = split_counts(counts, 0.25, 7)
    assert torch.equal(split.train + split.held_out, torch.from_numpy(counts.astype(np.float32)))
    train, held_out = split.train.double().flatten(), split.held_out.double().flatten()
    assert (float(train.mean()), float(train.var())) == pytest.approx((3.0, 3.0), rel=0.01)
    assert (float(held_out.mean()), float(held_out.var())) == pytest.approx((1.0, 1.0), rel=0.01)
    assert abs(float(torch.corrcoef(torch.stack([train, held_out]))[0, 1])) < 0.004
    assert torch.equal(split.train, split_counts(counts, 0.25, 7).train)


def test_counts_that_are_no_counts_are_refused() -> None:
    with pytest.raises(Inconsistent, match="only raw whole counts"):
        split_counts(np.ones((2, 2), np.float32), 0.2, 1)
    with pytest.raises(OutOfDomain, match="share of held-out counts"):
        split_counts(np.ones((2, 2), np.int32), 1.0, 1)


def test_the_standard_error_of_a_score_is_its_scatter() -> None:
    """500 draws of the held-out counts for two fixed expectations."""
    rng = np.random.default_rng(4)
    truth = torch.from_numpy(rng.uniform(1.0, 6.0, (1, 20, 20)))
    other = truth * torch.from_numpy(rng.uniform(0.8, 1.25, (1, 20, 20)))
    scores = [held_out_score(other, truth, torch.from_numpy(rng.poisson(truth.numpy()).astype(np.float64)))
              for _ in range(500)]  # fmt: skip
    gains = np.array([score.gain for score in scores])
    divergence = float((truth * torch.log(truth / other) - truth + other).sum())
    assert gains.mean() == pytest.approx(-divergence, abs=4 * gains.std() / np.sqrt(500))
    assert np.mean([score.sigma for score in scores]) == pytest.approx(gains.std(), rel=0.1)


def test_of_several_predictions_the_best_and_the_equally_good_are_found() -> None:
    """Scaled truths of 10^5 bins of mean 2 (2e5 counts): 2 % cost 40 of log likelihood, known to 9; 0.1 %
    cost 0.1, known to 0.45."""
    truth = torch.full((1, 400, 250), 2.0, dtype=torch.float64)
    counts = torch.from_numpy(np.random.default_rng(6).poisson(truth.numpy()).astype(np.float64))
    exact = float(counts.mean() / 2.0)
    choice = compare({scale: truth * exact * scale for scale in (0.98, 0.999, 1.0, 1.02)}, counts)
    assert choice.best == 1.0
    assert choice.scores[1.0].gain == 0
    assert choice.scores[1.02].gain == pytest.approx(-2e5 * (1.02 - 1 - np.log(1.02)), rel=0.02)
    assert set(choice.equally_good(1.0)) == {0.999, 1.0}


def test_bootstrap_sigma_is_the_scatter_of_repeated_scans(model: ParallelHoleModel) -> None:
    """20 replicates of one scan beside 20 scans: each standard deviation is known to 16 %."""
    truth, scatter = object_of(1.0), scatter_of(model, 1.0)
    regions = {"ball": (truth > 5).numpy(), "body": (truth > 0).numpy()}

    def reconstruct(windows: np.ndarray) -> np.ndarray:
        peak = torch.from_numpy(windows[0].astype(np.float32))
        return osem(model, peak, scatter, subsets=4, iterations=5).numpy()

    found = bootstrap(reconstruct, counts_of(model, 1.0)[None], replicates=20, seed=9, regions=regions)
    scans = np.array([reconstruct(counts_of(model, 1.0, seed)[None]) for seed in range(100, 120)])
    for name, mask in regions.items():
        spread = scans[:, mask].mean(axis=1).std(ddof=1)
        assert found.region_sigma[name] == pytest.approx(spread, rel=4 * np.hypot(0.16, 0.16))
    body = regions["body"]
    ratio = np.sqrt((found.sigma[body] ** 2).mean() / (scans[:, body].var(axis=0, ddof=1)).mean())
    assert ratio == pytest.approx(1.0, abs=0.1)
    assert found.own_error == pytest.approx(0.162, abs=0.001)
    assert np.sqrt(found.covariance[1, 1]) == pytest.approx(found.region_sigma["body"])


def test_a_bootstrap_of_counting_alone_is_poisson() -> None:
    """An image that is the sum of counts: sigma is sqrt(N); same seed, same bytes."""
    counts = np.full((1, 4, 5, 5), 25, np.int32)

    def total(windows: np.ndarray) -> np.ndarray:
        return np.full((2, 2, 2), windows.sum(), np.float32)

    found = bootstrap(total, counts, replicates=200, seed=1, regions={"all": np.ones((2, 2, 2), bool)})
    assert found.region_sigma["all"] == pytest.approx(50.0, rel=0.2)
    np.testing.assert_allclose(found.sigma, found.region_sigma["all"], rtol=1e-5)
    again = bootstrap(total, counts, replicates=200, seed=1)
    np.testing.assert_array_equal(found.sigma, again.sigma)


def test_scaled_counts_or_one_replicate_are_refused() -> None:
    with pytest.raises(Inconsistent, match="only raw whole counts"):
        bootstrap(lambda x: np.zeros(1, np.float32), np.ones((1, 2, 2, 2)), replicates=5, seed=1)
    with pytest.raises(OutOfDomain, match="at least 2"):
        bootstrap(lambda x: np.zeros(1, np.float32), np.ones((1, 2, 2, 2), np.int32), replicates=1, seed=1)
