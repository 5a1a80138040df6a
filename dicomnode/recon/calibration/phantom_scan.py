"""What a scan of a phantom tells of a camera: the factor of a cylinder, the recovery of spheres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent, Refused
from dicomnode.model import Grid

MARGIN_MM = 30.0
"""The central region keeps this far from the cylinder's edge, about twice the width of a camera's response
at 20 cm; our own choice."""
AGREE = 0.05
"""Two ways to the factor may differ by this much; our own choice."""


@dataclass(frozen=True, eq=False)
class CylinderFactor:
    """Counts per second and MBq of one view, in two ways.

    Attributes
    ----------
    of_total : by all counts of the image
    of_middle : by the concentration in the middle, where no edge matters; needs the volume
    middle : bool (z, y, x), the voxels of that middle
    """

    of_total: float
    of_middle: float | None
    middle: npt.NDArray[np.bool_]


def cylinder_factor(
    counts: npt.NDArray[np.float32],
    grid: Grid,
    seconds: float,
    activity_mbq: float,
    volume_ml: float | None = None,
) -> CylinderFactor:
    """The factor of a uniform cylinder that lies wholly in the field of view.

    Parameters
    ----------
    counts : image (z, y, x), counts per voxel towards a mean view
    seconds : effective live time of a mean view (``scan.Scan.seconds``)
    activity_mbq : in the cylinder at the start of the acquisition
    volume_ml : filled volume of the cylinder

    Raises
    ------
    Refused : no region of one concentration is found, or both ways disagree
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    smooth = gaussian_filter(counts.astype(np.float64), 2.0)
    level = float(np.percentile(smooth[smooth > 0.1 * smooth.max()], 75)) if smooth.max() > 0 else 0.0
    inside = smooth > 0.5 * level
    depth = distance_transform_edt(np.pad(inside, 1), sampling=grid.spacing_mm[::-1])[1:-1, 1:-1, 1:-1]
    middle = depth > MARGIN_MM
    if level <= 0 or np.count_nonzero(middle) < 50:
        raise Refused(
            f"no cylinder is found: {np.count_nonzero(middle)} voxels lie {MARGIN_MM:g} mm within a region "
            f"of one concentration",
            remedy="Scan a uniform cylinder of 15 cm or more across, wholly in the field of view",
        )
    per_mbq = seconds * activity_mbq
    of_total = float(counts.sum(dtype=np.float64)) / per_mbq
    if volume_ml is None:
        return CylinderFactor(of_total, None, middle)
    of_middle = float(counts[middle].mean(dtype=np.float64)) / grid.voxel_ml * volume_ml / per_mbq
    if abs(of_middle / of_total - 1) > AGREE:
        raise Refused(
            f"the factor is {of_total:.4g} counts/s per MBq by all counts and {of_middle:.4g} by the "
            f"concentration in the middle",
            remedy="Check volume and activity, mixing and scatter windows; nothing else may be in the field",
        )
    return CylinderFactor(of_total, of_middle, middle)


@dataclass(frozen=True)
class Sphere:
    """A sphere of a phantom: where it is (patient coordinates x, y, z in mm) and how large."""

    centre_mm: tuple[float, float, float]
    diameter_mm: float

    @property
    def volume_ml(self) -> float:
        return float(np.pi / 6 * self.diameter_mm**3 / 1000.0)


def sphere_share(grid: Grid, sphere: Sphere, parts: int = 4) -> npt.NDArray[np.float32]:
    """Share of every voxel (z, y, x) in the sphere, by ``parts`` cubed points in each voxel."""
    fine = (np.arange(parts) + 0.5) / parts - 0.5
    centre = grid.to_index(np.array(sphere.centre_mm))
    spacing = np.array(grid.spacing_mm)
    total = np.zeros(grid.shape_zyx, np.float32)
    nz, ny, nx = grid.shape_zyx
    axes = [np.arange(n)[:, None] + fine - c for n, c in zip((nx, ny, nz), centre, strict=True)]
    x2, y2, z2 = ((axis * edge) ** 2 for axis, edge in zip(axes, spacing, strict=True))
    for a in range(parts):
        for b in range(parts):
            flat = y2[None, :, a, None] + x2[None, None, :, b]
            for c in range(parts):
                total += flat + z2[:, c, None, None] <= (sphere.diameter_mm / 2) ** 2
    return total / np.float32(parts**3)


def sphere_recoveries(
    bq_per_ml: npt.NDArray[np.float32],
    grid: Grid,
    spheres: Sequence[Sphere],
    true_bq_per_ml: float,
    background_bq_per_ml: float = 0.0,
) -> list[float]:
    """Recovery of each sphere: measured over true concentration, both above the background.

    Raises
    ------
    Inconsistent : a sphere outside the grid
    """
    found = []
    for sphere in spheres:
        share = sphere_share(grid, sphere)
        inside = float(share.sum()) * grid.voxel_ml
        if inside < 0.95 * sphere.volume_ml:
            raise Inconsistent(
                f"the sphere of {sphere.diameter_mm:g} mm at {sphere.centre_mm} mm lies outside the image"
            )
        mean = float((bq_per_ml * share).sum(dtype=np.float64) / share.sum(dtype=np.float64))
        found.append((mean - background_bq_per_ml) / (true_bq_per_ml - background_bq_per_ml))
    return found
