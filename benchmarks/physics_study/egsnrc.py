"""The EGSnrc references (shared/reference/egsnrc; its README says how they were made), and their phantom."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.model import Anatomy, DensityMap, Grid, TiaMap
from dicomnode.montecarlo.settings import TransportSettings
from dicomnode.montecarlo.simulate import Deposit, Problem, simulate
from dicomnode.montecarlo.source import members
from dicomnode.physics.interactions import Medium
from dicomnode.physics.kernels import JOULE_PER_MEV
from dicomnode.physics.nuclides import nuclide

SHARED = Path(os.environ.get("DICOMNODE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
REFERENCE = SHARED / "reference" / "egsnrc"
NUCLIDES = ("Lu-177", "Y-90", "I-131")
REGIONS = ("source in tissue", "in lung", "in bone", "rest of tissue", "of lung", "of bone")
Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Its README, "Media".
MEDIA = (
    Medium("soft", 1.04, ((1, 0.101172), (6, 0.111), (7, 0.026), (8, 0.761828))),
    Medium(
        "lung", 0.26,
        ((1, 0.103), (6, 0.105), (7, 0.031), (8, 0.749), (11, 0.002), (15, 0.002), (16, 0.003), (17, 0.003),
         (19, 0.002)),
    ),
    Medium(
        "bone", 1.85,
        ((1, 0.047234), (6, 0.14433), (7, 0.04199), (8, 0.446096), (12, 0.0022), (15, 0.10497), (16, 0.00315),
         (20, 0.20993), (30, 0.0001)),
    ),
)  # fmt: skip


def bare(name: str) -> str:
    return name.replace("-", "")


def has_component(name: str, which: str) -> bool:
    """Whether the reference has the point kernel of this component."""
    return f"r_edges_mm_{which}" in np.load(REFERENCE / f"dpk_water_{bare(name)}.npz")


def shells(name: str, which: str) -> tuple[Array, Array, Array]:
    """(edges in mm, MeV per decay by shell, sigma) of a point source in water, at nominal energy."""
    data = np.load(REFERENCE / f"dpk_water_{bare(name)}.npz")
    info = dict(zip(data["info_fields"].tolist(), data[f"info_{which}"].tolist(), strict=True))
    scale = info["MeV_per_decay_nominal"] / info["MeV_per_decay_sampled"]
    energy, sigma = data[f"E_MeV_per_decay_{which}"] * scale, data[f"E_sigma_{which}"] * scale
    return data[f"r_edges_mm_{which}"], energy, sigma


def joined(edges: Array, energy: Array, sigma: Array) -> Array:
    """Shells joined to 0.4 %: rows of (inner, outer, energy, sigma)."""
    rows, start = [], 0
    for stop in range(1, len(edges)):
        total, deviation = energy[start:stop].sum(), np.sqrt((sigma[start:stop] ** 2).sum())
        if deviation <= 0.004 * total and edges[stop] >= 1.08 * edges[start]:
            rows.append((edges[start], edges[stop], total, deviation))
            start = stop
    return np.array(rows)


@dataclass(frozen=True, eq=False)
class Phantom:
    """Phantom a: 40 x 40 x 40 voxels of 4 mm, tissue with lung and bone, a source in each; 1e12 decays."""

    grid: Grid
    anatomy: Anatomy
    tia: TiaMap
    material: npt.NDArray[np.int64]
    regions: tuple[Mask, ...]

    @property
    def kg(self) -> Array:
        return self.anatomy.density.mass_g.astype(np.float64) * 1e-3


@cache
def phantom() -> Phantom:
    maps = np.load(REFERENCE / "phantom_a_maps.npz")
    turned = {key: np.ascontiguousarray(maps[key].transpose(2, 1, 0)) for key in maps if maps[key].ndim == 3}
    shape = turned["density_g_cm3"].shape
    grid = Grid(shape, (4.0, 4.0, 4.0))
    anatomy = Anatomy(DensityMap(grid, turned["density_g_cm3"]), np.ones(shape, bool))
    tia = TiaMap(grid, turned["source_fraction"] * (1e6 / grid.voxel_ml))
    label, material = turned["region_label"], turned["material_index"].astype(int)
    regions = [label == n for n in (1, 2, 3)] + [(label == 0) & (material == n) for n in range(3)]
    return Phantom(grid, anatomy, tia, material, tuple(regions))


def phantom_gy(name: str) -> tuple[Array, Array]:
    """(dose of 1e12 decays by EGSnrc, its variance), all emissions."""
    data = np.load(REFERENCE / f"phantom_a_dose_{bare(name)}.npz")
    gy = np.zeros(phantom().grid.shape_zyx)
    variance = np.zeros_like(gy)
    for part in ("electron", "photon"):
        if f"D_{part}" in data:
            dose = data[f"D_{part}"].astype(float).transpose(2, 1, 0)
            gy += dose
            variance += np.nan_to_num(dose * data[f"relsigma_{part}"].astype(float).transpose(2, 1, 0)) ** 2
    return gy * 1e12, variance * 1e24


@cache
def ours_in_phantom(name: str, decays: float) -> Deposit:
    """Our Monte Carlo in the phantom and in the media of the reference, for 1e12 decays."""
    given = phantom()
    source = given.tia.mbq_s_per_ml.astype(float) * given.grid.voxel_ml * 1e6
    problem = Problem(
        source, given.anatomy.density.g_per_cm3, given.material, MEDIA, given.grid.spacing_mm,
        members(nuclide(name)),
    )  # fmt: skip
    return simulate(problem, TransportSettings(decays=decays, threads=1), 5, lambda _done, _what: None)


def ours_gy(name: str, decays: float) -> tuple[Array, Array]:
    """(dose of 1e12 decays by our Monte Carlo, its variance)."""
    found, per = ours_in_phantom(name, decays), JOULE_PER_MEV / phantom().kg
    return found.mev * per, (found.sigma_mev * per) ** 2
