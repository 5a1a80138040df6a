"""Roughness penalties over the six face neighbours of a voxel: their gradients.

Weights go with 1 / distance^2 and add to 1 over the six, so that a penalty's strength does not depend on the
voxel's shape. That is our own choice; so is keeping to faces: corners cost four times as much.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dicomnode.recon.camera.model import Geometry


def face_weights(geometry: Geometry) -> tuple[float, float, float]:
    """Weight of each neighbour along z, y, x."""
    across, along = geometry.voxel_mm
    inverse = 1.0 / np.square([along, across, across])
    weights = inverse / (2 * inverse.sum())
    return float(weights[0]), float(weights[1]), float(weights[2])


def quadratic_gradient(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Gradient of sum w (x_j - x_k)^2 / 2 over pairs: w (x_j - x_k) summed over the neighbours k of j."""
    gradient = torch.zeros_like(image)
    for axis, weight in enumerate(weights):
        size = image.shape[axis] - 1
        step = (image.narrow(axis, 0, size) - image.narrow(axis, 1, size)) * weight
        gradient.narrow(axis, 0, size).add_(step)
        gradient.narrow(axis, 1, size).sub_(step)
    return gradient


def relative_difference_gradient(
    image: Tensor, weights: tuple[float, float, float], gamma: float, epsilon: float
) -> Tensor:
    """Gradient of the relative difference prior, sum w (a - b)^2 / (a + b + gamma |a - b| + epsilon) over
    pairs (Nuyts, Beque, Dupont, Mortelmans, IEEE Trans. Nucl. Sci. 49, 56, 2002; epsilon keeps it smooth at
    zero). Without dimension: as strong in a warm as in a hot region.
    """
    gradient = torch.zeros_like(image)
    for axis, weight in enumerate(weights):
        size = image.shape[axis] - 1
        a, b = image.narrow(axis, 0, size), image.narrow(axis, 1, size)
        difference, total = a - b, a + b
        edge = difference.abs().mul_(gamma).add_(epsilon)  # gamma |a - b| + epsilon
        factor = difference.mul_(weight) / (total + edge).square_()
        # d/da: (a - b) (gamma |a - b| + a + 3 b + 2 epsilon) / (...)^2, and the same with a and b exchanged
        common = edge.add_(total).add_(epsilon)
        gradient.narrow(axis, 0, size).addcmul_(factor, common + 2 * b)
        gradient.narrow(axis, 1, size).addcmul_(factor, common + 2 * a, value=-1.0)
    return gradient


def relative_difference(
    image: Tensor, weights: tuple[float, float, float], gamma: float, epsilon: float
) -> Tensor:
    """The prior itself; for tests and for objectives that are to be reported."""
    total = image.new_zeros(())
    for axis, weight in enumerate(weights):
        size = image.shape[axis] - 1
        a, b = image.narrow(axis, 0, size), image.narrow(axis, 1, size)
        total = total + weight * ((a - b) ** 2 / (a + b + gamma * (a - b).abs() + epsilon)).sum()
    return total
