"""Everything about a cycle, as plain values."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.casebook.administrations import PERSON
from dicomnode.casebook.house import House
from dicomnode.casebook.state import current_revision
from dicomnode.database.tables import (
    AdministrationRow,
    CycleRow,
    Delivery,
    FindingRow,
    LeftOutRow,
    OrganDoseRow,
    Result,
    Revision,
    TimePointRow,
)
from dicomnode.errors import Refused


def find_cycle(session: Session, cycle_id: str) -> CycleRow:
    """A cycle by its id or a beginning of it that is unique."""
    found = session.scalars(select(CycleRow).where(CycleRow.id.startswith(cycle_id, autoescape=True))).all()
    if len(found) != 1:
        raise Refused(f"{len(found)} cycles begin with {cycle_id!r}", remedy="`dicomnode cycles` lists them")
    return found[0]


def cycle_facts(house: House, cycle_id: str) -> dict[str, Any]:
    """Everything about one cycle, as plain values."""
    with house.database.read() as session:
        row = find_cycle(session, cycle_id)
        revision = current_revision(session, row.id)
        administration = (
            session.get(AdministrationRow, row.administration_id) if row.administration_id else None
        )
        facts: dict[str, Any] = {
            "cycle": _columns(row),
            "administration": _columns(administration),
            "told": _rows(session, AdministrationRow, _told_of(row.patient_id)),
            "left_out": _rows(
                session, LeftOutRow, (LeftOutRow.cycle_id == row.id) & LeftOutRow.undone_at.is_(None)
            ),
            "time_points": _rows(session, TimePointRow, TimePointRow.cycle_id == row.id),
            "revision": _columns(revision),
            "findings": _rows(
                session,
                FindingRow,
                (FindingRow.cycle_id == row.id)
                & FindingRow.revision_id.in_(["", revision.id if revision else ""]),
            ),
        }
        facts["time_points"].sort(key=lambda t: t["acquired_at"])
        facts["cycle"]["reasons"] = json.loads(row.reasons)
        if revision is not None:
            facts["organ_doses"] = _rows(session, OrganDoseRow, OrganDoseRow.revision_id == revision.id)
            facts["results"] = _rows(session, Result, Result.revision_id == revision.id)
            facts["deliveries"] = _rows(session, Delivery, Delivery.revision_id == revision.id)
            facts["revisions"] = _rows(session, Revision, Revision.cycle_id == row.id)
            facts["revisions"].sort(key=lambda r: r["number"])
    return facts


def _told_of(patient_id: str) -> Any:
    return (
        (AdministrationRow.patient_id == patient_id)
        & AdministrationRow.source.startswith(PERSON)
        & AdministrationRow.withdrawn.is_(False)
    )


def _columns(row: Any) -> dict[str, Any]:
    return {c.key: getattr(row, c.key) for c in row.__mapper__.column_attrs} if row is not None else {}


def _rows(session: Session, table: Any, where: Any) -> list[dict[str, Any]]:
    return [
        _columns(r)
        for r in session.scalars(select(table).where(where).order_by(*table.__table__.primary_key))
    ]


def cycle_rows(house: House) -> list[dict[str, Any]]:
    """Every cycle, oldest first."""
    with house.database.read() as session:
        rows = [_columns(r) for r in session.scalars(select(CycleRow).order_by(CycleRow.opened_at))]
    for row in rows:
        row["reasons"] = json.loads(row["reasons"])
    return rows
