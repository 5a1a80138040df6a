"""Smooth solids, drawn into an array of tissues: later strokes cover earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.model import Grid
from dicomnode.simulation.tissues import TISSUE_INDEX

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Point = tuple[float, float, float]
Field = Callable[[Array, Array, Array], Array]
"""A scalar field over broadcastable coordinates (x, y, z) in mm."""


@dataclass(frozen=True)
class Solid:
    """A superellipsoid |x/a|^n + |y/b|^n + |z/c|^n <= 1, turned about its centre.

    Attributes
    ----------
    center_mm, semi_mm : centre and semi-axes a, b, c, nominal mm
    exponent : 2 is an ellipsoid, more is boxier
    turn_deg : rotation about the z, y and x axes, in that order
    taper : the cross-section is scaled by 1 - taper * x / a along the solid's own x axis
    """

    center_mm: Point
    semi_mm: Point
    exponent: float = 2.0
    turn_deg: Point = (0.0, 0.0, 0.0)
    taper: float = 0.0

    @property
    def axes(self) -> npt.NDArray[np.float64]:
        """Columns are the solid's own axes."""
        az, ay, ax = np.deg2rad(self.turn_deg)
        rz = np.array([[np.cos(az), -np.sin(az), 0], [np.sin(az), np.cos(az), 0], [0, 0, 1]])
        ry = np.array([[np.cos(ay), 0, np.sin(ay)], [0, 1, 0], [-np.sin(ay), 0, np.cos(ay)]])
        rx = np.array([[1, 0, 0], [0, np.cos(ax), -np.sin(ax)], [0, np.sin(ax), np.cos(ax)]])
        return np.asarray(rz @ ry @ rx)

    @property
    def reach_mm(self) -> float:
        """Radius of a sphere about the centre that holds the solid."""
        return float(np.linalg.norm(self.semi_mm)) * (1.0 + abs(self.taper))

    def local(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        """Coordinates in units of the semi-axes."""
        axes, (cx, cy, cz) = self.axes.astype(np.float32), self.center_mm
        dx, dy, dz = x - np.float32(cx), y - np.float32(cy), z - np.float32(cz)
        u, v, w = (
            (axes[0, i] * dx + axes[1, i] * dy + axes[2, i] * dz) / np.float32(self.semi_mm[i])
            for i in range(3)
        )
        if self.taper:
            scale = np.maximum(1.0 - np.float32(self.taper) * u, np.float32(0.05))
            v, w = v / scale, w / scale
        return u, v, w

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        """At most 1 inside."""
        n = np.float32(self.exponent)
        u, v, w = self.local(x, y, z)
        if self.exponent == 2.0:
            return np.asarray(u * u + v * v + w * w)
        return np.asarray(np.abs(u) ** n + np.abs(v) ** n + np.abs(w) ** n)


class Canvas:
    """The tissue array of a patient being drawn, in coordinates of a nominal body.

    ``stretch`` scales the nominal body into this patient, so that all shapes follow its build.
    """

    def __init__(self, grid: Grid, stretch: Point) -> None:
        self.grid, self.stretch = grid, stretch
        self.tissue = np.zeros(grid.shape_zyx, dtype=np.uint8)
        nz, ny, nx = grid.shape_zyx
        self.axes = tuple(
            ((grid.origin_mm[i] + grid.spacing_mm[i] * np.arange(n)) / stretch[i]).astype(np.float32)
            for i, n in enumerate((nx, ny, nz))
        )
        self.pixel_mm = min(s / q for s, q in zip(grid.spacing_mm, stretch, strict=True))

    def window(self, low: Point, high: Point) -> tuple[slice, slice, slice]:
        """Index ranges (z, y, x) that hold the nominal box from ``low`` to ``high``."""
        x, y, z = (
            slice(*np.searchsorted(axis, (low[i], high[i])).tolist()) for i, axis in enumerate(self.axes)
        )
        return z, y, x

    def coordinates(self, window: tuple[slice, slice, slice]) -> tuple[Array, Array, Array]:
        """Nominal x, y, z of a window, broadcastable to its shape."""
        x, y, z = self.axes
        wz, wy, wx = window
        return x[None, None, wx], y[None, wy, None], z[wz, None, None]

    def around(self, solid: Solid) -> tuple[slice, slice, slice]:
        """Window that holds a solid."""
        c, r = solid.center_mm, solid.reach_mm
        low, high = (c[0] - r, c[1] - r, c[2] - r), (c[0] + r, c[1] + r, c[2] + r)
        return self.window(low, high)

    def fill(
        self, window: tuple[slice, slice, slice], inside: Mask, tissue: str, where: Mask | None = None
    ) -> None:
        """Draw ``tissue`` where ``inside`` (and ``where``, of the whole array) is true."""
        if where is not None:
            inside = inside & where[window]
        np.putmask(
            self.tissue[window], np.broadcast_to(inside, self.tissue[window].shape), TISSUE_INDEX[tissue]
        )

    def draw(self, solid: Solid, tissue: str, where: Mask | None = None) -> None:
        """Draw a whole solid."""
        window = self.around(solid)
        self.fill(window, solid(*self.coordinates(window)) <= 1.0, tissue, where)

    def is_tissue(self, *names: str) -> Mask:
        """Where the array holds one of these tissues."""
        table = np.zeros(256, dtype=bool)
        table[[TISSUE_INDEX[name] for name in names]] = True
        return np.asarray(table[self.tissue])


def distance_to_path(path: npt.NDArray[np.float64], x: Array, y: Array, z: Array) -> Array:
    """Distance (mm) of each point from the nearest segment of a polyline (n, 3)."""
    best = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), np.inf, dtype=np.float32)
    for start, end in zip(path[:-1].astype(np.float32), path[1:].astype(np.float32), strict=True):
        along = end - start
        dx, dy, dz = x - start[0], y - start[1], z - start[2]
        t = np.clip((dx * along[0] + dy * along[1] + dz * along[2]) / np.float32(along @ along), 0.0, 1.0)
        square = (dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dz - t * along[2]) ** 2
        np.minimum(best, square, out=best)
    return np.sqrt(best)
