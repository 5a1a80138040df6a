"""The phantom's frame: outline, fat, muscle, lungs, spine, ribs and pelvis.

Nominal coordinates in mm, DICOM patient axes (x to the left, y to the back, z to the head), with the
first lumbar vertebra at z = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicomnode.simulation.shapes import Array, Canvas, Mask, Solid

OUTLINE_Z = (-260.0, -180.0, -110.0, -40.0, 40.0, 120.0, 260.0)
OUTLINE_HALF_WIDTH = (176.0, 173.0, 160.0, 153.0, 161.0, 169.0, 174.0)
OUTLINE_HALF_DEPTH = (114.0, 112.0, 109.0, 108.0, 113.0, 118.0, 114.0)
VERTEBRA_PITCH_MM = 33.0
WALL_MM = 13.0
"""Thickness of the muscular wall of trunk and chest."""


@dataclass(frozen=True)
class Trunk:
    """Outline of the body and of the cavity within it; ``fat_mm`` is the subcutaneous layer."""

    fat_mm: float

    def radius(self, x: Array, y: Array, z: Array, inset_mm: float) -> Array:
        """1 on the outline drawn in by ``inset_mm``, less inside. The back is flatter than the front."""
        half_width = _smooth(z, OUTLINE_HALF_WIDTH) - np.float32(inset_mm)
        half_depth = _smooth(z, OUTLINE_HALF_DEPTH) - np.float32(inset_mm)
        u, v = np.abs(x) / half_width, np.abs(y) / half_depth
        front, back = np.float32(2.3), np.float32(3.0)
        ahead = (u**front + v**front) ** (1 / front)
        behind = (u**back + v**back) ** (1 / back)
        return np.asarray(np.where(y < 0, ahead, behind), dtype=np.float32)

    @property
    def cavity_inset_mm(self) -> float:
        return self.fat_mm + WALL_MM


def _smooth(z: Array, values: tuple[float, ...]) -> Array:
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(OUTLINE_Z, values)
    return np.asarray(curve(np.clip(z, OUTLINE_Z[0], OUTLINE_Z[-1])), dtype=np.float32)


def diaphragm(x: Array, y: Array) -> Array:
    """Height (mm) of the diaphragm: two domes, the right one higher, and the central tendon."""
    right = 96.0 - 100.0 * (((x + 68) / 82) ** 2 + ((y + 4) / 86) ** 2) ** 1.5
    left = 82.0 - 100.0 * (((x - 72) / 78) ** 2 + ((y + 4) / 86) ** 2) ** 1.5
    tendon = 78.0 - 100.0 * (((x - 4) / 70) ** 2 + ((y + 18) / 80) ** 2) ** 1.5
    return np.asarray(np.maximum(np.maximum(np.maximum(right, left), tendon), -22.0), dtype=np.float32)


def spine_y(z: Array) -> Array:
    """Position of the vertebral bodies' centre along y: lumbar lordosis, thoracic kyphosis."""
    return np.asarray(47.0 + 9.0 * np.sin(np.clip((z + 10.0) / 130.0, -1.2, 1.2)), dtype=np.float32)


def draw_trunk(canvas: Canvas, trunk: Trunk) -> Mask:
    """Skin, fat, wall and lungs; returns the cavity below the diaphragm."""
    window = (slice(None), slice(None), slice(None))
    x, y, z = canvas.coordinates(window)
    body = trunk.radius(x, y, z, 0.0) <= 1.0
    canvas.fill(window, body, "skin")
    canvas.fill(window, trunk.radius(x, y, z, 2.5) <= 1.0, "adipose")
    canvas.fill(window, trunk.radius(x, y, z, trunk.fat_mm) <= 1.0, "muscle")
    cavity = trunk.radius(x, y, z, trunk.cavity_inset_mm) <= 1.0
    # Behind the pelvis lies gluteal muscle, not abdominal cavity.
    cavity &= y < 45.0 + 0.12 * np.abs(x) + 0.5 * np.clip(z + 165.0, 0.0, None)
    dome = diaphragm(x, y)
    abdomen = cavity & (z < dome - 2.0)
    canvas.fill(window, abdomen, "adipose")
    mediastinum = ((x - 12.0) / (38.0 + 0.14 * np.clip(190.0 - z, 0, 100))) ** 2 + ((y + 22.0) / 92.0) ** 2
    chest = cavity & (z > dome + 2.0)
    canvas.fill(window, chest, "adipose")
    canvas.fill(window, chest & (mediastinum > 1.0), "lung")
    return np.asarray(abdomen)


def draw_vessels_and_heart(canvas: Canvas) -> None:
    """Heart, aorta, inferior vena cava, and the muscles beside the spine."""
    canvas.draw(Solid((26, -36, 138), (60, 44, 46), turn_deg=(-35, 25, 0)), "myocardium")
    canvas.draw(Solid((33, -34, 136), (44, 23, 27), turn_deg=(-35, 25, 0)), "blood")
    canvas.draw(Solid((-4, -30, 156), (26, 27, 26)), "blood")
    window = canvas.window((-80, -20, -260), (80, 115, 260))
    x, y, z = canvas.coordinates(window)
    ys = spine_y(z)
    side = np.abs(x)
    psoas = 10.0 + 9.0 * np.clip(-z / 140.0, 0.0, 1.0)
    canvas.fill(window, (z < -5) & ((side - 38) ** 2 + (y - ys) ** 2 < psoas**2), "muscle")
    canvas.fill(window, ((side - 30) / 26) ** 2 + ((y - ys - 40) / 15) ** 2 < 1, "muscle")
    canvas.fill(window, (x - 11) ** 2 + (y - ys + 29) ** 2 < 10.5**2, "blood")
    canvas.fill(window, (z < 110) & ((x + 16) ** 2 + ((y - ys + 30) * 1.2) ** 2 < 11.5**2), "blood")


def draw_spine(canvas: Canvas) -> None:
    """Vertebrae with a cortical shell, discs, canal and processes."""
    window = canvas.window((-50, 0, -260), (50, 125, 260))
    x, y, z = canvas.coordinates(window)
    ys = spine_y(z)
    dz = np.asarray((z + VERTEBRA_PITCH_MM / 2) % VERTEBRA_PITCH_MM - VERTEBRA_PITCH_MM / 2)
    waist = 1.0 - 0.10 * np.cos(np.clip(dz / 12.5, -1, 1) * np.pi / 2)
    r = (np.abs(x / (24 * waist)) ** 2.4 + np.abs((y - ys) / (17.5 * waist)) ** 2.4) ** (1 / 2.4)
    side = np.abs(x)
    canvas.fill(window, (side < 40) & (np.abs(y - ys - 27) < 5) & (np.abs(dz) < 6), "cortical bone")
    canvas.fill(window, (side < 37) & (np.abs(y - ys - 27) < 3) & (np.abs(dz) < 4), "spongiosa")
    canvas.fill(window, (side < 4) & (y > ys + 34) & (y < ys + 53) & (np.abs(dz + 5) < 9), "cortical bone")
    canvas.fill(window, (r <= 0.94) & (np.abs(dz) > 12.5), "disc")
    canvas.fill(window, (r <= 1.0) & (np.abs(dz) <= 12.5), "cortical bone")
    canvas.fill(window, (r <= 0.90) & (np.abs(dz) <= 11.0), "spongiosa")
    ring = np.sqrt(x**2 + (y - ys - 26) ** 2)
    canvas.fill(window, (ring < 14) & (ring > 9) & (np.abs(dz) < 13), "cortical bone")
    canvas.fill(window, ring <= 9.0, "spinal cord")


def draw_ribs(canvas: Canvas, trunk: Trunk) -> None:
    """Ribs 4 to 12 as sloping hoops in the chest wall, and the breastbone."""
    x, y, _z = canvas.coordinates((slice(None), slice(None), slice(None)))
    angle = np.arctan2(np.abs(x) / 150.0, y / 105.0)  # 0 at the spine, pi at the breastbone
    wall = trunk.fat_mm + WALL_MM * 0.55
    for rib in range(2, 13):
        _draw_rib(canvas, trunk, rib, angle, wall)
    window = canvas.window((-25, -125, 75), (25, -70, 260))
    bx, by, bz = canvas.coordinates(window)
    depth = (trunk.radius(bx, by, bz, wall) - 1.0) * 105.0
    across = 17.0 + 0.05 * np.clip(bz - 130.0, 0, 80)
    plate = (np.abs(bx) < across) & (bz > 80)
    canvas.fill(window, plate & (np.abs(depth) < 6.0), "cortical bone")
    canvas.fill(window, plate & (np.abs(bx) < across - 2.0) & (np.abs(depth) < 4.0), "spongiosa")


def _draw_rib(canvas: Canvas, trunk: Trunk, rib: int, angle: Array, wall_mm: float) -> None:
    top = VERTEBRA_PITCH_MM * (13 - rib) - 6.0
    reach = {12: 0.9, 11: 1.4}.get(rib, 2.45)
    window = canvas.window((-190, -130, top - 130), (190, 130, top + 12))
    x, y, z = canvas.coordinates(window)
    phi = angle[:, window[1], window[2]]
    height = top - 62.0 * (1.0 - np.cos(np.minimum(phi, 2.0) * 1.25)) / 1.2 + 30.0 * np.clip(phi - 1.9, 0, 1)
    low, high = height - 8.0, height + 8.0
    candidate = (z > low) & (z < high) & (phi > 0.18) & (phi < reach)
    radial = (trunk.radius(x, y, z, wall_mm) - 1.0) * np.maximum(np.hypot(x, y), 80.0)
    r = (radial / 4.8) ** 2 + ((z - height) / 7.0) ** 2
    canvas.fill(window, candidate & (r < 1.0), "cortical bone")
    canvas.fill(window, candidate & (r < 0.40), "spongiosa")


def draw_pelvis(canvas: Canvas) -> None:
    """Wings of the ilium: thin curved shells."""
    for side in (-1.0, 1.0):
        wing = Solid((side * 64.0, 26.0, -215.0), (74.0, 62.0, 104.0), 2.2, (side * -20.0, 0.0, 0.0))
        window = canvas.around(wing)
        x, y, z = canvas.coordinates(window)
        r = wing(x, y, z)
        # Outer and rear half only: from the sacrum to the anterior iliac spine.
        shell = (side * x > 40.0) & (0.75 * (side * x - 64.0) + 0.65 * (y - 26.0) > 8.0) & (z < -112.0)
        canvas.fill(window, shell & (r < 1.0) & (r > 0.72), "cortical bone")
        canvas.fill(window, shell & (r < 0.94) & (r > 0.78), "spongiosa")
