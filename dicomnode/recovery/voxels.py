"""The corrected map, and regions read from it."""

from __future__ import annotations

import numpy as np

from dicomnode.recovery.shares import Float32, Float64, Shares
from dicomnode.recovery.solve import Solution, System, blur, expected, sharp

DARK = 1e-4
"""Of the brightest expected voxel: where less is expected the image is left as it is."""


def correction(system: System, solution: Solution, image: Float32) -> Float32:
    """I / (H s): by how much each place is hotter than its regions describe it. Smooth, about 1."""
    shares = system.shares
    shown = expected(system, solution.concentration) + blur(
        solution.background * shares.rest, system.sigma_zyx, "nearest"
    )
    bright = shown > DARK * max(float(shown.max(initial=0.0)), 1e-30)
    return np.where(bright, image / np.where(bright, shown, 1), np.float32(1)).astype(np.float32)


def corrected_map(system: System, solution: Solution, image: Float32) -> Float32:
    """Region-based voxel-wise correction, v = I s / (H s) (Thomas et al. 2011, 10.1007/s00259-011-1745-9)."""
    bright = sharp(system.shares, solution.concentration, solution.background)
    return np.asarray(bright * correction(system, solution, image))


def read_by_shares(shares: Shares, solution: Solution, values: Float32) -> Float64:
    """Activity of every owned region in a corrected map, unit of the map times mL.

    A voxel that two regions share is shared out as the sharp image fills it, v c_i r_i / s: a half-full edge
    voxel read at its mean would make a small lesion up to 50 % too cold.
    """
    bright = sharp(shares, solution.concentration, solution.background)
    out = []
    for c, one in zip(solution.concentration.tolist(), shares.owned, strict=True):
        here = bright[one.box]
        part = np.where(np.abs(here) > 1e-30, c * one.values / np.where(here != 0, here, 1), 0.0)
        out.append(float((values[one.box] * part).sum(dtype=np.float64)) * shares.voxel_ml)
    return np.array(out)
