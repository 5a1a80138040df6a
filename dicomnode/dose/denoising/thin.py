"""Electrons beside lung and gas: those of sources near them by transport, as a correction of the kernels.

The kernel of the source's medium takes all around to be as the source. Electrons of 90Y cross several voxels
of lung, where it is off by 13 to 34 % rms. Sources within ``SOURCES_MM`` of thin tissue are transported, and
no others, so that no history is spent elsewhere; their ratio to the kernels is fitted to the density around,
smoothed, and shrunk, as that of photons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dicomnode.dose.denoising.columns import GAS_BELOW, LUNG_BELOW, classes
from dicomnode.dose.denoising.correction import agreed
from dicomnode.dose.denoising.fit import Smoother
from dicomnode.dose.density_steps import THINNEST_G_PER_CM3
from dicomnode.dose.inputs import mean_range_mm
from dicomnode.model import Anatomy, Nuclide, TiaMap

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

SOURCES_MM = 20.0
"""Range of the fastest electrons of 90Y in tissue and lung together, about (prototype: 20 mm were enough)."""
CROSSING = 0.3
"""Mean range in lung, in voxels, from which electrons beside lung are transported: 131I up to 4.8 mm."""
FAINTEST = 1e-6


@dataclass(frozen=True, eq=False)
class Thin:
    """What is transported: the TIA of sources near thin tissue, and the voxels that they may reach."""

    tia: TiaMap
    targets: Bool


def thin_tissue(tia: TiaMap, anatomy: Anatomy, nuclide: Nuclide) -> Thin | None:
    """None where electrons stay in their voxel, or where there is no thin tissue near a source."""
    reach_mm = mean_range_mm(nuclide.energy.electron_mev + nuclide.energy.positron_mev) / THINNEST_G_PER_CM3
    thin = anatomy.body & (anatomy.density.g_per_cm3 < LUNG_BELOW)
    if reach_mm < CROSSING * min(tia.grid.spacing_mm) or not thin.any():
        return None
    near = within(thin, SOURCES_MM, tia.grid.spacing_mm[::-1])
    values = np.where(near, tia.mbq_s_per_ml, 0.0)
    if not values.any():
        return None
    targets = anatomy.body & within(values > 0, SOURCES_MM, tia.grid.spacing_mm[::-1])
    return Thin(replace(tia, mbq_s_per_ml=values), targets)


def within(mask: Bool, mm: float, spacing_zyx: tuple[float, ...]) -> Bool:
    """Voxels no farther than so many mm from those of a mask."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_zyx) <= mm)


def thin_columns(density: Float32, targets: Bool, by_target: Float64) -> Float32:
    """(voxels, columns): the density around, and the target's kernel over the source's, less one."""
    from scipy import ndimage

    rho = np.maximum(density, GAS_BELOW)
    own, kind = rho[targets], classes(density)[targets]
    lung = np.clip((0.85 - own) / 0.6, 0.0, 1.0)
    around = [np.clip(ndimage.uniform_filter(rho, n)[targets] / own - 1, -1, 5) for n in (3, 5, 9)]
    highest = np.clip(ndimage.maximum_filter(rho, 3)[targets] - own, 0, 1.5)
    lowest = own - ndimage.minimum_filter(rho, 3)[targets]
    ratio = np.clip(by_target, -1, 3)
    found = [
        np.ones_like(own), kind == 1, kind == 2, np.log(own), np.log(own) ** 2, *around, highest, lowest,
        *(lung * c for c in around), lung * highest, lung * lowest, ratio, lung * ratio,
    ]  # fmt: skip
    return np.stack(found, axis=1).astype(np.float32)


def thin_correction(
    transport: Float64, source: Float64, target: Float64, density: Float32, targets: Bool,
    spacing_zyx: tuple[float, ...],
) -> tuple[Float64, Float64]:  # fmt: skip
    """(what is to be added to the electrons by kernels, its noise), MeV (z, y, x).

    Parameters
    ----------
    transport : (2, z, y, x) halves, MeV; of the sources near thin tissue alone, as the others
    source, target : by kernels of the source's and of the target's medium, MeV
    targets : voxels that are corrected
    """
    kernel = np.maximum(source[targets], FAINTEST * source.max())
    phi = thin_columns(density, targets, target[targets] / kernel - 1)
    smoother = Smoother(targets, classes(density)[targets], kernel, spacing_zyx)
    mev, noise = agreed(transport[:, targets], phi, smoother)
    added, sigma = np.zeros((2, *targets.shape))
    added[targets], sigma[targets] = mev - kernel, noise
    return added, sigma
