"""Where the voxels of a NIfTI-1 file lie: its header states it twice, and readers differ in which counts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.model.statements import Fact, Statement

Float64 = npt.NDArray[np.float64]

HEADER = np.dtype({
    "names": ["sizeof_hdr", "dim", "pixdim", "qform", "sform", "quatern", "qoffset", "srow"],
    "formats": ["<i4", ("<i2", 8), ("<f4", 8), "<i2", "<i2", ("<f4", 3), ("<f4", 3), ("<f4", (3, 4))],
    "offsets": [0, 40, 76, 252, 254, 256, 268, 280],
    "itemsize": 348,
})  # fmt: skip
SFORM, QFORM = "sform (srow_x, srow_y, srow_z)", "qform (quatern_b to qoffset_z)"
FILE_PLACE: Fact[Float64] = Fact(
    name="the place of a NIfTI volume",
    rule="file-place-contradicts",
    places=(SFORM, QFORM),
    agree=lambda a, b: bool(np.abs(a - b).max() <= 0.1),
    tolerance="0.1 mm at every corner",
    absent="no rotation, the first voxel at 0 (NIfTI-1, method 1)",
    remedy="Write the file again with one transform, or set the code of the wrong one to 0",
    show=lambda corners: f"its last voxel at {np.round(corners[-1], 2).tolist()} mm",
    refused=True,
    standard="NIfTI-1, nifti1.h, methods 2 and 3",
)


def refuse_two_places(path: Path) -> None:
    """Raises Inconsistent where sform and qform of a NIfTI-1 file both count and put a corner elsewhere."""
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rb") as file:
        head = np.frombuffer(file.read(348).ljust(348, b"\0"), HEADER)[0]
    if head["sizeof_hdr"] != 348:
        head = np.frombuffer(head.tobytes(), HEADER.newbyteorder())[0]
    if head["sizeof_hdr"] != 348 or head["sform"] <= 0 or head["qform"] <= 0:
        return
    corners = np.array([(i, j, k, 1) for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=np.float64)
    corners[:, :3] *= head["dim"][1:4] - 1
    stated = [Statement(SFORM, corners @ head["srow"].T), Statement(QFORM, corners @ _rows_of_qform(head).T)]
    FILE_PLACE.settle(stated, str(path))


def _rows_of_qform(head: np.void) -> Float64:
    """Rotation by a unit quaternion times voxel size, and offset (nifti1.h, method 2)."""
    b, c, d = (float(v) for v in head["quatern"])
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    size = np.array(head["pixdim"][1:4], dtype=np.float64)
    size[2] *= -1.0 if head["pixdim"][0] < 0 else 1.0
    return np.column_stack([rotation * size, head["qoffset"]])
