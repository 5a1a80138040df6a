"""Images of SimpleITK from our nouns and back, bodies, and resampling."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.model import ActivityMap, CountingNoise, Grid, HuMap

Image = Any
"""SimpleITK.Image (the package has no types)."""
Transform = Any
"""SimpleITK.Euler3DTransform: maps points of the reference into the moving image."""
Mask = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

AIR_HU = -1000.0


def to_image(values: npt.NDArray[Any], grid: Grid) -> Image:
    """A SimpleITK image of an array (z, y, x) on a grid."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(values)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    return image


def to_array(image: Image) -> npt.NDArray[Any]:
    """Array (z, y, x) of an image."""
    import SimpleITK as sitk  # noqa: N813

    array: npt.NDArray[Any] = sitk.GetArrayFromImage(image)
    return array


def grid_of(image: Image) -> Grid:
    """Grid of an image."""
    nx, ny, nz = image.GetSize()
    return Grid((nz, ny, nx), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def resample(image: Image, target: Grid, transform: Transform, outside: float) -> Float32:
    """Linear interpolation onto ``target``; ``outside`` where the image does not reach."""
    import SimpleITK as sitk  # noqa: N813

    sampler = sitk.ResampleImageFilter()
    sampler.SetSize(list(reversed(target.shape_zyx)))
    sampler.SetOutputSpacing(target.spacing_mm)
    sampler.SetOutputOrigin(target.origin_mm)
    sampler.SetOutputDirection(target.direction)
    sampler.SetTransform(transform)
    sampler.SetInterpolator(sitk.sitkLinear)
    sampler.SetDefaultPixelValue(outside)
    sampler.SetOutputPixelType(sitk.sitkFloat32)
    array: Float32 = to_array(sampler.Execute(image))
    return array


def rigid(parameters: tuple[float, ...], center_mm: tuple[float, float, float]) -> Transform:
    """Euler3DTransform from (rx, ry, rz in rad, tx, ty, tz in mm) about a centre."""
    import SimpleITK as sitk  # noqa: N813

    transform = sitk.Euler3DTransform()
    transform.SetCenter(center_mm)
    transform.SetParameters(parameters)
    return transform


def resample_activity(activity: ActivityMap, target: Grid, transform: Transform) -> ActivityMap:
    """The concentration on ``target``, interpolated once, and its noise; zero where it was not seen.

    Replicates of the noise go the same way as the map itself, so what interpolation does to noise is in them.
    """
    values = resample(to_image(activity.bq_per_ml, activity.grid), target, transform, 0.0)
    noise = activity.counting
    if noise is not None:
        moved = [resample(to_image(one, noise.grid), target, transform, 0.0) for one in noise.volumes()]
        noise = CountingNoise.of(target, np.stack(moved))
    return ActivityMap(target, values, noise)


def seen(source: Grid, target: Grid, transform: Transform) -> Mask:
    """Voxels of ``target`` that lie within ``source``."""
    ones = to_image(np.ones(source.shape_zyx, dtype=np.float32), source)
    return np.asarray(resample(ones, target, transform, 0.0) > 0.5)


def average_onto(ct: HuMap, target: Grid, transform: Transform, outside: float = AIR_HU) -> HuMap:
    """Mean CT number within each voxel of ``target``.

    Each target voxel is sampled at as many points as it holds CT voxels (rounded up, per axis), which are
    averaged: a point sample would keep the CT's noise and miss thin bone.
    """
    fold = [max(1, ceil(t / s - 1e-6)) for t, s in zip(target.spacing_mm, ct.grid.spacing_mm, strict=True)]
    fine = _refined(target, fold)
    values = resample(to_image(ct.hu, ct.grid), fine, transform, outside)
    nz, ny, nx = target.shape_zyx
    fx, fy, fz = fold
    mean = values.reshape(nz, fz, ny, fy, nx, fx).mean(axis=(1, 3, 5), dtype=np.float64)
    return HuMap(target, mean)


def _refined(grid: Grid, fold: list[int]) -> Grid:
    """The same volume with each voxel divided by ``fold`` along x, y, z."""
    nz, ny, nx = grid.shape_zyx
    spacing = [s / f for s, f in zip(grid.spacing_mm, fold, strict=True)]
    first = grid.to_patient_mm([(1.0 / f - 1.0) / 2.0 for f in fold])
    return Grid(
        (nz * fold[2], ny * fold[1], nx * fold[0]),
        (spacing[0], spacing[1], spacing[2]),
        (float(first[0]), float(first[1]), float(first[2])),
        grid.direction,
    )


def shrink(image: Image, voxel_mm: float) -> Image:
    """Block averages of about ``voxel_mm``."""
    import SimpleITK as sitk  # noqa: N813

    factors = [
        max(1, min(round(voxel_mm / s), n)) for s, n in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def body_of(hu: Float32, grid: Grid, threshold_hu: float) -> Mask:
    """The patient without the couch: the largest solid part after opening, lungs and gas included.

    The opening removes what is thinner than about 12 mm, such as the shell of a couch.
    """
    from scipy import ndimage

    steps = max(1, round(6.0 / min(grid.spacing_mm[:2])))
    solid = hu > threshold_hu
    disc = ndimage.generate_binary_structure(2, 1)[None]
    opened = ndimage.binary_opening(solid, disc, iterations=steps)
    parts, count = ndimage.label(opened)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    largest = parts == int(sizes.argmax())
    return np.array([ndimage.binary_fill_holes(plane) for plane in largest])
