"""Cumulative dose-volume histograms as nouns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.model import DoseMap, LabelMap


@dataclass(frozen=True, eq=False)
class Dvh:
    """Cumulative dose-volume histogram of one region.

    Attributes
    ----------
    region : name
    dose_gy : edges, rising from 0, Gy
    volume_percent : volume that receives at least that dose, % of ``volume_ml``; 100 at dose 0
    volume_ml : of the region on the dose grid
    """

    region: str
    dose_gy: npt.NDArray[np.float64]
    volume_percent: npt.NDArray[np.float64]
    volume_ml: float


def cumulative_dvh(dose: DoseMap, regions: LabelMap, *, bins: int = 500) -> tuple[Dvh, ...]:
    """DVH of every region, each on its own ``bins`` + 1 edges from 0 to its maximum.

    Raises
    ------
    Inconsistent
        where the grids differ.
    """
    if not dose.grid.matches(regions.grid):
        raise Inconsistent("the grid of the regions is not that of the dose map")
    return tuple(_dvh(name, dose, share, bins) for name, share in regions.shares.items() if share.any())


def _dvh(name: str, dose: DoseMap, share: npt.NDArray[np.float32], bins: int) -> Dvh:
    """A voxel counts by the share of it that the region fills."""
    inside = share > 0
    gy, part = np.maximum(dose.gy[inside].astype(np.float64), 0.0), share[inside].astype(np.float64)
    order = np.argsort(gy, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(part[order])])
    edges = np.linspace(0.0, max(float(gy[order[-1]]), 1e-9), bins + 1)
    at_least = below[-1] - below[np.searchsorted(gy[order], edges, side="left")]
    return Dvh(name, edges, 100.0 * at_least / below[-1], float(below[-1]) * dose.grid.voxel_ml)
