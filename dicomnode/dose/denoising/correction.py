"""The photons of a patient: kernels corrected by a short transport, with what is known of the error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dose.denoising.columns import classes, columns
from dicomnode.dose.denoising.fit import Smoother, coefficients
from dicomnode.dose.denoising.prior import PhotonPrior

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

NOISE_MM = 20.0
"""Neighbourhood over which the squares of the halves' difference are averaged."""
INSIDE, AT_STEP, SKIN = range(3)
STEP_G_PER_CM3 = 0.3


@dataclass(frozen=True, eq=False)
class Corrected:
    """Energy of photons in the voxels of the body, MeV.

    Attributes
    ----------
    mev : (voxels of the body)
    noise_mev : standard uncertainty from the transport's histories, by its two halves
    kernel_mev : what the kernels alone gave
    place : INSIDE, AT_STEP or SKIN
    kind : class of tissue, see ``columns.classes``
    """

    mev: Float64
    noise_mev: Float64
    kernel_mev: Float64
    place: npt.NDArray[np.int8]
    kind: npt.NDArray[np.int8]


def corrected(
    transport: Float64,
    prior: PhotonPrior,
    density: Float32,
    body: Bool,
    absorbed: Float64,
    spacing_zyx: tuple[float, ...],
) -> Corrected:
    """The kernels' photons, times one and the correction that the transport's halves agree on.

    Parameters
    ----------
    transport : (2, z, y, x) energy of each half of the histories, for all decays, MeV
    prior, density, body, absorbed : on the same voxels; see ``columns.columns``
    """
    voxel_ml = float(np.prod(spacing_zyx)) * 1e-3
    kernel = prior.target[body] * density[body].astype(np.float64) * voxel_ml
    phi = columns(density, body, absorbed, prior, spacing_zyx)
    smoother = Smoother(body, classes(density)[body], kernel, spacing_zyx)
    mev, noise = agreed(transport[:, body], phi, smoother)
    return Corrected(mev, noise, kernel, places(density, body), smoother.kind)


def agreed(energy: Float64, phi: Float32, smoother: Smoother) -> tuple[Float64, Float64]:
    """(energy, its standard uncertainty by noise), MeV, that two halves agree on: fitted, and smoothed.

    Parameters
    ----------
    energy : (2, voxels) of the transport
    phi : (voxels, columns); the first three are one, and the indicators of two of the classes
    smoother : of the same voxels; has the energy by kernels
    """
    kernel = smoother.kernel
    found = coefficients(phi, kernel, energy - kernel)
    fitted = np.stack([phi @ one.astype(np.float32) for one in found]).astype(np.float64)
    spread = float(((energy[0] - energy[1]) ** 2).sum()) / 4 / max(float(energy.mean(axis=0).sum()), 1e-300)
    relative = fitted + smoother.shrunk(energy - kernel * (1 + fitted), spread)
    mean, half = relative.mean(axis=0), (relative[0] - relative[1]) / 2
    noise = smoother.sums(kernel * half**2, NOISE_MM) / smoother.sums(kernel, NOISE_MM)
    return kernel * (1 + mean), kernel * np.sqrt(noise)


def places(density: Float32, body: Bool) -> npt.NDArray[np.int8]:
    """Of each voxel of the body: outermost, beside a step of density, or neither."""
    from scipy import ndimage

    inner = ndimage.binary_erosion(body, ndimage.generate_binary_structure(3, 1), border_value=1)
    rho = np.where(body, density, 0.0)
    step = ndimage.maximum_filter(rho, 3) - ndimage.minimum_filter(np.where(body, density, 9.0), 3)
    return np.where(~inner, SKIN, np.where(step > STEP_G_PER_CM3, AT_STEP, INSIDE)).astype(np.int8)[body]
