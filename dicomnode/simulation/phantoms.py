"""Digital phantoms: activity, CT numbers and regions, each with the share of every voxel that it fills."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.model import ActivityMap, Grid, HuMap
from dicomnode.recon.camera.overlap import mean_on

Float32 = npt.NDArray[np.float32]
Point = tuple[float, float, float]

SPHERES_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
"""Inner diameters of the spheres of the NEMA NU 2 image quality phantom."""
SPHERE_CIRCLE_MM = 57.2
"""Radius of the circle on which their centres lie (NEMA NU 2)."""
LUNG_HU = -700.0
GUARD_MM = 15.0
"""Background is measured no nearer than this to anything else. Our own choice."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A truth to be scanned.

    Attributes
    ----------
    activity, ct : on one grid
    shares : region -> float32 share (0 to 1) of each voxel in the region
    contrast : region -> true concentration over that of the background
    background_mbq_per_ml : true concentration of the background
    """

    activity: ActivityMap
    ct: HuMap
    shares: Mapping[str, Float32]
    contrast: Mapping[str, float]
    background_mbq_per_ml: float

    @property
    def grid(self) -> Grid:
        return self.activity.grid

    def on(self, grid: Grid) -> Phantom:
        """The same as means over the voxels of another parallel grid; totals are kept."""
        activity = ActivityMap(grid, mean_on(self.activity.bq_per_ml, self.grid, grid))
        # Beyond the phantom there is air.
        ct = HuMap(grid, mean_on(self.ct.hu + 1000.0, self.grid, grid) - 1000.0)
        shares = {name: mean_on(share, self.grid, grid) for name, share in self.shares.items()}
        return Phantom(activity, ct, shares, self.contrast, self.background_mbq_per_ml)


def from_maps(
    activity: ActivityMap,
    ct: HuMap,
    regions: Mapping[str, npt.NDArray[np.bool_]],
    background_mbq_per_ml: float,
) -> Phantom:
    """Any activity map and CT as a truth to be scanned; the CT as means over the activity's voxels.

    ``regions`` are masks on the activity's grid; their contrast is that of their mean over
    ``background_mbq_per_ml``. Raises Inconsistent where the grids are not parallel.
    """
    hu = mean_on(ct.hu + 1000.0, ct.grid, activity.grid) - 1000.0
    contrast = {
        name: float(activity.bq_per_ml[mask].mean(dtype=np.float64)) / 1e6 / background_mbq_per_ml
        for name, mask in regions.items()
    }
    shares = {name: mask.astype(np.float32) for name, mask in regions.items()}
    return Phantom(activity, HuMap(activity.grid, hu), shares, contrast, background_mbq_per_ml)


class _Drawing:
    """A phantom being drawn; later regions displace earlier ones."""

    def __init__(self, grid: Grid) -> None:
        nz, ny, nx = grid.shape_zyx
        centre = grid.to_patient_mm(np.array([(nx - 1) / 2, (ny - 1) / 2, (nz - 1) / 2]))
        sx, sy, sz = grid.spacing_mm
        self.x, self.y, self.z = np.meshgrid(
            (np.arange(nx) - (nx - 1) / 2) * sx,
            (np.arange(ny) - (ny - 1) / 2) * sy,
            (np.arange(nz) - (nz - 1) / 2) * sz,
            indexing="ij",
            sparse=True,
        )
        self.x, self.y, self.z = (a.transpose(2, 1, 0) for a in (self.x, self.y, self.z))
        self.grid, self.centre = grid, centre
        self.edge = float(np.mean(grid.spacing_mm))
        self.concentration = np.zeros(grid.shape_zyx)
        self.hu = np.full(grid.shape_zyx, -1000.0)
        self.shares: dict[str, Float32] = {}
        self.contrast: dict[str, float] = {}
        self.nearest = np.full(grid.shape_zyx, np.inf)

    def ellipsoid(self, centre: Point, semi: Point) -> npt.NDArray[np.float64]:
        """Signed distance from the surface, mm, near the surface; negative inside. Exact for a sphere.

        A border that is spread over a voxel of edge h makes a ball of radius r larger by the factor
        1 + h^2 / (4 r^2); the surface is drawn in by as much, so that volumes are right.
        """
        inner = 1.0 - self.edge**2 / (12.0 * float(np.prod(semi)) ** (2 / 3))
        semi = (semi[0] * inner, semi[1] * inner, semi[2] * inner)
        u, v, w = ((axis - c) / s for axis, c, s in zip((self.x, self.y, self.z), centre, semi, strict=True))
        level = np.sqrt(u**2 + v**2 + w**2)
        steep = np.sqrt((u / semi[0]) ** 2 + (v / semi[1]) ** 2 + (w / semi[2]) ** 2)
        return np.asarray((level - 1.0) * np.maximum(level, 1e-6) / np.maximum(steep, 1e-9))

    def elliptic_cylinder(self, semi_xy: tuple[float, float], half_mm: float) -> npt.NDArray[np.float64]:
        """The same for a cylinder along z about the middle."""
        level = np.hypot(self.x / semi_xy[0], self.y / semi_xy[1])
        steep = np.hypot(self.x / semi_xy[0] ** 2, self.y / semi_xy[1] ** 2)
        across = (level - 1.0) * level / np.maximum(steep, 1e-9)
        return np.asarray(np.maximum(across, np.abs(self.z) - half_mm))

    def fill(self, distance: npt.NDArray[np.float64], name: str, contrast: float, hu: float = 0.0) -> None:
        """Put a region into the phantom. ``name`` "background" is the body itself."""
        share = np.clip(0.5 - distance / self.edge, 0.0, 1.0)
        self.concentration += share * (contrast - self.concentration)
        self.hu += share * (hu - self.hu)
        self.contrast[name] = contrast
        if name == "background":
            self.nearest = -distance
            return
        self.nearest = np.minimum(self.nearest, distance)
        self.shares[name] = share.astype(np.float32)

    def phantom(self, background_mbq_per_ml: float) -> Phantom:
        bq_per_ml = (self.concentration * background_mbq_per_ml * 1e6).astype(np.float32)
        background = (self.nearest >= GUARD_MM).astype(np.float32)
        return Phantom(
            ActivityMap(self.grid, bq_per_ml),
            HuMap(self.grid, self.hu.astype(np.float32)),
            {"background": background, **self.shares},
            self.contrast,
            background_mbq_per_ml,
        )


def nema_like(grid: Grid, background_mbq_per_ml: float = 0.05) -> Phantom:
    """Six spheres of ten times the background, a kidney of six times, a cold sphere and a lung insert.

    Spheres and their circle are those of the NEMA NU 2 image quality phantom; the rest, an elliptical body of
    300 x 230 x 200 mm among it, is our own choice.
    """
    drawing = _Drawing(grid)
    drawing.fill(drawing.elliptic_cylinder((150.0, 115.0), 100.0), "background", 1.0)
    drawing.fill(
        np.maximum(np.hypot(drawing.x, drawing.y) - 25.0, np.abs(drawing.z) - 95.0), "lung", 0.0, LUNG_HU
    )
    for number, diameter in enumerate(SPHERES_MM):
        angle = np.deg2rad(60.0 * number)
        centre = (SPHERE_CIRCLE_MM * np.cos(angle), SPHERE_CIRCLE_MM * np.sin(angle), 40.0)
        drawing.fill(drawing.ellipsoid(centre, (diameter / 2,) * 3), f"sphere {diameter:g} mm", 10.0)
    drawing.fill(drawing.ellipsoid((85.0, 0.0, -45.0), (28.0, 22.0, 45.0)), "kidney", 6.0)
    drawing.fill(drawing.ellipsoid((-80.0, 0.0, -45.0), (16.0,) * 3), "cold 32 mm", 0.0)
    return drawing.phantom(background_mbq_per_ml)


LESIONS: tuple[tuple[str, Point, float, float], ...] = (
    ("hot 10 mm", (80.0, -45.0, 45.0), 10.0, 8.0),
    ("hot 13 mm", (95.0, 30.0, 45.0), 13.0, 8.0),
    ("faint 10 mm", (80.0, -45.0, -45.0), 10.0, 4.0),
    ("faint 13 mm", (95.0, 30.0, -45.0), 13.0, 4.0),
    ("organ cold 10 mm", (-60.0, -35.0, 30.0), 10.0, 0.0),
    ("organ cold 13 mm", (-60.0, 35.0, 30.0), 13.0, 0.0),
    ("organ cold 20 mm", (-95.0, 0.0, -10.0), 20.0, 0.0),
    ("organ hot 10 mm", (-60.0, -35.0, -35.0), 10.0, 15.0),
    ("organ hot 13 mm", (-60.0, 35.0, -35.0), 13.0, 15.0),
)
"""Name, centre (x, y, z) from the middle in mm, diameter in mm, concentration over the background."""


def lesions(grid: Grid, background_mbq_per_ml: float = 0.05) -> Phantom:
    """What reconstructions lose first: hot and cold lesions of 10 to 20 mm, some of them in a warm organ.

    All our own choice: an elliptical body, a liver-like organ of five times the background.
    """
    drawing = _Drawing(grid)
    drawing.fill(drawing.elliptic_cylinder((150.0, 110.0), 110.0), "background", 1.0)
    organ = drawing.ellipsoid((-65.0, 0.0, 0.0), (65.0, 75.0, 75.0))
    drawing.fill(organ, "organ", 5.0)
    for name, centre, diameter, contrast in LESIONS:
        drawing.fill(drawing.ellipsoid(centre, (diameter / 2,) * 3), name, contrast)
    inside = [drawing.shares[name] for name, *_ in LESIONS if name.startswith("organ ")]
    whole = drawing.shares["organ"] * (1.0 - np.max(inside, axis=0))
    drawing.shares["organ"] = np.asarray(whole, dtype=np.float32)
    return drawing.phantom(background_mbq_per_ml)
