"""The phantom's organs: liver, spleen, kidneys, stomach, gut, and two lesions.

Sizes are set so that the volumes lie near the reference masses of ICRP Publication 89 (2002), table 2.8
(adult male): liver 1800 g, spleen 150 g, both kidneys 310 g, stomach wall 150 g with contents 250 g.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dicomnode.simulation.frame import VERTEBRA_PITCH_MM, diaphragm, spine_y
from dicomnode.simulation.shapes import Canvas, Mask, Point, Solid, distance_to_path

LARGE_BOWEL = (
    (-98, -6, -178), (-104, -6, -120), (-108, 0, -62), (-84, -50, -58), (-30, -72, -84), (25, -74, -88),
    (72, -62, -60), (106, -6, -14), (110, 8, -60), (108, 6, -130), (92, 6, -200),
)  # fmt: skip


class Variation:
    """Seeded differences between patients: sizes and places of organs."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def size(self, spread: float = 0.04) -> float:
        """A factor near 1 on a length; within two standard deviations."""
        return 1.0 + spread * float(np.clip(self._rng.normal(), -2, 2))

    def place(self, center_mm: Point, spread_mm: float = 3.0) -> Point:
        """A centre moved a little."""
        x, y, z = (c + spread_mm * float(np.clip(self._rng.normal(), -2, 2)) for c in center_mm)
        return x, y, z


def _scaled(semi_mm: Point, factor: float) -> Point:
    return semi_mm[0] * factor, semi_mm[1] * factor, semi_mm[2] * factor


def draw_bowel(canvas: Canvas, abdomen: Mask, rng: np.random.Generator) -> None:
    """Small bowel as a folded tube, large bowel as a frame around it with contents and gas."""
    rows = [
        (side * 58.0 + rng.normal(0, 12), y + rng.normal(0, 6), z + 9.0 * side + rng.normal(0, 5))
        for row, z in enumerate(np.arange(-92.0, -225.0, -29.0))
        for y in (-56.0, -27.0, 2.0)
        for side in ((-1.0, 0.0, 1.0) if (row + round(y)) % 2 else (1.0, 0.0, -1.0))
    ]
    _draw_tube(canvas, abdomen, np.array(rows), 13.0, 10.5, gas_above_mm=6.5)
    frame = np.array(LARGE_BOWEL, dtype=float) + rng.normal(0, 2.5, (len(LARGE_BOWEL), 3))
    _draw_tube(canvas, abdomen, frame, 20.0, 17.0, gas_above_mm=5.0)


def _draw_tube(
    canvas: Canvas,
    abdomen: Mask,
    path: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    radius_mm: float,
    inner_mm: float,
    *,
    gas_above_mm: float,
) -> None:
    """A tube along ``path``; its inside is contents, with gas where it lies well above the path."""
    for start, end in pairwise(path):
        low, high = np.minimum(start, end) - radius_mm - 4, np.maximum(start, end) + radius_mm + 4
        window = canvas.window(tuple(low), tuple(high))
        x, y, z = canvas.coordinates(window)
        along = np.array([start, end])
        folds = np.float32(1.5) * np.sin((x + y + z) / np.float32(7.0))
        distance = distance_to_path(along, x, y, z) + folds
        canvas.fill(window, distance < radius_mm, "gut wall", abdomen)
    for start, end in pairwise(path):
        low, high = np.minimum(start, end) - radius_mm - 4, np.maximum(start, end) + radius_mm + 4
        window = canvas.window(tuple(low), tuple(high))
        x, y, z = canvas.coordinates(window)
        folds = np.float32(1.5) * np.sin((x + y + z) / np.float32(7.0))
        inside = distance_to_path(np.array([start, end]), x, y, z) + folds < inner_mm
        canvas.fill(window, inside, "contents", abdomen)
        middle = (start + end) / 2
        pocket = (y < middle[1] - gas_above_mm) & (np.sin(x / 17.0 + z / 23.0) > 0.2)
        canvas.fill(window, inside & pocket, "gas", abdomen)


def draw_stomach(canvas: Canvas, abdomen: Mask, vary: Variation) -> None:
    """Stomach with wall, contents, and the gas that rises to the front of a supine patient."""
    factor, center = vary.size(), vary.place((56, -34, 34))
    turn = (20.0, 0.0, 20.0)
    outer = Solid(center, _scaled((40, 33, 56), factor), 2.2, turn)
    inner = Solid(center, _scaled((36.5, 29.5, 52.5), factor), 2.2, turn)
    canvas.draw(outer, "stomach wall", abdomen)
    antrum = Solid((20, -48, -12), _scaled((38, 20, 19), factor), 2.2, (15, 25, 0))
    canvas.draw(antrum, "stomach wall", abdomen)
    canvas.draw(Solid(antrum.center_mm, _scaled((34, 16, 15), factor), 2.2, (15, 25, 0)), "contents", abdomen)
    window = canvas.around(inner)
    x, y, z = canvas.coordinates(window)
    inside = inner(x, y, z) <= 1
    canvas.fill(window, inside, "contents", abdomen)
    canvas.fill(window, inside & (y < center[1] - 11), "gas", abdomen)


def draw_spleen(canvas: Canvas, abdomen: Mask, vary: Variation) -> None:
    """A curved slab under the left dome."""
    spleen = Solid(vary.place((97, 38, 38)), _scaled((25, 40, 52), vary.size()), 2.2, (-32, -12, 18))
    window = canvas.around(spleen)
    x, y, z = canvas.coordinates(window)
    u, v, w = spleen.local(x, y, z)
    bent = np.abs(u + 0.45 * (v * v + 0.6 * w * w) - 0.2) ** 2.2 + np.abs(v) ** 2.2 + np.abs(w) ** 2.2
    hollow = (u + 0.75) ** 2 / 0.30 + v * v / 0.5 + w * w / 0.35 < 1.0
    canvas.fill(window, (bent <= 1.0) & ~hollow, "spleen", abdomen)


def draw_liver(canvas: Canvas, abdomen: Mask, vary: Variation) -> None:
    """Right lobe under the dome, left lobe tapering across the midline, cut by the cavity."""
    factor, shift = vary.size(0.03), vary.place((0, 0, 0), 2.5)
    right = Solid(
        (-66 + shift[0], -8 + shift[1], 26 + shift[2]), _scaled((82, 76, 84), factor), 2.4, (8, 14, 0)
    )
    left = Solid(
        (-4 + shift[0], -40 + shift[1], 50 + shift[2]), _scaled((72, 36, 36), factor), 2.0, (6, -6, 0), 0.45
    )
    window = canvas.window((-175, -110, -85), (95, 100, 120))
    x, y, z = canvas.coordinates(window)
    shelf = z > -60.0 + 0.0040 * np.square(x + 130.0) + 0.22 * y  # the lower edge rises to the left
    under = (z < diaphragm(x, y) - 3.0) & shelf
    inside = ((right(x, y, z) <= 1.0) | (left(x, y, z) <= 1.0)) & under
    # Bed of the right kidney and the porta hepatis.
    inside &= ~(((x + 58) / 36) ** 2 + ((y - 52) / 30) ** 2 + ((z + 30) / 64) ** 2 < 1.0)
    inside &= ~(((x + 16) / 26) ** 2 + ((y - 14) / 22) ** 2 + ((z - 18) / 26) ** 2 < 1.0)
    canvas.fill(window, inside, "liver", abdomen)
    canvas.draw(Solid((16, -14, 0), (50, 11, 14), turn_deg=(14, -16, 0)), "gut wall", abdomen)  # pancreas
    gallbladder = Solid((-58, -44, -30), (15, 18, 30), turn_deg=(0, 15, -20))
    canvas.draw(gallbladder, "contents", abdomen)


def draw_kidneys(canvas: Canvas, vary: Variation) -> None:
    """Bean shapes with cortex, pyramids of medulla and a pelvis (70, 25, 5 % by ICRP 89)."""
    for side, center in ((1.0, (60.0, 46.0, -16.0)), (-1.0, (-60.0, 46.0, -32.0))):
        turn = (side * 28.0, side * 9.0, 10.0)
        kidney = Solid(vary.place(center), _scaled((29.7, 24.0, 52.5), vary.size(0.035)), 2.1, turn)
        window = canvas.around(kidney)
        x, y, z = canvas.coordinates(window)
        u, v, w = kidney.local(x, y, z)
        u = u * np.float32(side)  # outwards positive on both sides
        bent = u + 0.30 * w * w - 0.12
        r = np.sqrt(bent * bent + v * v + w * w)
        hilum = (u + 0.78) ** 2 / 0.16 + v * v / 0.12 + w * w / 0.07 < 1.0
        pyramids = np.cos(8.0 * np.arctan2(w, bent)) > -0.35
        inside = (r <= 1.0) & ~hilum
        canvas.fill(window, inside, "kidney cortex")
        canvas.fill(window, inside & (r > 0.40) & (r < 0.74) & pyramids, "kidney medulla")
        pelvis = (r <= 0.40) | ((np.abs(w) < 0.22) & (np.abs(v) < 0.2) & (bent < 0))
        canvas.fill(window, inside & pelvis, "kidney pelvis")


def draw_lesions(canvas: Canvas, vary: Variation) -> None:
    """A metastasis in the right lobe of the liver, and one within the third lumbar vertebra."""
    metastasis = Solid(vary.place((-92, -14, 24), 6.0), _scaled((17, 16, 15), vary.size(0.06)))
    canvas.draw(metastasis, "soft lesion")
    z = -2.0 * VERTEBRA_PITCH_MM
    y = float(spine_y(np.array(z, dtype=np.float32)))
    bone = Solid(vary.place((-7.0, y - 1.0, z), 1.0), _scaled((14.5, 14, 11.5), vary.size(0.05)))
    canvas.draw(bone, "bone lesion")
