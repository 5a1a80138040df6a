"""Volumes in files: MetaImage (.mha) and NIfTI to and from nouns. The role fixes the unit.

A file format that cannot say its unit is where doses go wrong by a factor, so what we write carries the
field ``unit`` where the format has room (MetaImage), and reading for a role refuses a file whose field names
another unit. A folder is read as one CT series.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, Refused, Unsupported
from dicomnode.model import ActivityMap, CountingNoise, DensityMap, Grid, HuMap, LabelMap, TiaMap

UNIT_KEY = "unit"
SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz")


def read_activity(path: Path) -> ActivityMap:
    """Activity concentration, Bq/mL. Raises as ``read_volume``."""
    return ActivityMap(*read_volume(path, "Bq/mL"))


def read_tia(path: Path) -> TiaMap:
    """Time-integrated activity concentration, MBq s/mL. Raises as ``read_volume``."""
    return TiaMap(*read_volume(path, "MBq s/mL"))


def read_density(path: Path) -> DensityMap:
    """Mass density, g/cm3. Raises as ``read_volume``."""
    return DensityMap(*read_volume(path, "g/cm3"))


def read_hu(path: Path) -> HuMap:
    """CT numbers, HU, from a file or a folder that holds one CT series. Raises as ``read_volume``."""
    return HuMap(*read_volume(path, "HU"))


def read_dose(path: Path) -> tuple[Grid, npt.NDArray[np.float32]]:
    """Absorbed dose, Gy, with its grid. Raises as ``read_volume``."""
    return read_volume(path, "Gy")


def read_labels(path: Path, names: Mapping[int, str] | None = None) -> LabelMap:
    """Integer labels, 0 outside; each other value is a region.

    ``names`` gives the regions' names by value; a value without one is "label-N".

    Raises
    ------
    Refused : as ``read_volume``; values that are not whole numbers; a named value that the file lacks
    """
    grid, array = read_volume(path, "label")
    if not np.array_equal(array, np.rint(array)):
        raise Refused("the label map holds values that are not whole numbers", uid=str(path))
    values = [int(v) for v in np.unique(array) if v != 0]
    missing = sorted(set(names or ()) - set(values) - {0})
    if missing:
        raise Refused(f"the label map has no voxel of the named labels {missing}", uid=str(path))
    named = {v: (names or {}).get(v, f"label-{v}") for v in values}
    if len(set(named.values())) < len(named):
        raise Inconsistent("two labels bear one name", uid=str(path))
    return LabelMap(grid, {name: array == v for v, name in named.items()})


def read_volume(path: Path, unit: str) -> tuple[Grid, npt.NDArray[np.float32]]:
    """One scalar three-dimensional volume and its grid (LPS, mm).

    Raises
    ------
    Refused : no such file, not an image, or its ``unit`` field names another unit
    Unsupported : not three-dimensional, or more than one value per voxel
    """
    image = _image(path, unit)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise Unsupported(
            f"three dimensions and one value per voxel are needed, this has {image.GetDimension()} "
            f"dimensions and {image.GetNumberOfComponentsPerPixel()} values",
            uid=str(path),
        )
    return _grid(image), _array(image)


def _image(path: Path, unit: str) -> Any:
    image = _series(path, unit) if path.is_dir() else _file(path)
    if image.HasMetaDataKey(UNIT_KEY) and image.GetMetaData(UNIT_KEY) != unit:
        raise Refused(
            f"the file is in {image.GetMetaData(UNIT_KEY)}, here {unit} is needed",
            attribute=UNIT_KEY,
            uid=str(path),
            remedy="give the file that holds that quantity",
        )
    return image


def read_counting(path: Path, grid: Grid) -> CountingNoise:
    """Counting noise of an activity map on ``grid``: replicates less their mean, Bq/mL, as components.

    Raises as ``read_volume``; Unsupported for a volume of one value per voxel, such as standard deviations;
    Inconsistent where it lies on other voxels.
    """
    image = _image(path, "Bq/mL")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() < 2:
        raise Unsupported(
            "counting noise is a volume of replicates, two values per voxel at least: standard deviations do "
            "not tell how noise averages over a region",
            uid=str(path),
            remedy="give the file that `dicomnode recon --noise-out` wrote",
        )
    return CountingNoise.on(grid, _grid(image), np.moveaxis(_array(image), -1, 0))


def write_counting(path: Path, noise: CountingNoise) -> None:
    """Replicates less their mean, Bq/mL, as components of the box's voxels. Raises as ``write_volume``."""
    _write(path, noise.box, np.moveaxis(noise.bq_per_ml, 0, -1), "Bq/mL")


def write_volume(path: Path, grid: Grid, values: npt.ArrayLike, unit: str) -> None:
    """Write float32 values (z, y, x) compressed; the file appears whole or not at all.

    Raises
    ------
    Unsupported : a name that ends in none of .mha, .nii, .nii.gz
    Inconsistent : values that do not have the grid's shape
    """
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.shape != grid.shape_zyx:
        raise Inconsistent(f"the values have shape {array.shape}, their grid {grid.shape_zyx}")
    _write(path, grid, array, unit)


def _write(path: Path, grid: Grid, array: npt.NDArray[np.float32], unit: str) -> None:
    import SimpleITK as sitk  # noqa: N813

    suffix = next((s for s in SUFFIXES if path.name.endswith(s) and s != ".mhd"), None)
    if suffix is None:
        raise Unsupported("a volume is written as .mha, .nii or .nii.gz", uid=str(path))
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    image.SetMetaData(UNIT_KEY, unit)
    partial = path.with_name(f".{path.name.removesuffix(suffix)}.partial{suffix}")
    try:
        sitk.WriteImage(image, str(partial), useCompression=True)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _file(path: Path) -> Any:
    import SimpleITK as sitk  # noqa: N813

    if not path.is_file():
        raise Refused("there is no such file", uid=str(path))
    if not path.name.endswith(SUFFIXES):
        raise Unsupported(f"a volume is read from {', '.join(SUFFIXES)} or a folder of DICOM", uid=str(path))
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise Refused("the file cannot be read as an image", uid=str(path)) from error


def _series(folder: Path, unit: str) -> Any:
    """The one CT series of a folder; emission series need more than their pixels, which the node reads."""
    import SimpleITK as sitk  # noqa: N813

    if unit != "HU":
        raise Unsupported(
            f"a folder of DICOM is read for CT (HU) only, here {unit} is needed",
            uid=str(folder),
            remedy="send the series to the node, or give .mha or .nii",
        )
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise Refused(f"the folder holds {len(series)} DICOM series, one is needed", uid=str(folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    return reader.Execute()


def _grid(image: Any) -> Grid:
    nx, ny, nz = image.GetSize()
    return Grid((nz, ny, nx), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def _array(image: Any) -> npt.NDArray[np.float32]:
    import SimpleITK as sitk  # noqa: N813

    return np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)
