"""Volumes in files: MetaImage (.mha), NRRD and NIfTI to and from nouns. The role fixes the unit.

A file that cannot say its unit is where doses go wrong by a factor. What we write states its unit: in the
field ``unit`` (MetaImage, NRRD) and in ``descrip`` (NIfTI). Reading for a role refuses a file of another
unit, and one that states none unless the caller says which unit is assumed. A folder is read as one DICOM
series.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, Refused, Unsupported
from dicomnode.files.nifti import refuse_two_places
from dicomnode.model import ActivityMap, CountingNoise, DensityMap, Grid, HuMap, LabelMap, TiaMap
from dicomnode.model.statements import Fact, Statement

NIFTI = (".nii", ".nii.gz")
SUFFIXES = (".mha", ".mhd", *NIFTI, ".nrrd")
UNIT_KEY, NOTES_KEY, DESCRIP_KEY = "unit", "ITK_FileNotes", "descrip"
FIELD, DESCRIP = "the field unit (MetaImage, NRRD)", "descrip (NIfTI) or the comment"
UNITS = {
    "bq/ml": "Bq/mL", "bq/cm3": "Bq/mL", "bqml": "Bq/mL", "kbq/ml": "kBq/mL", "mbq/ml": "MBq/mL",
    "mbq s/ml": "MBq s/mL", "mbq*s/ml": "MBq s/mL", "mbq h/ml": "MBq h/mL", "bq s": "Bq s",
    "bq s/ml": "Bq s/mL", "g/cm3": "g/cm3", "g/ml": "g/cm3", "kg/m3": "kg/m3", "hu": "HU",
    "gy": "Gy", "mgy": "mGy", "cgy": "cGy", "counts": "counts", "label": "label",
}  # fmt: skip
"""Units as files write them, in small letters, and as we do. Other text in ``descrip`` states no unit."""
Assume = Callable[[Path, str], bool]
"""Asked where a file states no unit: whether the unit that is needed is assumed, and that made known."""


def never(_path: Path, _unit: str) -> bool:
    """Assume no unit."""
    return False


FILE_UNIT = Fact(
    name="the unit of a file",
    rule="file-unit-contradicts",
    places=(FIELD, DESCRIP),
    agree=str.__eq__,
    tolerance="none; spellings of one unit are one",
    absent="refused, unless the command says `--assume-unit`, which is printed; labels need none",
    remedy="Write the file again with its one unit",
    refused=True,
)


def read_activity(path: Path, assume: Assume = never) -> ActivityMap:
    """Activity concentration, Bq/mL. Raises as ``read_volume``."""
    return ActivityMap(*read_volume(path, "Bq/mL", assume))


def read_tia(path: Path, assume: Assume = never) -> TiaMap:
    """Time-integrated activity concentration, MBq s/mL. Raises as ``read_volume``."""
    return TiaMap(*read_volume(path, "MBq s/mL", assume))


def read_density(path: Path, assume: Assume = never) -> DensityMap:
    """Mass density, g/cm3. Raises as ``read_volume``."""
    return DensityMap(*read_volume(path, "g/cm3", assume))


def read_hu(path: Path, assume: Assume = never) -> HuMap:
    """CT numbers, HU, from a file or a folder that holds one CT series. Raises as ``read_volume``."""
    return HuMap(*read_volume(path, "HU", assume))


def read_dose(path: Path, assume: Assume = never) -> tuple[Grid, npt.NDArray[np.float32]]:
    """Absorbed dose, Gy, with its grid. Raises as ``read_volume``."""
    return read_volume(path, "Gy", assume)


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


def read_volume(path: Path, unit: str, assume: Assume = never) -> tuple[Grid, npt.NDArray[np.float32]]:
    """One scalar three-dimensional volume and its grid (LPS, mm).

    Raises
    ------
    Refused : no such file, not an image, a file of another unit, or of none unless ``assume`` answers True
    Unsupported : not three-dimensional, or more than one value per voxel
    Inconsistent : two units, or two places (NIfTI sform and qform) that differ
    """
    if path.is_dir():
        return _folder(path, unit)
    image = _image(path, unit, assume)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise Unsupported(
            f"three dimensions and one value per voxel are needed, this has {image.GetDimension()} "
            f"dimensions and {image.GetNumberOfComponentsPerPixel()} values",
            uid=str(path),
        )
    return _grid(image), _array(image)


def _folder(path: Path, unit: str) -> tuple[Grid, npt.NDArray[np.float32]]:
    from dicomnode.files.dicom_folder import hu_of_folder, scan_of_folder

    if unit == "HU":
        ct = hu_of_folder(path)
        return ct.grid, ct.hu
    if unit == "Bq/mL":
        activity = scan_of_folder(path).activity
        return activity.grid, activity.bq_per_ml
    raise Unsupported(
        f"a folder of DICOM is read for CT (HU) and activity (Bq/mL), here {unit} is needed", uid=str(path),
        remedy="Give a file that holds that quantity",
    )  # fmt: skip


def _image(path: Path, unit: str, assume: Assume = never) -> Any:
    image = _file(path)
    found = _stated_unit(image, path)
    if found is None and unit != "label" and not assume(path, unit):
        raise Refused(
            f"the file states no unit, here {unit} is needed", attribute=UNIT_KEY, uid=str(path),
            remedy=f"Where its values are in {unit}, say so with `--assume-unit {unit!r}`; else give the "
            f"file that holds that quantity",
        )  # fmt: skip
    if found not in (None, unit):
        raise Refused(
            f"the file is in {found}, here {unit} is needed", attribute=UNIT_KEY, uid=str(path),
            remedy="give the file that holds that quantity",
        )  # fmt: skip
    if path.name.endswith(NIFTI):
        refuse_two_places(path)
    return image


def _stated_unit(image: Any, path: Path) -> str | None:
    """The unit by field and by notes; a field of our own name counts even where the unit is not known."""
    field, notes = _text(image, UNIT_KEY), _text(image, DESCRIP_KEY) or _text(image, NOTES_KEY)
    stated = [
        Statement(FIELD, UNITS.get(field.casefold(), field) or None),
        Statement(DESCRIP, UNITS.get(notes.casefold())),
    ]
    return FILE_UNIT.settle(stated, str(path)).value


def _text(image: Any, key: str) -> str:
    return str(image.GetMetaData(key)).strip() if image.HasMetaDataKey(key) else ""


def read_counting(path: Path, grid: Grid, assume: Assume = never) -> CountingNoise:
    """Counting noise of an activity map on ``grid``: replicates less their mean, Bq/mL, as components.

    Raises as ``read_volume``; Unsupported for a volume of one value per voxel, such as standard deviations;
    Inconsistent where it lies on other voxels.
    """
    image = _image(path, "Bq/mL", assume)
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
    Unsupported : a name that ends in none of .mha, .nii, .nii.gz, .nrrd
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
        raise Unsupported("a volume is written as .mha, .nii, .nii.gz or .nrrd", uid=str(path))
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    image.SetMetaData(UNIT_KEY, unit)
    image.SetMetaData(NOTES_KEY, unit)  # becomes descrip in NIfTI, whose header has no room for other fields
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


def _grid(image: Any) -> Grid:
    nx, ny, nz = image.GetSize()
    return Grid((nz, ny, nx), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def _array(image: Any) -> npt.NDArray[np.float32]:
    import SimpleITK as sitk  # noqa: N813

    return np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)
