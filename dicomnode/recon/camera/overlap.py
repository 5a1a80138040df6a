"""Means over voxels of another grid whose axes are parallel: counts and coefficients are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.model import Grid

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


def shares(source: Grid, target: Grid, axis: int, what: str = "image") -> Float64:
    """(target, source): part of each target voxel that each source voxel fills, along one axis (x, y, z).

    Raises Inconsistent where no axis of the source is parallel to it (within 0.6 degrees).
    """
    along = target.axes[:, axis]
    aligned = source.axes.T @ along
    which = int(np.abs(aligned).argmax())
    if which != axis or abs(aligned[which]) < 0.99995:
        raise Inconsistent(
            f"the {what} lies oblique to the acquisition", attribute="ImageOrientationPatient",
            remedy=f"Export the {what} as straight axial slices",
        )  # fmt: skip
    sign = float(np.sign(aligned[which]))
    size = source.spacing_mm[which]
    count, bins = source.shape_zyx[2 - which], target.shape_zyx[2 - axis]
    centre = float((np.array(source.origin_mm) - np.array(target.origin_mm)) @ along)
    low = centre + sign * size * np.arange(count) - size / 2
    edges = (np.arange(bins + 1) - 0.5) * target.spacing_mm[axis]
    common = np.minimum(edges[1:, None], low + size) - np.maximum(edges[:-1, None], low)
    return np.asarray(np.clip(common, 0.0, None) / target.spacing_mm[axis])


def mean_on(values: npt.NDArray[np.floating], source: Grid, target: Grid) -> Float32:
    """Mean of ``values`` over each voxel of ``target``, zero beyond the source. Totals are kept inside."""
    across, rows, slices = (shares(source, target, axis) for axis in range(3))
    inner = np.stack([rows @ plane @ across.T for plane in values.astype(np.float64)])
    return np.asarray(np.tensordot(slices, inner, axes=1), dtype=np.float32)
