"""A small 3-D U-Net for the learned methods, and two ways in which its output shapes an image.

The network never makes an image of its own (the published methods let it): ``blended`` lets it choose in each
voxel among reconstructions with priors of different weight, ``multiplied`` gives it a factor on one of them.
Both add no activity where the reconstruction has none. Everything is deterministic by the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

LARGEST_LOG_FACTOR = 4.0
"""The network multiplies by e^-4 to e^4 at most; our own choice."""
MU_SCALE_PER_CM = 0.135
"""Brings attenuation to order 1: water at 208 keV is 0.135 per cm."""
WIDTHS = (12, 16, 32)
"""Channels of the three levels."""


@dataclass(frozen=True)
class Crop:
    """The box of the body within the grid, in voxels (z, y, x); multiples of 4 for three levels."""

    low: tuple[int, int, int]
    size: tuple[int, int, int]

    @classmethod
    def around(cls, body: Tensor, margin: int = 2) -> Crop:
        """The smallest box with ``margin`` voxels around the True voxels of ``body`` (z, y, x)."""
        low, size = [], []
        for axis in range(3):
            inside = torch.nonzero(_along(body, axis))
            first = max(int(inside.min()) - margin, 0)
            last = min(int(inside.max()) + margin + 1, body.shape[axis])
            edge = -(-(last - first) // 4) * 4
            low.append(max(min(first, body.shape[axis] - edge), 0))
            size.append(min(edge, body.shape[axis]))
        return cls((low[0], low[1], low[2]), (size[0], size[1], size[2]))

    def take(self, image: Tensor) -> Tensor:
        """The box's part of the last three axes."""
        for axis in range(3):
            image = image.narrow(image.ndim - 3 + axis, self.low[axis], self.size[axis])
        return image

    def put(self, part: Tensor, image: Tensor) -> Tensor:
        """``image`` with the box replaced by ``part``; differentiable in ``part``."""
        after = [image.shape[a] - self.low[a] - self.size[a] for a in range(3)]
        pad = [n for a in (2, 1, 0) for n in (self.low[a], after[a])]
        outside = image.clone()
        self.take(outside).zero_()
        return outside + functional.pad(part, pad)


def _along(body: Tensor, axis: int) -> Tensor:
    others = [a for a in range(3) if a != axis]
    return body.any(dim=others[1]).any(dim=others[0])


class UNet(nn.Module):
    """Three levels of two convolutions each, 102 000 weights.

    Sizes that four does not divide are padded inside. Weights are drawn from ``seed``, the last layer is
    zero. Inputs are padded to the channels of the first level, because torch's fast convolution on one CPU
    thread takes only large inputs (measured: 12 channels there take less time than 4).
    """

    def __init__(self, seed: int, outputs: int = 1) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _block(a, b) for a, b in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        )
        self.up = nn.ModuleList(_block(a + b, b) for a, b in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True))
        self.last = _undrawn(WIDTHS[0], outputs, 1)
        self._draw(torch.Generator().manual_seed(seed))

    def _draw(self, generator: torch.Generator) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, a=0.1, nonlinearity="leaky_relu", generator=generator)
                nn.init.zeros_(cast(Tensor, layer.bias))
        nn.init.zeros_(self.last.weight)

    def forward(self, features: Tensor) -> Tensor:
        """(1, inputs, z, y, x) -> (1, outputs, z, y, x)."""
        size, channels = features.shape[-3:], features.shape[1]
        pad = [n for edge in reversed(size) for n in (0, -edge % 4)] + [0, WIDTHS[0] - channels]
        kept, out = [], functional.pad(features, pad)
        for level, block in enumerate(self.down):
            out = block(out if level == 0 else functional.avg_pool3d(out, 2))
            kept.append(out)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            grown = functional.interpolate(out, scale_factor=2, mode="nearest")
            out = block(torch.cat([grown, skip], dim=1))
        return cast(Tensor, self.last(out))[..., : size[0], : size[1], : size[2]]


def _block(inputs: int, outputs: int) -> nn.Sequential:
    first, second = _undrawn(inputs, outputs, 3), _undrawn(outputs, outputs, 3)
    norms = [nn.GroupNorm(outputs // 4, outputs) for _ in range(2)]
    return nn.Sequential(first, norms[0], nn.LeakyReLU(0.1), second, norms[1], nn.LeakyReLU(0.1))


def _undrawn(inputs: int, outputs: int, size: int) -> nn.Conv3d:
    """A convolution whose weights are not yet drawn, so that torch's global generator stays as it is."""
    layer = nn.Conv3d(inputs, outputs, size, padding=size // 2, device="meta")
    return layer.to_empty(device="cpu")


def features(images: Tensor, mu_per_cm: Tensor, scale: float) -> Tensor:
    """(1, images + 1, z, y, x) of order 1: the smoothest image's logarithm, the logarithms of the ratios of
    each image to the next, smoother one (noise and edges at each width), and attenuation."""
    logs = [torch.log(image / scale + 0.1) for image in images]
    ratios = [3.0 * (sharp - smooth) for sharp, smooth in pairwise(logs)]
    return torch.stack([*ratios, logs[-1], mu_per_cm / MU_SCALE_PER_CM - 0.5]).unsqueeze(0)


def multiplied(network: nn.Module, inputs: Tensor, image: Tensor) -> Tensor:
    """``image`` times the network's factor."""
    log_factor = network(inputs)[0, 0].clamp(-LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)
    return image * torch.exp(log_factor)


def blended(network: nn.Module, inputs: Tensor, candidates: Tensor) -> Tensor:
    """The network's mixture (z, y, x) of ``candidates`` (images, z, y, x); shares add to 1 in a voxel."""
    return (torch.softmax(network(inputs)[0], dim=0) * candidates).sum(dim=0)


def scale_of(image: Tensor) -> float:
    """Mean of the voxels above a tenth of the largest of the smoothed image: what order 1 means."""
    smooth = functional.avg_pool3d(image[None, None], 3, stride=1, padding=1)[0, 0]
    return float(image[smooth > 0.1 * smooth.max()].mean().clamp_min(1e-6))
