"""What the receiver writes: the receipt and its audit event, in one transaction, before Success."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Update, bindparam, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.audit.event import Event, Party
from dicomnode.casebook.house import House
from dicomnode.casebook.quarantine import NOT_USED
from dicomnode.database.tables import Base, Instance
from dicomnode.errors import DicomnodeError
from dicomnode.receive.arrivals import Arrival, Disposition, Incident

RECEIPTS: dict[Disposition, events.Receipt] = {
    Disposition.NEW: "NEW",
    Disposition.DUPLICATE: "DUPLICATE",
    Disposition.CONFLICT: "CONFLICT",
}


INSTANCES = Base.metadata.tables["instances"]
_KNOWN = select(INSTANCES.c.sha256, INSTANCES.c.state).where(INSTANCES.c.sop_instance_uid == bindparam("uid"))
_INSERT = insert(INSTANCES)


@dataclass
class _Receipt:
    """An arrival on its way into the archive, and what became of it."""

    arrival: Arrival
    disposition: Disposition | None = None
    fault: Exception | None = None

    def result(self) -> Disposition:
        if self.fault is not None:
            raise self.fault
        assert self.disposition is not None  # the batch that held it has ended
        return self.disposition


class ReceiptLedger:
    """The archive and the audit trail, as the receiver sees them (receive.arrivals.Ledger).

    Receipts of associations that wait at the same time share one commit: whoever gets the pen writes
    for all that queue behind. Each still returns only after its own receipt is on the disk.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self._pen = threading.Lock()
        self._queue: deque[_Receipt] = deque()

    def record(self, arrival: Arrival) -> Disposition:
        """Commit the receipt; the same bytes again are only an event."""
        receipt = _Receipt(arrival)
        self._queue.append(receipt)
        with self._pen:
            if receipt.disposition is None and receipt.fault is None:
                self._commit([self._queue.popleft() for _ in range(len(self._queue))])
        return receipt.result()

    def _commit(self, receipts: Sequence[_Receipt]) -> None:
        try:
            with self.house.database.write() as session:
                found = [self._enter(session, r.arrival) for r in receipts]
        except (DicomnodeError, OSError, SQLAlchemyError) as fault:
            for receipt in receipts:
                receipt.fault = fault
            return
        for receipt, disposition in zip(receipts, found, strict=True):
            receipt.disposition = disposition

    def _enter(self, session: Session, arrival: Arrival) -> Disposition:
        connection = session.connection()  # Core: the ORM would double the cost of a receipt
        known = connection.execute(_KNOWN, {"uid": arrival.sop_instance_uid}).all()
        states = dict(known)
        if arrival.kept.data_set_sha256 in states:
            disposition = Disposition.DUPLICATE
            connection.execute(_file_is_back(arrival))
            connection.execute(_to_be_read_again(arrival))
        else:
            # A quarantined object was never used: what its sender corrected does not contradict it.
            contradicts = any(state not in NOT_USED for state in states.values())
            disposition = Disposition.CONFLICT if contradicts else Disposition.NEW
            connection.execute(_INSERT, _row(arrival, disposition))
        trail.append(session, self._received(arrival, disposition))
        return disposition

    def incident(self, incident: Incident) -> None:
        """Commit a security-relevant happening at the door."""
        with self.house.database.write() as session:
            trail.append(session, self._happened(incident))

    def holds(self, sop_class_uid: str, sop_instance_uid: str) -> bool:
        """Storage commitment: recorded, and the file has the digest that was recorded."""
        with self.house.database.read() as session:
            digest = (
                session.execute(
                    select(Instance.file_sha256).where(
                        Instance.sop_instance_uid == sop_instance_uid,
                        Instance.sop_class_uid == sop_class_uid,
                        Instance.state.in_(("RECEIVED", "INDEXED")),
                        Instance.purged_at.is_(None),
                    )
                )
                .scalars()
                .first()
            )
        return digest is not None and self.house.store.verify(digest)

    def _received(self, arrival: Arrival, disposition: Disposition) -> Event:
        return events.instance_received(
            self.house.config.node.name,
            Party(arrival.calling_ae, arrival.peer_address, arrival.peer_subject),
            About(sop_instance_uid=arrival.sop_instance_uid, sop_class_uid=arrival.sop_class_uid),
            receipt=RECEIPTS[disposition],
            sha256=arrival.kept.data_set_sha256,
            size_bytes=arrival.kept.size_bytes,
            association=arrival.association,
        )

    def _happened(self, incident: Incident) -> Event:
        peer = Party(incident.calling_ae, incident.peer_address)
        if incident.kind == "association-refused":
            return events.association_refused(
                self.house.config.node.name, peer, called_ae="", reason=incident.sentence
            )
        detail = {"kind": incident.kind, "association": incident.association, "repeated": incident.repeated}
        return events.security_alert(
            self.house.config.node.name,
            sentence=incident.sentence,
            peer=peer,
            detail={**detail, "sop_instance_uid": incident.sop_instance_uid},
        )


def _file_is_back(arrival: Arrival) -> Update:
    """Retention had removed the file; the store has just taken it in again."""
    back = _of_same_bytes(arrival).where(Instance.purged_at.is_not(None))
    return back.values(purged_at=None, file_sha256=arrival.kept.file_sha256)


def _to_be_read_again(arrival: Arrival) -> Update:
    """What put it into quarantine may have been ours: a worker that was killed, a version that is mended. Or
    the command that it came with the first time, so that class, syntax and file are those of this one."""
    quarantined = _of_same_bytes(arrival).where(Instance.state.in_(NOT_USED))
    return quarantined.values(
        state="RECEIVED",
        reason="",
        sop_class_uid=arrival.sop_class_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        file_sha256=arrival.kept.file_sha256,
    )


def _of_same_bytes(arrival: Arrival) -> Update:
    return update(Instance).where(
        Instance.sop_instance_uid == arrival.sop_instance_uid,
        Instance.sha256 == arrival.kept.data_set_sha256,
    )


def _row(arrival: Arrival, disposition: Disposition) -> dict[str, object]:
    conflict = disposition is Disposition.CONFLICT
    return {
        "sop_instance_uid": arrival.sop_instance_uid,
        "sop_class_uid": arrival.sop_class_uid,
        "transfer_syntax_uid": arrival.transfer_syntax_uid,
        "sha256": arrival.kept.data_set_sha256,
        "file_sha256": arrival.kept.file_sha256,
        "size_bytes": arrival.kept.size_bytes,
        "calling_ae": arrival.calling_ae,
        "called_ae": arrival.called_ae,
        "peer_address": arrival.peer_address,
        "peer_subject": arrival.peer_subject,
        "association": arrival.association,
        "received_at": arrival.received_at,
        "state": "CONFLICT" if conflict else "RECEIVED",
        "reason": "another object came before under this SOP Instance UID" if conflict else "",
        "series_instance_uid": "",
        "header": "{}",
    }
