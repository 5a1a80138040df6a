"""A simulated patient: anatomy on a fine grid, and the activity of every region at any time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dicomnode.model import Administration, DensityMap, Grid, HuMap, LabelMap, TiaMap
from dicomnode.simulation import frame, viscera
from dicomnode.simulation.kinetics import Curve, remainder, uptake_and_washout
from dicomnode.simulation.shapes import Canvas
from dicomnode.simulation.tissues import TISSUE_INDEX, TISSUES

Size = Literal["full", "small"]

ADMINISTERED_MBQ = 7400.0
"""One cycle of 177Lu-DOTATATE (7.4 GBq by its label)."""
WHOLE_BODY_G = 73_000.0
"""Mass of the reference adult male, ICRP Publication 89 (2002), table 2.9; the phantom is the trunk only."""
GRID_MM: Mapping[Size, float] = {"full": 2.0, "small": 3.6}


@dataclass(frozen=True)
class Uptake:
    """Uptake of a region: MBq s per gram over all time per MBq administered is set by a dose.

    Attributes
    ----------
    gy_per_gbq : mean absorbed dose aimed at by the electrons alone, Gy per GBq administered
    effective_h : effective half-life, h
    parts : tissue -> relative concentration within the region
    side : +1 left, -1 right, 0 both
    """

    gy_per_gbq: float
    effective_h: float
    parts: Mapping[str, float]
    side: int = 0


# Effective half-lives: Haenscheid et al., J Nucl Med 59:75 (2018): kidney 51 h, spleen 67 h, liver 79 h,
# tumour 77 h. Doses per activity: kidney 0.46 (Staanum et al., EJNMMI Phys 2021; 0.43 +- 0.13 in Santoro et
# al., EJNMMI Res 2018), spleen 0.61 and liver 0.54 +- 0.58 (Santoro), of which 0.30; tumour 3.41 (61-patient
# series of 2013). Cortex against medulla about 2.5 to 1: our choice, after the two-compartment kidney of
# JNM 61:1178 (7.8 and 1.6 Gy).
KIDNEY = {"kidney cortex": 1.0, "kidney medulla": 0.40, "kidney pelvis": 0.15}
SOURCES: Mapping[str, Uptake] = {
    "liver": Uptake(0.30, 79.0, {"liver": 1.0}),
    "spleen": Uptake(0.70, 67.0, {"spleen": 1.0}),
    "kidney left": Uptake(0.46, 51.0, KIDNEY, side=1),
    "kidney right": Uptake(0.46, 51.0, KIDNEY, side=-1),
    "lesion liver": Uptake(3.41, 77.0, {"soft lesion": 1.0}),
    "lesion bone": Uptake(2.60, 77.0, {"bone lesion": 1.0}),
}
LU177_ELECTRON_J = 0.1473 * 1.602176634e-13
"""Energy of the electrons per decay of 177Lu, J (ICRP 107: 0.1473 MeV), to turn a dose into an uptake."""


@dataclass(frozen=True, eq=False)
class SimulatedPatient:
    """A patient whose anatomy and activities are known.

    Attributes
    ----------
    seed : of the generator
    size : "full" or "small": voxel sizes of the truth and of the scans to be made
    administration : 7.4 GBq of 177Lu
    grid : fine grid of the truth, in the patient's own frame
    tissue : uint8 (z, y, x), index into ``simulation.tissues.TISSUES``
    regions : LabelMap on ``grid`` of the source organs and lesions
    curves : region -> Curve; "remainder" is the rest of the whole body, of which the trunk holds a part
    """

    seed: int
    size: Size
    administration: Administration
    grid: Grid
    tissue: npt.NDArray[np.uint8]
    regions: LabelMap
    curves: Mapping[str, Curve]
    shares: Mapping[str, npt.NDArray[np.float32]]
    """region -> fraction of the region's activity per mL, for each tissue of ``TISSUES``."""

    def _lookup(self, values: list[float]) -> npt.NDArray[np.float32]:
        return np.asarray(np.array(values, dtype=np.float32)[self.tissue])

    @property
    def ct(self) -> HuMap:
        """Noise-free CT numbers on the fine grid."""
        return HuMap(self.grid, self._lookup([t.hu for t in TISSUES]))

    @property
    def density(self) -> DensityMap:
        """Mass density on the fine grid."""
        return DensityMap(self.grid, self._lookup([t.g_per_cm3 for t in TISSUES]))

    def mass_g(self, region: str) -> float:
        """True mass of a region, g."""
        table = np.array([t.g_per_cm3 for t in TISSUES])
        counts = np.bincount(self.tissue[self.regions.masks[region]], minlength=len(TISSUES))
        return float(counts @ table) * self.grid.voxel_ml

    def concentration(self, amounts: Mapping[str, float]) -> npt.NDArray[np.float32]:
        """A map of ``amounts`` (region -> any extensive quantity) per mL, at full sharpness."""
        field = (self.shares["remainder"] * np.float32(amounts["remainder"]))[self.tissue]
        for name, mask in self.regions.masks.items():
            if name in amounts:
                field[mask] = (self.shares[name] * np.float32(amounts[name]))[self.tissue[mask]]
        return np.asarray(field, dtype=np.float32)

    def activity_mbq(self, hours: float) -> dict[str, float]:
        """Activity of each region at a time, MBq."""
        return {name: curve.activity_mbq(hours) for name, curve in self.curves.items()}

    def tia(self) -> TiaMap:
        """True time-integrated activity map, MBq s / mL, without blur or noise."""
        return TiaMap(self.grid, self.concentration({n: c.tia_mbq_s for n, c in self.curves.items()}))


def make_patient(seed: int, *, size: Size = "full") -> SimulatedPatient:
    """A patient of a given seed: other seeds give other builds, organs and uptakes.

    The trunk is drawn from the sacrum to the fourth thoracic vertebra, longer than any scan of it, so that
    the scans cut it off as real ones do. Arms are held above the head.
    """
    from datetime import datetime, timedelta, timezone

    rng = np.random.default_rng([seed, 177])
    stretch = tuple(float(f) for f in 1.0 + 0.03 * np.clip(rng.normal(size=3), -2, 2))
    grid = _truth_grid(GRID_MM[size])
    tissue = _draw(Canvas(grid, (stretch[0], stretch[1], stretch[2])), rng)
    regions = _regions(grid, tissue)
    administration = Administration(
        "Lu-177",
        ADMINISTERED_MBQ,
        datetime(2026, 3, 2, 9, 30, tzinfo=timezone(timedelta(hours=1))),
        "177Lu-DOTATATE",
        source="simulated",
    )
    curves, shares = _kinetics(tissue, regions, rng)
    return SimulatedPatient(seed, size, administration, grid, tissue, regions, curves, shares)


def _truth_grid(voxel_mm: float) -> Grid:
    nx, ny, nz = (2 * round(extent / 2 / voxel_mm) for extent in (400.0, 270.0, 480.0))
    origin = tuple(-(n - 1) / 2 * voxel_mm for n in (nx, ny, nz))
    return Grid((nz, ny, nx), (voxel_mm,) * 3, (origin[0], origin[1], origin[2]))


def _draw(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    vary = viscera.Variation(rng)
    trunk = frame.Trunk(fat_mm=float(rng.uniform(11.0, 17.0)))
    abdomen = frame.draw_trunk(canvas, trunk)
    viscera.draw_bowel(canvas, abdomen, rng)
    viscera.draw_stomach(canvas, abdomen, vary)
    viscera.draw_spleen(canvas, abdomen, vary)
    viscera.draw_liver(canvas, abdomen, vary)
    frame.draw_vessels_and_heart(canvas)
    viscera.draw_kidneys(canvas, vary)
    frame.draw_pelvis(canvas)
    frame.draw_ribs(canvas, trunk)
    frame.draw_spine(canvas)
    viscera.draw_lesions(canvas, vary)
    canvas.tissue.flags.writeable = False
    return canvas.tissue


def _regions(grid: Grid, tissue: npt.NDArray[np.uint8]) -> LabelMap:
    left = (grid.origin_mm[0] + grid.spacing_mm[0] * np.arange(grid.shape_zyx[2])) > 0
    shares: dict[str, npt.NDArray[np.float32]] = {}
    for name, uptake in SOURCES.items():
        mask = np.isin(tissue, [TISSUE_INDEX[part] for part in uptake.parts])
        if uptake.side:
            mask &= left if uptake.side > 0 else ~left
        shares[name] = mask.astype(np.float32)
    volumes = {name: float(share.sum()) * grid.voxel_ml for name, share in shares.items()}
    return LabelMap(grid, shares, volumes)


def _kinetics(
    tissue: npt.NDArray[np.uint8], regions: LabelMap, rng: np.random.Generator
) -> tuple[dict[str, Curve], dict[str, npt.NDArray[np.float32]]]:
    density = np.array([t.g_per_cm3 for t in TISSUES])
    curves: dict[str, Curve] = {}
    shares: dict[str, npt.NDArray[np.float32]] = {}
    voxel_ml = regions.grid.voxel_ml
    for name, uptake in SOURCES.items():
        counts = np.bincount(tissue[regions.masks[name]], minlength=len(TISSUES))
        spread = float(np.exp(0.12 * np.clip(rng.normal(), -2, 2)))
        dose_gy = uptake.gy_per_gbq * ADMINISTERED_MBQ / 1000.0 * spread
        tia_mbq_s = dose_gy * float(counts @ density) * voxel_ml / 1000.0 / LU177_ELECTRON_J / 1e6
        unit = uptake_and_washout(1.0, uptake.effective_h)
        curves[name] = uptake_and_washout(tia_mbq_s / unit.tia_mbq_s, uptake.effective_h)
        relative = np.array([uptake.parts.get(t.name, 0.0) for t in TISSUES])
        shares[name] = (relative / (float(counts @ relative) * voxel_ml)).astype(np.float32)
    taken = sum(curve.amplitudes_mbq[0] for curve in curves.values())
    curves["remainder"] = remainder(ADMINISTERED_MBQ, taken, slow_fraction=0.22)
    shares["remainder"] = _remainder_share(tissue, regions, density, voxel_ml)
    return curves, shares


def _remainder_share(
    tissue: npt.NDArray[np.uint8], regions: LabelMap, density: npt.NDArray[np.float64], voxel_ml: float
) -> npt.NDArray[np.float32]:
    """Share per mL by tissue: weight times density; the trunk gets its part of the whole body's mass."""
    counts = np.bincount(tissue.ravel(), minlength=len(TISSUES)).astype(float)
    for mask in regions.masks.values():
        counts -= np.bincount(tissue[mask], minlength=len(TISSUES))
    weight = np.array([t.weight for t in TISSUES]) * density
    trunk_g = float(counts @ density) * voxel_ml
    weighted_g = float(counts @ weight) * voxel_ml
    return np.asarray(weight / weighted_g * (trunk_g / WHOLE_BODY_G), dtype=np.float32)
