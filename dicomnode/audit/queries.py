"""Reading the trail: by filter, and as the story of one object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Row, or_, select
from sqlalchemy.orm import Session

from dicomnode.audit.event import instant
from dicomnode.audit.tables import EVENTS, INSTANCES, RESULTS, REVISIONS, TIME_POINTS


@dataclass(frozen=True)
class Filter:
    """What to look for; empty fields let everything through. ``until`` is exclusive."""

    patient_id: str = ""
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    cycle_id: str = ""
    kind: str = ""
    peer: str = ""
    actor: str = ""
    outcome: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def said(self) -> dict[str, object]:
        """What is asked for, without what is not."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if value not in ("", None)}


@dataclass(frozen=True)
class Entry:
    """One row of the trail, read back; ``body`` as Event.body wrote it."""

    seq: int
    at: str
    kind: str
    action: str
    outcome: int
    patient_id: str
    series_instance_uid: str
    sop_instance_uid: str
    cycle_id: str
    peer: str
    actor: str
    sentence: str
    body: dict[str, Any]


def entries(session: Session, wanted: Filter, *, limit: int = 0) -> Iterator[Entry]:
    """Rows that pass the filter, oldest first; with ``limit`` the newest so many of them."""
    query = select(EVENTS).where(*_conditions(wanted))
    if limit:
        newest = query.order_by(EVENTS.c.seq.desc()).limit(limit)
        yield from map(_entry, reversed(session.execute(newest).all()))
    else:
        rows = session.execute(query.order_by(EVENTS.c.seq).execution_options(yield_per=1000))
        yield from map(_entry, rows)


def whole_cycle_id(session: Session, beginning: str) -> str:
    """The identifier of the one cycle in the trail that begins so; else what was given."""
    if len(beginning) < 4:
        return beginning
    begins = EVENTS.c.cycle_id.startswith(beginning, autoescape=True)
    found = session.scalars(select(EVENTS.c.cycle_id).where(begins).distinct().limit(2)).all()
    return str(found[0]) if len(found) == 1 else beginning


def story(session: Session, identity: str) -> list[Entry]:
    """All that happened to a cycle, a series or an instance, in order.

    A cycle's story includes that of its series, their instances and its results; a series' that of its
    instances. Of a cycle's identifier the beginning is enough.
    """
    identity = whole_cycle_id(session, identity)
    series, instances = _belonging(session, identity)
    conditions = [
        EVENTS.c.cycle_id == identity,
        EVENTS.c.sop_instance_uid == identity,
        EVENTS.c.series_instance_uid.in_(series),
        EVENTS.c.sop_instance_uid.in_(instances),
    ]
    rows = session.execute(select(EVENTS).where(or_(*conditions)).order_by(EVENTS.c.seq))
    return [_entry(row) for row in rows]


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions = []
    for name, value in wanted.said().items():
        if name not in ("since", "until"):
            conditions.append(EVENTS.c[name] == value)
    if wanted.since is not None:
        conditions.append(EVENTS.c.at >= instant(wanted.since))
    if wanted.until is not None:
        conditions.append(EVENTS.c.at < instant(wanted.until))
    return conditions


def _belonging(session: Session, identity: str) -> tuple[set[str], CompoundSelect[Any]]:
    series = {identity}
    for row in session.execute(select(TIME_POINTS).where(TIME_POINTS.c.cycle_id == identity)):
        series |= {row.emission_series_uid, row.ct_series_uid, *json.loads(row.structure_series_uids)}
    series.discard("")
    received = select(INSTANCES.c.sop_instance_uid).where(INSTANCES.c.series_instance_uid.in_(series))
    made = select(RESULTS.c.sop_instance_uid).where(
        RESULTS.c.sop_instance_uid != "",
        RESULTS.c.revision_id.in_(select(REVISIONS.c.id).where(REVISIONS.c.cycle_id == identity)),
    )
    return series, received.union(made)


def _entry(row: Row[Any]) -> Entry:
    body = json.loads(row.body)
    names = [field.name for field in fields(Entry) if field.name not in ("sentence", "body")]
    return Entry(**{name: getattr(row, name) for name in names}, sentence=body["sentence"], body=body)
