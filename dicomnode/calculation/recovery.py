"""Partial volume of a cycle: every time point corrected in its own grid, then integrated like the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dicomnode.model import (
    ActivityMap,
    Cycle,
    Finding,
    Grid,
    LabelMap,
    Nuclide,
    RegionRecovery,
    RegisteredCycle,
    RegisteredTimePoint,
    TiaFit,
    TimePoint,
)
from dicomnode.tia.settings import TiaSettings

if TYPE_CHECKING:
    from dicomnode.recovery import Recovered, RecoverySettings, Scan, Shares, Width

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RecoveredCycle:
    """What the correction gave.

    Attributes
    ----------
    regions : one RegionRecovery per region with voxels
    points : time points on the common grid, their maps corrected
    fit : of those, regions by their corrected activities
    widths : of each time point's image
    condition : greatest condition number of the matrices
    findings : what the correction has to say
    """

    regions: tuple[RegionRecovery, ...]
    points: tuple[RegisteredTimePoint, ...]
    fit: TiaFit
    widths: tuple[Width, ...]
    condition: float
    findings: tuple[Finding, ...]

    def record(self) -> dict[str, object]:
        """What the calculation keeps: widths, condition number, and of each region everything found."""
        of_regions = {r.region: asdict(r) for r in self.regions}
        return {
            "widths": [str(width) for width in self.widths], "condition": self.condition, **of_regions
        }  # fmt: skip


def recover_cycle(
    cycle: Cycle,
    registered: RegisteredCycle,
    regions: LabelMap,
    body: Mask,
    nuclide: Nuclide,
    tia: TiaSettings,
    settings: RecoverySettings,
) -> RecoveredCycle:
    """Correct a registered cycle: contours move to the images, which are never interpolated for it."""
    scans = _scans(cycle.time_points, registered, regions, body, nuclide.name, settings)
    own = [point.activity.grid for point in cycle.time_points]
    return recover_points(registered.points, scans, own, regions, body, nuclide, tia, settings)


def recover_points(
    points: Sequence[RegisteredTimePoint],
    scans: Sequence[Scan],
    own: Sequence[Grid],
    regions: LabelMap,
    body: Mask,
    nuclide: Nuclide,
    tia: TiaSettings,
    settings: RecoverySettings,
) -> RecoveredCycle:
    """As ``recover_cycle``, for time points, and scans on their ``own`` grids."""
    from dicomnode.recovery import Errors, make_shares, recover
    from dicomnode.recovery.wording import findings
    from dicomnode.tia import integrate_points

    hours = [p.hours for p in points]
    amount = min(range(len(hours)), key=lambda i: (abs(hours[i] - tia.time_point_hours), -i))
    errors = Errors(settings.contour_mm, settings.registration_mm)
    of_regions, found = recover(scans, amount, errors, regions=settings.regions)
    here = make_shares(shares_of(regions), body, regions.grid.spacing_mm)
    corrected = tuple(
        _on_common_grid(point, one, grid, here, regions.grid)
        for point, one, grid in zip(points, found, own, strict=True)
    )
    stated = {r.region: r for r in of_regions if not r.withheld}
    fit = integrate_points(corrected, regions, nuclide, tia, recovered=stated)
    widths = tuple(scan.width for scan in scans)
    said = findings(
        of_regions,
        found,
        widths,
        trapezoid=tia.method in ("trapezoid", "voxel-mono-exponential"),
    )
    condition = max(one.system.condition for one in found)
    return RecoveredCycle(of_regions, corrected, fit, widths, condition, said)


def _scans(
    time_points: Sequence[TimePoint],
    registered: RegisteredCycle,
    regions: LabelMap,
    body: Mask,
    nuclide: str,
    settings: RecoverySettings,
) -> tuple[Scan, ...]:
    """Every time point as it was taken, with the regions brought to it and the width of its image."""
    from dicomnode.recovery import Scan, assumed, make_shares
    from dicomnode.recovery.estimate import width_of_patient

    scans = []
    for taken, moved in zip(time_points, registered.points, strict=True):
        own, common = taken.activity.grid, moved.activity.grid
        shares = {name: _brought(share, common, own, moved) for name, share in shares_of(regions).items()}
        there = _brought(body.astype(np.float32), common, own, moved)
        # Interpolation between voxels blurs a share by a^2/6 on average; the solver takes that off again.
        spread = 0.0 if moved.quality.method == "identity" else float(np.mean(np.square(own.spacing_mm))) / 6
        made = make_shares(shares, np.clip(there, 0, 1), own.spacing_mm, spread_mm2=spread)
        image = (taken.activity.bq_per_ml / 1e6).astype(np.float32)
        width = settings.width_of(nuclide, taken.camera_model)
        scans.append(Scan(taken.label, image, made, width or assumed()))
    if settings.from_patient and not any(scan.width.corrects for scan in scans):
        brightest = max(scans, key=lambda scan: float(scan.mbq_per_ml.sum(dtype=np.float64)))
        found = width_of_patient(brightest.mbq_per_ml, brightest.shares, f"read off {brightest.label}")
        if found is not None:
            scans = [replace(scan, width=found) for scan in scans]
    return tuple(scans)


def shares_of(regions: LabelMap) -> dict[str, Float32]:
    """What part of each voxel every region fills."""
    return {name: share for name, share in regions.shares.items() if share.any()}


def _brought(values: Float32, common: Grid, own: Grid, moved: RegisteredTimePoint) -> Float32:
    """Values of the common grid as they lie on a time point's own grid."""
    from dicomnode.registration.images import resample, rigid, to_image

    if moved.quality.method == "identity" and common.matches(own):
        return values
    transform = rigid(moved.quality.transform, moved.quality.center_mm)
    return resample(to_image(values, common), own, transform.GetInverse(), 0.0)


def _on_common_grid(
    moved: RegisteredTimePoint, found: Recovered, own: Grid, here: Shares, grid: Grid
) -> RegisteredTimePoint:
    """The corrected map where the dose is computed: of the image only the smooth ratio of measured to
    expected is interpolated; the sharp edges are drawn there anew."""
    from dicomnode.recovery.solve import sharp

    if moved.quality.method == "identity" and own.matches(grid):
        values = found.corrected
    else:
        ratio, background = (
            _onto(values, own, grid, moved) for values in (found.ratio, found.solution.background)
        )
        by_name = dict(zip(found.scan.shares.names, found.solution.concentration.tolist(), strict=True))
        values = sharp(here, np.array([by_name.get(n, 0.0) for n in here.names]), background) * ratio
    activity = ActivityMap(grid, np.maximum(values, 0.0) * np.float32(1e6), moved.activity.counting)
    return replace(moved, activity=activity)


def _onto(values: Float32, own: Grid, grid: Grid, moved: RegisteredTimePoint) -> Float32:
    from dicomnode.registration.images import resample, rigid, to_image

    transform = rigid(moved.quality.transform, moved.quality.center_mm)
    return resample(to_image(values, own), grid, transform, 0.0)
