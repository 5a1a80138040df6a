"""The voxel grid: where each voxel of an array lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Grid:
    """Geometry of an array indexed (z, y, x), in the DICOM patient system (LPS, mm).

    The centre of voxel (k, j, i) lies at
    ``origin_mm + direction @ (i * spacing_x, j * spacing_y, k * spacing_z)``
    (PS3.3 C.7.6.2.1.1; the same convention as SimpleITK).

    Attributes
    ----------
    shape_zyx : numbers of voxels along z, y, x
    spacing_mm : voxel size (x, y, z), mm, each positive. NOTE the order: as SimpleITK, x first
    origin_mm : patient coordinates (x, y, z) of the centre of voxel (0, 0, 0)
    direction : 3 x 3 row-major matrix; its columns are the unit vectors of the x, y, z index axes.
        May be left-handed (slices stacked against the normal)
    """

    shape_zyx: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = IDENTITY

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape_zyx", tuple(int(n) for n in self.shape_zyx))
        object.__setattr__(self, "spacing_mm", tuple(float(s) for s in self.spacing_mm))
        object.__setattr__(self, "origin_mm", tuple(float(o) for o in self.origin_mm))
        object.__setattr__(self, "direction", tuple(float(d) for d in self.direction))
        if len(self.shape_zyx) != 3 or min(self.shape_zyx) < 1:
            raise Inconsistent(f"a grid needs three positive sizes, got {self.shape_zyx}")
        if len(self.spacing_mm) != 3 or not all(0 < s < np.inf for s in self.spacing_mm):
            raise Inconsistent(f"a grid needs three positive spacings in mm, got {self.spacing_mm}")
        if len(self.direction) != 9 or not np.allclose(self.axes @ self.axes.T, np.eye(3), atol=1e-4):
            raise Inconsistent(f"the direction of a grid must be orthonormal, got {self.direction}")

    @property
    def axes(self) -> npt.NDArray[np.float64]:
        """Direction as a 3 x 3 matrix; columns are the x, y, z index axes."""
        return np.array(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4 matrix from index (i, j, k) = (x, y, z order) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.axes * np.array(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, mL."""
        return prod(self.spacing_mm) / 1000.0

    @property
    def size(self) -> int:
        """Number of voxels."""
        return prod(self.shape_zyx)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Outer size (x, y, z) from voxel face to voxel face, mm."""
        nz, ny, nx = self.shape_zyx
        sx, sy, sz = self.spacing_mm
        return nx * sx, ny * sy, nz * sz

    def to_patient_mm(self, ijk: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Patient coordinates (..., 3) of index positions (..., 3) in (i, j, k) = (x, y, z) order."""
        index = np.asarray(ijk, dtype=np.float64)
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, xyz_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Fractional index positions (i, j, k) of patient coordinates (..., 3)."""
        point = np.asarray(xyz_mm, dtype=np.float64) - np.array(self.origin_mm)
        return np.asarray(point @ self.axes / np.array(self.spacing_mm))

    def matches(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """True where both grids have the same voxels within ``tolerance_mm`` at every corner."""
        if self.shape_zyx != other.shape_zyx:
            return False
        nz, ny, nx = self.shape_zyx
        corners = np.array([(i, j, k) for i in (0, nx) for j in (0, ny) for k in (0, nz)], dtype=float)
        return bool(np.abs(self.to_patient_mm(corners) - other.to_patient_mm(corners)).max() <= tolerance_mm)
