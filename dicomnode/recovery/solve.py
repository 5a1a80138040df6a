"""Concentrations of regions from a blurred image: geometric transfer matrix with a local background.

Rousset et al. 1998 (J Nucl Med 39:904): the mean that the image shows in region i is sum_j G_ij c_j, G_ij
the part of region j's spread that region i sees. What no contour describes is one more region in Rousset's
form; here its concentration is read near each place from what the regions do not explain, so that a lesion
in a liver without a contour is not corrected against the mean of the whole body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dicomnode.errors import Inconsistent
from dicomnode.recovery.shares import Box, Boxed, Float32, Float64, Shares, padded
from dicomnode.recovery.width import FWHM_PER_SIGMA, Width

Edge = Literal["constant", "nearest"]
"""What lies outside of the grid: nothing, or more of the same."""
TRUNCATE = 3.5
"""Gaussians are cut at this many standard deviations: 0.05 % of a line integral is lost."""
ROUNDS = 4
"""Background and concentrations settle in as many rounds."""
SURE_BACKGROUND = 0.9
"""Where so much of the image is background's own, it is read; our own choice."""
BACKGROUND_WIDTHS = 1.5
"""The background is read through a Gaussian of so many widths."""


@dataclass(frozen=True, eq=False)
class System:
    """What the image shows of regions: everything that does not depend on the image.

    Attributes
    ----------
    shares : Shares
    spread : H r_j of each owned region, in a box
    rest_spread : H r_0, of the grid's shape
    matrix : (n, n) G_ij; G_ii is the recovery of region i in cold surroundings
    sigma_zyx : standard deviation of the blur of the rest, voxels
    weight, weight_spread : where the background is read, and K (P_0 w)
    """

    shares: Shares
    spread: tuple[Boxed, ...]
    rest_spread: Float32
    matrix: Float64
    sigma_zyx: tuple[float, float, float]
    weight: Float32
    weight_spread: Float32

    @property
    def condition(self) -> float:
        """Condition number of the matrix."""
        return float(np.linalg.cond(self.matrix)) if len(self.matrix) else 1.0


@dataclass(frozen=True, eq=False)
class Solution:
    """What one image says.

    Attributes
    ----------
    measured : (n,) mean of the image by share, m_i
    concentration : (n,) c_i, the image's unit; may be negative, and is kept so
    background : b (z, y, x), concentration of the tissue outside of regions
    background_share : (n,) of H(b r_0), by share: what the rest of the body adds to m_i
    """

    measured: Float64
    concentration: Float64
    background: Float32
    background_share: Float64

    @property
    def recovery(self) -> Float64:
        """m_i / c_i; contrast is in it, so it may exceed 1."""
        safe = np.where(self.concentration != 0, self.concentration, np.inf)
        return np.asarray(self.measured / safe)


def blur_sigma(
    fwhm_mm: float, spacing_mm: tuple[float, float, float], taken_mm2: float = 0.0
) -> tuple[float, float, float]:
    """Standard deviation of the blur of shares, voxels along z, y, x.

    A share is a mean over its voxel and has that box's variance a^2/12 already, and ``taken_mm2`` by
    interpolation; both are taken off once.
    """
    variance = (fwhm_mm / FWHM_PER_SIGMA) ** 2
    z, y, x = (
        float(np.sqrt(max(variance - a * a / 12.0 - taken_mm2, 0.0))) / a for a in reversed(spacing_mm)
    )
    return z, y, x


def blur(values: Float32, sigma_zyx: tuple[float, float, float], mode: Edge = "constant") -> Float32:
    """The values as a Gaussian image shows them."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, sigma_zyx, mode=mode, truncate=TRUNCATE))


def build_system(shares: Shares, width: Width) -> System:
    """Spread of every region and the matrix.

    Raises
    ------
    Inconsistent : no region has voxels of its own
    """
    if not shares.names:
        raise Inconsistent("no region has voxels of its own, so there is nothing to recover")
    shape, spacing, taken = shares.rest.shape, shares.spacing_mm, shares.spread_mm2
    spread = tuple(
        _spread(one, blur_sigma(width.at(volume), spacing, taken), shape)
        for one, volume in zip(shares.owned, shares.volume_ml.tolist(), strict=True)
    )
    sigma = blur_sigma(width.largest_mm, spacing, taken)
    # The patient goes on beyond the first and last slice: the rest is not zero there.
    rest_spread = blur(shares.rest, sigma, "nearest")
    weight = shares.rest * np.maximum(rest_spread - np.float32(SURE_BACKGROUND), np.float32(1e-3))
    wide = _wide(width, spacing)
    return System(
        shares, spread, rest_spread, _matrix(shares, spread), sigma, weight,
        blur(rest_spread * weight, wide, "nearest"),
    )  # fmt: skip


def _wide(width: Width, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    reach = BACKGROUND_WIDTHS * width.largest_mm / FWHM_PER_SIGMA
    z, y, x = (reach / a for a in reversed(spacing_mm))
    return z, y, x


def _spread(one: Boxed, sigma: tuple[float, float, float], shape: tuple[int, ...]) -> Boxed:
    reach = [int(np.ceil(TRUNCATE * s)) + 1 for s in sigma]
    box = padded(one.box, reach, shape)
    return Boxed(box, blur(one.within(box), sigma))


def _matrix(shares: Shares, spread: tuple[Boxed, ...]) -> Float64:
    return np.array(
        [
            [
                float(np.vdot(one.values, other.within(one.box)).real) / one.total
                if _touch(one.box, other.box)
                else 0.0
                for other in spread
            ]
            for one in shares.owned
        ]
    )


def _touch(a: Box, b: Box) -> bool:
    return all(max(s.start, t.start) < min(s.stop, t.stop) for s, t in zip(a, b, strict=True))


def means(shares: Shares, values: Float32) -> Float64:
    """Mean of an image in every owned region, by share."""
    return np.array(
        [float((one.values * values[one.box]).sum(dtype=np.float64)) / one.total for one in shares.owned]
    )


def solve(system: System, image: Float32, width: Width) -> Solution:
    """Concentrations and local background of one image (z, y, x), any unit per volume."""
    shares = system.shares
    measured = means(shares, image)
    concentration = np.asarray(np.linalg.solve(system.matrix, measured), np.float64)
    background = np.zeros_like(system.rest_spread)
    added = np.zeros(len(measured))
    wide = _wide(width, shares.spacing_mm)
    denominator = np.maximum(system.weight_spread, np.float32(1e-12))
    for _ in range(ROUNDS):
        left = image - expected(system, concentration)
        background = np.maximum(blur(left * system.weight, wide, "nearest") / denominator, 0)
        added = means(shares, blur(background * shares.rest, system.sigma_zyx, "nearest"))
        concentration = np.asarray(np.linalg.solve(system.matrix, measured - added), np.float64)
    return Solution(measured, concentration, background, added)


def with_background(system: System, image: Float32, background_share: Float64) -> Float64:
    """Concentrations of another image, the background kept."""
    return np.asarray(np.linalg.solve(system.matrix, means(system.shares, image) - background_share))


def expected(system: System, concentration: Float64) -> Float32:
    """sum_j c_j P_j: what the regions alone would show."""
    out = np.zeros_like(system.rest_spread)
    for c, one in zip(concentration.tolist(), system.spread, strict=True):
        out[one.box] += np.float32(c) * one.values
    return out


def sharp(shares: Shares, concentration: Float64, background: Float32) -> Float32:
    """s = sum_j c_j r_j + b r_0: the image without blur that the regions describe."""
    out = background * shares.rest
    for c, one in zip(concentration.tolist(), shares.owned, strict=True):
        out[one.box] += np.float32(c) * one.values
    return np.asarray(out)
