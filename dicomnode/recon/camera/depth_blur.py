"""Blur that depends on depth, as a sum of a few fixed blurs.

A Gaussian of any sigma within a range is nearly a weighted sum of K Gaussians of fixed sigmas of that range:
in Fourier space exp(-sigma^2 q / 2) is smooth in sigma^2, so that its numerical rank is about a dozen. So the
sum over depth of planes blurred by sigma(depth) is K weighted sums over depth, each blurred once. It costs K
two-dimensional blurs per view instead of one per plane, and its transpose is as exact as the matrices.
The choice of nodes and fit is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import numpy as np
import numpy.typing as npt

from dicomnode.errors import NotConverged
from dicomnode.recon.camera.collimator import Response

Float64 = npt.NDArray[np.float64]

# Frequencies at which the fit is made, and the largest error of a fitted Gaussian, relative to its peak.
FREQUENCIES = 160
PEAK_TOLERANCE = 5e-5
MOST_NODES = 48


@dataclass(frozen=True, eq=False)
class BlurBasis:
    """Fixed Gaussians whose weighted sums stand in for all those of a range.

    Attributes
    ----------
    sigma_mm : (nodes,) ascending
    q : (frequencies,) squared angular frequencies of the fit, 1/mm2
    """

    sigma_mm: Float64
    q: Float64

    def weights(self, sigma_mm: Float64) -> Float64:
        """(nodes, n) weights that make Gaussians of ``sigma_mm``; each column adds to 1."""
        target = np.exp(-0.5 * np.outer(self.q, sigma_mm**2))
        nodes = np.exp(-0.5 * np.outer(self.q, self.sigma_mm**2))
        # Counts are kept: the last node's weight follows from the others, so that columns add to 1.
        free = np.linalg.lstsq(nodes[:, :-1] - nodes[:, -1:], target - nodes[:, -1:], rcond=1e-12)[0]
        return np.concatenate([free, 1.0 - free.sum(axis=0, keepdims=True)])

    def peak_error(self, sigma_mm: Float64) -> float:
        """Largest deviation of a two-dimensional fitted Gaussian from the true one, relative to its peak."""
        weights = self.weights(sigma_mm)
        radius = np.concatenate([[0.0], np.geomspace(0.05, 8.0, 60)])[:, None] * sigma_mm[None, :]
        fitted = sum(
            weight * np.exp(-0.5 * (radius / node) ** 2) / node**2
            for weight, node in zip(weights, self.sigma_mm, strict=True)
        )
        true = np.exp(-0.5 * (radius / sigma_mm) ** 2) / sigma_mm**2
        return float(np.abs((fitted - true) * sigma_mm**2).max())


def blur_basis(low_mm: float, high_mm: float, tolerance: float = PEAK_TOLERANCE) -> BlurBasis:
    """The smallest basis for sigmas from ``low_mm`` to ``high_mm``.

    Raises NotConverged where ``MOST_NODES`` do not reach the tolerance.
    """
    if high_mm <= low_mm * (1 + 1e-9):
        return BlurBasis(np.array([low_mm]), np.array([0.0]))
    q = np.concatenate([[0.0], np.geomspace(0.01 / high_mm**2, 40.0 / low_mm**2, FREQUENCIES)])
    trial = np.geomspace(low_mm, high_mm, 101)
    least = max(2, ceil(log(high_mm / low_mm) * 2))
    for count in range(least, MOST_NODES + 1):
        basis = BlurBasis(_chebyshev(low_mm, high_mm, count), q)
        if basis.peak_error(trial) <= tolerance:
            return basis
    raise NotConverged(
        f"{MOST_NODES} Gaussians do not make those of {low_mm:g} to {high_mm:g} mm within {tolerance:g}"
    )


def _chebyshev(low_mm: float, high_mm: float, count: int) -> Float64:
    """Chebyshev nodes in log sigma, the ends included."""
    angle = (2 * np.arange(count) + 1) * np.pi / (2 * count)
    unit = -np.cos(angle) / np.cos(angle[0])
    return np.asarray(low_mm * (high_mm / low_mm) ** ((unit + 1) / 2))


def depth_weights(basis: BlurBasis, response: Response, distance_mm: Float64) -> Float64:
    """(nodes, depths) weights of a camera's response at distances from its face."""
    parts = [share * basis.weights(sigma) for share, sigma in response.components(distance_mm)]
    return np.asarray(sum(parts))


def sigma_range_mm(response: Response, nearest_mm: float, farthest_mm: float) -> tuple[float, float]:
    """Least and largest sigma of any part of the response between two distances."""
    sigmas = [sigma for _, sigma in response.components(np.array([nearest_mm, farthest_mm]))]
    return float(min(s.min() for s in sigmas)), float(max(s.max() for s in sigmas))


def blur_matrix(sigma_mm: float, bins: int, planes: int, edge_mm: float) -> Float64:
    """(bins, planes): a Gaussian sampled at the bins' centres and normalised over an endless row of bins.

    Both rows are centred on each other. What falls beyond the bins is lost, as beyond a detector's edge.
    Sampling keeps the second moment: the width of a projected point is that of the response.
    """
    reach = ceil(8 * sigma_mm / edge_mm) + 1
    total = np.exp(-0.5 * ((np.arange(-reach, reach + 1) * edge_mm) / sigma_mm) ** 2).sum()
    bin_mm = (np.arange(bins) - (bins - 1) / 2) * edge_mm
    plane_mm = (np.arange(planes) - (planes - 1) / 2) * edge_mm
    return np.asarray(np.exp(-0.5 * ((bin_mm[:, None] - plane_mm[None, :]) / sigma_mm) ** 2) / total)
