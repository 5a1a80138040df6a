"""Simulated torsos: 4.8 mm voxels, lung bases to below the kidneys, uptakes of every organ varied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dicomnode.model import Anatomy, Grid, HuMap, TiaMap
from dicomnode.physics.anatomy import anatomy_from_ct
from dicomnode.simulation.patient import make_patient
from dicomnode.simulation.tissues import TISSUES

Array = np.ndarray

EDGE_MM = 4.8
SLICES = 40
BLUR_MM = 8.0  # FWHM: a SPECT after reconstruction
TEXTURE, UPTAKE_SPREAD = 0.15, 0.5
TISSUES_OF = {
    "kidney": ("kidney cortex", "kidney medulla"),
    "marrow": ("spongiosa",),
    "liver": ("liver",),
    "spleen": ("spleen",),
    "lung": ("lung",),
    "tumours": ("soft lesion", "bone lesion"),
    "bone": ("cortical bone",),
    "rest": ("muscle", "adipose", "blood", "myocardium", "stomach wall", "gut wall", "contents"),
}


@dataclass(frozen=True, eq=False)
class Case:
    """One patient: what an engine is given, and region -> mask."""

    seed: int
    tia: TiaMap
    anatomy: Anatomy
    regions: dict[str, Array]


def torso(seed: int) -> Case:
    """The patient of a seed; its uptakes are not those of ``make_patient`` but vary by exp(0.5 N)."""
    patient = make_patient(seed, size="small")
    rng = np.random.default_rng([seed, 1848])
    amounts = {n: c.tia_mbq_s * np.exp(UPTAKE_SPREAD * rng.normal()) for n, c in patient.curves.items()}
    share = patient.grid.spacing_mm[0] / EDGE_MM
    hu = ndimage.zoom(patient.ct.hu, share, order=1, grid_mode=True, mode="nearest")
    tissue = ndimage.zoom(patient.tissue, share, order=0, grid_mode=True, mode="nearest")
    tia = ndimage.zoom(patient.concentration(amounts), share, order=1, grid_mode=True, mode="nearest")
    kept = _window(tissue)
    hu, tissue, tia = (a[kept] for a in (hu, tissue, tia))
    tia = ndimage.gaussian_filter(tia, BLUR_MM / 2.355 / EDGE_MM)
    texture = ndimage.gaussian_filter(rng.normal(size=tia.shape), 1.0)
    tia = np.maximum(tia * (1 + TEXTURE * texture / texture.std()), 0.0)
    grid = Grid(tia.shape, (EDGE_MM,) * 3)
    anatomy = anatomy_from_ct(HuMap(grid, hu))
    tia = np.where(anatomy.body & (hu > -900), tia, 0.0)
    return Case(seed, TiaMap(grid, tia), anatomy, _regions(tissue, anatomy))


def _window(tissue: Array) -> tuple[slice, slice, slice]:
    """Slices from ten below the middle of the kidneys; the body's box across."""
    names = [t.name for t in TISSUES]
    kidneys = np.isin(tissue, [names.index("kidney cortex")]).any(axis=(1, 2))
    first = max(int(np.flatnonzero(kidneys).mean()) - 14, 0)
    solid = (tissue != names.index("air")).any(axis=0)
    rows, columns = (np.flatnonzero(solid.any(axis=axis)) for axis in (1, 0))
    return (
        slice(first, first + SLICES),
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
    )


def _regions(tissue: Array, anatomy: Anatomy) -> dict[str, Array]:
    names = [t.name for t in TISSUES]
    rho, body = anatomy.density.g_per_cm3, anatomy.body
    counted = body & (rho > 0.15)  # voxels half of air have errors of their own
    found = {
        region: counted & np.isin(tissue, [names.index(n) for n in kinds])
        for region, kinds in TISSUES_OF.items()
    }
    step = ndimage.maximum_filter(rho, 3) - ndimage.minimum_filter(rho, 3)
    skin = body & ~ndimage.binary_erosion(body, border_value=1)
    return found | {"steps": counted & ~skin & (step > 0.3), "skin": counted & skin, "body": counted}
