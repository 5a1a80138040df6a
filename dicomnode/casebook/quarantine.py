"""Objects in quarantine: received and kept, but not used, since they could not be read or contradict their
own C-STORE. Their sender had Success for an answer and looks no more, so a person here has to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from dicomnode.audit import events, trail
from dicomnode.audit.about import About, Person
from dicomnode.casebook.house import House
from dicomnode.database.tables import Instance
from dicomnode.errors import Refused

QUARANTINED, DISMISSED = "QUARANTINED", "DISMISSED"
NOT_USED = (QUARANTINED, DISMISSED)
"""States of objects that no other object of their UID contradicts."""


@dataclass(frozen=True)
class Quarantined:
    """One object that waits for a person."""

    sop_instance_uid: str
    sop_class_uid: str
    sender: str
    received_at: datetime
    reason: str


def waiting(session: Session) -> list[Instance]:
    """Objects in quarantine of which no corrected one has come, oldest first."""
    return list(session.scalars(_waiting().order_by(Instance.id)))


def number_waiting(session: Session) -> int:
    """How many there are."""
    return session.scalar(select(func.count()).select_from(_waiting().subquery())) or 0


def _waiting() -> Select[Any]:
    other = aliased(Instance)
    replaced = (
        select(other.id)
        .where(other.sop_instance_uid == Instance.sop_instance_uid, other.state.in_(("RECEIVED", "INDEXED")))
        .correlate(Instance)
        .exists()
    )
    return select(Instance).where(Instance.state == QUARANTINED, ~replaced)


def listed(house: House) -> list[Quarantined]:
    """What waits for a person."""
    with house.database.read() as session:
        return [
            Quarantined(i.sop_instance_uid, i.sop_class_uid, i.calling_ae, i.received_at, i.reason)
            for i in waiting(session)
        ]


def dismiss(house: House, uids: Collection[str], by: Person, because: str) -> str:
    """A person has seen to them (asked the sender, or they are of no use); they stay on record and on the
    disk. Returns a sentence."""
    with house.database.write() as session:
        chosen = _chosen(session, uids)
        for instance in chosen:
            instance.state = DISMISSED
            _tell(session, instance, by, "dismissed", because)
    return f"{len(chosen)} objects need no more attention"


def read_again(house: House, uids: Collection[str], by: Person, because: str) -> str:
    """Have them read once more, since the fault was here (a disk, a limit, an older version). Returns a
    sentence."""
    with house.database.write() as session:
        chosen = _chosen(session, uids)
        for instance in chosen:
            instance.state, instance.reason = "RECEIVED", ""
            _tell(session, instance, by, "read again", because)
    return f"{len(chosen)} objects are read again"


def _chosen(session: Session, uids: Collection[str]) -> Sequence[Instance]:
    """Those named; all where none is."""
    found = [i for i in waiting(session) if not uids or i.sop_instance_uid in uids]
    missing = sorted(set(uids) - {i.sop_instance_uid for i in found})
    if missing:
        raise Refused(
            "no such object waits in quarantine",
            uid=missing[0],
            remedy="`dicomnode quarantine list` shows them",
        )
    return found


def _tell(session: Session, instance: Instance, by: Person, decision: str, because: str) -> None:
    which = About(sop_instance_uid=instance.sop_instance_uid, sop_class_uid=instance.sop_class_uid)
    trail.append(session, events.quarantine_decided(by, which, decision=decision, because=because))
