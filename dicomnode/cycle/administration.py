"""What is known of administrations, from every source, reconciled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Administration, Finding, Severity
from dicomnode.model.series import Role, SeriesSummary


@dataclass(frozen=True)
class Reconciled:
    """Administrations of one patient in order of time, and where the sources contradict each other."""

    administrations: tuple[Administration, ...]
    findings: tuple[Finding, ...]


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
    """One list out of three kinds of sources.

    Precedence: what a person or the configuration told, then administered-activity reports, then image
    headers (which are typed by hand at each scan and most often wrong). Statements of one nuclide that
    lie within ``administration_tolerance_min`` are the same administration. A header whose time differs
    by more, while its day is that of a better source, is a contradiction and holds the cycle unless a
    person told the time. Activities that differ by more than ``activity_tolerance`` hold likewise.
    """
    kept: list[Administration] = []
    ranks: list[int] = []
    findings: list[Finding] = []
    for rank, source in enumerate((told, reported, in_headers)):
        for statement in sorted(source, key=lambda a: (a.at, a.activity_mbq, a.source)):
            match = next((i for i, a in enumerate(kept) if _same(a, statement, settings)), None)
            if match is None:
                kept.append(statement)
                ranks.append(rank)
            elif ranks[match] > 0:  # a person's word settles it
                findings += _contradictions(kept[match], statement, settings)
    order = sorted(range(len(kept)), key=lambda i: kept[i].at)
    return Reconciled(tuple(kept[i] for i in order), tuple(dict.fromkeys(findings)))


def _same(a: Administration, b: Administration, settings: CycleSettings) -> bool:
    """Same nuclide and the same day, give or take: nobody is treated twice within 12 h."""
    return a.nuclide == b.nuclide and abs((a.at - b.at).total_seconds()) < 12 * 3600


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
