"""Grouping: headers into series, series into time points, time points into cycles. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypeVar

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
    unused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
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
                    f"repair the series and to send it again under a new UID",
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
            **first.facts,
            **({"unused_because": usable[0].unused_because} if usable[0].unused_because else {}),
        },
        findings=tuple(findings),
    )


def _each_once(headers: Sequence[InstanceHeader]) -> tuple[Finding, ...]:
    """Findings of all instances; what many say of their series is one finding with its count."""
    uid = headers[0].series_instance_uid
    found = [f for h in headers for f in h.findings]
    return tuple(dict.fromkeys(f for f in found if f.subject != uid)) + once(
        f for f in found if f.subject == uid
    )


NO_PARTNER = ("no-partner", "no emission series of the same frame of reference has arrived yet")
UNPAIRED = ("no-image", "the SPECT whose noise this is, is not here or not used")
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
) -> Gathering:
    """Group the series of ONE patient.

    A time point is an emission series with the CT of its frame of reference and the structures that
    refer to either. A cycle is an administration with the time points that follow it within
    ``cycle_window_d`` and before the next administration of the same nuclide. Emission series without
    an administration make a cycle of their own per nuclide, to be held until one is told. With
    ``reconstruct``, raw projections are emission series, too, and come before the camera's own
    reconstructions of the same acquisition.
    """
    unused: dict[str, tuple[str, str]] = {
        s.series_uid: ("not-used", s.facts.get("unused_because", "of no use to dosimetry"))
        for s in series
        if s.role in (Role.UNUSED, Role.PLAN, Role.REGISTRATION)
    }
    kinds = {Role.EMISSION, Role.PROJECTIONS} if reconstruct else {Role.EMISSION}
    if not reconstruct:
        unused |= {s.series_uid: NOT_RECONSTRUCTED for s in series if s.role is Role.PROJECTIONS}
    emissions = []
    for candidate in series:
        if candidate.role in kinds and candidate.acquired_at is None:
            unused[candidate.series_uid] = (
                "no-acquisition-time",
                "AcquisitionDateTime and AcquisitionDate/Time are absent; without them no time-activity "
                "curve can be made: ask the sender to keep them",
            )
        elif candidate.role in kinds:
            emissions.append(candidate)
    chosen, passed_over, doubts = _one_per_time_point(emissions, settings)
    unused.update(passed_over)
    points = [
        TimePointPlan(e, *_companions(e, series, settings), _uncertainty(e, series))
        for e in sorted(chosen, key=lambda s: (s.acquired_at, s.series_uid))
    ]
    cycles = tuple(_cycles(points, administrations, settings, doubts))
    used = {s.series_uid for c in cycles for s in c.series()}
    for s in series:
        if s.series_uid not in used and s.series_uid not in unused and s.role is not Role.ADMINISTRATION:
            unused[s.series_uid] = UNPAIRED if s.role is Role.UNCERTAINTY else NO_PARTNER
    return Gathering(cycles, unused)


def _one_per_time_point(
    emissions: Sequence[SeriesSummary], settings: CycleSettings
) -> tuple[list[SeriesSummary], dict[str, tuple[str, str]], dict[str, Finding]]:
    """Where one acquisition was reconstructed several times, the one to use; doubts by series UID."""
    chosen: list[SeriesSummary] = []
    unused: dict[str, tuple[str, str]] = {}
    doubts: dict[str, Finding] = {}
    for whole in _acquisitions(emissions, settings):
        raw = [s for s in whole if s.role is Role.PROJECTIONS]
        group = raw or whole
        for s in whole:
            if s not in group:
                unused[s.series_uid] = (
                    "other-reconstruction",
                    f"its projections, {raw[0].series_uid}, are here and are reconstructed by this node",
                )
        wanted = [
            s
            for s in group
            if settings.emission_description and re.search(settings.emission_description, s.description)
        ]
        pick = (wanted or group)[0]
        chosen.append(pick)
        if len(group) > 1 and len(wanted) != 1:
            doubts[pick.series_uid] = Finding(
                "several-reconstructions",
                Severity.HOLD,
                f"{len(group)} emission series belong to one acquisition; name the one to use with "
                f"emission_description in [cycle], or remove the others",
                measured=float(len(group)),
                limit=1.0,
                subject=pick.series_uid,
            )
        for s in group:
            if s is not pick:
                unused[s.series_uid] = (
                    "other-reconstruction",
                    f"another reconstruction of the acquisition of {pick.series_uid}",
                )
    return chosen, unused, doubts


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
            if min(abs(_time(s) - _time(o)) for o in g) < gap
            if not s.nuclide or s.nuclide == g[0].nuclide
        )
        group = next(near, None)
        if group is None:
            frame.append([s])
        else:
            group.append(s)
    return (g for frame in frames.values() for g in frame)


def _time(series: SeriesSummary) -> datetime:
    assert series.acquired_at is not None
    return series.acquired_at


def _companions(
    emission: SeriesSummary, series: Sequence[SeriesSummary], settings: CycleSettings
) -> tuple[SeriesSummary | None, tuple[SeriesSummary, ...]]:
    """The CT and the structures of an emission series."""
    cts = [s for s in series if s.role is Role.CT]
    frame = emission.frame_of_reference_uid
    same_frame = [s for s in cts if frame and s.frame_of_reference_uid == frame]
    if not same_frame and settings.same_study_ct:
        same_frame = [s for s in cts if s.study_uid == emission.study_uid]

    def distance(ct: SeriesSummary) -> tuple[bool, float, str]:
        far = abs((ct.acquired_at - _time(emission)).total_seconds()) if ct.acquired_at else float("inf")
        return ct.study_uid != emission.study_uid, far, ct.series_uid

    ct = min(same_frame, key=distance, default=None)
    own = {emission.series_uid} | ({ct.series_uid} if ct else set())
    structures = tuple(
        s
        for s in series
        if s.role is Role.STRUCTURES
        and (
            own & set(s.referenced_series_uids)
            or (not s.referenced_series_uids and frame and s.frame_of_reference_uid == frame)
        )
    )
    return ct, structures


def _uncertainty(emission: SeriesSummary, series: Sequence[SeriesSummary]) -> SeriesSummary | None:
    """The noise of an image that this node once reconstructed: the series that refers to it. Of projections
    the noise is found anew. The first of several: they are copies, since UIDs name the revision."""
    if emission.role is not Role.EMISSION:
        return None
    found = [
        s for s in series
        if s.role is Role.UNCERTAINTY and emission.series_uid in s.referenced_series_uids
    ]  # fmt: skip
    return min(found, key=lambda s: s.series_uid, default=None)


def _cycles(
    points: Sequence[TimePointPlan],
    administrations: Sequence[Administration],
    settings: CycleSettings,
    doubts: Mapping[str, Finding],
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
        findings = [f for p in members for s in (p.emission, p.ct) if s is not None for f in s.findings]
        findings += [doubts[p.emission.series_uid] for p in members if p.emission.series_uid in doubts]
        findings += _too_close(members, settings)
        yield CyclePlan(
            patient_id=members[0].emission.patient_id,
            nuclide=nuclide,
            administration=administration,
            time_points=tuple(members),
            findings=tuple(dict.fromkeys(findings)),
        )


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
