"""Deep image prior: a network's weights are fitted to one scan, and stopped before they fit its noise.

The image is the network's; the loss is the Poisson likelihood of the projections, through the projector.
Conditional on the CT as in Gong et al. (IEEE TMI 38:1655, 2019) and end to end as in Hashimoto et al.
(2022/23). What differs, so that it fits minutes of one CPU core: the network
starts from an early OSEM image instead of from noise, the views of each step are one subset, and the stop is
chosen by held-out counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from dicomnode.model import Settings
from dicomnode.recon.algorithms.measurement import Measurement, log_likelihood
from dicomnode.recon.camera.model import SystemModel, differentiable
from dicomnode.recon.learned.networks import Crop, UNet, features, multiplied, scale_of


class DeepImagePriorSettings(Settings):
    """Of the network and its fit."""

    steps: int = Field(80, ge=1, description="most steps of the optimiser; held-out counts may stop earlier")
    check_every: int = Field(10, ge=1, description="steps between two looks at the held-out counts")
    rate: float = Field(4e-3, gt=0, description="learning rate of Adam")


@dataclass(frozen=True, eq=False)
class Fitted:
    """The image of a fit and how long it went on.

    Attributes
    ----------
    image : counts per voxel of the whole scan
    steps : steps it was taken at
    scores : (step, held-out log likelihood) of every look, empty without held-out counts
    """

    image: Tensor
    steps: int
    scores: tuple[tuple[int, float], ...] = ()


def fit(
    model: SystemModel,
    data: Measurement,
    start: Tensor,
    mu_per_cm: Tensor,
    crop: Crop,
    settings: DeepImagePriorSettings,
    *,
    parts: Sequence[Sequence[int]],
    steps: int,
    seed: int,
    held: Measurement | None = None,
) -> Fitted:
    """Fit to ``data`` for ``steps``; with ``held``, the image of the best look.

    Parameters
    ----------
    parts : views of each step, in turn
    steps : of the optimiser
    start : early image from ``data`` alone, counts per voxel of the whole scan
    held : counts that are independent of ``data`` and ``start``
    """
    project = differentiable(model)
    inner, scale = crop.take(start), scale_of(start)
    inputs = features(inner[None], crop.take(mu_per_cm), scale)
    network = UNet(seed)
    adam = torch.optim.Adam(network.parameters(), lr=settings.rate)
    best, scores = Fitted(start, 0), []
    for step in range(1, steps + 1):
        views = parts[step % len(parts)]
        image = crop.put(multiplied(network, inputs, inner), start)
        expected = data.share * project.forward(image, views) + data.additive[list(views)]
        loss = (expected - data.counts[list(views)] * torch.log(expected.clamp_min(1e-9))).sum()
        adam.zero_grad()
        torch.autograd.backward(loss / data.counts[list(views)].sum())
        adam.step()
        if held is not None and step % settings.check_every == 0:
            with torch.no_grad():
                now = crop.put(multiplied(network, inputs, inner), start)
                scores.append((step, log_likelihood(held, model.forward(now) + held.scatter)))
            if scores[-1][1] >= max(score for _, score in scores):
                best = Fitted(now, step)
    if held is not None:
        return Fitted(best.image, best.steps, tuple(scores))
    with torch.no_grad():
        return Fitted(crop.put(multiplied(network, inputs, inner), start), steps)
