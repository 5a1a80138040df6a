"""The algorithms on small scans with a known answer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from dicomnode.errors import OutOfDomain
from dicomnode.recon.algorithms.iterative import (
    EPSILON,
    bsrem,
    bsrem_updates,
    gaussian_filter,
    mean_sensitivity,
    mlem,
    osem,
    osem_updates,
    osl,
    subset_views,
    weighted_mean,
)
from dicomnode.recon.algorithms.priors import (
    face_weights,
    quadratic_gradient,
    relative_difference,
    relative_difference_gradient,
)
from dicomnode.recon.camera.collimator import collimator
from dicomnode.recon.camera.model import Geometry
from dicomnode.recon.camera.projector import ParallelHoleModel


@dataclass(frozen=True, eq=False)
class Scan:
    model: ParallelHoleModel
    truth: Tensor
    expected: Tensor
    counts: Tensor
    scatter: Tensor


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A water cylinder with a hot ball, 24 views, a fifth of the counts is scatter."""
    size, planes, views = 32, 16, 24
    angle = np.arange(views) * 360.0 / views
    geometry = Geometry((planes, size, size), (4.8, 4.8), angle, np.full(views, 140.0))
    axis, along = ((np.arange(n) - (n - 1) / 2) * 4.8 for n in (size, planes))
    z, y, x = np.meshgrid(along, axis, axis, indexing="ij", sparse=True)
    body = (np.hypot(x, y) < 60) & (np.abs(z) < 30)
    ball = np.hypot(np.hypot(x - 25, y), z) < 16
    truth = torch.from_numpy((0.8 * body + 4.0 * ball).astype(np.float32))
    model = ParallelHoleModel(
        geometry, collimator("siemens-me").response(208.4), (0.135 * body).astype(np.float32)
    )
    primary = model.forward(truth)
    scatter = torch.full_like(primary, 0.25 * float(primary.mean()))
    rng = np.random.default_rng(3)
    counts = torch.from_numpy(rng.poisson((primary + scatter).numpy()).astype(np.float32))
    return Scan(model, truth, primary + scatter, counts, scatter)


def log_likelihood(scan: Scan, image: Tensor) -> float:
    expected = (scan.model.forward(image) + scan.scatter).double().clamp(min=1e-9)
    return float((scan.counts * expected.log() - expected).sum())


def test_subsets_go_round_the_patient_whatever_the_order_of_views() -> None:
    angles = np.array([180.0, 0.0, 270.0, 90.0])
    geometry = Geometry((2, 8, 8), (4.8, 4.8), angles, np.full(4, 200.0))
    assert subset_views(geometry, 2) == ((1, 0), (3, 2))
    with pytest.raises(OutOfDomain, match="number of subsets is 5"):
        subset_views(geometry, 5)


def test_every_mlem_update_raises_the_likelihood(scan: Scan) -> None:
    updates = osem_updates(scan.model, scan.counts, scan.scatter, subsets=1)
    likelihoods = [log_likelihood(scan, image) for image in islice(updates, 12)]
    assert (np.diff(likelihoods) > 0).all()


def test_expected_counts_of_the_truth_leave_the_truth_where_it_is(scan: Scan) -> None:
    image = osem(scan.model, scan.expected, scan.scatter, subsets=6, iterations=2, start=scan.truth)
    assert float((image - scan.truth).abs().max()) < 1e-3 * float(scan.truth.max())


def test_mlem_without_noise_comes_to_the_truths_counts_and_mean(scan: Scan) -> None:
    image = osem(scan.model, scan.expected, scan.scatter, subsets=6, iterations=20)
    assert float(image.sum() / scan.truth.sum()) == pytest.approx(1.0, abs=0.006)
    ball = scan.truth > 4
    # partial volume: 32 mm across, seen with 11 mm
    assert 0.80 < float(image[ball].mean() / scan.truth[ball].mean()) < 0.95


def test_the_image_keeps_the_counts_that_are_no_scatter(scan: Scan) -> None:
    """At the maximum the fit has as many counts as were measured, weighted by the primary's share."""
    image = osem(scan.model, scan.counts, scan.scatter, subsets=4, iterations=20)
    fitted = scan.model.forward(image)
    share = fitted / (fitted + scan.scatter)
    assert float((share * scan.counts).sum() / fitted.sum()) == pytest.approx(1.0, abs=2e-3)


def test_osem_of_six_subsets_is_as_far_as_mlem_of_six_times_the_passes(scan: Scan) -> None:
    fast = osem(scan.model, scan.counts, scan.scatter, subsets=6, iterations=2)
    slow = mlem(scan.model, scan.counts, scan.scatter, iterations=12)
    assert log_likelihood(scan, fast) == pytest.approx(log_likelihood(scan, slow), abs=50.0)
    assert float((fast - slow).norm() / slow.norm()) < 0.10


def test_scatter_left_out_of_the_model_is_activity_too_much(scan: Scan) -> None:
    """Scatter is a quarter of the primary counts, laid flat over the detector."""
    none = torch.zeros_like(scan.scatter)
    without = osem(scan.model, scan.counts, none, subsets=6, iterations=4)
    seen = scan.model.forward(without).sum() / (scan.expected - scan.scatter).sum()
    assert float(seen) == pytest.approx(1.25, abs=0.03)


def test_the_same_data_give_the_same_bytes(scan: Scan) -> None:
    first, second = (bsrem(scan.model, scan.counts, scan.scatter, beta=0.02, subsets=6, iterations=2)
                     for _ in range(2))  # fmt: skip
    assert torch.equal(first, second)


def test_priors_smooth_more_the_stronger_they_are(scan: Scan) -> None:
    body = (scan.truth > 0) & (scan.truth < 2)
    for algorithm in (osl, bsrem):
        noise = []
        for beta in (0.003, 0.03, 0.3):
            image = algorithm(scan.model, scan.counts, scan.scatter, beta=beta, subsets=4, iterations=8)
            assert float(image.min()) >= 0
            noise.append(float(image[body].std() / image[body].mean()))
        assert noise[0] > noise[1] > noise[2]


@pytest.mark.parametrize(("beta", "left"), [(0.001, 0.15), (0.03, 0.06), (0.3, 0.02)])
def test_bsrem_climbs_to_the_penalised_maximum(scan: Scan, beta: float, left: float) -> None:
    """Of the climb from two passes of OSEM to the 200th pass at most ``left`` is left after 25 passes, for
    priors so weak that momentum over subsets could run away, too."""
    weights = face_weights(scan.model.geometry)
    start = osem(scan.model, scan.counts, scan.scatter, subsets=4, iterations=2)
    strength = beta * mean_sensitivity(scan.model, start)
    epsilon = EPSILON * weighted_mean(start)

    def objective(image: Tensor) -> float:
        prior = float(relative_difference(image, weights, 2.0, epsilon))
        return log_likelihood(scan, image) - strength * prior

    updates = bsrem_updates(scan.model, scan.counts, scan.scatter, beta=beta, subsets=4, start=start)
    heights = [objective(image) for image in islice(updates, 3, 800, 4)]
    climb = heights[-1] - objective(start)
    assert climb > 0
    assert heights[24] >= heights[-1] - left * climb
    assert heights[-1] >= max(heights) - 0.01 * climb


def test_gradients_of_priors_are_those_of_autograd() -> None:
    geometry = Geometry((5, 6, 6), (4.8, 3.0), np.zeros(1), np.full(1, 100.0))
    weights = face_weights(geometry)
    assert 2 * sum(weights) == pytest.approx(1.0)
    assert weights[0] / weights[1] == pytest.approx((4.8 / 3.0) ** 2)
    image = torch.rand(5, 6, 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(relative_difference(image, weights, 2.0, 0.1), image)
    assert torch.allclose(relative_difference_gradient(image.detach(), weights, 2.0, 0.1), gradient)
    pairs = sum(
        w * (image.narrow(axis, 0, n - 1) - image.narrow(axis, 1, n - 1)).square().sum() / 2
        for axis, (w, n) in enumerate(zip(weights, image.shape, strict=True))
    )
    (gradient,) = torch.autograd.grad(pairs, image)
    assert torch.allclose(quadratic_gradient(image.detach(), weights), gradient)


def test_the_relative_difference_prior_is_as_strong_in_hot_as_in_warm_regions() -> None:
    image = torch.rand(4, 5, 5) + 0.1
    weights = (0.2, 0.15, 0.15)
    warm = relative_difference_gradient(image, weights, 2.0, 0.01)
    hot = relative_difference_gradient(50 * image, weights, 2.0, 0.5)
    assert torch.allclose(warm, hot, atol=1e-6)


def test_the_filter_keeps_counts_and_has_its_width() -> None:
    geometry = Geometry((41, 41, 41), (4.0, 5.0), np.zeros(1), np.full(1, 100.0))
    image = torch.zeros(41, 41, 41)
    image[20, 20, 20] = 1.0
    smooth = gaussian_filter(image, geometry, 12.0)
    assert float(smooth.sum()) == pytest.approx(1.0, abs=1e-3)
    for axis, edge in ((0, 5.0), (1, 4.0)):
        at = (torch.arange(41) - 20) * edge
        profile = smooth.sum(dim=[d for d in range(3) if d != axis])
        assert 2.3548 * float((profile * at**2).sum().sqrt()) == pytest.approx(12.0, rel=0.03)


def test_an_empty_scan_is_refused(scan: Scan) -> None:
    with pytest.raises(OutOfDomain, match="counts of the peak window"):
        mlem(scan.model, torch.zeros_like(scan.counts), scan.scatter, iterations=1)
