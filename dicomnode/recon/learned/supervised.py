"""A network trained on simulated scans whose truth is known: the comparator, not a recommendation.

It carries what its training scans looked like into every image: it has seen one camera (60 views, 4.8 mm,
medium-energy holes, 177Lu) and bodies made of random ellipsoids (``benchmarks/recon_weights.py``). Whether a
scan is like these only its held-out counts tell (see docs/reconstruction.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from math import log

import torch
from pydantic import Field
from torch import Tensor

from dicomnode.errors import EngineUnavailable
from dicomnode.model import Settings
from dicomnode.recon.learned.networks import LARGEST_LOG_FACTOR, UNet
from dicomnode.recon.learned.noise2noise import Example

WEIGHTS = "supervised.safetensors"
CANDIDATES = 5
"""Images that the network blends before it multiplies: those of ``noise2noise``."""
TYPICAL_COUNTS = 1.0
"""Counts per voxel towards a view that are level 0 to the network; our own choice."""


class SupervisedSettings(Settings):
    """Of the network and its training."""

    steps: int = Field(1500, ge=1, description="steps of the optimiser, one simulated scan each")
    rate: float = Field(4e-3, gt=0, description="learning rate of Adam at the start")
    decay_steps: int = Field(2400, ge=1, description="steps in which the rate falls to a thirtieth")


@dataclass(frozen=True, eq=False)
class Lesson:
    """A simulated scan as a network sees it, and its true counts per voxel (z, y, x) inside the box."""

    example: Example
    truth: Tensor


def new_network(seed: int) -> UNet:
    """An untrained network: an even mixture of the candidates, times one."""
    return UNet(seed, outputs=CANDIDATES + 1)


def train(lessons: Sequence[Lesson], settings: SupervisedSettings, *, seed: int) -> UNet:
    """Weighted mean squared error against the truth, one scan each step, mirrored at random.

    The weight is that of ``Example``: a voxel's error counts by the noise that its level lets expect, so that
    scans of every count level have a say.
    """
    network = new_network(seed)
    adam = torch.optim.Adam(network.parameters(), lr=settings.rate)
    decay = torch.optim.lr_scheduler.ExponentialLR(adam, (1 / 30) ** (1 / settings.decay_steps))
    order = torch.Generator().manual_seed(seed)
    for _ in range(settings.steps):
        lesson = lessons[int(torch.randint(len(lessons), (1,), generator=order))]
        mirrored = [axis for axis in (-3, -2, -1) if torch.rand((), generator=order) < 0.5]
        loss = miss(network, lesson, mirrored)
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        decay.step()
    return network


def miss(network: UNet, lesson: Lesson, mirrored: Sequence[int] = ()) -> Tensor:
    """Weighted mean squared error of a lesson, which may be mirrored along some of its last three axes."""
    example, axes = lesson.example, list(mirrored)
    inputs, candidates, truth, weight = (
        torch.flip(values, axes)
        for values in (_inputs(example), example.candidates, lesson.truth, example.weight)
    )
    return (weight * (_image(network, inputs, candidates) - truth) ** 2).mean()


def apply(network: UNet, example: Example, share: float) -> Tensor:
    """The network's image (z, y, x), counts per voxel of the whole scan.

    ``share`` : part of the scan's counts that ``example`` was made from
    """
    with torch.no_grad():
        inside = _image(network, _inputs(example, share), example.candidates)
        return example.crop.put(inside, example.whole)


def _image(network: UNet, inputs: Tensor, candidates: Tensor) -> Tensor:
    """The mixture of the candidates that the first outputs choose, times the factor of the last one."""
    outputs = network(inputs)[0]
    mixed = (torch.softmax(outputs[:CANDIDATES], dim=0) * candidates).sum(dim=0)
    return mixed * torch.exp(outputs[CANDIDATES].clamp(-LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR))


def _inputs(example: Example, share: float = 1.0) -> Tensor:
    """What noise2noise sees, and how many counts there are: the network cannot know the noise without."""
    level = torch.full_like(example.inputs[:, :1], log(example.scale * share / TYPICAL_COUNTS) / 3.0)
    return torch.cat([example.inputs, level], dim=1)


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
    network = new_network(seed=0)
    network.load_state_dict(load(content))
    return network, sha256(content).hexdigest()
