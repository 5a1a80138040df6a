"""A network on the image of one half of the counts, judged by the projections of the other half.

Reader's framework (arXiv 2302.13086): back-project or reconstruct, then an image network, and the loss is
the Poisson likelihood of the forward projected result ("DL-BPF"). With the same data in input and loss the
minimum is the noisy maximum-likelihood image; so here the counts are split, and the loss sees the half that
the input does not. In expectation that loss is the projected Kullback-Leibler risk against the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from dicomnode.model import Settings
from dicomnode.recon.algorithms.measurement import Measurement, log_likelihood
from dicomnode.recon.camera.model import Differentiable, SystemModel, differentiable
from dicomnode.recon.learned.networks import UNet
from dicomnode.recon.learned.noise2noise import Example, new_network, prior_mean


class SplitLikelihoodSettings(Settings):
    """Of the network and its training."""

    steps: int = Field(50, ge=1, description="most steps of the optimiser; held-out counts may stop earlier")
    check_every: int = Field(10, ge=1, description="steps between two looks at the held-out counts")
    rate: float = Field(4e-3, gt=0, description="learning rate of Adam")


def train(
    model: SystemModel,
    pairs: Sequence[tuple[tuple[Example, Measurement], tuple[Example, Measurement]]],
    settings: SplitLikelihoodSettings,
    *,
    parts: Sequence[Sequence[int]],
    held: Measurement,
    seed: int,
) -> tuple[UNet, int]:
    """The network of the best look at ``held``, and its step; 0 where the untrained one was best.

    ``pairs`` : halves of the training counts with their images; each image is judged by the other's counts.
    """
    project = differentiable(model)
    examples = [(half, other) for one, two in pairs for half, other in ((one[0], two[1]), (two[0], one[1]))]
    halves = [half for half, _ in examples]
    network = new_network(len(halves[0].candidates), seed)
    adam = torch.optim.Adam(network.parameters(), lr=settings.rate)
    best, kept, best_step = float("-inf"), _weights(network), 0
    for step in range(settings.steps + 1):
        if step % settings.check_every == 0:
            with torch.no_grad():
                now = prior_mean(network, halves)
                score = log_likelihood(held, model.forward(now) + held.scatter)
            if score > best:
                best, kept, best_step = score, _weights(network), step
        half, other = examples[step % len(examples)]
        loss = _loss(project, network, half, other, parts[step % len(parts)])
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    network.load_state_dict(kept)
    return network, best_step


def _loss(
    project: Differentiable,
    network: UNet,
    half: Example,
    other: Measurement,
    views: Sequence[int],
) -> Tensor:
    seen = list(views)
    expected = other.share * project.forward(half.image(network), views) + other.additive[seen]
    counts = other.counts[seen]
    return (expected - counts * torch.log(expected.clamp_min(1e-9))).sum() / counts.sum().clamp_min(1.0)


def _weights(network: UNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}
