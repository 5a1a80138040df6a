"""The photons' correction from a short transport: fitted to columns, what is left smoothed and shrunk.

With energies E of the transport and K of the kernels, the correction r = E / K - 1 has a variance as 1 / K:
photons of one spectrum leave energy in lumps alike. So the squares are weighted by K, and the normal
equations hold

    sum of K phi (r - phi c) = sum of phi (E - K - K phi c) = 0

for each column phi without dividing by any noisy or small number. As one, lung and bone are columns, each
class of tissue has the energy that the transport gave it, and all that follows is linear in E: no bias from
noise, and the mean over seeds is what many histories give to the same columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dose.denoising.columns import TRUNCATE
from dicomnode.dose.denoising.normal import normal_sums

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

SMOOTH_MM = 16.0
PRIOR_SPREAD = 0.05
"""Standard deviation expected of what the columns leave of the correction; noisier residuals shrink."""
RIDGE = 1e-6
"""Of the diagonal: only to stand columns that are alike, as in a body of one tissue."""
CLASSES = 3


def coefficients(columns: Float32, kernel: Float64, left: Float64) -> Float64:
    """(groups, columns) by weighted least squares; ``left`` is (groups, voxels), transport less kernels."""
    count = columns.shape[1]
    square, right = np.zeros((count, count)), np.zeros((len(left), count))
    normal_sums(columns, kernel, left, square, right)
    square += np.tril(square, -1).T
    scale = 1 / np.sqrt(np.maximum(np.diag(square), 1e-300))
    scaled = square * scale[:, None] * scale
    scaled[np.diag_indices(count)] = 1 + RIDGE
    return np.asarray(np.linalg.solve(scaled, (right * scale).T).T * scale)


@dataclass(frozen=True, eq=False)
class Smoother:
    """Means over neighbours of the same class, weighted by the kernels' energy.

    Attributes
    ----------
    body, kind : (z, y, x), and the class of each voxel of the body
    kernel : energy of each voxel of the body, MeV
    spacing_zyx : mm
    """

    body: Bool
    kind: npt.NDArray[np.int8]
    kernel: Float64
    spacing_zyx: tuple[float, ...]

    def sums(self, values: Float64, sigma_mm: float) -> Float64:
        """Gaussian sums of values of the body's voxels over their own class (weights add to one)."""
        from scipy import ndimage

        sigma, found = sigma_mm / np.array(self.spacing_zyx), np.zeros_like(values)
        for kind in range(CLASSES):
            here = self.kind == kind
            if not here.any():
                continue
            field = np.zeros(self.body.shape)
            field[self.body] = np.where(here, values, 0.0)
            summed = ndimage.gaussian_filter(field, sigma, mode="constant", truncate=TRUNCATE)
            found[here] = summed[self.body][here]
        return found

    def shrunk(self, left: Float64, per_mev: float) -> Float64:
        """What is left (groups, voxels), MeV, as a smooth relative correction, shrunk by its own noise.

        ``per_mev`` : variance of the transport's energy over the energy, MeV
        """
        weight = self.sums(self.kernel, SMOOTH_MM)
        twice = self.sums(self.kernel, SMOOTH_MM / np.sqrt(2))  # sums of G^2, up to their norm
        norm = np.prod(np.array(self.spacing_zyx)) / (2 * np.sqrt(np.pi) * SMOOTH_MM) ** 3
        share = PRIOR_SPREAD**2 / (PRIOR_SPREAD**2 + per_mev * norm * twice / weight**2)
        found = np.stack([share * self.sums(one, SMOOTH_MM) / weight for one in left])
        for kind in range(CLASSES):  # each class keeps the energy of the transport
            here = self.kind == kind
            total = self.kernel[here].sum()
            if total > 0:
                off = left[:, here].sum(axis=1) - (found[:, here] * self.kernel[here]).sum(axis=1)
                found[:, here] += (off / total)[:, None]
        return found
