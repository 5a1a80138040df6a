"""What came before a revision: the patient's earlier cycles, and the revision that it supersedes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.archive.records import AdministrationRow, CycleRow, OrganDoseRow, Result, Revision
from dicomnode.cycle.administration import same
from dicomnode.model import Administration
from dicomnode.node.job import AdministrationJob, Course, EarlierOrgan, Superseded


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
    """Released revisions of earlier cycles with their administrations, in order of time."""
    rows = session.execute(
        select(Revision.id, AdministrationRow)
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
    return [(r, Administration(a.nuclide, a.activity_mbq, a.administered_at)) for r, a in rows]


def _organs(session: Session, revision: str) -> tuple[EarlierOrgan, ...]:
    return tuple(
        EarlierOrgan(
            region=o.region, mean_gy=o.mean_gy, sigma_gy=o.sigma_gy, bed_gy=o.bed_gy, eqd2_gy=o.eqd2_gy
        )
        for o in session.scalars(
            select(OrganDoseRow).where(OrganDoseRow.revision_id == revision).order_by(OrganDoseRow.id)
        )
    )


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
