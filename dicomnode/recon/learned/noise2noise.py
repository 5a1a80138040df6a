"""MAP reconstruction around a Noise2Noise prior: a network learns from one scan what noise looks like.

1. The counts are split into two independent halves. Each is reconstructed with the relative difference
   prior at several weights, from hardly any smoothing to more than is good.
2. A network looks at one half and blends, in every voxel, its images so as to predict the least smoothed
   image of the other half. The noise of the other half cannot be predicted, so what it learns is where
   smoothing takes noise away and where it takes activity away: a prior weight that follows the place.
3. Its image f is the prior mean of a MAP reconstruction, so that the data keep the last word: voxels and
   totals that the counts support are restored. The weight is chosen by held-out counts.

The scheme is our own; Noise2Noise for 177Lu SPECT images is Leube 2023. The MAP step is
``algorithms.map_around``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from dicomnode.model import Settings
from dicomnode.recon.learned.networks import Crop, UNet, blended, features, scale_of


class Noise2NoiseSettings(Settings):
    """Of the network, its training and the MAP step."""

    candidates: tuple[float, ...] = Field(
        (0.03, 0.1, 0.3, 1.0, 3.0),
        min_length=2,
        description="prior weights of the images to blend",
    )
    steps: int = Field(50, ge=1, description="steps of the optimiser")
    rate: float = Field(
        4e-3, gt=0, description="learning rate of Adam at the start; a fifth of it at the end"
    )
    map_iterations: int = Field(8, ge=1, description="iterations of the MAP step")
    weights: tuple[float, ...] = Field(
        (0.03, 0.1, 0.3, 1.0), min_length=1, description="prior weights to choose from, of the sensitivity"
    )


@dataclass(frozen=True, eq=False)
class Example:
    """What the network sees of one reconstruction, within the box of the body.

    Attributes
    ----------
    inputs : (1, channels, z, y, x) for the network
    candidates : (images, z, y, x), from sharp to smooth, counts per voxel of the whole scan
    whole : the image (z, y, x) of the whole grid
    crop : the box
    scale : counts per voxel that are of order 1
    """

    inputs: Tensor
    candidates: Tensor
    whole: Tensor
    crop: Crop
    scale: float

    @classmethod
    def of(cls, images: Sequence[Tensor], mu_per_cm: Tensor, crop: Crop) -> Example:
        """Of images (z, y, x) in counts per voxel of the whole scan, from sharp to smooth."""
        candidates = torch.stack([crop.take(one) for one in images])
        scale = scale_of(candidates[-1])
        return cls(features(candidates, crop.take(mu_per_cm), scale), candidates, images[0], crop, scale)

    @property
    def weight(self) -> Tensor:
        """Of a voxel's squared error, the inverse of the variance that its smoothest image lets expect. A
        weight that followed the target would pull the minimum away from the mean of the target."""
        return 1.0 / ((self.candidates[-1] + 0.1 * self.scale) * self.scale)

    def image(self, network: UNet) -> Tensor:
        """The network's image of the whole grid; outside the box as it was."""
        return self.crop.put(blended(network, self.inputs, self.candidates), self.whole)


def new_network(candidates: int, seed: int) -> UNet:
    """A network that blends, untrained: all candidates alike."""
    return UNet(seed, outputs=candidates)


def prior_mean(network: UNet, halves: Sequence[Example]) -> Tensor:
    """Mean of the network's images of all halves."""
    with torch.no_grad():
        return torch.stack([half.image(network) for half in halves]).mean(dim=0)


def train(pairs: Sequence[tuple[Example, Example]], settings: Noise2NoiseSettings, *, seed: int) -> UNet:
    """Fit a network to predict the image of the other half, both ways, one direction each step."""
    ordered = [(a, b) for one, two in pairs for a, b in ((one, two), (two, one))]
    network = new_network(len(ordered[0][0].candidates), seed)
    adam = torch.optim.Adam(network.parameters(), lr=settings.rate)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.2 ** (1 / settings.steps))
    for step in range(settings.steps):
        one, other = ordered[step % len(ordered)]
        error = blended(network, one.inputs, one.candidates) - other.candidates[0]
        loss = (one.weight * error**2).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        decay.step()
    return network
