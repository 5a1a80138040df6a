"""A region as flat slabs, and the part of each voxel of a grid that it fills.

Contours (RTSTRUCT) and segmentation frames (SEG) are the same thing here: in each of several parallel planes
a 2-D mask of small pixels, valid from half-way to the plane before to half-way to the plane after. What a
grid keeps of it is the filled part of each voxel, which conserves volume however coarse the grid; a mask of
voxels at least half filled would take 10 % of a sphere of 2 mL on a SPECT grid (4 to 5 mm).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.model import Grid

SAMPLE_MM = 0.6
"""Where the grid lies askew to the planes, voxels are sampled at points no further apart than this ..."""
MIN_SAMPLES, MAX_SAMPLES = 4, 10
"""... with at least and at most so many points along each axis."""
GAP = 1.5
"""Planes further apart than this many usual distances are not joined: between them the region ends."""

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Share = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]
"""Bool, or the part of each pixel that a region occupies, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Slabs:
    """One region.

    Attributes
    ----------
    axes : 3 x 3; columns are unit vectors u, v (in the planes) and n (across them)
    origin_mm : patient coordinates of the centre of pixel (0, 0), as far as u and v go
    pixel_mm : pixel size along u and v
    lower_mm, upper_mm : each slab's faces along n, ascending, not overlapping
    masks : (slab, v, u), bool, or the part of a pixel that the region occupies, 0 to 1
    """

    axes: Float
    origin_mm: Float
    pixel_mm: tuple[float, float]
    lower_mm: Float
    upper_mm: Float
    masks: Pixels

    @property
    def volume_ml(self) -> float:
        """Volume by the region's own pixels, mL."""
        areas = self.masks.sum(axis=(1, 2)) * self.pixel_mm[0] * self.pixel_mm[1]
        return float((areas * (self.upper_mm - self.lower_mm)).sum()) / 1000.0

    def corners(self) -> Float:
        """The eight corners of the region's bounding box, patient mm."""
        slabs, rows, columns = np.nonzero(self.masks)
        if not len(slabs):
            return np.zeros((0, 3))
        origin = self.origin_mm @ self.axes
        u = origin[0] + np.array([columns.min() - 0.5, columns.max() + 0.5]) * self.pixel_mm[0]
        v = origin[1] + np.array([rows.min() - 0.5, rows.max() + 0.5]) * self.pixel_mm[1]
        n = self.lower_mm[slabs.min()], self.upper_mm[slabs.max()]
        return np.array([(a, b, c) for a in u for b in v for c in n]) @ self.axes.T


def slab_faces(along: Float, usual_mm: float) -> tuple[Float, Float]:
    """Faces of slabs about planes at ``along`` (ascending): half-way between neighbours, half the usual
    distance at an end or beside a gap wider than ``GAP`` usual distances."""
    gaps = np.diff(along)
    half = np.where(gaps <= GAP * usual_mm, gaps, usual_mm) / 2.0
    end = np.array([usual_mm / 2.0])
    return along - np.concatenate([end, half]), along + np.concatenate([half, end])


def share_on(slabs: Slabs, grid: Grid) -> Share:
    """The part of each voxel of ``grid`` that the region fills, float32 from 0 to 1."""
    share = np.zeros(grid.shape_zyx, dtype=np.float32)
    box = _box(slabs, grid)
    if box is None:
        return share
    aligned = np.abs(np.abs(slabs.axes.T @ grid.axes) - np.eye(3)).max() < 1e-6
    fill = _aligned_fill(slabs, grid, box) if aligned else _oblique_fill(slabs, grid, box)
    share[tuple(slice(a, b) for a, b in box)] = np.clip(fill, 0.0, 1.0)
    return share


Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def _samples(spacing_mm: float) -> int:
    return int(np.clip(np.ceil(spacing_mm / SAMPLE_MM), MIN_SAMPLES, MAX_SAMPLES))


def _box(slabs: Slabs, grid: Grid) -> Box | None:
    """Half-open index ranges (z, y, x) of the voxels that the region may touch."""
    corners = slabs.corners()
    if not len(corners):
        return None
    index = grid.to_index(corners)[:, ::-1]
    low = np.clip(np.floor(index.min(axis=0) + 0.5).astype(int), 0, grid.shape_zyx)
    high = np.clip(np.ceil(index.max(axis=0) + 0.5).astype(int), 0, grid.shape_zyx)
    if (high <= low).any():
        return None
    ranges = [(int(a), int(b)) for a, b in zip(low, high, strict=True)]
    return ranges[0], ranges[1], ranges[2]


def _points(low: int, high: int, count: int) -> Float:
    """Fractional indices of ``count`` evenly spread points within each voxel from low to high."""
    return np.asarray(low - 0.5 + (np.arange((high - low) * count) + 0.5) / count)


def _pixel(slabs: Slabs, coordinate: Float, axis: int) -> npt.NDArray[np.intp]:
    """Pixel index along u (0) or v (1) of coordinates along that axis; the number of pixels where outside."""
    start = float(slabs.origin_mm @ slabs.axes[:, axis])
    index = np.floor((coordinate - start) / slabs.pixel_mm[axis] + 0.5)
    size = slabs.masks.shape[2 - axis]
    return np.where((index >= 0) & (index < size), index, size).astype(np.intp)


def _slab(slabs: Slabs, coordinate: Float) -> npt.NDArray[np.intp]:
    """Slab index of coordinates along n; the number of slabs where in none."""
    last = len(slabs.lower_mm)
    index = np.searchsorted(slabs.lower_mm, coordinate, side="right") - 1
    inside = (index >= 0) & (coordinate < slabs.upper_mm[np.clip(index, 0, last - 1)])
    return np.where(inside, index, last).astype(np.intp)


def _padded(slabs: Slabs) -> Pixels:
    """Masks with one empty slab, row and column behind, to which "outside" points."""
    return np.pad(slabs.masks, ((0, 1), (0, 1), (0, 1)))


def _aligned_fill(slabs: Slabs, grid: Grid, box: Box) -> Float:
    """Fill where the axes coincide, up to sign: the overlap of boxes with boxes, exact along each axis."""
    here, rows, columns = (np.flatnonzero(slabs.masks.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1)))
    top, left = int(rows[0]), int(columns[0])
    across = _pixel_faces(slabs, 0, left, int(columns[-1]) + 1)
    down = _pixel_faces(slabs, 1, top, int(rows[-1]) + 1)
    of_column = _overlap(_voxel_faces(slabs, grid, 0, box[2]), across[:-1], across[1:])
    of_row = _overlap(_voxel_faces(slabs, grid, 1, box[1]), down[:-1], down[1:])
    of_slab = _overlap(_voxel_faces(slabs, grid, 2, box[0]), slabs.lower_mm[here], slabs.upper_mm[here])
    fill = np.zeros([stop - start for start, stop in box])
    for index, weight in zip(here, of_slab.T, strict=True):
        plane = slabs.masks[index, top : rows[-1] + 1, left : columns[-1] + 1].astype(np.float64)
        touched = np.flatnonzero(weight)
        if len(touched):
            fill[touched] += weight[touched, None, None] * (of_row @ plane @ of_column.T)
    return fill


def _pixel_faces(slabs: Slabs, axis: int, first: int, last: int) -> Float:
    """Faces of the pixels from ``first`` up to ``last`` along u (0) or v (1), mm, ascending."""
    start = float(slabs.origin_mm @ slabs.axes[:, axis])
    return np.asarray(start + (np.arange(first, last + 1) - 0.5) * slabs.pixel_mm[axis])


def _voxel_faces(slabs: Slabs, grid: Grid, axis: int, between: tuple[int, int]) -> tuple[Float, Float]:
    """Lower and upper face of the grid's voxels along a region's axis that is the grid's own, mm."""
    direction, spacing = slabs.axes[:, axis], grid.spacing_mm[axis]
    sign = float(grid.axes[:, axis] @ direction)
    start = float(np.array(grid.origin_mm) @ direction)
    centre = np.asarray(start + sign * spacing * np.arange(*between), dtype=np.float64)
    return centre - spacing / 2.0, centre + spacing / 2.0


def _overlap(voxels: tuple[Float, Float], lower: Float, upper: Float) -> Float:
    """What part of each voxel (rows) each interval (columns) covers."""
    common = np.minimum(voxels[1][:, None], upper) - np.maximum(voxels[0][:, None], lower)
    return np.asarray(np.maximum(common, 0.0) / (voxels[1] - voxels[0])[:, None])


def _oblique_fill(slabs: Slabs, grid: Grid, box: Box) -> Float:
    """Fill for any orientation: every voxel is sampled at a lattice of points."""
    counts = [_samples(s) for s in grid.spacing_mm]
    (z0, z1), (y0, y1), (x0, x1) = box
    masks = _padded(slabs)
    x, y = _points(x0, x1, counts[0]), _points(y0, y1, counts[1])
    fill = np.zeros((z1 - z0, y1 - y0, x1 - x0))
    for k in range(z0, z1):
        for z in _points(k, k + 1, counts[2]):
            ijk = np.stack(np.broadcast_arrays(x[None, :], y[:, None], np.float64(z)), axis=-1)
            uvn = grid.to_patient_mm(ijk) @ slabs.axes
            hit = masks[
                _slab(slabs, uvn[..., 2]), _pixel(slabs, uvn[..., 1], 1), _pixel(slabs, uvn[..., 0], 0)
            ]
            blocks = hit.reshape(y1 - y0, counts[1], x1 - x0, counts[0])
            fill[k - z0] += blocks.mean(axis=(1, 3)) / counts[2]
    return fill
