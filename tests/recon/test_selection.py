"""What held-out counts choose: where OSEM ends, and how strong a prior is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dicomnode.recon.algorithms.iterative import bsrem
from dicomnode.recon.camera.attenuation import AttenuationMap
from dicomnode.recon.protocol import Protocol
from dicomnode.recon.scan import Scan, prepare
from dicomnode.recon.selection import KEPT, penalised, stopped, weakest
from tests.recon.small_scan import CAMERA, cylinder, scan
from tests.recon.synthetic_nema import nema_set

MEAN, BINS = 2.0, (1, 400, 250)


def line(best: float, steep: float) -> tuple[Callable[[float], Tensor], Tensor, list[float]]:
    """Expectations that are off by ``steep`` |ln(weight / best)|, their counts, and what was asked."""
    rng = np.random.default_rng(3)
    pattern = torch.from_numpy(np.where(rng.random(BINS) < 0.5, 1.0, -1.0))
    counts = torch.from_numpy(rng.poisson(MEAN, BINS).astype(np.float64))
    asked: list[float] = []

    def predict(weight: float) -> Tensor:
        asked.append(weight)
        return MEAN * (1.0 + steep * abs(np.log(weight / best)) * pattern)

    return predict, counts, asked


WEIGHTS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


@pytest.mark.parametrize("best", WEIGHTS)
def test_a_sharp_maximum_is_found_wherever_it_lies(best: float) -> None:
    """2e5 counts, 3 % for each factor of e: a step of 2 costs 43 +- 9, so that only one is good."""
    predict, counts, asked = line(best, 0.03)
    assert weakest(WEIGHTS, predict, counts) == best
    assert len(asked) == len(set(asked)) <= 6


def test_of_weights_that_the_counts_cannot_tell_apart_the_weakest_is_taken() -> None:
    """0.05 % for each factor of e: a step costs 0.01 +- 0.15."""
    predict, counts, _ = line(0.4, 5e-4)
    assert weakest(WEIGHTS, predict, counts) == 0.025
    assert weakest((0.7,), predict, counts) == 0.7


@pytest.fixture(scope="module")
def scans() -> list[Scan]:
    made = [scan(cylinder(), seconds=seconds) for seconds in (1.0, 20.0)]
    return [prepare(one.projections, one.attenuation, Protocol(subsets=4), CAMERA) for one in made]


def test_more_counts_are_worth_more_passes_and_a_weaker_prior(scans: list[Scan]) -> None:
    """20 times the counts."""
    passes, weights = [], []
    for one in scans:
        kept, held = one.data.split(KEPT, 3)
        passes.append(
            stopped(one, Protocol(stop="held-out", subsets=2, iterations=30), kept, held).parameters
        )
        weights.append(penalised(one, Protocol(algorithm="bsrem", subsets=4), "bsrem", kept, held).parameters)
    assert 30 > float(passes[1]["iterations"]) >= 1.5 * float(passes[0]["iterations"])
    assert float(weights[1]["prior_weight"]) <= 0.5 * float(weights[0]["prior_weight"])


@pytest.mark.long
def test_on_the_nema_set_the_weaker_of_two_equally_good_weights_is_chosen(shared: Path) -> None:
    """1e6 of its counts: 0.4 has the best likelihood, 0.2 lies 7.9 +- 5.3 below it, 0.1 44.9 +- 9.9. Errors
    against the truth are alike, but the 28 mm sphere recovers a tenth less with 0.4."""
    nema = nema_set(shared / "real/spect_raw/synthetic_nema_lu177")
    fewer = np.random.default_rng(2).binomial(nema.projections.counts, 0.2).astype(np.int32)
    protocol = Protocol(algorithm="bsrem")
    mu = AttenuationMap(nema.projections.grid, nema.mu_per_cm, np.ones(64, bool), 208.4, 130.0)
    one = prepare(replace(nema.projections, counts=fewer), mu, protocol, CAMERA)
    image = penalised(one, protocol, "bsrem", *one.data.split(KEPT, 2))
    assert image.parameters == {"prior_weight": 0.2}
    smooth = bsrem(one.model, one.data.counts, one.data.additive, beta=0.4, subsets=10, iterations=10)
    images = [made.numpy() / 0.2 for made in (image.counts, smooth)]
    spheres = [nema.sphere_recoveries(made)[4] for made in images]
    assert spheres[0] > 1.08 * spheres[1]
    truth = nema.masks["activity"] * (nema.total_mbq * nema.counts_per_mbq / nema.masks["activity"].sum())
    errors = [float(np.linalg.norm(made - truth)) for made in images]
    assert errors[0] < 1.03 * errors[1]
