"""The evaluated map on the reference's grid. The reference, being noisy, is never resampled: interpolation
would correlate its noise and shrink its variance, and every test against noise would be wrong."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from dicomnode.errors import Inconsistent
from dicomnode.model import Grid

Float32 = npt.NDArray[np.float32]
MOST_SAMPLES = 6
"""Points per axis and voxel, at most."""


def resampled(
    values: npt.NDArray[np.floating],
    source: Grid,
    target: Grid,
    *,
    needed: npt.NDArray[np.bool_] | None = None,
) -> Float32:
    """Trilinear interpolation at the centres of the target's voxels; where those are larger than the
    source's, the mean of as many points per axis as source voxels fit in, so that no dose is skipped.

    Parameters
    ----------
    needed : voxels of the target that must lie inside the source; all where None

    Raises
    ------
    Inconsistent : the source does not cover what is needed
    """
    if source.matches(target):
        return np.asarray(values, dtype=np.float32)
    ratio = [t / s for t, s in zip(target.spacing_mm, source.spacing_mm, strict=True)]
    counts = [min(MOST_SAMPLES, max(1, ceil(r - 1e-6))) for r in ratio]
    parts = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    total = np.zeros(target.shape_zyx)
    covered = np.ones(target.shape_zyx, dtype=bool)
    for shift in product(*parts):
        index = _source_index(source, target, shift)
        covered &= _inside(index, source)
        total += map_coordinates(values, index, order=1, mode="nearest")
    required = np.ones_like(covered) if needed is None else needed
    missing = int(np.count_nonzero(required & ~covered))
    if missing:
        raise Inconsistent(
            f"the evaluated map does not cover {missing} of {int(required.sum())} voxels of the reference's "
            "body; compute it on a larger field, or give a smaller body"
        )
    return np.where(covered, total / np.prod(counts), 0.0).astype(np.float32)


def _source_index(source: Grid, target: Grid, shift_xyz: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """(3, z, y, x) fractional source indices of the target's voxels shifted by parts of a voxel."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    nz, ny, nx = target.shape_zyx
    x, y, z = (np.arange(n) + s for n, s in zip((nx, ny, nz), shift_xyz, strict=True))
    found = []
    for row in (2, 1, 0):
        a, b, c, d = matrix[row]
        found.append(a * x[None, None, :] + b * y[None, :, None] + c * z[:, None, None] + d)
    return np.array(found)


def _inside(index: npt.NDArray[np.float64], source: Grid) -> npt.NDArray[np.bool_]:
    """Within half a voxel of the outermost centres, that is inside the outermost voxels."""
    found = np.ones(index.shape[1:], dtype=bool)
    for along, n in zip(index, source.shape_zyx, strict=True):
        found &= (along >= -0.5 - 1e-6) & (along <= n - 0.5 + 1e-6)
    return found
