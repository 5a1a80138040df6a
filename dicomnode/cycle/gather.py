"""Grouping: headers into series, series into time points, time points into cycles. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

from dicomnode.cycle.candidates import (
    Unused,
    choose_emission,
    name_of,
    time_of,
)
from dicomnode.cycle.companions import companions
from dicomnode.cycle.left_out import NO_PLAN, REGISTERED_HERE, Kind, LeftOut, left_over, notes
from dicomnode.cycle.patient import one_person_in
from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Administration, Finding, Severity
from dicomnode.model.series import InstanceHeader, Role, SeriesSummary
from dicomnode.model.statements import once, one_scan

T = TypeVar("T")


@dataclass(frozen=True)
class TimePointPlan:
    """The series that make one time point."""

    emission: SeriesSummary
    ct: SeriesSummary | None
    structures: tuple[SeriesSummary, ...] = ()
    uncertainty: SeriesSummary | None = None

    @property
    def acquired_at(self) -> datetime:
        assert self.emission.acquired_at is not None  # gather() places no series without a time
        return self.emission.acquired_at

    def series(self) -> tuple[SeriesSummary, ...]:
        """The emission, its CT, its structures and its noise, as far as they are there."""
        all_of_it = (self.emission, self.ct, *self.structures, self.uncertainty)
        return tuple(s for s in all_of_it if s is not None)


@dataclass(frozen=True)
class CyclePlan:
    """One administration (or None where nobody has told it yet) and its time points in order of time."""

    patient_id: str
    nuclide: str
    administration: Administration | None
    time_points: tuple[TimePointPlan, ...]
    findings: tuple[Finding, ...] = ()
    notes: tuple[Finding, ...] = ()
    """What arrived and is not used, with its reason."""
    points_left_out: int = 0
    """Time points that a person left out: no others are expected in their place."""

    def series(self) -> tuple[SeriesSummary, ...]:
        """Every series that the cycle uses."""
        unique: dict[str, SeriesSummary] = {}
        for point in self.time_points:
            unique |= {series.series_uid: series for series in point.series()}
        return tuple(unique.values())


@dataclass(frozen=True)
class Gathering:
    """What the series of one patient add up to, and why each of the others is not used (yet)."""

    cycles: tuple[CyclePlan, ...]
    unused: Mapping[str, Unused] = field(default_factory=dict)
    """series UID -> (reason code, sentence)"""


def _agree(values: Iterable[T | None], empty: T | None) -> T | None:
    """The one value that all state, or None where they differ or say nothing (None or ``empty``)."""
    stated = {v for v in values if v is not None and v != empty}
    return next(iter(stated)) if len(stated) == 1 else None


def summarise(
    headers: Sequence[InstanceHeader], digests: Mapping[str, str], last_received_at: datetime
) -> SeriesSummary:
    """One series from the headers of its instances (all with one Series Instance UID)."""
    first = headers[0]
    findings = [*_each_once(headers), *one_person_in(headers)]
    for what, values in (
        ("patient", {h.patient_id for h in headers}),
        ("nuclide", {h.nuclide for h in headers if h.nuclide}),
        ("frame of reference", {h.frame_of_reference_uid for h in headers if h.frame_of_reference_uid}),
    ):
        if len(values) > 1:
            findings.append(
                Finding(
                    f"mixed-{what.split()[0]}",
                    Severity.HOLD,
                    f"the series holds instances of {len(values)} different {what}s; ask the sender to "
                    f"repair the series and to send it again under a new UID, and leave this one out with "
                    f"`dicomnode leave-out`",
                    measured=float(len(values)),
                    limit=1.0,
                    subject=first.series_instance_uid,
                )
            )
    times = [h.acquired_at for h in headers if h.acquired_at is not None]
    if first.role in (Role.EMISSION, Role.PROJECTIONS):
        findings += one_scan(times, first.series_instance_uid)
    usable = [h for h in headers if h.role is not Role.UNUSED] or headers
    nuclide = _agree((h.nuclide for h in usable), "")
    half_life_s = _agree((h.half_life_s for h in usable), None)
    activity_mbq = _agree((h.administered_mbq for h in usable), None)
    administered_at = _agree((h.administered_at for h in usable), None)
    return SeriesSummary(
        series_uid=first.series_instance_uid,
        study_uid=first.study_instance_uid,
        role=usable[0].role,
        modality=first.modality,
        patient_id=first.patient_id,
        frame_of_reference_uid=first.frame_of_reference_uid,
        description=first.series_description,
        acquired_at=min(times) if times else None,
        nuclide=nuclide or "",
        half_life_s=half_life_s,
        administered_mbq=activity_mbq,
        administered_at=administered_at,
        radiopharmaceutical=first.radiopharmaceutical,
        referenced_series_uids=tuple(sorted({u for h in headers for u in h.referenced_series_uids})),
        instances={h.sop_instance_uid: digests[h.sop_instance_uid] for h in headers},
        last_received_at=last_received_at,
        facts={
            "PatientBirthDate": first.patient_birth_date,
            **first.facts,
            **({"unused_because": usable[0].unused_because} if usable[0].unused_because else {}),
        },
        findings=_merged(findings, first.series_instance_uid),
        span_mm=_span_mm(usable),
    )


def _each_once(headers: Sequence[InstanceHeader]) -> tuple[Finding, ...]:
    """Findings of all instances; what many say of their series is one finding with its count."""
    uid = headers[0].series_instance_uid
    found = [f for h in headers for f in h.findings]
    return tuple(dict.fromkeys(f for f in found if f.subject != uid)) + once(
        f for f in found if f.subject == uid
    )


def _merged(findings: Sequence[Finding], series_uid: str) -> tuple[Finding, ...]:
    """Equal findings of many instances as one of their series, with how many there are."""
    alike: dict[Finding, int] = defaultdict(int)
    for f in findings:
        alike[replace(f, subject="")] += 1
    only = {replace(f, subject=""): f for f in findings}
    return tuple(
        only[f]
        if n == 1
        else replace(f, subject=series_uid, sentence=f"{f.sentence} ({n} objects say the same)")
        for f, n in alike.items()
    )


def _span_mm(headers: Sequence[InstanceHeader]) -> tuple[float, float] | None:
    """From where to where the slices lie along z, their thickness left out; None where it is not stated."""
    ends: list[float] = []
    for h in headers:
        place, directions = _numbers(h, "ImagePositionPatient"), _numbers(h, "ImageOrientationPatient")
        if len(place) != 3:
            return None
        ends.append(place[2])
        step = _numbers(h, "SpacingBetweenSlices") or _numbers(h, "SliceThickness")
        if h.frames > 1 and (len(directions) != 6 or not step):
            return None
        if h.frames > 1:
            along = directions[0] * directions[4] - directions[1] * directions[3]  # z of row x column
            ends.append(place[2] + along * step[0] * (h.frames - 1))
    return (min(ends), max(ends)) if ends else None


def _numbers(header: InstanceHeader, key: str) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in header.facts.get(key, "").split("\\") if v)
    except ValueError:
        return ()


NO_TIME = (
    "no-acquisition-time",
    "AcquisitionDateTime and AcquisitionDate/Time are absent; without them no time-activity curve can be "
    "made: ask the sender to keep them",
)
NOT_RECONSTRUCTED = (
    "not-reconstructed",
    "raw projections, which this node does not reconstruct: switch on `reconstruct` in [recon], with a "
    "[[recon.camera]] and a calibration record, or send the camera's own reconstruction",
)


def gather(
    series: Sequence[SeriesSummary],
    administrations: Sequence[Administration],
    settings: CycleSettings,
    *,
    reconstruct: bool = False,
    left_out: Sequence[LeftOut] = (),
) -> Gathering:
    """Group the series of ONE patient.

    A time point is an emission series with the CT of its frame of reference and the structures that
    refer to either. A cycle is an administration with the time points that follow it within
    ``cycle_window_d`` and before the next administration of the same nuclide. Emission series without
    an administration make a cycle of their own per nuclide, to be held until one is told. With
    ``reconstruct``, raw projections are emission series, too, and come before the camera's own
    reconstructions of the same acquisition. Where several series could serve, ``candidates`` chooses.
    Every series is used or has its reason, which a note of the cycle that it is nearest to repeats.
    """
    unused = _of_no_use(series, settings, reconstruct) | _left_out(series, left_out)
    emissions = [
        s for s in series if s.role in (Role.EMISSION, Role.PROJECTIONS) and s.series_uid not in unused
    ]
    acquisitions = list(_acquisitions(emissions, settings))
    gone = [w for w in acquisitions for x in left_out if x.kind is Kind.TIME_POINT and _is_in(x, w)]
    unused |= {s.series_uid: x.reason for x in left_out for w in gone if _is_in(x, w) for s in w}
    kept = [w for w in acquisitions if w not in gone]
    chosen = [choose_emission(whole, settings) for whole in kept]
    for choice in chosen:
        unused |= choice.unused
    serve = [s for s in series if s.series_uid not in unused]
    points, doubts = [], dict[str, tuple[Finding, ...]]()
    for choice, whole in zip(chosen, kept, strict=True):
        assert choice.series is not None  # of one acquisition there is at least one
        beside = companions(choice.series, {s.series_uid for s in whole}, serve, settings)
        for uid, why in beside.unused.items():
            unused.setdefault(uid, why)
        points.append(TimePointPlan(choice.series, beside.ct, beside.structures, beside.uncertainty))
        doubts[choice.series.series_uid] = (*choice.findings, *beside.findings)
    points.sort(key=lambda p: (p.acquired_at, p.emission.series_uid))
    cycles = tuple(_cycles(points, administrations, settings, doubts))
    used = {s.series_uid: s for c in cycles for s in c.series()}
    for s in series:
        if s.series_uid not in used and s.series_uid not in unused and s.role is not Role.ADMINISTRATION:
            unused[s.series_uid] = left_over(s, series, unused, used)
    told = {uid: reason for uid, reason in unused.items() if uid not in used}
    return Gathering(tuple(_with_notes(c, cycles, series, told, gone) for c in cycles), told)


def _of_no_use(
    series: Sequence[SeriesSummary], settings: CycleSettings, reconstruct: bool
) -> dict[str, Unused]:
    """Series that no time point can have, by what they are."""
    fixed = {Role.PLAN: ("not-used", NO_PLAN), Role.REGISTRATION: ("not-used", REGISTERED_HERE)}
    if not reconstruct:
        fixed[Role.PROJECTIONS] = NOT_RECONSTRUCTED
    unused = {s.series_uid: fixed[s.role] for s in series if s.role in fixed}
    for s in series:
        if s.role is Role.UNUSED:
            why = s.facts.get("unused_because", "of no use to dosimetry")
            unused[s.series_uid] = ("not-used", why)
        elif s.role in (Role.EMISSION, Role.PROJECTIONS) and s.acquired_at is None:
            unused.setdefault(s.series_uid, NO_TIME)
    return unused


def _left_out(series: Sequence[SeriesSummary], left_out: Sequence[LeftOut]) -> dict[str, Unused]:
    here = {s.series_uid for s in series}
    return {x.subject: x.reason for x in left_out if x.kind is Kind.SERIES and x.subject in here}


def _is_in(left_out: LeftOut, acquisition: Sequence[SeriesSummary]) -> bool:
    return left_out.subject in {s.series_uid for s in acquisition}


def _with_notes(
    cycle: CyclePlan,
    cycles: Sequence[CyclePlan],
    series: Sequence[SeriesSummary],
    why: Mapping[str, Unused],
    gone: Sequence[Sequence[SeriesSummary]],
) -> CyclePlan:
    """A cycle with what is said of series that it does not use; ``gone``: acquisitions left out."""
    mine = [s for s in series if s.series_uid in why and _nearest(s, cycles) in (cycle, None)]
    left_out = sum(_nearest(whole[0], cycles) is cycle for whole in gone)
    return replace(cycle, notes=tuple(notes(mine, why)), points_left_out=left_out)


def _nearest(series: SeriesSummary, cycles: Sequence[CyclePlan]) -> CyclePlan | None:
    """The cycle that an unused series is told of: that of its study, else that nearest in time; None: all."""
    for cycle in cycles:
        if series.study_uid in {s.study_uid for s in cycle.series()}:
            return cycle
    if series.acquired_at is None:
        return None
    at = series.acquired_at
    return min(cycles, key=lambda c: min(abs(p.acquired_at - at) for p in c.time_points), default=None)


def _acquisitions(
    emissions: Sequence[SeriesSummary], settings: CycleSettings
) -> Iterable[list[SeriesSummary]]:
    """Emission series of one acquisition: one frame of reference, nearly one time, and one nuclide. A series
    that does not state its nuclide goes with its frame: it is never an acquisition more."""
    gap = timedelta(minutes=settings.time_point_gap_min)
    frames: dict[str, list[list[SeriesSummary]]] = defaultdict(list)
    for s in sorted(emissions, key=lambda s: (not s.nuclide, s.acquired_at, s.series_uid)):
        frame = frames[s.frame_of_reference_uid or s.series_uid]
        near = (
            g
            for g in frame
            if min(abs(time_of(s) - time_of(o)) for o in g) < gap
            if not s.nuclide or s.nuclide == g[0].nuclide
        )
        group = next(near, None)
        if group is None:
            frame.append([s])
        else:
            group.append(s)
    return (g for frame in frames.values() for g in frame)


def _cycles(
    points: Sequence[TimePointPlan],
    administrations: Sequence[Administration],
    settings: CycleSettings,
    doubts: Mapping[str, tuple[Finding, ...]],
) -> Iterable[CyclePlan]:
    """Assign each time point to the latest administration of its nuclide before it."""
    window = timedelta(days=settings.cycle_window_d)
    groups: dict[tuple[str, Administration | None], list[TimePointPlan]] = defaultdict(list)
    for point in points:
        candidates = [
            a
            for a in administrations
            if a.nuclide == point.emission.nuclide or not point.emission.nuclide
            if timedelta(0) <= point.acquired_at - a.at <= window
        ]
        best = max(candidates, key=lambda a: a.at, default=None)
        groups[(point.emission.nuclide or (best.nuclide if best else ""), best)].append(point)
    for (nuclide, administration), members in groups.items():
        findings = [
            _at(i, p.emission, f)
            for i, p in enumerate(members, 1)
            for f in (
                *(f for s in (p.emission, p.ct) if s is not None for f in s.findings),
                *doubts[p.emission.series_uid],
            )
        ]
        findings += _too_close(members, settings)
        yield CyclePlan(
            patient_id=members[0].emission.patient_id,
            nuclide=nuclide,
            administration=administration,
            time_points=tuple(members),
            findings=tuple(dict.fromkeys(findings)),
        )


def _at(number: int, emission: SeriesSummary, finding: Finding) -> Finding:
    """A finding that says of which time point it is."""
    return replace(finding, sentence=f"T{number} {name_of(emission)}: {finding.sentence}")


def _too_close(points: Sequence[TimePointPlan], settings: CycleSettings) -> Iterable[Finding]:
    """One acquisition must not count as two points of a curve."""
    for before, after in pairwise(points):
        minutes = (after.acquired_at - before.acquired_at).total_seconds() / 60
        if minutes < settings.time_point_gap_min:
            yield Finding(
                "time-points-too-close",
                Severity.HOLD,
                f"two time points lie only {minutes:.0f} min apart and may be one acquisition: release the "
                f"cycle where they are two; else have the sender repair frame of reference or nuclide",
                measured=minutes,
                limit=settings.time_point_gap_min,
                unit="min",
                subject=after.emission.series_uid,
            )
