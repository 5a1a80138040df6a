"""Density and composition of voxels as the list of materials that Geant4 wants."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

from dicomnode.model import Anatomy
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.tissues import Tissue, tissue


@dataclass(frozen=True)
class Material:
    """One material of the simulation."""

    name: str
    composition: Tissue
    g_per_cm3: float

    @property
    def mean_excitation_ev(self) -> float:
        """By Bragg's rule for compounds, water 75 eV. Geant4 by itself takes elements: 69 eV for water."""
        return medium_of(self.composition, self.g_per_cm3).mean_excitation_ev


def materials_of(
    anatomy: Anatomy, density_step: float
) -> tuple[npt.NDArray[np.uint16], tuple[Material, ...]]:
    """(index of the material of each voxel, the materials).

    Densities of one tissue that differ by less than ``density_step`` (relative) become one material with
    their mean. Without materials in the anatomy composition follows from density along the Schneider line.

    Raises
    ------
    OutOfDomain : unknown tissue
    """
    density = anatomy.density.g_per_cm3.astype(np.float64)
    index, names = _tissues(anatomy)
    step = np.rint(np.log(density) / log(1 + density_step)).astype(np.int64)
    key = step * len(names) + index
    used, label, count = np.unique(key, return_inverse=True, return_counts=True)
    label = label.reshape(density.shape)
    mean = np.bincount(label.reshape(-1), density.reshape(-1)) / count
    found = tuple(
        Material(f"m{k}", tissue(names[int(one) % len(names)]), float(rho))
        for k, (one, rho) in enumerate(zip(used, mean, strict=True))
    )
    return label.astype(np.uint16), found


def _tissues(anatomy: Anatomy) -> tuple[npt.NDArray[np.uint16], tuple[str, ...]]:
    if anatomy.material is not None:
        return anatomy.material, anatomy.material_names
    made = anatomy_from_density(anatomy.density)
    assert made.material is not None  # by construction
    return made.material, made.material_names
