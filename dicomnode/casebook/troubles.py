"""What goes wrong now and no cycle, object or delivery shows: a patient whose review fails, a role that
does not stay up. `dicomnode status` and `/health` name it until it goes well again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dicomnode.audit import codes, events, trail
from dicomnode.casebook.state import hold_for_fault
from dicomnode.database.tables import CycleRow, Series, TroubleRow
from dicomnode.model.text import LONGEST_TEXT, printable, shortened

SKIPPED = "not-reviewed:"
"""How the subject begins of a patient that the work role does not survive."""


def note(session: Session, subject: str, sentence: str, here: str, now: datetime) -> None:
    """It went wrong, perhaps once more. The first time, and with each new sentence, an alert is recorded."""
    sentence = shortened(printable(sentence), LONGEST_TEXT)
    row = session.get(TroubleRow, subject)
    if row is None:
        row = TroubleRow(subject=subject, sentence="", since=now, times=0)
        session.add(row)
    row.times += 1
    if row.sentence != sentence:
        row.sentence = sentence
        trail.append(
            session, events.security_alert(here, sentence=sentence, alert=codes.SOFTWARE_CONFIGURATION)
        )


def over(session: Session, subject: str) -> None:
    """It went well."""
    session.execute(delete(TroubleRow).where(TroubleRow.subject == subject))


def forget(session: Session, prefixes: Sequence[str]) -> None:
    """What is tried anew."""
    for prefix in prefixes:
        session.execute(delete(TroubleRow).where(TroubleRow.subject.startswith(prefix, autoescape=True)))


def hold_patient(session: Session, patient_id: str, fault: str, here: str, now: datetime) -> None:
    """A review fails: everything of this patient is held, since nobody knows what it would have found."""
    for row in session.scalars(select(CycleRow).where(CycleRow.patient_id == patient_id)):
        hold_for_fault(session, row, fault, here, now)
    series = select(Series.series_instance_uid).where(Series.patient_id == patient_id)
    newest = session.scalars(series.order_by(Series.last_received_at.desc())).first() or "(none)"
    why = f"what came of the patient of series {newest} cannot be reviewed: {fault}; its cycles are held"
    note(session, f"patient:{patient_id}", why, here, now)


def skip(session: Session, patient_id: str, here: str, now: datetime) -> None:
    """The work role dies of this patient's review: hold everything, and review it no more until the next
    start of the service."""
    hold_patient(session, patient_id, "the work role died of it repeatedly", here, now)
    note(session, f"{SKIPPED}{patient_id}", "it is not reviewed before the next start", here, now)


def skipped(session: Session) -> frozenset[str]:
    """Patients that are not reviewed."""
    return frozenset(
        row.subject.removeprefix(SKIPPED) for row in listed(session) if row.subject.startswith(SKIPPED)
    )


def listed(session: Session) -> Sequence[TroubleRow]:
    """Everything that goes wrong now, oldest first."""
    return session.scalars(select(TroubleRow).order_by(TroubleRow.since, TroubleRow.subject)).all()
