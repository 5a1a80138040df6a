"""Rigid alignment of two prepared images by Mattes mutual information, the same on every run.

Mattes et al., IEEE Trans Med Imaging 22:120 (2003). One thread and a regular pattern of samples: the sums
of the joint histogram then always come in one order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.model import Grid
from dicomnode.registration.images import (
    Image,
    Mask,
    Transform,
    grid_of,
    resample,
    rigid,
    shrink,
    to_array,
    to_image,
)
from dicomnode.registration.prepare import Prepared
from dicomnode.registration.quality import mutual_information
from dicomnode.registration.settings import RegistrationSettings

NAME = "mutual-information 1"
"""Name and version, on record with every time point that it aligned."""
COARSE_MM = 16.0
"""Voxel of the first search along the couch."""
STEP_MM = 16.0
SEED = 177
ARM_MM = 100.0
"""A rotation moves what lies this far from the centre: makes radians and mm steps of one size."""


def align(
    fixed: Prepared, moving: Prepared, start_mm: tuple[float, float, float], settings: RegistrationSettings
) -> Transform:
    """The rigid transform that maps points of ``fixed`` into ``moving``.

    Three levels, from the shift found by ``first_guess``. Raises RuntimeError (of SimpleITK) where the
    images do not overlap.
    """
    start = rigid((0.0, 0.0, 0.0, *start_mm), tuple(fixed.center_mm))
    method = _method(fixed, settings)
    shrinks = (4, 2, 1)
    # Even the regular pattern is jittered within a voxel: the seed fixes it.
    shares = [_share(fixed, factor, settings.samples) for factor in shrinks]
    method.SetMetricSamplingPercentagePerLevel(shares, seed=SEED)
    method.SetShrinkFactorsPerLevel(list(shrinks))
    method.SetSmoothingSigmasPerLevel([8.0, 4.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0,
        minStep=0.001,
        numberOfIterations=settings.iterations,
        relaxationFactor=0.7,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScales([ARM_MM**2] * 3 + [1.0] * 3)
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed.image, moving.image)
    return start


def _method(fixed: Prepared, settings: RegistrationSettings) -> Any:
    import SimpleITK as sitk  # noqa: N813
    from scipy import ndimage

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(settings.histogram_bins)
    # The rim of air shows where the outline is.
    near = ndimage.binary_dilation(fixed.body, iterations=2)
    method.SetMetricFixedMask(to_image(near.astype(np.uint8), fixed.grid))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _share(fixed: Prepared, factor: int, samples: int) -> float:
    """Fraction of a level's voxels that gives about ``samples`` within the body."""
    inside = max(1, int(fixed.body.sum()) // factor**3)
    return float(min(1.0, samples / inside))


def first_guess(
    fixed: Prepared, moving: Prepared, settings: RegistrationSettings
) -> tuple[float, float, float]:
    """Translation (mm) to start from: no shift, or the bodies' axes together with the best shift along
    the couch.

    Table positions of two visits may differ by any amount, and the field of view cuts the body off, so the
    centres of the bodies say nothing along z. Each candidate is judged by its mutual information times the
    overlap of the fields of view.
    """
    shift = moving.center_mm - fixed.center_mm
    extent = min(fixed.grid.extent_mm[2], moving.grid.extent_mm[2])
    reach = np.arange(-extent / 2, extent / 2 + 1e-6, STEP_MM)
    middle = _middle(moving.grid) - _middle(fixed.grid)
    candidates = [(0.0, 0.0, 0.0), *((float(shift[0]), float(shift[1]), float(middle[2] + z)) for z in reach)]
    small_fixed, small_moving = (_coarse(p) for p in (fixed, moving))
    scores = [_score(small_fixed, small_moving, c, settings.histogram_bins) for c in candidates]
    return candidates[int(np.argmax(scores))]


def _middle(grid: Grid) -> npt.NDArray[np.float64]:
    nz, ny, nx = grid.shape_zyx
    return grid.to_patient_mm(((nx - 1) / 2, (ny - 1) / 2, (nz - 1) / 2))


def _coarse(prepared: Prepared) -> tuple[Image, Mask]:
    image = shrink(prepared.image, COARSE_MM)
    body = to_array(shrink(to_image(prepared.body.astype(np.float32), prepared.grid), COARSE_MM)) > 0.3
    return image, body


def _score(
    fixed: tuple[Image, Mask], moving: tuple[Image, Mask], shift: tuple[float, float, float], bins: int
) -> float:
    (image, body), (other, _) = fixed, moving
    moved = resample(other, grid_of(image), rigid((0.0, 0.0, 0.0, *shift), (0.0, 0.0, 0.0)), np.nan)
    inside = body & np.isfinite(moved)
    if inside.sum() < 50:
        return 0.0
    overlap = float(inside.sum()) / float(body.sum())
    return mutual_information(to_array(image)[inside], moved[inside], min(bins, 16)) * overlap
