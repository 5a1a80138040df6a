"""A network trained on simulated scans whose truth is known: the comparator, not a recommendation.

It carries what its training scans looked like into every image (see docs/reconstruction.md; the held-out
likelihood tells where it goes wrong).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import torch
from pydantic import Field
from torch import Tensor

from dicomnode.errors import EngineUnavailable
from dicomnode.model import Settings
from dicomnode.recon.networks import UNet, multiplied
from dicomnode.recon.noise2noise import Example

WEIGHTS = "supervised.safetensors"
BASE = 1
"""Filter of ``networks.BLEND_FWHM_MM`` whose image the network multiplies."""


class SupervisedSettings(Settings):
    """Of the network and its training."""

    steps: int = Field(120, ge=1, description="steps of the optimiser, one simulated scan each")
    rate: float = Field(
        4e-3, gt=0, description="learning rate of Adam at the start; a tenth of it at the end"
    )


@dataclass(frozen=True, eq=False)
class Lesson:
    """A simulated scan as a network sees it, and its true counts per voxel (z, y, x) of the whole grid."""

    example: Example
    truth: Tensor


def train(lessons: Sequence[Lesson], settings: SupervisedSettings, *, seed: int) -> UNet:
    """Weighted mean squared error against the truth, one scan each step."""
    network = UNet(seed)
    adam = torch.optim.Adam(network.parameters(), lr=settings.rate)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, 0.1 ** (1 / settings.steps))
    order = torch.Generator().manual_seed(seed)
    for _ in range(settings.steps):
        lesson = lessons[int(torch.randint(len(lessons), (1,), generator=order))]
        example = lesson.example
        error = _inside(network, example) - example.crop.take(lesson.truth)
        loss = (example.weight * error**2).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        decay.step()
    return network


def apply(network: UNet, example: Example) -> Tensor:
    """The network's image (z, y, x), counts per voxel of the whole scan."""
    with torch.no_grad():
        return example.crop.put(_inside(network, example), example.whole)


def _inside(network: UNet, example: Example) -> Tensor:
    return multiplied(network, example.inputs, example.candidates[BASE])


def bundled() -> tuple[UNet, str]:
    """The network that comes with the package, and the SHA-256 of its weights.

    Raises
    ------
    EngineUnavailable : the weights are not there; `make recon-weights` trains them
    """
    from safetensors.torch import load

    place = files("dicomnode.recon") / "data" / WEIGHTS
    if not place.is_file():
        raise EngineUnavailable(f"{WEIGHTS} is not installed: `make recon-weights` trains and writes it")
    content = place.read_bytes()
    weights = load(content)
    network = UNet(seed=0)
    network.load_state_dict(weights)
    return network, sha256(content).hexdigest()
