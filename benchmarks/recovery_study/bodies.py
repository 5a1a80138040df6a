"""Simulated patients with small lesions added: truth on 2 mm, shares on the SPECT's grid, images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from dicomnode.model import Grid
from dicomnode.recovery.width import FWHM_PER_SIGMA
from dicomnode.simulation import make_patient
from dicomnode.simulation.scanner import (
    DURATION_S,
    POST_FILTER_FWHM_MM,
    SENSITIVITY_CPS_PER_MBQ,
    spect_grid,
)

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rng = np.random.Generator

ORGANS = ("liver", "spleen", "kidney left", "kidney right")
COARSE = 2
"""Places for lesions are looked for on every second voxel."""


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid added to a patient.

    Attributes
    ----------
    beside : region whose surface its depth is measured from
    volume_ml : of the ellipsoid
    contrast : its concentration over the liver's
    depth_mm : of its centre below that surface; negative outside
    core : concentration of its inner half (by radius) over that of its rim
    """

    name: str
    beside: str
    volume_ml: float
    contrast: float
    depth_mm: float
    core: float = 1.0


SEVEN = (
    Lesion("node 0.5 mL", "kidney left", 0.5, 12.0, -25.0),
    Lesion("liver 1 mL", "liver", 1.0, 8.0, 30.0),
    Lesion("liver 2 mL", "liver", 2.0, 8.0, 25.0),
    Lesion("dome 5 mL", "liver", 5.0, 8.0, 6.0),
    Lesion("node 6 mL", "spleen", 6.0, 10.0, -28.0),
    Lesion("rim 20 mL", "liver", 20.0, 8.0, -30.0, core=0.2),
    Lesion("mass 36 mL", "kidney right", 36.0, 8.0, -28.0),
)


@dataclass(frozen=True, eq=False)
class Body:
    """A patient at one instant.

    Attributes
    ----------
    fine, grid : grids of the truth (2 mm) and of the SPECT
    masks : region -> where it is on the fine grid
    tissue : where the patient is on the fine grid
    true : concentration on the fine grid, MBq/mL
    lesions : those that were added
    """

    seed: int
    fine: Grid
    grid: Grid
    masks: Mapping[str, Mask]
    tissue: Mask
    true: Float32
    lesions: tuple[Lesion, ...]
    depths: dict[str, tuple[tuple[slice, ...], Float32]] = field(default_factory=dict)

    def mean(self, name: str) -> float:
        """True mean concentration of a region, MBq/mL."""
        return float(self.true[self.masks[name]].mean(dtype=np.float64))

    def uniform(self, name: str) -> bool:
        return all(lesion.core == 1.0 for lesion in self.lesions if lesion.name == name)

    def image(
        self, fwhm_mm: float, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0), rng: Rng | None = None
    ) -> Float32:
        """The truth as a camera of this width shows it, MBq/mL; noise is Poisson before the last 6 mm."""
        after_mm = min(POST_FILTER_FWHM_MM, 0.7 * fwhm_mm)
        before = [
            np.sqrt(fwhm_mm**2 - after_mm**2) / FWHM_PER_SIGMA / s for s in reversed(self.fine.spacing_mm)
        ]
        sharp = gaussian_filter(self.true, before, truncate=4.0, mode="nearest")
        axes = []
        for i, n in enumerate(self.grid.shape_zyx):
            k = 2 - i
            mm = self.grid.origin_mm[k] + self.grid.spacing_mm[k] * np.arange(n) - shift_mm[k]
            axes.append((mm - self.fine.origin_mm[k]) / self.fine.spacing_mm[k])
        seen = map_coordinates(sharp, np.meshgrid(*axes, indexing="ij"), order=1, mode="nearest")
        if rng is not None:
            per = self.grid.voxel_ml * SENSITIVITY_CPS_PER_MBQ * DURATION_S
            seen = rng.poisson(np.maximum(seen, 0) * per) / per
        after = [after_mm / FWHM_PER_SIGMA / s for s in reversed(self.grid.spacing_mm)]
        return np.asarray(gaussian_filter(seen, after, truncate=4.0, mode="nearest"), np.float32)

    def shares(
        self, common_mm: float = 0.0, ragged_mm: float = 0.0, rng: Rng | None = None
    ) -> dict[str, Float32]:
        """Shares on the SPECT's grid of contours whose edges are off: all by ``common_mm`` (outwards), and by
        a field that varies over 8 mm."""
        if rng is None:
            return {name: self.share(mask) for name, mask in self.masks.items()}
        out = {}
        for name in self.masks:
            box, depth = self._depth(name)
            noise = gaussian_filter(rng.normal(size=depth.shape), 2.0)
            edge = common_mm + ragged_mm * noise / max(noise.std(), 1e-9)
            moved = np.zeros(self.fine.shape_zyx, np.float32)
            moved[box] = np.clip((depth + edge) / self.fine.spacing_mm[0] + 0.5, 0, 1) * self.tissue[box]
            out[name] = self.share(moved)
        return out

    def _depth(self, name: str) -> tuple[tuple[slice, ...], Float32]:
        """Depth below a region's surface, mm, in a box about it."""
        if name not in self.depths:
            mask, a = self.masks[name], self.fine.spacing_mm[0]
            where = np.argwhere(mask)
            low, high = np.maximum(where.min(0) - 5, 0), where.max(0) + 6
            box = tuple(slice(int(s), int(e)) for s, e in zip(low, high, strict=True))
            inside, outside = distance_transform_edt(mask[box]), distance_transform_edt(~mask[box])
            depth = np.where(mask[box], inside - 0.5, 0.5 - outside) * a
            self.depths[name] = (box, depth.astype(np.float32))
        return self.depths[name]

    def share(self, mask: Mask | Float32) -> Float32:
        """What part of each SPECT voxel a mask (or shares) of the fine grid fills; exact."""
        box = [np.flatnonzero(mask.any(axis=tuple(j for j in range(3) if j != i))) for i in range(3)]
        if not len(box[0]):
            return np.zeros(self.grid.shape_zyx, np.float32)
        cut = tuple(slice(int(b[0]), int(b[-1]) + 1) for b in box)
        wz, wy, wx = (_overlap(self.fine, self.grid, i)[:, cut[i]] for i in range(3))
        values = mask[cut].astype(np.float32)
        values = np.einsum("zk,kyx->zyx", wz, values, optimize=True)
        values = np.einsum("yk,zkx->zyx", wy, values, optimize=True)
        return np.clip(np.einsum("xk,zyk->zyx", wx, values, optimize=True), 0, 1).astype(np.float32)


def _overlap(fine: Grid, coarse: Grid, axis: int) -> Float32:
    """(coarse, fine) part of a coarse voxel's edge that each fine voxel covers, along z, y or x."""
    k = 2 - axis
    a, b = fine.spacing_mm[k], coarse.spacing_mm[k]
    f = fine.origin_mm[k] + a * (np.arange(fine.shape_zyx[axis]) - 0.5)
    c = coarse.origin_mm[k] + b * (np.arange(coarse.shape_zyx[axis]) - 0.5)
    common = np.minimum(f[None] + a, c[:, None] + b) - np.maximum(f[None], c[:, None])
    return (np.clip(common, 0, None) / b).astype(np.float32)


def make_body(seed: int, lesions: tuple[Lesion, ...] = SEVEN, *, hours: float = 72.0) -> Body:
    """The patient of a seed with those lesions that find a place; the part of it that the SPECT sees."""
    patient = make_patient(seed)
    true = patient.concentration(patient.activity_mbq(hours))
    masks, tissue = dict(patient.regions.masks), patient.tissue > 0
    liver = float(true[masks["liver"]].mean(dtype=np.float64))
    rng, added = np.random.default_rng([seed, 17]), []
    for lesion in lesions:
        placed = _place(patient.grid, masks, tissue, lesion, rng)
        if placed is None:
            continue
        box, radius = placed
        inside = np.zeros_like(tissue)
        inside[box] = radius <= 1.0
        true[inside] = lesion.contrast * liver
        core = np.zeros_like(tissue)
        core[box] = radius < 0.5
        true[core] *= lesion.core
        masks = {n: m & ~inside for n, m in masks.items()} | {lesion.name: inside}
        added.append(lesion)
    return Body(seed, patient.grid, _cropped(spect_grid(patient.size)), masks, tissue, true, tuple(added))


def _cropped(grid: Grid) -> Grid:
    """The trunk's part of the SPECT: 80 x 72 x 96 of 96 x 128 x 128 voxels."""
    nz, ny, nx = grid.shape_zyx
    z, y, x = (nz - 80) // 2, (ny - 72) // 2, (nx - 96) // 2
    origin = grid.to_patient_mm([x, y, z])
    return Grid((80, 72, 96), grid.spacing_mm, (float(origin[0]), float(origin[1]), float(origin[2])))


def _place(
    fine: Grid, masks: Mapping[str, Mask], tissue: Mask, lesion: Lesion, rng: Rng
) -> tuple[tuple[slice, ...], Float32] | None:
    """A box and the relative radius in it of an ellipsoid, clear of other regions and the skin."""
    a = fine.spacing_mm[0]
    few = (slice(None, None, COARSE),) * 3
    step = a * COARSE
    organ = masks[lesion.beside][few]
    depth = (distance_transform_edt(organ) - distance_transform_edt(~organ)) * step
    others = np.zeros_like(organ)
    for name, mask in masks.items():
        if name != lesion.beside:
            others |= mask[few]
    radius_mm = (3000.0 * lesion.volume_ml / 4 / np.pi) ** (1 / 3)
    clear = distance_transform_edt(~others) * step > radius_mm + 4.0
    clear &= distance_transform_edt(tissue[few]) * step > radius_mm + 8.0
    middle = organ.shape[0] // 2
    clear[: middle - 35] = clear[middle + 35 :] = False
    candidates = np.argwhere((np.abs(depth - lesion.depth_mm) < 2.5) & clear)
    if not len(candidates):
        return None
    centre = candidates[rng.integers(len(candidates))] * COARSE + rng.uniform(-0.5, 0.5, 3)
    stretch = np.exp(0.12 * np.clip(rng.normal(size=3), -2, 2))
    semi = radius_mm * stretch / np.prod(stretch) ** (1 / 3) / a
    reach = int(np.ceil(semi.max())) + 2
    box = tuple(
        slice(max(int(c) - reach, 0), min(int(c) + reach + 1, n))
        for c, n in zip(centre, tissue.shape, strict=True)
    )
    axes = np.ogrid[box]
    radius = np.sqrt(sum(((g - c) / s) ** 2 for g, c, s in zip(axes, centre, semi, strict=True)))
    return box, radius.astype(np.float32)
