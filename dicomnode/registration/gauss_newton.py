"""Rigid alignment of CT to CT by least squares of CT numbers: Gauss-Newton, inverse compositional.

Baker and Matthews, Int J Comput Vis 56:221 (2004), sections 2 and 3.2. Weights of Cauchy: what moved by
itself (arms, breath, gut) or was filled with contrast agent counts little. The reference's gradients are
computed once for all time points. CT numbers must be calibrated: soft tissue is soft tissue on both days.
No product here is left to a threaded library, so that every run gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.errors import NotConverged
from dicomnode.model import Grid
from dicomnode.registration.images import Float32, Transform, rigid
from dicomnode.registration.prepare import Prepared

NAME = "gauss-newton 1"
"""Name and version, on record with every time point that it aligned."""
SMOOTH_MM = (8.0, 2.0)
"""Standard deviation of the smoothing, level by level: 8 mm captures, 2 mm makes exact."""
SAMPLES = 15_000
WINDOW_HU = (-200.0, 300.0)
"""Fat to soft bone: what aligns a body; beyond it air, metal and contrast agent would decide."""
STEPS = 60
STOP_MM = 0.005
ARM_MM = 100.0
"""What lies this far from the centre must stand still, too, before the steps end."""
LEAST_SHARE = 0.2
"""Below this share of the samples within the other's field of view there is nothing to align."""
CAUCHY = 2.385
"""Tuning constant: 95 % efficiency for normal noise (Holland and Welsch, Commun Stat A6:813 (1977))."""
LEAST_SCALE_HU = 10.0

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Level:
    """The reference at one smoothing.

    Attributes
    ----------
    smooth_mm : standard deviation
    points_mm : (n, 3) samples in patient coordinates, relative to the centre
    values : (n,) HU
    jacobian : (6, n) change of the value by a small turn (rad) about x, y, z and a small shift (mm)
    """

    smooth_mm: float
    points_mm: Float64
    values: Float64
    jacobian: Float64


def levels_of(fixed: Prepared) -> tuple[Level, ...]:
    """The reference made ready, once for all time points."""
    return tuple(_level(fixed, smooth) for smooth in SMOOTH_MM)


def align(fixed: Prepared, levels: tuple[Level, ...], moving: Prepared, start_mm: Float64) -> Transform:
    """The rigid transform that maps points of ``fixed`` into ``moving``, from a shift to start with.

    Raises NotConverged where the images hardly overlap, or nothing in them gives a direction.
    """
    turn, shift, center = np.eye(3), np.asarray(start_mm, dtype=np.float64), fixed.center_mm
    for level in levels:
        image = _smooth(moving, level.smooth_mm)
        for _ in range(STEPS):
            step = _step(level, image, moving.grid, turn, shift, center)
            turn = _orthonormal(turn @ _rotation(step[:3]).T)
            shift = shift - turn @ step[3:]
            if np.linalg.norm(step[3:]) + ARM_MM * np.linalg.norm(step[:3]) < STOP_MM:
                break
    transform = rigid((0.0,) * 6, (float(center[0]), float(center[1]), float(center[2])))
    transform.SetMatrix(turn.ravel().tolist(), 1e-6)
    transform.SetTranslation(shift.tolist())
    return transform


def _step(
    level: Level, image: Float32, grid: Grid, turn: Float64, shift: Float64, center: Float64
) -> Float64:
    """Turn (rad) and shift (mm) of the reference that explain the present differences."""
    at = _rows_times(level.points_mm, turn) + (center + shift)
    seen = _sample(image, grid, at)
    inside = np.isfinite(seen)
    if inside.mean() < LEAST_SHARE:
        raise NotConverged("the fields of view of the two CTs hardly overlap")
    difference, jacobian = (seen - level.values)[inside], level.jacobian[:, inside]
    scale = max(LEAST_SCALE_HU, CAUCHY * 1.4826 * float(np.median(np.abs(difference))))
    weighted = jacobian / (1.0 + (difference / scale) ** 2)
    normal = (weighted[:, None, :] * jacobian[None, :, :]).sum(axis=-1)
    try:
        return np.asarray(np.linalg.solve(normal, (weighted * difference).sum(axis=-1)))
    except np.linalg.LinAlgError:
        raise NotConverged("the CT shows nothing that could be aligned") from None


def _level(fixed: Prepared, smooth_mm: float) -> Level:
    from scipy import ndimage

    image, grid = _smooth(fixed, smooth_mm), fixed.grid
    # The rim of air shows where the outline is.
    places = np.flatnonzero(ndimage.binary_dilation(fixed.body, iterations=2))
    places = places[:: max(1, places.size // SAMPLES)]
    index = np.stack(np.unravel_index(places, image.shape))
    slope = np.stack([_slope(image, index, axis) for axis in (2, 1, 0)], axis=1)
    axes = np.array(grid.direction).reshape(3, 3)
    gradient = _rows_times(slope / np.array(grid.spacing_mm), axes)
    points = grid.to_patient_mm(index[::-1].T.astype(np.float64)) - fixed.center_mm
    jacobian = np.concatenate([np.cross(points, gradient), gradient], axis=1).T
    return Level(smooth_mm, points, image[tuple(index)].astype(np.float64), np.ascontiguousarray(jacobian))


def _slope(image: Float32, index: npt.NDArray[np.intp], axis: int) -> Float64:
    """Central difference per voxel along one axis of the array, at some voxels."""
    last = image.shape[axis] - 1
    before, after = index.copy(), index.copy()
    before[axis], after[axis] = np.maximum(index[axis] - 1, 0), np.minimum(index[axis] + 1, last)
    width = np.maximum(after[axis] - before[axis], 1)
    return np.asarray((image[tuple(after)].astype(np.float64) - image[tuple(before)]) / width)


def _smooth(prepared: Prepared, smooth_mm: float) -> Float32:
    from scipy.ndimage import gaussian_filter

    sigma = [smooth_mm / s for s in reversed(prepared.grid.spacing_mm)]
    clipped = np.clip(prepared.values, *WINDOW_HU)
    smooth: Float32 = gaussian_filter(clipped, sigma, mode="nearest", truncate=3.0)
    return smooth


def _sample(image: Float32, grid: Grid, points_mm: Float64) -> Float64:
    """Values at points (n, 3), linear; NaN outside."""
    from scipy.ndimage import map_coordinates

    axes = np.array(grid.direction).reshape(3, 3)
    index = _rows_times(points_mm - np.array(grid.origin_mm), axes.T) / np.array(grid.spacing_mm)
    return np.asarray(
        map_coordinates(image, index[:, ::-1].T, output=np.float64, order=1, mode="constant", cval=np.nan)
    )


def _rows_times(rows: Float64, matrix: Float64) -> Float64:
    """``matrix @ row`` for every row, (n, 3)."""
    return np.stack([(rows * line).sum(axis=1) for line in matrix], axis=1)


def _rotation(turn: Float64) -> Float64:
    """Rodrigues' matrix of a turn (rad) about an axis."""
    angle = float(np.linalg.norm(turn))
    x, y, z = turn
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    first = np.sinc(angle / np.pi)
    second = 0.5 * np.sinc(angle / (2.0 * np.pi)) ** 2
    return np.asarray(np.eye(3) + first * cross + second * (cross @ cross))


def _orthonormal(matrix: Float64) -> Float64:
    u, _, v = np.linalg.svd(matrix)
    return np.asarray(u @ v)
