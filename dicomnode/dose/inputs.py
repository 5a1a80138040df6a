"""What every engine asks of its arguments, and the mass that dose is divided by."""

from __future__ import annotations

from math import log

import numpy as np
import numpy.typing as npt

from dicomnode.dose.engine import Capability
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import Anatomy, DoseMap, EnergyBalance, Nuclide, TiaMap
from dicomnode.physics.chains import BRANCHES, has_progeny
from dicomnode.physics.kernels import JOULE_PER_MEV, PointKernel

Float64 = npt.NDArray[np.float64]

DECAYS_PER_MBQ_S = 1e6


def require_inputs(tia: TiaMap, anatomy: Anatomy, nuclide: Nuclide, capability: Capability) -> None:
    """Refuse what the engine was not made for.

    Raises
    ------
    Inconsistent : the grids differ, or the TIA is negative somewhere
    OutOfDomain : nuclide, voxel size or density not covered, or progeny not stated
    """
    if not tia.grid.matches(anatomy.grid):
        raise Inconsistent(
            f"TIA and anatomy lie on different grids: {tia.grid.shape_zyx} of {tia.grid.spacing_mm} mm at "
            f"{tia.grid.origin_mm}, and {anatomy.grid.shape_zyx} of {anatomy.grid.spacing_mm} mm at "
            f"{anatomy.grid.origin_mm}. Resample one onto the other"
        )
    negative = int(np.count_nonzero(tia.mbq_s_per_ml < 0))
    if negative:
        low = float(tia.mbq_s_per_ml.min())
        raise Inconsistent(
            f"the TIA is negative in {negative} voxels (lowest {low:.4g} MBq s/mL); set them to zero or "
            f"correct the fit, and say so"
        )
    _require_nuclide(nuclide, capability)
    for edge in tia.grid.spacing_mm:
        if not capability.voxel_mm[0] <= edge <= capability.voxel_mm[1]:
            low_mm, high_mm = capability.voxel_mm
            raise OutOfDomain("voxel edge", edge, "mm", f"{low_mm} to {high_mm} mm")
    _require_density(anatomy, capability)


def _require_nuclide(nuclide: Nuclide, capability: Capability) -> None:
    if has_progeny(nuclide.name) and nuclide.name not in BRANCHES:
        known = ", ".join(sorted(BRANCHES))
        raise OutOfDomain("nuclide with progeny of no known chain", nuclide.name, "", f"chains of {known}")
    if has_progeny(nuclide.name):
        remedy = (
            "state them: [dose] progeny in config.toml, --progeny on the command line, "
            "physics.chains.with_progeny"
        )
        raise OutOfDomain("nuclide with radioactive progeny not stated", nuclide.name, "", remedy)
    if capability.nuclides is not None and nuclide.name not in capability.nuclides:
        raise OutOfDomain("nuclide", nuclide.name, "", ", ".join(sorted(capability.nuclides)))


def _require_density(anatomy: Anatomy, capability: Capability) -> None:
    low, high = capability.density_g_per_cm3
    values = anatomy.density.g_per_cm3
    for value in (float(values.min()), float(values.max())):
        if not low <= value <= high:
            raise OutOfDomain("density", f"{value:.5g}", "g/cm3", f"{low} to {high} g/cm3")


# Bundled kernels hold it to 2e-6 (tests/physics/test_kernels.py).
KERNEL_ENERGY = 1e-3


def require_energy(kernel: PointKernel, nuclide: Nuclide) -> None:
    """Refuse a kernel that does not hold what the nuclide emits: made for another, or of other emissions.

    Raises
    ------
    Inconsistent : the energy per decay differs by more than 0.1 %
    """
    energy = nuclide.energy
    emitted = energy.electron_mev + energy.photon_mev + energy.positron_mev
    if abs(kernel.total_mev - emitted) > KERNEL_ENERGY * emitted:
        raise Inconsistent(
            f"the kernel of {nuclide.name} in {kernel.medium} holds {kernel.total_mev:.5g} MeV per decay, "
            f"the nuclide emits {emitted:.5g} MeV as electrons and photons; make it again with "
            "`dicomnode kernels --all-media`"
        )


def decays(tia: TiaMap) -> Float64:
    """Decays in each voxel."""
    return tia.mbq_s_per_ml.astype(np.float64) * (tia.grid.voxel_ml * DECAYS_PER_MBQ_S)


def emitted_j(tia: TiaMap, nuclide: Nuclide) -> float:
    """Energy that all decays emit, J."""
    energy = nuclide.energy
    mev = energy.electron_mev + energy.photon_mev + energy.positron_mev + energy.alpha_mev
    return tia.total_mbq_s * DECAYS_PER_MBQ_S * mev * JOULE_PER_MEV


def scaling_density(anatomy: Anatomy, minimum_g_per_cm3: float) -> Float64:
    """Density by which energy is turned into dose, g/cm3: never below the minimum."""
    return np.maximum(anatomy.density.g_per_cm3.astype(np.float64), minimum_g_per_cm3)


def voxel_mass_kg(density_g_per_cm3: Float64, voxel_ml: float) -> Float64:
    """Mass of each voxel, kg."""
    return density_g_per_cm3 * (voxel_ml * 1e-3)


def zero_dose(tia: TiaMap, medium: str) -> DoseMap:
    """Exactly no dose, for a TIA that is zero everywhere."""
    nothing = np.zeros(tia.grid.shape_zyx, np.float32)
    return DoseMap(tia.grid, nothing, nothing, EnergyBalance(0.0, 0.0, 0.0), medium)


def largest_step(values: Float64, reach_zyx: tuple[int, int, int] | None = None) -> Float64:
    """Largest absolute difference of each voxel to those around it.

    ``reach_zyx`` : voxels to look along z, y, x, diagonals included, with zero beyond the grid; None: the
    six face neighbours, with nothing beyond it
    """
    from scipy import ndimage

    if reach_zyx is None:
        near = ndimage.generate_binary_structure(3, 1)
        highest = ndimage.maximum_filter(values, footprint=near, mode="nearest")
        lowest = ndimage.minimum_filter(values, footprint=near, mode="nearest")
    else:
        size = [2 * n + 1 for n in reach_zyx]
        highest = ndimage.maximum_filter(values, size=size, mode="constant")
        lowest = ndimage.minimum_filter(values, size=size, mode="constant")
    return np.asarray(np.maximum(highest - values, values - lowest))


def mean_range_mm(electron_mev: float) -> float:
    """About the mean distance at which electrons leave their energy, mm in water.

    Range of Katz and Penfold (Rev Mod Phys 24 (1952) 28): R = 0.412 E^(1.265 - 0.0954 ln E) g/cm2, at the
    mean energy per decay. Against the EGSnrc kernels: 177Lu 0.22 (0.25), 131I 0.36 (0.39), 90Y 3.8 mm
    (2.7 mm; an overestimate, on the safe side).
    """
    if electron_mev <= 0:
        return 0.0
    return 10 * 0.412 * float(electron_mev ** (1.265 - 0.0954 * log(electron_mev)))


def face_crossing(nuclide: Nuclide, spacing_mm: tuple[float, float, float]) -> float:
    """Mean number of voxel faces that an electron crosses at unit density: R / 2 sum(1 / a).

    R is the mean range and a are the voxel edges; a displacement R in a random direction has the mean
    projection R / 2 on each axis, and a point uniform in a box crosses a face with that over the edge.
    """
    range_mm = mean_range_mm(nuclide.energy.electron_mev + nuclide.energy.positron_mev)
    return range_mm / 2 * sum(1 / edge for edge in spacing_mm)
