"""Density and composition of voxels as the list of materials that Geant4 wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log

import numpy as np
import numpy.typing as npt

from dicomnode.model import Anatomy
from dicomnode.montecarlo.gate_data import ATOMIC_NUMBER
from dicomnode.physics.anatomy import anatomy_from_density
from dicomnode.physics.tissues import tissue

# Mean excitation energies of elements within liquids and solids, eV: ICRU Report 37 (1984), table 5.1 (H, C,
# N, O, Cl), and 1.13 times that of the element for the others (rule of the same table). Geant4 would
# take those of the elements: 69 eV for water made of H and O, in place of 75 eV.
EXCITATION_EV = {
    "H": 19.2, "C": 81.0, "N": 82.0, "O": 106.0, "Cl": 180.0,
    "Na": 1.13 * 149, "Mg": 1.13 * 156, "P": 1.13 * 173, "S": 1.13 * 180, "Ar": 1.13 * 188, "K": 1.13 * 190,
    "Ca": 1.13 * 191, "Ti": 1.13 * 233, "Fe": 1.13 * 286, "Zn": 1.13 * 330, "I": 1.13 * 491,
}  # fmt: skip
# Standard atomic weights (IUPAC 2021, abridged).
ATOMIC_WEIGHT = {
    "H": 1.008, "C": 12.011, "N": 14.007, "O": 15.999, "Na": 22.990, "Mg": 24.305, "P": 30.974, "S": 32.06,
    "Cl": 35.45, "Ar": 39.95, "K": 39.098, "Ca": 40.078, "Ti": 47.867, "Fe": 55.845, "Zn": 65.38, "I": 126.90,
}  # fmt: skip


@dataclass(frozen=True)
class Material:
    """One material of the simulation: composition by mass, density, mean excitation energy."""

    name: str
    fractions: Mapping[str, float]
    g_per_cm3: float

    @property
    def mean_excitation_ev(self) -> float:
        """By Bragg's rule (ICRU 37, equation 5.3): water 75.3 eV."""
        weight = {e: w * ATOMIC_NUMBER[e] / ATOMIC_WEIGHT[e] for e, w in self.fractions.items()}
        mean = sum(w * log(EXCITATION_EV[e]) for e, w in weight.items()) / sum(weight.values())
        return exp(mean)


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
        Material(f"m{k}", tissue(names[int(one) % len(names)]).mass_fractions, float(rho))
        for k, (one, rho) in enumerate(zip(used, mean, strict=True))
    )
    return label.astype(np.uint16), found


def _tissues(anatomy: Anatomy) -> tuple[npt.NDArray[np.uint16], tuple[str, ...]]:
    if anatomy.material is not None:
        return anatomy.material, anatomy.material_names
    made = anatomy_from_density(anatomy.density)
    assert made.material is not None  # by construction
    return made.material, made.material_names
