"""What people leave out of a cycle, on record: a series, a time point, a region, and their undoing.

A row is never changed but for the instant at which it was undone. The work role sees that rows have changed
and reviews the patient, as it does for administrations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import Person
from dicomnode.casebook.house import House
from dicomnode.casebook.state import about
from dicomnode.casebook.views import find_cycle
from dicomnode.cycle.left_out import Kind, LeftOut
from dicomnode.database.tables import (
    CycleRow,
    FindingRow,
    LeftOutRow,
    OrganDoseRow,
    Revision,
    Series,
    TimePointRow,
)
from dicomnode.errors import Refused


def of_cycle(session: Session, cycle_id: str) -> list[LeftOut]:
    """What is left out of one cycle."""
    query = select(LeftOutRow).where(LeftOutRow.cycle_id == cycle_id, LeftOutRow.undone_at.is_(None))
    return [_noun(row) for row in session.scalars(query.order_by(LeftOutRow.id))]


def of_patient(session: Session, patient_id: str) -> list[LeftOut]:
    """What is left out of any cycle of a patient."""
    mine = select(CycleRow.id).where(CycleRow.patient_id == patient_id)
    query = select(LeftOutRow).where(LeftOutRow.cycle_id.in_(mine), LeftOutRow.undone_at.is_(None))
    return [_noun(row) for row in session.scalars(query.order_by(LeftOutRow.id))]


def _noun(row: LeftOutRow) -> LeftOut:
    return LeftOut(Kind(row.kind), row.subject, row.decided_by, row.because)


@dataclass(frozen=True)
class Seen:
    """How far the rows have been seen, and the patients of whom something changed since."""

    newest: int = 0
    undone: int = 0
    patients: tuple[str, ...] = ()


def changed_since(session: Session, before: Seen) -> Seen:
    """What was left out or taken in again since ``before``."""
    newest = session.scalar(select(func.max(LeftOutRow.id))) or 0
    undone = session.scalar(select(func.count()).where(LeftOutRow.undone_at.is_not(None))) or 0
    if (newest, undone) == (before.newest, before.undone):
        return Seen(newest, undone)
    changed = LeftOutRow.id > before.newest
    if undone != before.undone:
        changed |= LeftOutRow.undone_at.is_not(None)
    patients = select(CycleRow.patient_id).join(LeftOutRow, LeftOutRow.cycle_id == CycleRow.id)
    return Seen(newest, undone, tuple(session.scalars(patients.where(changed).distinct())))


def leave_out(house: House, cycle_id: str, what: str, by: Person, because: str, now: datetime) -> str:
    """A person leaves a series (by its UID), a time point (by its label) or a region (by its name) out of a
    cycle; returns a sentence. Raises Refused where the cycle has nothing of that name."""
    with house.database.write() as session:
        row = find_cycle(session, cycle_id)
        kind, subject = _meant(session, row, what)
        if _standing(session, row, subject) is not None:
            raise Refused(f"{what} is left out already", remedy="Take it in again with --undo")
        row_out = LeftOutRow(cycle_id=row.id, kind=kind, subject=subject, because=because)
        row_out.decided_by, row_out.decided_at = by.said, now
        session.add(row_out)
        told = events.left_out(by, about(row), kind=kind, subject=subject, because=because, undone=False)
        trail.append(session, told)
    return f"{kind} {what} is left out of cycle {row.id}"


def take_in(house: House, cycle_id: str, what: str, by: Person, because: str, now: datetime) -> str:
    """A person takes in again what was left out; returns a sentence."""
    with house.database.write() as session:
        row = find_cycle(session, cycle_id)
        standing = _standing(session, row, what)
        if standing is None:
            raise Refused(
                f"{what} is not left out of cycle {row.id}",
                remedy="`dicomnode show` lists what is; a time point is named by its emission series",
            )
        standing.undone_at = now
        told = events.left_out(by, about(row), kind=standing.kind, subject=what, because=because, undone=True)
        trail.append(session, told)
    return f"{standing.kind} {what} is taken in again"


def _standing(session: Session, row: CycleRow, subject: str) -> LeftOutRow | None:
    query = select(LeftOutRow).where(
        LeftOutRow.cycle_id == row.id, LeftOutRow.subject == subject, LeftOutRow.undone_at.is_(None)
    )
    return session.scalars(query).first()


def _meant(session: Session, row: CycleRow, what: str) -> tuple[Kind, str]:
    """Kind and subject of what a person named."""
    labelled = select(TimePointRow.emission_series_uid).where(
        TimePointRow.cycle_id == row.id, TimePointRow.label == what
    )
    emission = session.scalars(labelled).first()
    if emission is not None:
        return Kind.TIME_POINT, emission
    series = session.get(Series, what)
    if series is not None and series.patient_id == row.patient_id:
        return Kind.SERIES, what
    known = _regions(session, row)
    if re.fullmatch(r"[0-9.]+|T\d+", what) or what not in known:
        raise Refused(
            f"cycle {row.id} has no series, time point or region {what}",
            remedy=f"`dicomnode show` lists them; regions met so far: {', '.join(sorted(known)) or 'none'}",
        )
    return Kind.REGION, what


def _regions(session: Session, row: CycleRow) -> set[str]:
    """Names of regions that a computation of the cycle has met: those with a dose, and those of findings."""
    doses = select(OrganDoseRow.region).join(Revision, Revision.id == OrganDoseRow.revision_id)
    found = select(FindingRow.subject).where(FindingRow.cycle_id == row.id, FindingRow.revision_id != "")
    return {*session.scalars(doses.where(Revision.cycle_id == row.id)), *session.scalars(found)} - {""}
