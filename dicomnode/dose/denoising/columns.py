"""Columns that the photons' correction is a sum of: density, material, surroundings, nearness of sources.

All are bounded functions of the voxel's place. Filters take zero beyond the body and the grid, so that a
column tells of the finite body and of where the grid cuts it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dicomnode.dose.denoising.prior import PhotonPrior
from dicomnode.dose.half_grid import prolong, restrict
from dicomnode.physics import photons
from dicomnode.physics.interactions import Medium, medium_of
from dicomnode.physics.tissues import tissue

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

SCATTERED_MEV = (0.060, 0.113)
"""Energies of scattered photons at which absorption is compared: at 208 keV all tissues are alike."""
PHOTON_END_MEV = 0.001
GAS_BELOW, LUNG_BELOW, BONE_ABOVE = 0.1, 0.6, 1.2
"""Density, g/cm3, at which a voxel is gas, lung, bone; all between is soft tissue."""
WIDE_VOXELS = 4.0
"""Filters wider than so many voxels work on a grid of half the resolution."""
TRUNCATE = 3.0


def classes(density: Float32) -> npt.NDArray[np.int8]:
    """0 soft tissue, 1 lung (and gas), 2 bone."""
    return np.where(density < LUNG_BELOW, 1, np.where(density > BONE_ABOVE, 2, 0)).astype(np.int8)


def absorption(media: Sequence[Medium]) -> Float64:
    """(media, energies): energy taken per g from ``SCATTERED_MEV``, over that in soft tissue, less one."""
    energy = np.array(SCATTERED_MEV)

    def taken(medium: Medium) -> Float64:
        c = photons.coefficients(medium, energy)
        lost = photons.compton_loss(medium, energy, PHOTON_END_MEV)
        return np.asarray(c.photoelectric * energy + c.incoherent * lost)

    soft = taken(medium_of(tissue("soft_tissue_icru44")))
    return np.array([taken(m) / soft - 1 for m in media])


def blurred(values: Float32, sigma_mm: float, spacing_zyx: tuple[float, ...]) -> Float32:
    """Gaussian mean with zero beyond the grid; wide ones at half the resolution."""
    from scipy import ndimage

    sigma = sigma_mm / np.array(spacing_zyx)
    if sigma.min() < WIDE_VOXELS:
        found = ndimage.gaussian_filter(values, sigma, mode="constant", truncate=TRUNCATE)
        return np.asarray(found, dtype=np.float32)
    coarse = ndimage.gaussian_filter(restrict(values), sigma / 2, mode="constant", truncate=TRUNCATE) / 8
    whole = (slice(0, values.shape[0]), slice(0, values.shape[1]), slice(0, values.shape[2]))
    return np.asarray(prolong(coarse, whole), dtype=np.float32)


def columns(
    density: Float32, body: Bool, absorbed: Float64, prior: PhotonPrior, spacing_zyx: tuple[float, ...]
) -> Float32:
    """(voxels of the body, columns); the first three are one, lung and bone.

    Parameters
    ----------
    density, body : (z, y, x)
    absorbed : (z, y, x, energies) of each voxel's material, see ``absorption``
    prior : on the same voxels
    """
    from scipy import ndimage

    rho = np.where(body, density, 0.0).astype(np.float32)
    ramp_bone = np.clip((rho - 1.12) / 0.5, 0.0, 2.0).astype(np.float32)
    ramp_lung = np.where(body, np.clip((0.85 - rho) / 0.6, 0.0, 1.0), 0.0).astype(np.float32)
    wide = {s: blurred(rho, s, spacing_zyx)[body] - 1 for s in (10.0, 20.0, 40.0, 80.0)}
    bones = {s: blurred(ramp_bone, s, spacing_zyx)[body] for s in (8.0, 20.0)}
    lungs = {s: blurred(ramp_lung, s, spacing_zyx)[body] for s in (8.0, 20.0)}
    around = ndimage.uniform_filter(rho, 3, mode="constant")[body]
    own, bone, lung = np.maximum(rho[body], GAS_BELOW), ramp_bone[body], ramp_lung[body]
    edge, kind = np.clip(around / own - 1, -1, 3), classes(density)[body]
    soft_60, soft_113 = absorbed[body].T
    found = [
        np.ones_like(own), kind == 1, kind == 2,
        np.log(own), np.log(own) ** 2, bone, bone**2, lung,
        *wide.values(), wide[40.0] ** 2, wide[80.0] ** 2,
        *bones.values(), *lungs.values(), lung * wide[20.0], bone * wide[20.0], edge,
        soft_60, soft_113, soft_60 * bones[8.0], soft_113 * bones[8.0], soft_60**2,
    ]  # fmt: skip
    target = prior.target[body]
    by_source = np.clip(prior.source[body] / target - 1, -1, 3)
    found += [by_source, by_source * lung, by_source * bone, by_source * edge]
    for near in prior.near:
        share = np.clip(near[body] / target, 0, 1) - 0.5
        found += [share, *(share * c for c in (lung, bone, wide[20.0], wide[40.0], wide[80.0], soft_60))]
    return np.stack(found, axis=1).astype(np.float32)
