"""What is known of administrations, from every source, reconciled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from itertools import permutations

from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Administration, Finding, Severity
from dicomnode.model.series import Role, SeriesSummary

SAME_ADMINISTRATION = timedelta(hours=12)
"""Statements of one nuclide nearer than this are of one administration: nobody is treated twice in it."""


@dataclass(frozen=True)
class Reconciled:
    """Administrations of one patient in order of time, and where the sources contradict each other.

    ``doubts`` holds, by administration kept, the findings of the statements that were matched to it.
    """

    administrations: tuple[Administration, ...]
    doubts: Mapping[Administration, tuple[Finding, ...]] = field(default_factory=dict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All doubts, each once."""
        return tuple(dict.fromkeys(f for found in self.doubts.values() for f in found))


def from_objects(series: Sequence[SeriesSummary]) -> tuple[Administration, ...]:
    """What emission series and projections say of the administration; only complete statements count."""
    return tuple(
        Administration(
            s.nuclide,
            s.administered_mbq,
            s.administered_at,
            radiopharmaceutical=s.radiopharmaceutical,
            source=s.series_uid,
        )
        for s in series
        if s.role in (Role.EMISSION, Role.PROJECTIONS)
        if s.nuclide and s.administered_mbq and s.administered_at is not None
    )


def reconcile(
    told: Iterable[Administration],
    reported: Iterable[Administration],
    in_headers: Iterable[Administration],
    settings: CycleSettings,
) -> Reconciled:
    """One list out of four kinds of sources.

    Precedence: what a person told, then the configuration, then administered-activity reports, then image
    headers (which are typed by hand at each scan and most often wrong). Statements of one nuclide less
    than 12 h apart are the same administration. Where their times differ by more than
    ``administration_tolerance_min``, or their activities by more than ``activity_tolerance``, the cycle is
    held unless a person or the configuration told them. A statement of another day within
    ``cycle_window_d`` of a better source is not a second administration but holds the cycle: most often
    the day was mistyped. Two of equal rank within that time both count, and hold their cycles.
    """
    told = list(told)
    people = [a for a in told if a.source != "config"]
    configured = [a for a in told if a.source == "config"]
    kept: dict[Administration, int] = {}
    doubts: dict[Administration, list[Finding]] = defaultdict(list)
    for rank, source in enumerate((people, configured, reported, in_headers)):
        for statement in sorted(source, key=lambda a: (a.at, a.activity_mbq, a.source)):
            near = _near(statement, kept, settings)
            if near is not None and same(near, statement):
                if kept[near] > 1:  # the word of a person or of the configuration settles it
                    doubts[near] += _contradictions(near, statement, settings)
            elif near is not None and kept[near] < rank:
                doubts[near].append(_another_day(near, statement, settings))
            else:
                kept[statement] = rank
    in_order = sorted(kept, key=lambda a: a.at)
    for a, b in permutations(in_order, 2):
        if a.nuclide == b.nuclide and _apart(a, b) <= timedelta(days=settings.cycle_window_d):
            doubts[a].append(_too_close(a, b, settings))
    return Reconciled(tuple(in_order), {a: tuple(dict.fromkeys(found)) for a, found in doubts.items()})


def same(a: Administration, b: Administration) -> bool:
    """Same nuclide and the same day, give or take: nobody is treated twice within 12 h."""
    return a.nuclide == b.nuclide and _apart(a, b) < SAME_ADMINISTRATION


def _apart(a: Administration, b: Administration) -> timedelta:
    return abs(a.at - b.at)


def _near(
    statement: Administration, kept: Iterable[Administration], settings: CycleSettings
) -> Administration | None:
    """The nearest administration of the nuclide within ``cycle_window_d``."""
    window = timedelta(days=settings.cycle_window_d)
    near = [a for a in kept if a.nuclide == statement.nuclide and _apart(a, statement) <= window]
    return min(near, key=lambda a: (_apart(a, statement), a.at), default=None)


def _another_day(kept: Administration, statement: Administration, settings: CycleSettings) -> Finding:
    days = _apart(kept, statement) / timedelta(days=1)
    return Finding(
        "administration-date-contradicts",
        Severity.HOLD,
        f"a statement of the administration time differs by {days:.1f} d from the better source that is "
        f"used: release the cycle where that source is right; where it is wrong, or where there were two "
        f"administrations, tell it with `dicomnode administer`",
        measured=days,
        limit=settings.cycle_window_d,
        unit="d",
        subject=statement.source,
    )


def _too_close(a: Administration, b: Administration, settings: CycleSettings) -> Finding:
    days = _apart(a, b) / timedelta(days=1)
    return Finding(
        "administrations-too-close",
        Severity.HOLD,
        f"two administrations of {a.nuclide} lie only {days:.1f} d apart: release the cycle where there were "
        f"two; where there was one, tell it with `dicomnode administer` or take back the wrong one with "
        f"`dicomnode withdraw`",
        measured=days,
        limit=settings.cycle_window_d,
        unit="d",
        subject=b.at.astimezone(UTC).isoformat(timespec="minutes"),
    )


def _contradictions(a: Administration, b: Administration, settings: CycleSettings) -> Iterable[Finding]:
    minutes = abs((a.at - b.at).total_seconds()) / 60
    if minutes > settings.administration_tolerance_min:
        yield Finding(
            "administration-time-contradicts",
            Severity.HOLD,
            f"two statements of the administration time differ by {minutes:.0f} min; tell the right one "
            f"with `dicomnode administer`",
            measured=minutes,
            limit=settings.administration_tolerance_min,
            unit="min",
            subject=b.source,
        )
    difference = abs(a.activity_mbq - b.activity_mbq) / a.activity_mbq
    if difference > settings.activity_tolerance:
        yield Finding(
            "administered-activity-contradicts",
            Severity.HOLD,
            f"two statements of the administered activity differ by {difference:.0%}; tell the right one "
            f"with `dicomnode administer`",
            measured=difference,
            limit=settings.activity_tolerance,
            subject=b.source,
        )
