"""Lesion detectability by a channelised Hotelling observer.

The observer knows where a lesion may be and looks there through three channels, differences of Gaussians in
three dimensions (their widths are our own choice). It is trained on the background of the same images: some
hundred places of each seed give the covariance K of the channels' outputs, the seeds give their mean at the
lesion. Then d'^2 = D' K^-1 D - p/n, D the lesion's mean outputs less the background's, p = 3 channels, n
seeds: the last term takes off what the noise of D adds. The noise is the background's, not the lesion's own,
and in one image places are not quite independent of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import erf, sqrt
from typing import Any

import numpy as np
from scipy.ndimage import binary_erosion, center_of_mass, gaussian_filter, map_coordinates

SIGMAS_MM = (4.0, 6.5, 10.5, 17.0)
MARGIN_MM = 10.0
"""From the edge of where background is measured: half of the widest channel's reach."""
MOST_PLACES = 600
Array = np.ndarray


def channels(image: Array, spacing_mm: Sequence[float], share: Array, core: Array) -> dict[str, Any] | None:
    """Outputs at a lesion and their mean and covariance over the background; None where that is too small.

    image : (z, y, x); share : of each voxel in the lesion; core : where the background is uniform
    """
    smooth = [gaussian_filter(image, sigma / np.array(spacing_mm)) for sigma in SIGMAS_MM]
    maps = [sharp - wide for sharp, wide in pairwise(smooth)]
    at = np.array(center_of_mass(share))
    voxels = round(MARGIN_MM / float(np.mean(spacing_mm)))
    places = np.argwhere(binary_erosion(core, iterations=voxels))
    places = places[:: max(1, len(places) // MOST_PLACES)] + at % 1.0
    if len(places) < 100:
        return None
    seen = np.stack([map_coordinates(one, places.T, order=1) for one in maps])
    here = [float(map_coordinates(one, at[:, None], order=1)[0]) for one in maps]
    return {"here": here, "mean": seen.mean(axis=1).tolist(), "covariance": np.cov(seen).tolist()}


def detectability(found: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """d' and its standard error (jackknife) from the outputs of several seeds; nan for fewer than three."""
    if len(found) < 3:
        return float("nan"), float("nan")
    left_out = [_d_prime([*found[:k], *found[k + 1 :]]) for k in range(len(found))]
    n = len(found)
    return _d_prime(found), sqrt((n - 1) / n * sum((d - np.mean(left_out)) ** 2 for d in left_out))


def area(d_prime: float) -> float:
    """Area under the ROC curve of an observer with Gaussian outputs."""
    return 0.5 * (1 + erf(d_prime / 2))


def _d_prime(found: Sequence[Mapping[str, Any]]) -> float:
    difference = np.mean([np.subtract(one["here"], one["mean"]) for one in found], axis=0)
    covariance = np.mean([one["covariance"] for one in found], axis=0)
    squared = difference @ np.linalg.solve(covariance, difference) - len(difference) / len(found)
    return sqrt(max(float(squared), 0.0))
