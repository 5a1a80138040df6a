"""Administrations as people, the configuration, reports and image headers tell them, and their rows.

A row is never changed: what a person tells again withdraws the row before, which stays on record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import About, Person
from dicomnode.calculation.planning import configured_administrations
from dicomnode.config import Config
from dicomnode.database.tables import AdministrationRow
from dicomnode.errors import Refused
from dicomnode.model import Administration

PERSON = "person:"
"""How the source of a row begins that a person told."""

RESTATED = ("header:", "config")
"""Sources of rows that only repeat what image headers or the configuration say (afresh at every review)."""


def told(session: Session, patient_id: str, config: Config, *, reports: bool) -> list[Administration]:
    """Administrations that people and the configuration told, or those that objects reported."""
    rows = session.scalars(
        select(AdministrationRow).where(
            AdministrationRow.patient_id == patient_id, AdministrationRow.withdrawn.is_(False)
        )
    )
    administrations = [
        Administration(
            r.nuclide, r.activity_mbq, r.administered_at, r.radiopharmaceutical, r.residual_mbq, r.source
        )
        for r in rows
        if r.source.startswith(PERSON) != reports and not r.source.startswith(RESTATED)
    ]
    if not reports:
        administrations += configured_administrations(config, patient_id)
    return administrations


@dataclass(frozen=True)
class Told:
    """How far the rows have been seen, and the patients of whom something was told or withdrawn since."""

    newest: int = -1
    withdrawn: int = 0
    patients: tuple[str, ...] = ()


def changed_since(session: Session, before: Told) -> Told:
    """What was told or withdrawn since ``before``."""
    ids, gone = AdministrationRow.id, AdministrationRow.withdrawn
    newest = session.scalar(select(func.max(ids))) or 0
    withdrawn = session.scalar(select(func.count()).where(gone)) or 0
    if (newest, withdrawn) == (before.newest, before.withdrawn):
        return replace(before, patients=())
    changed = ids > before.newest
    if withdrawn != before.withdrawn:
        changed |= gone
    patients = session.scalars(select(AdministrationRow.patient_id).where(changed).distinct()).all()
    return Told(newest, withdrawn, tuple(patients))


def record(
    session: Session, patient_id: str, told: Administration, who: Person | str, now: datetime
) -> AdministrationRow | None:
    """Record an administration once per source; None where that source told it before."""
    at = told.at.astimezone(UTC)
    if _row_that_tells(session, patient_id, told) is not None:
        return None
    row = AdministrationRow(
        patient_id=patient_id,
        nuclide=told.nuclide,
        radiopharmaceutical=told.radiopharmaceutical,
        activity_mbq=told.activity_mbq,
        residual_mbq=told.residual_mbq,
        administered_at=at,
        source=told.source,
        recorded_at=now,
    )
    session.add(row)
    trail.append(
        session,
        events.administration_recorded(
            who,
            About(patient_id=patient_id),
            nuclide=told.nuclide,
            activity_mbq=told.activity_mbq,
            at=at,
            source=told.source,
        ),
    )
    return row


def withdraw_told_before(session: Session, patient_id: str, told: Administration, who: Person) -> None:
    """What a person told before of the same day and nuclide no longer counts; the rows stay."""
    for row in session.scalars(
        select(AdministrationRow).where(
            AdministrationRow.patient_id == patient_id,
            AdministrationRow.nuclide == told.nuclide,
            AdministrationRow.source.startswith(PERSON),
            AdministrationRow.withdrawn.is_(False),
        )
    ):
        if abs((row.administered_at - told.at).total_seconds()) < 12 * 3600:
            withdraw(session, row, who, "told again")


def withdraw(session: Session, row: AdministrationRow, who: Person, because: str) -> None:
    """An administration no longer counts; its row stays."""
    row.withdrawn = True
    trail.append(
        session,
        events.administration_withdrawn(
            who, About(patient_id=row.patient_id), because=because, administration_id=row.id
        ),
    )


def told_by_person(session: Session, number: int) -> AdministrationRow:
    """The row that a person told and that still counts.

    Raises
    ------
    Refused : no such row, one that was withdrawn, or one that objects or the configuration tell
    """
    row = session.get(AdministrationRow, number)
    if row is None or row.withdrawn or not row.source.startswith(PERSON):
        raise Refused(
            "no person told this administration, or it was withdrawn",
            attribute="administration",
            value=str(number),
            remedy="`dicomnode show` lists those that people told, by number; what images, reports or the "
            "configuration say is corrected by telling it right with `dicomnode administer`",
        )
    return row


def row_of(
    session: Session, patient_id: str, told: Administration | None, here: str, now: datetime
) -> int | None:
    """The row of the administration that a cycle goes by. What headers or the configuration say gets its
    row here, so that it is on record and the course finds the patient's earlier cycles."""
    if told is None:
        return None
    known = _row_that_tells(session, patient_id, told)
    if known is not None or told.source.startswith(PERSON):
        return known
    if not told.source.startswith(RESTATED):  # a report would have its row
        told = replace(told, source=f"header:{told.source}")
    known = _row_that_tells(session, patient_id, told)
    if known is None:
        record(session, patient_id, told, here, now)
        session.flush()
        known = _row_that_tells(session, patient_id, told)
    return known


def _row_that_tells(session: Session, patient_id: str, told: Administration) -> int | None:
    return session.scalars(
        select(AdministrationRow.id).where(
            AdministrationRow.patient_id == patient_id,
            AdministrationRow.source == told.source,
            AdministrationRow.nuclide == told.nuclide,
            AdministrationRow.administered_at == told.at.astimezone(UTC),
            AdministrationRow.activity_mbq == told.activity_mbq,
            AdministrationRow.withdrawn.is_(False),
        )
    ).first()
