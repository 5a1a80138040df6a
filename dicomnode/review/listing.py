"""The list of cycles: what waits for a person first, then what is new."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from dicomnode.casebook.house import House
from dicomnode.database.tables import AdministrationRow, CycleRow, Series, TimePointRow


@dataclass(frozen=True)
class Listed:
    """One line of the list."""

    id: str
    patient_id: str
    patient_name: str
    nuclide: str
    state: str
    since: datetime
    reasons: tuple[str, ...]
    activity_mbq: float | None
    administered_at: datetime | None
    time_points: int


@dataclass(frozen=True)
class Page:
    """Some lines, and how many there are in all."""

    lines: tuple[Listed, ...]
    total: int


def cycles(house: House, states: Sequence[str], patient: str, *, first: int, most: int) -> Page:
    """Cycles in ``states`` (all where empty) whose patient's number or name holds ``patient``."""
    wanted: list[ColumnElement[bool]] = []
    if states:
        wanted.append(CycleRow.state.in_(states))
    if patient:
        named = select(Series.patient_id).where(Series.patient_name.icontains(patient, autoescape=True))
        wanted.append(
            CycleRow.patient_id.icontains(patient, autoescape=True) | CycleRow.patient_id.in_(named)
        )
    held_first = case((CycleRow.state == "HELD", 0), else_=1)
    chosen = (
        select(CycleRow)
        .where(*wanted)
        .order_by(held_first, CycleRow.state_since.desc(), CycleRow.id)
        .offset(first)
        .limit(most)
    )
    with house.database.read() as session:
        total = session.scalar(select(func.count()).select_from(CycleRow).where(*wanted)) or 0
        return Page(tuple(_listed(session, row) for row in session.scalars(chosen)), total)


def _listed(session: Session, row: CycleRow) -> Listed:
    given = session.get(AdministrationRow, row.administration_id) if row.administration_id else None
    name = session.scalars(
        select(Series.patient_name)
        .where(Series.patient_id == row.patient_id)
        .order_by(Series.last_received_at.desc())
        .limit(1)
    ).first()
    points = session.scalar(
        select(func.count()).select_from(TimePointRow).where(TimePointRow.cycle_id == row.id)
    )
    return Listed(
        row.id,
        row.patient_id,
        name or "",
        row.nuclide,
        row.state,
        row.state_since,
        tuple(json.loads(row.reasons)),
        given.activity_mbq if given else None,
        given.administered_at if given else None,
        points or 0,
    )
