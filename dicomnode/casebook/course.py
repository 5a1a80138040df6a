"""What came before a revision: the patient's earlier cycles, and the revision that it supersedes. And the
other way round: which later cycles have added up what is no longer so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.audit import codes, events, trail
from dicomnode.calculation.job import AdministrationJob, Course, EarlierOrgan, Superseded
from dicomnode.casebook.state import finding_row, is_held_by_person
from dicomnode.config import Config
from dicomnode.cycle.administration import same
from dicomnode.database.tables import (
    AdministrationRow,
    CycleRow,
    FindingRow,
    OrganDoseRow,
    Result,
    Revision,
)
from dicomnode.model import Administration, Finding, Severity

COURSE_OUTDATED = "course-outdated"


def course_before(
    session: Session, row: CycleRow, administration: Administration, known: Iterable[Administration]
) -> Course:
    """The patient's earlier cycles: released organ doses, and which administrations have none.

    ``known`` are all administrations of the patient, of whatever nuclide.
    """
    computed = _computed(session, row, administration.at)
    counted = [told for _, told in computed]
    return Course(
        organs=tuple(_organs(session, revision) for revision, _ in computed),
        without_dose=tuple(
            AdministrationJob.of(a)
            for a in known
            if a.at < administration.at and not any(same(a, c) for c in counted)
        ),
    )


def _computed(session: Session, row: CycleRow, before: datetime) -> Sequence[tuple[str, Administration]]:
    """Released revisions of earlier cycles with their administrations, in order of time; none of a cycle that
    a person holds, since whose dose that is may be what the person doubts."""
    rows = session.execute(
        select(Revision.id, AdministrationRow, CycleRow)
        .join(CycleRow, CycleRow.id == Revision.cycle_id)
        .join(AdministrationRow, AdministrationRow.id == CycleRow.administration_id)
        .where(
            CycleRow.patient_id == row.patient_id,
            CycleRow.id != row.id,
            AdministrationRow.administered_at < before,
            Revision.state.in_(("RELEASED", "DELIVERED")),
        )
        .order_by(AdministrationRow.administered_at)
    )
    return [
        (r, Administration(a.nuclide, a.activity_mbq, a.administered_at))
        for r, a, cycle in rows
        if not is_held_by_person(cycle)
    ]


def _organs(session: Session, revision: str) -> tuple[EarlierOrgan, ...]:
    return tuple(
        EarlierOrgan(
            region=o.region, mean_gy=o.mean_gy, sigma_gy=o.sigma_gy, bed_gy=o.bed_gy, eqd2_gy=o.eqd2_gy
        )
        for o in session.scalars(
            select(OrganDoseRow).where(OrganDoseRow.revision_id == revision).order_by(OrganDoseRow.id)
        )
    )


def tell_later_cycles(session: Session, row: CycleRow, config: Config, now: datetime) -> None:
    """The answer of a cycle changed: reports of later cycles that left before add up the old one."""
    own = session.get(AdministrationRow, row.administration_id) if row.administration_id else None
    if own is None:
        return
    found = Finding(
        COURSE_OUTDATED,
        Severity.WARNING,
        f"its report adds up the course without the present answer of the cycle of {own.nuclide} of "
        f"{own.administered_at:%Y-%m-%d}: hold it, then release it, which computes the sums anew",
        subject=row.id,
    )
    for cycle, revision in _later(session, row, own.administered_at):
        session.add(finding_row(found, cycle.id, revision.id, now))
        detail = {"cycle_id": cycle.id, "revision_id": revision.id}
        told = events.security_alert(
            config.node.name, sentence=found.sentence, alert=codes.SOFTWARE_CONFIGURATION, detail=detail
        )
        trail.append(session, told)


def _later(session: Session, row: CycleRow, after: datetime) -> Sequence[tuple[CycleRow, Revision]]:
    """Cycles of the patient that were administered later, with the revision that is in force."""
    rows = session.execute(
        select(CycleRow, Revision)
        .join(Revision, Revision.cycle_id == CycleRow.id)
        .join(AdministrationRow, AdministrationRow.id == CycleRow.administration_id)
        .where(
            CycleRow.patient_id == row.patient_id,
            CycleRow.id != row.id,
            AdministrationRow.administered_at > after,
            Revision.state.in_(("RELEASED", "DELIVERED")),
        )
    )
    return [(cycle, revision) for cycle, revision in rows]


def changes_sums(session: Session, revision: Revision) -> bool:
    """Whether it brings other doses than the revision that it supersedes."""
    before = superseded(session, revision)
    return before is None or _organs(session, before.revision_id) != _organs(session, revision.id)


def is_course_outdated(session: Session, revision: Revision) -> bool:
    """Whether the sums of a revision's report are no longer so."""
    told = select(FindingRow.id).where(
        FindingRow.revision_id == revision.id, FindingRow.rule == COURSE_OUTDATED
    )
    return session.scalars(told).first() is not None


def superseded(session: Session, revision: Revision) -> Superseded | None:
    """The last revision before this one whose objects left, or were to leave; None where there is none."""
    older = session.scalars(
        select(Revision.id)
        .where(
            Revision.cycle_id == revision.cycle_id,
            Revision.number < revision.number,
            Revision.released_at.is_not(None),
        )
        .order_by(Revision.number.desc())
    ).first()
    if older is None:
        return None
    made = session.execute(
        select(Result.role, Result.sop_instance_uid).where(
            Result.revision_id == older, Result.sop_instance_uid != ""
        )
    )
    return Superseded(revision_id=older, objects=dict(made.all()))
