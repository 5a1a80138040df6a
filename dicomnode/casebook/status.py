"""How the node is doing: queues, holds, disk, peers. Read from SQL, so any process can tell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from dicomnode.casebook import quarantine, troubles
from dicomnode.casebook.corrections import CONFLICT
from dicomnode.casebook.house import House
from dicomnode.database.tables import CycleRow, Delivery, Instance, Revision, Series


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
    quarantined: int
    """Objects that could not be used, that no other object replaced, and that nobody has looked at."""
    troubles: tuple[str, ...]
    """Sentences: what goes wrong now and no cycle, object or delivery shows."""
    contradicted: int
    """Objects that came under the UID of another and wait for a person to choose."""
    free_gb: float
    database: str

    @property
    def waits_for_a_person(self) -> bool:
        """Whether somebody has to decide something before it goes on."""
        parked = any(states.get("PARKED") for states in self.deliveries.values())
        return bool(self.held or self.contradicted or self.quarantined or parked or self.troubles)

    def as_json(self) -> str:
        facts = {**asdict(self), "waits_for_a_person": self.waits_for_a_person}
        return json.dumps(facts, default=str, indent=2)


def status(house: House) -> Status:
    """Counts by state (deliveries: of revisions in force), and everything that waits for a person."""
    with house.database.read() as session:
        deliveries: dict[str, dict[str, int]] = {}
        for peer, state, n in session.execute(
            select(Delivery.peer, Delivery.state, func.count())
            .join(Revision, Revision.id == Delivery.revision_id)
            .where(Revision.state.in_(("RELEASED", "DELIVERED")))  # what else had not left waits for no peer
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
            quarantined=quarantine.number_waiting(session),
            contradicted=session.scalar(select(func.count()).where(Instance.state == CONFLICT)) or 0,
            troubles=tuple(row.sentence for row in troubles.listed(session)),
            free_gb=house.store.free_bytes() / 2**30,
            database=house.database.dialect,
        )


def _counts(session: Session, column: InstrumentedAttribute[str]) -> dict[str, int]:
    rows = session.execute(select(column, func.count()).group_by(column))
    return {row[0]: row[1] for row in rows}
