"""How the node is doing: queues, holds, disk, peers. Read from SQL, so any process can tell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.archive.records import CycleRow, Delivery, Instance, Revision, Series
from dicomnode.node.house import House


@dataclass(frozen=True)
class Held:
    """A cycle that waits for a person."""

    cycle_id: str
    since: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """One look at the node."""

    instances: dict[str, int]
    series: dict[str, int]
    cycles: dict[str, int]
    deliveries: dict[str, dict[str, int]]
    held: tuple[Held, ...]
    free_gb: float
    database: str

    def as_json(self) -> str:
        return json.dumps(asdict(self), default=str, indent=2)


def status(house: House) -> Status:
    """Counts by state (deliveries: of revisions in force), and everything that waits for a person."""
    with house.database.read() as session:
        deliveries: dict[str, dict[str, int]] = {}
        for peer, state, n in session.execute(
            select(Delivery.peer, Delivery.state, func.count())
            .join(Revision, Revision.id == Delivery.revision_id)
            .where(Revision.state != "SUPERSEDED")  # what of it had not left never will
            .group_by(Delivery.peer, Delivery.state)
        ):
            deliveries.setdefault(peer, {})[state] = n
        held = [
            Held(row.id, row.state_since, tuple(json.loads(row.reasons)))
            for row in session.scalars(
                select(CycleRow).where(CycleRow.state == "HELD").order_by(CycleRow.state_since)
            )
        ]
        return Status(
            instances=_counts(session, Instance.state),
            series=_counts(session, Series.state),
            cycles=_counts(session, CycleRow.state),
            deliveries=deliveries,
            held=tuple(held),
            free_gb=house.store.free_bytes() / 2**30,
            database=house.database.dialect,
        )


def _counts(session: Session, column: object) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).group_by(column))  # type: ignore[call-overload]
    return dict(rows.all())
