"""The room's door: images of a cycle and shares in, corrected activities of regions and maps out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from dicomnode.model.recovery import RegionRecovery
from dicomnode.recovery.budget import Budget, Errors, budget
from dicomnode.recovery.shares import Float32, Float64, Shares
from dicomnode.recovery.solve import Solution, System, build_system, solve
from dicomnode.recovery.voxels import corrected_map, correction, read_by_shares
from dicomnode.recovery.width import Width

SMALLEST_WIDTHS = 0.7
"""A region smaller than a cube of so many widths is lost in the image."""
LEAST_RECOVERY = 0.2
MOST_LIFT = 5.0
LEAST_CONTRAST = 1.5
MOST_CONDITION = 50.0
"""Where the matrix is worse, regions cannot be told apart. All five are our own choices, tried on simulated
patients (docs/recovery.md)."""


@dataclass(frozen=True, eq=False)
class Scan:
    """One time point on the grid it was taken on.

    Attributes
    ----------
    label : of the time point
    mbq_per_ml : image (z, y, x)
    shares : regions on its grid
    width : of its image
    """

    label: str
    mbq_per_ml: Float32
    shares: Shares
    width: Width


@dataclass(frozen=True, eq=False)
class Recovered:
    """What the correction gave for one time point.

    Attributes
    ----------
    scan, system, solution : what it was solved from and with
    corrected : corrected map, MBq/mL
    by_shares : (n,) activity of owned regions, MBq
    ratio : I / (H s), smooth
    """

    scan: Scan
    system: System
    solution: Solution
    corrected: Float32
    by_shares: Float64
    ratio: Float32

    @property
    def total_ratio(self) -> float:
        """Total of the corrected map over that of the image."""
        before = float(self.scan.mbq_per_ml.sum(dtype=np.float64))
        return float(self.corrected.sum(dtype=np.float64)) / before if before else 1.0

    def activity_mbq(self, name: str) -> float:
        """Corrected activity of a region as drawn, MBq."""
        volume = self.scan.shares.volume_ml
        return float(self.scan.shares.holds[name] @ (self.by_shares / volume))

    def measured_mbq(self, name: str) -> float:
        """The same as the image shows it."""
        return float(self.scan.shares.holds[name] @ self.solution.measured)


def recover_scan(scan: Scan) -> Recovered:
    """Correct one time point in its own grid."""
    system = build_system(scan.shares, scan.width)
    solution = solve(system, scan.mbq_per_ml, scan.width)
    corrected = corrected_map(system, solution, scan.mbq_per_ml)
    by_shares = read_by_shares(scan.shares, solution, corrected)
    ratio = correction(system, solution, scan.mbq_per_ml)
    return Recovered(scan, system, solution, corrected, by_shares, ratio)


def recover(
    scans: Sequence[Scan], amount_from: int, errors: Errors, *, regions: Sequence[str] = ()
) -> tuple[tuple[RegionRecovery, ...], tuple[Recovered, ...]]:
    """Correct every time point, and state how well each region is known.

    Parameters
    ----------
    scans : in order of time
    amount_from : index of the scan that sets the amount; the uncertainty is taken there
    regions : names that may have a corrected value; empty for all

    Raises
    ------
    Inconsistent : no region has voxels of its own
    """
    found = tuple(recover_scan(scan) for scan in scans)
    of = found[amount_from]
    parts = budget(of.system, of.solution, of.scan.mbq_per_ml, of.scan.width, of.by_shares, errors)
    names = [n for n, volume in of.scan.shares.holds.items() if volume.sum() > 0]
    return tuple(_region(n, found, of, parts, regions) for n in names), found


def _region(
    name: str, found: Sequence[Recovered], of: Recovered, parts: Budget, allowed: Sequence[str]
) -> RegionRecovery:
    volume = of.scan.shares.holds[name]
    # Of a region that holds smaller ones the errors go together, weighted by their activity.
    weight = np.abs(volume * of.by_shares / of.scan.shares.volume_ml)
    weight = weight / max(float(weight.sum()), 1e-30)
    measured, corrected = of.measured_mbq(name), of.activity_mbq(name)
    bias = log(corrected / measured) if corrected > 0 and measured > 0 else 0.0
    common = {part: float(weight @ values) for part, values in parts.parts.items()}
    return RegionRecovery(
        region=name,
        measured_mbq=tuple(one.measured_mbq(name) for one in found),
        corrected_mbq=tuple(one.activity_mbq(name) for one in found),
        parts=common,
        loss=float(weight @ parts.loss),
        volume_ml=float(volume.sum()),
        bias=bias,
        withheld=_withheld(name, of, allowed, measured, corrected),
    )


def _withheld(name: str, of: Recovered, allowed: Sequence[str], measured: float, corrected: float) -> str:
    """Why a region's corrected value is not to be stated."""
    volume = of.scan.shares.whole_ml(name)
    width = of.scan.width
    least = (SMALLEST_WIDTHS * width.at(volume)) ** 3 / 1000.0
    if not width.corrects:
        return "the width of the image is not known"
    if allowed and name not in allowed:
        return "not among the regions that the configuration lets be corrected"
    if of.system.condition > MOST_CONDITION:
        return "the image cannot tell the regions apart"
    if volume < least:
        return f"smaller than {least:.1f} mL, the least that an image {width.at(volume):.1f} mm wide resolves"
    if measured <= 0 or corrected <= 0:
        return "no activity is left once its surroundings are taken away"
    if measured / corrected < LEAST_RECOVERY or corrected / measured > MOST_LIFT:
        return f"the image recovers {measured / corrected:.2f} of it only"
    around = _surroundings(name, of)
    if around > 0 and corrected / volume < LEAST_CONTRAST * around and corrected > 1.05 * measured:
        return "hardly hotter than its surroundings"
    return ""


def _surroundings(name: str, of: Recovered) -> float:
    """Concentration of what spills into a region, MBq/mL: (m_i - G_ii c_i) / (1 - G_ii)."""
    if name not in of.scan.shares.names:
        return 0.0
    i = of.scan.shares.names.index(name)
    own = float(of.system.matrix[i, i])
    spilled = float(of.solution.measured[i] - own * of.solution.concentration[i])
    return spilled / (1.0 - own) if own < 1.0 - 1e-3 else 0.0
