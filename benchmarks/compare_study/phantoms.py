"""The phantoms of the study: blurred balls in bodies of 40 x 40 x 40 voxels, and a torso of the simulator.

Every phantom has ``grid``, ``body``, ``density`` (g/cm3), ``regions``, ``organ`` (what faults scale) and
``activity(fault)``: activity per voxel with a planted fault (``shift`` and ``blur`` in mm, ``scale``,
``without``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from dicomnode.model import Grid, LabelMap

Array = np.ndarray
Point = tuple[float, float, float]
AIR = 0.0012


def ball_radius(ml: float) -> float:
    return float((3000.0 * ml / (4.0 * np.pi)) ** (1.0 / 3.0))


@dataclass(frozen=True)
class Balls:
    """Balls of activity with a soft edge (Fermi, 10-90 % in ``EDGE_MM``) in an ellipsoid of tissue.

    ``balls``: name -> centre, radius, level; ``blocks``: boxes of another density (low corner, high corner).
    """

    name: str
    balls: dict[str, tuple[Point, float, float]]
    half_axes: Point
    blocks: tuple[tuple[Point, Point, float], ...]
    floor: float = 0.02

    N, SPACING, EDGE_MM = 40, 4.0, 5.0

    @property
    def organ(self) -> str:
        return next(iter(self.balls))

    @property
    def grid(self) -> Grid:
        return Grid((self.N,) * 3, (self.SPACING,) * 3)

    def mesh(self, shift: Point = (0.0, 0.0, 0.0)) -> list[Array]:
        x = (np.arange(self.N) - (self.N - 1) / 2) * self.SPACING
        return [a - s for a, s in zip(np.meshgrid(x, x, x, indexing="ij", sparse=True), shift, strict=True)]

    @cached_property
    def body(self) -> Array:
        return sum((a / h) ** 2 for a, h in zip(self.mesh(), self.half_axes, strict=True)) < 1.0

    @cached_property
    def density(self) -> Array:
        found = np.where(self.body, 1.04, AIR)
        for low, high, rho in self.blocks:
            inside = np.ones_like(self.body)
            for a, lowest, highest in zip(self.mesh(), low, high, strict=True):
                inside = inside & (a >= lowest) & (a < highest)
            found = np.where(inside & self.body, rho, found)
        return found

    def activity(self, fault: dict[str, Any]) -> Array:
        mesh = self.mesh(fault.get("shift", (0.0, 0.0, 0.0)))
        width = 0.4 * (self.EDGE_MM + fault.get("blur", 0.0)) * 0.5
        total = np.full((self.N,) * 3, self.floor)
        for name, (centre, radius, level) in self.balls.items():
            if name == fault.get("without"):
                continue
            r = np.sqrt(sum((a - c) ** 2 for a, c in zip(mesh, centre, strict=True)))
            level = level * (fault.get("scale", 1.0) if name == self.organ else 1.0)
            total = total + level / (1.0 + np.exp((r - radius) / width))
        return np.where(self.body, total, 0.0)

    @cached_property
    def regions(self) -> LabelMap:
        masks = {}
        for name, (centre, radius, _) in self.balls.items():
            r2 = sum((a - c) ** 2 for a, c in zip(self.mesh(), centre, strict=True))
            masks[name] = (r2 < radius**2) & self.body
        return LabelMap(self.grid, masks)


class Torso:
    """The simulated patient of ``dicomnode.simulation`` from lung bases to below the kidneys, 5 mm voxels.

    Drawn at 2 mm, halved to 1 mm so that shifts by whole millimetres are exact, and averaged over 5 mm.
    Three small lesions are added: in the liver (10 and 2 mL) and beside the spine (0.5 mL).
    """

    name, organ = "torso", "liver"
    Z_MM = (-80.0, 120.0)
    LESIONS: dict[str, tuple[Point, float]] = {
        # (z, y, x) mm, concentration relative to the liver's
        "lesion 10 mL": ((40.0, 0.0, -55.0), 4.0),
        "lesion 2 mL": ((70.0, -25.0, -80.0), 5.0),
        "lesion 0.5 mL": ((-20.0, 25.0, 30.0), 8.0),
    }

    def __init__(self) -> None:
        from dicomnode.simulation.patient import make_patient

        patient = make_patient(7, size="full")
        _, ny, nx = patient.grid.shape_zyx
        z0 = round((self.Z_MM[0] - patient.grid.origin_mm[2]) / 2.0 / 5.0) * 5
        planes = slice(z0, z0 + int((self.Z_MM[1] - self.Z_MM[0]) / 2.0))
        # 2 mm voxels: 5 of 2 mm are 2 of 5 mm, so edges are cut to multiples of 5 voxels.
        rows, columns = slice(0, ny // 5 * 5), slice(0, nx // 5 * 5)
        where = (planes, rows, columns)
        origin = [o + s.start * 2.0 for o, s in zip(patient.grid.origin_mm, where[::-1], strict=True)]
        self._concentration = patient.tia().mbq_s_per_ml[where].astype(np.float32)
        self._liver = patient.regions.masks["liver"][where]
        self._level = float(self._concentration[self._liver].mean())
        fine = self._concentration.shape
        self._axes = np.meshgrid(
            *[o + 2.0 * np.arange(n) for o, n in zip(origin[::-1], fine, strict=True)],
            indexing="ij",
            sparse=True,
        )
        for name, (_, level) in self.LESIONS.items():
            self._concentration[self._ball(name)] += np.float32(level * self._level)
        self.density = np.maximum(self._coarse(patient.density.g_per_cm3[where]), AIR)
        tissue = self._coarse((patient.tissue[where] > 0).astype(np.float32))
        self.body = tissue > 0.5
        self.grid = Grid(self.density.shape, (5.0,) * 3, tuple(o + 1.5 for o in origin))
        masks = {n: self._coarse(m[where].astype(np.float32)) > 0.5 for n, m in patient.regions.masks.items()}
        masks |= {n: self._coarse(self._ball(n).astype(np.float32)) > 0.3 for n in self.LESIONS}
        self.regions = LabelMap(
            self.grid, {n: m & self.body for n, m in masks.items() if (m & self.body).any()}
        )

    def _ball(self, name: str) -> Array:
        centre = self.LESIONS[name][0]
        r2 = sum((a - c) ** 2 for a, c in zip(self._axes, centre, strict=True))
        return r2 < ball_radius(float(name.split()[1])) ** 2

    @staticmethod
    def _coarse(fine: Array) -> Array:
        """Means over 5 mm of a map with 2 mm voxels: exact, over 1 mm sub-voxels, one axis after another."""
        found = fine.astype(np.float64)
        for axis in range(3):
            found = np.repeat(found, 2, axis=axis)
            shape = list(found.shape)
            shape[axis : axis + 1] = [shape[axis] // 5, 5]
            found = found.reshape(shape).mean(axis=axis + 1)
        return found

    def activity(self, fault: dict[str, Any]) -> Array:
        fine = self._concentration.copy()
        if "without" in fault:
            fine[self._ball(fault["without"])] -= np.float32(self.LESIONS[fault["without"]][1] * self._level)
        if "scale" in fault:
            fine[self._liver] *= np.float32(fault["scale"])
        if "blur" in fault:
            fine = gaussian_filter(fine, fault["blur"] / 2.0)
        return np.where(self.body, self._shifted(fine, fault.get("shift", (0.0, 0.0, 0.0))), 0.0)

    def _shifted(self, fine: Array, shift: Point) -> Array:
        """Coarse activity of the map moved by whole millimetres, exact along each axis."""
        found = fine.astype(np.float64)
        for axis, mm in enumerate(shift):
            found = np.roll(np.repeat(found, 2, axis=axis), round(mm), axis=axis)
            shape = list(found.shape)
            shape[axis : axis + 1] = [shape[axis] // 5, 5]
            found = found.reshape(shape).mean(axis=axis + 1)
        return found


ABDOMEN = Balls(
    "abdomen",
    {"liver": ((5.0, 8.0, -26.0), 28.0, 1.0), "kidney left": ((-18.0, -26.0, 30.0), 17.0, 2.0),
     "kidney right": ((-22.0, -30.0, -28.0), 16.0, 1.8), "spleen": ((14.0, -22.0, 44.0), 14.0, 1.4),
     "lesion 0.5 mL": ((34.0, 12.0, 22.0), ball_radius(0.5), 4.0),
     "lesion 2 mL": ((-36.0, 22.0, 12.0), ball_radius(2.0), 3.0),
     "lesion 10 mL": ((28.0, 34.0, 4.0), ball_radius(10.0), 2.5)},
    (76.0, 62.0, 74.0), (((40.0, -24.0, -46.0), (80.0, 24.0, 2.0), 0.26),),
)  # fmt: skip
CHEST = Balls(
    "chest",
    # Tissue, lung and bone as in phantom a of the EGSnrc reference: a ball in tissue that touches the lung,
    # one in the lung, one in bone.
    {"tumour": ((0.0, 0.0, -8.0), 16.0, 1.0), "in lung": ((-4.0, 10.0, 38.0), 9.0, 2.0),
     "in bone": ((4.0, 2.0, -52.0), 7.0, 2.0),
     "lesion 0.5 mL": ((34.0, 12.0, 30.0), ball_radius(0.5), 4.0),
     "lesion 2 mL": ((-36.0, 22.0, -12.0), ball_radius(2.0), 3.0),
     "lesion 10 mL": ((30.0, 26.0, -20.0), ball_radius(10.0), 2.5)},
    (76.0, 64.0, 78.0),
    (((-56.0, -56.0, 12.0), (56.0, 56.0, 80.0), 0.26), ((-48.0, -40.0, -60.0), (48.0, 44.0, -44.0), 1.85)),
)  # fmt: skip

PHANTOMS = {"abdomen": lambda: ABDOMEN, "chest": lambda: CHEST, "torso": Torso}
