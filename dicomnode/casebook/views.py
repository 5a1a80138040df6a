"""Everything about a cycle, as plain values."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import Person
from dicomnode.casebook.administrations import PERSON
from dicomnode.casebook.house import House
from dicomnode.casebook.seen import FEWEST, administration_shown, state_shown
from dicomnode.casebook.state import about, current_revision
from dicomnode.database.tables import (
    AdministrationRow,
    CycleRow,
    Delivery,
    FindingRow,
    Instance,
    LeftOutRow,
    OrganDoseRow,
    Result,
    Revision,
    Series,
    TimePointRow,
)
from dicomnode.errors import Refused


def find_cycle(session: Session, cycle_id: str) -> CycleRow:
    """A cycle by its id or a beginning of it that is unique."""
    found = session.scalars(select(CycleRow).where(CycleRow.id.startswith(cycle_id, autoescape=True))).all()
    if len(found) != 1:
        raise Refused(f"{len(found)} cycles begin with {cycle_id!r}", remedy="`dicomnode cycles` lists them")
    return found[0]


def cycle_named(session: Session, cycle_id: str) -> CycleRow:
    """The cycle that a person acts on, by its id or at least ``FEWEST`` characters of it.

    Raises Refused for fewer characters (an empty shell variable names no cycle), for none or for several.
    """
    whole = session.get(CycleRow, cycle_id)
    if whole is not None:
        return whole
    if len(cycle_id) < FEWEST:
        raise Refused(
            f"{cycle_id!r} is too short to name the cycle to act on",
            remedy=f"Give its whole identifier, or {FEWEST} characters: `dicomnode cycles` lists them",
        )
    return find_cycle(session, cycle_id)


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
            "state_shown": state_shown(session, row),
            "patient": _patient(session, row.patient_id),
            "administration": _columns(administration),
            "told": _told(session, row.patient_id),
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


def looked_at(house: House, person: Person, cycle_id: str, what: str) -> None:
    """Put on record that a person looked at a cycle, before it is shown."""
    with house.database.write() as session:
        row = session.get_one(CycleRow, cycle_id)
        revision = current_revision(session, row.id)
        which = about(row, revision.id if revision is not None else "")
        trail.append(session, events.instances_viewed(person, which, what=what))


def _patient(session: Session, patient_id: str) -> dict[str, str]:
    """Who it is, as the newest series and its header say."""
    named = session.scalars(
        select(Series).where(Series.patient_id == patient_id).order_by(Series.last_received_at.desc())
    ).first()
    if named is None:
        return {"id": patient_id, "name": "", "birth_date": "", "sex": "", "study_instance_uid": ""}
    headers = session.scalars(
        select(Instance.header).where(Instance.series_instance_uid == named.series_instance_uid).limit(1)
    ).first()
    header = json.loads(headers or "{}")
    return {
        "id": patient_id,
        "name": named.patient_name,
        "birth_date": str(header.get("patient_birth_date", "")),
        "sex": str(header.get("patient_sex", "")),
        "study_instance_uid": named.study_instance_uid,
    }


def _told(session: Session, patient_id: str) -> list[dict[str, Any]]:
    """Administrations of the patient that people told and that count, each with its ``state_shown``."""
    rows = session.scalars(
        select(AdministrationRow)
        .where(
            AdministrationRow.patient_id == patient_id,
            AdministrationRow.source.startswith(PERSON),
            AdministrationRow.withdrawn.is_(False),
        )
        .order_by(AdministrationRow.id)
    )
    return [{**_columns(row), "state_shown": administration_shown(row)} for row in rows]


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
