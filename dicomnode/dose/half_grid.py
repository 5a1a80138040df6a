"""A grid of half the resolution for what varies slowly: restriction, and its transpose, prolongation.

Coarse nodes lie on every second voxel and ``PAD`` beyond the grid on either side. Between nodes values are
interpolated by six-point Lagrange polynomials (exact up to the fifth degree); sources are spread by the
transpose of the same matrix, so that a source between nodes acts as it would from its own place. The same
idea, with softened kernels, is the multilevel summation of Hardy and Skeel (2006).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Lagrange weights half way between the middle two of six equidistant points.
WEIGHTS = np.array([3.0, -25.0, 150.0, 150.0, -25.0, 3.0]) / 256
PAD = 2  # nodes before the first voxel that the weights reach


def coarse_length(n: int) -> int:
    """Nodes for ``n`` voxels."""
    return n // 2 + PAD + 4


def restrict(fine: Array) -> Array:
    """Values of voxels given to the nodes; their sum is conserved."""
    for axis in range(3):
        fine = _restrict_axis(fine, axis)
    return fine


def prolong(coarse: Array, window: tuple[slice, slice, slice]) -> Array:
    """Values at the voxels of ``window`` (slices with start and stop of the fine grid).

    The last axis first, while the array is small: its voxels lie apart in memory.
    """
    for axis in (2, 1, 0):
        coarse = _prolong_axis(coarse, axis, window[axis])
    return coarse


def _restrict_axis(fine: Array, axis: int) -> Array:
    fine = np.moveaxis(fine, axis, 0)
    even, odd = fine[0::2], fine[1::2]
    coarse = np.zeros((coarse_length(len(fine)), *fine.shape[1:]), fine.dtype)
    coarse[PAD : PAD + len(even)] = even
    for shift, weight in enumerate(WEIGHTS):
        coarse[shift : shift + len(odd)] += fine.dtype.type(weight) * odd
    return np.moveaxis(coarse, 0, axis)


def _prolong_axis(coarse: Array, axis: int, part: slice) -> Array:
    coarse = np.moveaxis(coarse, axis, 0)
    fine = np.empty((part.stop - part.start, *coarse.shape[1:]), coarse.dtype)
    even, odd = -(-part.start // 2), part.start // 2  # first pair index with an even, an odd voxel here
    for first, parity in ((even, 0), (odd, 1)):
        places = fine[2 * first + parity - part.start :: 2]
        n = len(places)
        if parity == 0:
            places[...] = coarse[PAD + first : PAD + first + n]
            continue
        places[...] = 0
        for shift, weight in enumerate(WEIGHTS):
            places += coarse.dtype.type(weight) * coarse[first + shift : first + shift + n]
    return np.moveaxis(fine, 0, axis)


def prolongation(n: int) -> npt.NDArray[np.float64]:
    """The matrix (voxels, nodes) of ``prolong`` along one axis; its transpose restricts."""
    matrix = np.zeros((n, coarse_length(n)))
    for voxel in range(n):
        if voxel % 2 == 0:
            matrix[voxel, PAD + voxel // 2] = 1.0
        else:
            matrix[voxel, voxel // 2 : voxel // 2 + len(WEIGHTS)] = WEIGHTS
    return matrix
