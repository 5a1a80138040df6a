"""Rows that an auditor reads, bound to the trail: the event that ends a calculation carries the digest of
each row that it wrote, so a row changed by plain SQL contradicts the chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from dicomnode.audit import queries
from dicomnode.audit.event import plain
from dicomnode.database.tables import Base, Calculation

ROWS: Mapping[str, str] = {"organ_doses": "region", "results": "role", "calculations": "id"}
"""Tables whose rows are bound, and the column that names a row."""

Digests = dict[str, dict[str, str]]
"""Table -> name of the row -> first half of its digest."""


def digests(session: Session, revision_id: str) -> Digests:
    """Of every row that the computation of a revision wrote. Columns without a value are left out, so that a
    column which a later version adds changes no digest."""
    session.flush()
    found: Digests = {}
    for name, key in ROWS.items():
        table: Table = Base.metadata.tables[name]
        query = select(table).where(table.c.revision_id == revision_id)
        if name == Calculation.__tablename__:
            query = query.where(table.c.replay_of.is_(None))
        found[name] = {str(row[key]): _digest(dict(row)) for row in session.execute(query).mappings()}
    return found


def contradictions(session: Session) -> tuple[int, list[str]]:
    """How many revisions the trail binds, and each row that is not what was written, as a sentence."""
    bound: dict[str, tuple[int, Digests]] = {}
    for entry in queries.entries(session, queries.Filter(kind="calculation-ended")):
        detail = entry.body["detail"]
        if "rows" in detail:
            bound[detail["revision_id"]] = (entry.seq, detail["rows"])
    return len(bound), [
        sentence
        for revision_id, (seq, written) in sorted(bound.items())
        for sentence in _differences(revision_id, seq, written, digests(session, revision_id))
    ]


def _differences(revision_id: str, seq: int, written: Digests, found: Digests) -> Iterator[str]:
    for table in ROWS:
        before, now = written.get(table, {}), found[table]
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                what = (
                    "is missing" if name not in now else "was added" if name not in before else "was changed"
                )
                yield f"{table} {name} of revision {revision_id} {what} since audit row {seq}"


def _digest(row: dict[str, Any]) -> str:
    said = {key: plain(value) for key, value in row.items() if value is not None and key != "id"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
