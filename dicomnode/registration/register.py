"""A cycle onto one grid: the order of things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dicomnode.errors import Inconsistent, NotConverged
from dicomnode.model import (
    ActivityMap,
    Cycle,
    Finding,
    Grid,
    LabelMap,
    RegisteredCycle,
    RegisteredTimePoint,
    RegistrationQuality,
    TimePoint,
)
from dicomnode.model.volumes import Float32
from dicomnode.registration import by_information, gauss_newton, limits
from dicomnode.registration.by_information import first_guess
from dicomnode.registration.images import (
    Mask,
    Transform,
    average_onto,
    resample,
    resample_activity,
    rigid,
    seen,
    to_image,
)
from dicomnode.registration.prepare import Prepared, prepare, prepare_spect
from dicomnode.registration.quality import REACH_MM, dice, mutual_information, residual_mm
from dicomnode.registration.settings import RegistrationSettings

Progress = Callable[[float, str], None]
"""Called with the fraction done (0 to 1) and a word on what is being done."""

NO_SHIFT = (0.0,) * 6


FITS_MM = 2.0
FITS_DICE = 0.90
"""A larger residual, or less overlap, and the second method is tried as well."""

FAILED = RegistrationQuality("", NO_SHIFT, (0.0, 0.0, 0.0), 0.0, 0.0, REACH_MM)
"""The worst marks; the method is filled in by who asks."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference made ready once for all time points; ``levels`` of a CT only."""

    prepared: Prepared
    levels: tuple[gauss_newton.Level, ...]


@dataclass(frozen=True, eq=False)
class _Moved:
    """A time point on the reference's grid, with what is to be said of it."""

    point: RegisteredTimePoint
    transform: Transform
    findings: tuple[Finding, ...]


def register(
    cycle: Cycle, settings: RegistrationSettings, *, progress: Progress | None = None
) -> RegisteredCycle:
    """Bring every time point onto the SPECT grid of the reference time point.

    The reference is the first time point with regions, else the one nearest to ``reference_hours``. CT is
    aligned to CT where both time points have one, else SPECT to SPECT. Activity concentrations are
    interpolated once; the CT is averaged down to the grid. Nothing is raised for a bad registration: it
    comes back with findings that hold the cycle. Raises Inconsistent for a cycle without time points.
    """
    if not cycle.time_points:
        raise Inconsistent("the cycle has no time points, so there is nothing to register")
    tell = progress or (lambda _fraction, _what: None)
    hours = cycle.hours()
    reference = reference_of(cycle, settings)
    prepared: dict[bool, Reference | None] = {}
    moved = []
    for number, (point, at) in enumerate(zip(cycle.time_points, hours, strict=True)):
        tell(number / len(hours), f"registering {point.label} to {reference.label}")
        moved.append(_move(reference, point, at, prepared, settings))
    tell(1.0, "registered")
    regions, told = _regions(reference, cycle.time_points, moved, settings)
    grid = reference.activity.grid
    return RegisteredCycle(
        administration=cycle.administration,
        points=tuple(m.point for m in moved),
        reference=reference.label,
        ct=average_onto(reference.ct, grid, rigid(NO_SHIFT, (0.0, 0.0, 0.0))) if reference.ct else None,
        regions=regions,
        frame_of_reference_uid=reference.frame_of_reference_uid,
        findings=(
            *(f for m in moved for f in m.findings),
            *_cut_regions(regions, reference, moved, cycle.time_points, settings),
            *_ct_reach(reference, settings),
            *told,
        ),
    )


def reference_of(cycle: Cycle, settings: RegistrationSettings) -> TimePoint:
    """The first time point with regions, else the one nearest to ``reference_hours`` (the earlier of two)."""
    for point in cycle.time_points:
        if point.regions is not None and point.regions.names:
            return point
    distance = [abs(h - settings.reference_hours) for h in cycle.hours()]
    return cycle.time_points[int(np.argmin(distance))]


def _reference(point: TimePoint, by_ct: bool, settings: RegistrationSettings) -> Reference | None:
    prepared = prepare(point, by_ct, settings)
    if prepared is None:
        return None
    return Reference(prepared, gauss_newton.levels_of(prepared) if by_ct else ())


def _move(
    reference: TimePoint,
    point: TimePoint,
    hours: float,
    prepared: dict[bool, Reference | None],
    settings: RegistrationSettings,
) -> _Moved:
    grid = reference.activity.grid
    if point is reference:
        quality = RegistrationQuality("identity", NO_SHIFT, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0)
        transform = rigid(NO_SHIFT, (0.0, 0.0, 0.0))
        return _Moved(RegisteredTimePoint(point.label, hours, point.activity, quality), transform, ())
    by_ct = reference.ct is not None and point.ct is not None
    if by_ct not in prepared:
        prepared[by_ct] = _reference(reference, by_ct, settings)
    quality = _measure(prepared[by_ct], prepare(point, by_ct, settings), settings)
    quality = replace(quality, method="ct-ct" if by_ct else "spect-spect")
    transform = rigid(quality.transform, quality.center_mm)
    activity = resample_activity(point.activity, grid, transform)
    findings = (
        *limits.alignment(point.label, quality, settings),
        *_totals(reference, point, activity, transform, settings),
        *(
            [_spect_follows(reference, point, activity, transform, settings)]
            if by_ct and quality.dice_body > 0
            else []
        ),
    )
    return _Moved(RegisteredTimePoint(point.label, hours, activity, quality), transform, findings)


def _measure(
    fixed: Reference | None, moving: Prepared | None, settings: RegistrationSettings
) -> RegistrationQuality:
    """Align and judge; what cannot be aligned is left where it is, with the worst marks.

    CT to CT by least squares of CT numbers; where that leaves doubt, by mutual information as well, and the
    better of the two counts. SPECT to SPECT by mutual information, since uptake changes.
    """
    if fixed is None or moving is None:
        return FAILED
    start = first_guess(fixed.prepared, moving, settings)
    if not fixed.levels:
        return _by_mutual_information(fixed, moving, start, settings)
    first = _by_ct_numbers(fixed, moving, start, settings)
    if first.residual_mm <= FITS_MM and first.dice_body >= FITS_DICE:
        return first
    second = _by_mutual_information(fixed, moving, start, settings)
    return min(first, second, key=lambda q: (q.residual_mm, -q.mutual_information))


def _by_ct_numbers(
    fixed: Reference, moving: Prepared, start: tuple[float, float, float], settings: RegistrationSettings
) -> RegistrationQuality:
    try:
        transform = gauss_newton.align(fixed.prepared, fixed.levels, moving, np.array(start))
    except NotConverged:
        return FAILED
    return _judged(fixed, moving, transform, gauss_newton.NAME, settings)


def _by_mutual_information(
    fixed: Reference, moving: Prepared, start: tuple[float, float, float], settings: RegistrationSettings
) -> RegistrationQuality:
    try:
        transform = by_information.align(fixed.prepared, moving, start, settings)
    except RuntimeError:  # SimpleITK: the images do not overlap, or one of them is uniform
        return FAILED
    return _judged(fixed, moving, transform, by_information.NAME, settings)


def _judged(
    fixed: Reference, moving: Prepared, transform: Transform, algorithm: str, settings: RegistrationSettings
) -> RegistrationQuality:
    """How well the moved image lies on the reference; the same measures whatever aligned it."""
    still = fixed.prepared
    values = resample(moving.image, still.grid, transform, moving.background)
    body = resample(to_image(moving.body.astype(np.float32), moving.grid), still.grid, transform, 0.0) > 0.5
    covered = seen(moving.grid, still.grid, transform)
    inside = still.body & covered
    if not inside.any():
        return FAILED
    center = transform.GetCenter()
    return RegistrationQuality(
        method="",
        transform=tuple(float(p) for p in transform.GetParameters()),
        center_mm=(float(center[0]), float(center[1]), float(center[2])),
        dice_body=dice(inside, body & covered),
        mutual_information=mutual_information(still.values[inside], values[inside], settings.histogram_bins),
        residual_mm=residual_mm(still, values, covered),
        algorithm=algorithm,
    )


def _spect_follows(
    reference: TimePoint,
    point: TimePoint,
    activity: ActivityMap,
    transform: Transform,
    settings: RegistrationSettings,
) -> Finding:
    """Whether the SPECTs agree too: a CT says nothing of a SPECT that is out of place against it."""
    fixed = prepare_spect(reference.activity, settings)
    moved = prepare_spect(activity, settings)
    covered = seen(point.activity.grid, fixed.grid, transform)
    remains = residual_mm(fixed, moved.values, covered)
    return limits.spect_follows(point.label, remains, settings)


def _totals(
    reference: TimePoint,
    point: TimePoint,
    activity: ActivityMap,
    transform: Transform,
    settings: RegistrationSettings,
) -> tuple[Finding, ...]:
    """What resampling did to the total, and what lies outside of one of the fields of view."""
    grid, own = reference.activity.grid, point.activity.grid
    before = point.activity.total_mbq
    kept = seen(grid, own, transform.GetInverse())
    within = float(point.activity.bq_per_ml[kept].sum(dtype=np.float64)) * own.voxel_ml / 1e6
    blind = ~seen(own, grid, transform)
    total = reference.activity.total_mbq
    unseen = float(reference.activity.bq_per_ml[blind].sum(dtype=np.float64)) * grid.voxel_ml / 1e6
    return (
        limits.total(point.label, before, within, activity.total_mbq),
        *limits.unseen(point.label, unseen / total if total > 0 else 0.0, settings),
    )


def _regions(
    reference: TimePoint,
    points: tuple[TimePoint, ...],
    moved: list[_Moved],
    settings: RegistrationSettings,
) -> tuple[LabelMap | None, tuple[Finding, ...]]:
    """Regions of the reference, and those of other time points that it does not have, brought over."""
    shares = dict(reference.regions.shares) if reference.regions else {}
    volumes = dict(reference.regions.volume_ml) if reference.regions else {}
    told = []
    for point, other in zip(points, moved, strict=True):
        if point is reference or point.regions is None:
            continue
        reached = seen(reference.activity.grid, point.regions.grid, other.transform.GetInverse())
        for name, share in point.regions.shares.items():
            if name in shares:
                told.append(limits.duplicate_region(name, point.label, reference.label))
                continue
            told += _cut(name, share, ~reached, reference.label, settings)
            brought = _brought(share, point.regions.grid, reference.activity.grid, other.transform)
            if share.any() and not brought.any():
                continue  # nothing of it lies where the dose is computed; the finding says so
            shares[name] = brought
            if name in point.regions.volume_ml:
                volumes[name] = point.regions.volume_ml[name]
    if not shares:
        return None, tuple(told)
    return LabelMap(reference.activity.grid, shares, volumes), tuple(told)


def _brought(share: Float32, own: Grid, grid: Grid, transform: Transform) -> Float32:
    """A region onto another grid. Linear interpolation keeps its volume; its edge is a voxel wider."""
    return np.asarray(np.clip(resample(to_image(share, own), grid, transform, 0.0), 0.0, 1.0))


def _cut(name: str, share: Float32, blind: Mask, label: str, settings: RegistrationSettings) -> list[Finding]:
    """What to say of a region that lies in part where the time point ``label`` sees nothing."""
    whole = float(share.sum(dtype=np.float64))
    cut = float(share[blind].sum(dtype=np.float64)) / whole if whole > 0 else 0.0
    return [limits.cut_region(name, label, cut, settings)] if cut > settings.region_cut_fraction else []


def _cut_regions(
    regions: LabelMap | None,
    reference: TimePoint,
    moved: list[_Moved],
    points: tuple[TimePoint, ...],
    settings: RegistrationSettings,
) -> list[Finding]:
    found: list[Finding] = []
    if regions is None:
        return found
    for point, other in zip(points, moved, strict=True):
        if point is reference:
            continue
        blind = ~seen(point.activity.grid, regions.grid, other.transform)
        for name, share in regions.shares.items():
            found += _cut(name, share, blind, point.label, settings)
    return found


def _ct_reach(reference: TimePoint, settings: RegistrationSettings) -> tuple[Finding, ...]:
    if reference.ct is None:
        return ()
    activity = reference.activity
    blind = ~seen(reference.ct.grid, activity.grid, rigid(NO_SHIFT, (0.0, 0.0, 0.0)))
    total = float(activity.bq_per_ml.sum(dtype=np.float64))
    part = float(activity.bq_per_ml[blind].sum(dtype=np.float64)) / total if total > 0 else 0.0
    return limits.ct_reach(reference.label, part, settings)
