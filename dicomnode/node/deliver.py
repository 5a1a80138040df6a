"""The sender's outbox: archive and audit trail in one transaction (delivery.outbox.OutboxProtocol)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.archive import commitments, outbox
from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.audit.event import Outcome, Party
from dicomnode.casebook import revisions, troubles
from dicomnode.casebook.house import House
from dicomnode.database.database import ArchiveUnavailable
from dicomnode.database.tables import CycleRow, Delivery, Revision
from dicomnode.delivery import dispatcher
from dicomnode.delivery.commitment import CommitmentListener, CommitmentReport
from dicomnode.delivery.outbox import Decision, Item, OutboxUnavailable, Unconfirmed
from dicomnode.node.bookmark import Bookmark, bookmark_path
from dicomnode.node.listening import listening

NOT_CONFIGURED = (
    "no peer of this name is in [[delivery.peers]] any more; put it back, or let them go with "
    "`dicomnode send --give-up`"
)


class Outbox:
    """What the sender may see and change. Every call is one transaction with its events.

    A node has one sender, and in it one thread per peer. So a lease bears the name of node and peer, not
    of a process: whatever is still leased when that thread wants more was left by a process that died or
    by an outage of the database, and goes back into the queue at once.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.here = house.config.node.name
        self.bookmark = Bookmark(bookmark_path(house.config.archive.data_folder, "deliver"))
        self._claims: dict[tuple[int, int], outbox.Claim] = {}
        self._settled: set[str] = set()

    def _owner(self, peer: str) -> str:
        return f"{self.here}:{peer}"

    def _put_back_leftovers(self, peer: str, now: datetime) -> None:
        if peer in self._settled:
            return
        with self._write() as session:
            outbox.release_expired(session, now, self._owner(peer))
            revisions.withdraw_stopped(session, now)
        self._settled.add(peer)

    @contextmanager
    def _write(self) -> Iterator[Session]:
        try:
            with self.house.database.write() as session:
                yield session
        except ArchiveUnavailable as outage:
            raise OutboxUnavailable(str(outage)) from outage

    @contextmanager
    def _read(self) -> Iterator[Session]:
        try:
            with self.house.database.read() as session:
                yield session
        except ArchiveUnavailable as outage:
            raise OutboxUnavailable(str(outage)) from outage

    def claim(self, peer: str, now: datetime, limit: int) -> Sequence[Item]:
        """Lease what is due, and record the intent to send (110102) before anything leaves."""
        self._put_back_leftovers(peer, now)
        with self._read() as session:  # an idle peer takes no write lock
            if not outbox.is_any_due(session, peer, now):
                return ()
        self._settled.discard(peer)  # until every one of these was recorded
        with self._write() as session:
            owner, lease_s = self._owner(peer), self.house.config.delivery.lease_s
            claims = outbox.claim(session, peer, owner, now, lease_s, limit)
            for claim in claims:
                begun = events.transfer_begun(
                    self.here, self._party(peer), _about(session, claim), attempt=claim.attempts
                )
                trail.append(session, begun)
        for claim in claims:
            self._claims[(claim.delivery_id, claim.attempts)] = claim
        if not claims:
            self._settled.add(peer)
        return [self._item(c) for c in claims]

    def renew(self, items: Sequence[Item], now: datetime) -> int:
        """Lengthen leases, unless a person or a newer revision stopped them meanwhile; how many."""
        claims = [self._claims[_key(i)] for i in items]
        with self._write() as session:
            wanted = [c for c in claims if not revisions.is_stopped(session.get(Revision, c.revision_id))]
            return outbox.renew(session, wanted, now, self.house.config.delivery.lease_s)

    def record(self, item: Item, decision: Decision, now: datetime) -> bool:
        """What became of a try, and its event (110104)."""
        claim = self._claims[_key(item)]
        with self._write() as session:
            change = outbox.record(session, claim, decision, now)
            if change is not None:
                sent = events.transferred(
                    self.here,
                    self._party(claim.peer),
                    _about(session, claim),
                    outcome=_outcome(decision),
                    status=decision.status,
                    comment=decision.comment,
                    attempt=item.attempt,
                )
                trail.append(session, sent)
                if decision.alert:
                    self._alert(session, claim.peer, decision.alert)
                revisions.withdraw_stopped(session, now)
        self._claims.pop(_key(item), None)
        return change is not None

    def release_expired(self, now: datetime) -> int:
        """Put back what a dead sender held. Called in each round of the loop that no peer delays."""
        self.bookmark.beat()
        with self._read() as session:
            if not outbox.is_any_expired(session, now):
                return 0
        with self._write() as session:
            released = len(outbox.release_expired(session, now))
            revisions.withdraw_stopped(session, now)
            return released

    def park_for_unknown_peers(self, now: datetime) -> None:
        """What waits for a peer that is configured no more has no thread that would send it: a person is
        told."""
        known = [peer.name for peer in self.house.config.delivery.peers]
        with self._write() as session:
            parked = outbox.park_for_others(session, known, NOT_CONFIGURED, now)
            for peer in sorted({change.peer for change in parked}):
                number = sum(change.peer == peer for change in parked)
                self._alert(session, peer, f"{number} objects wait for {peer}: {NOT_CONFIGURED}")

    def unconfirmed(self, peer: str, now: datetime, timeout_h: float, tries: int) -> Sequence[Unconfirmed]:
        """Sent objects whose commitment is due to be asked for."""
        with self._read() as session:
            groups = commitments.unconfirmed(session, peer, now, timeout_h, tries)
        for group in groups:
            for claim in group.claims:
                self._claims[(claim.delivery_id, claim.attempts)] = claim
        return [Unconfirmed(g.revision_id, g.asked, tuple(self._item(c) for c in g.claims)) for g in groups]

    def commitment_asked(self, asked: Unconfirmed, transaction_uid: str, now: datetime) -> None:
        """Note the transaction before the request leaves."""
        claims = [self._claims[_key(i)] for i in asked.items]
        with self._write() as session:
            commitments.record_asked(session, claims, transaction_uid, now)
            told = events.commitment(
                self.here,
                self._party(claims[0].peer),
                _about(session, claims[0]),
                step="ASKED",
                transaction_uid=transaction_uid,
            )
            trail.append(session, told)

    def commitment_reported(self, report: CommitmentReport, now: datetime) -> None:
        """Note a report."""
        committed = {r.sop_instance_uid for r in report.committed}
        failed = {f.reference.sop_instance_uid: (f.remedy.value, f.sentence) for f in report.failed}
        with self._write() as session:
            changes = commitments.record_report(session, report.transaction_uid, committed, failed, now)
            for change in changes:
                about = _about_delivery(session, change.delivery_id, change.sop_instance_uid)
                told = events.commitment(
                    self.here,
                    self._party(change.peer),
                    about,
                    step="COMMITTED" if change.after == outbox.COMMITTED else "FAILED",
                    transaction_uid=report.transaction_uid,
                    reason=change.comment,
                )
                trail.append(session, told)
            revisions.withdraw_stopped(session, now)  # what the peer lost of a held revision stays lost

    def commitment_checked(self, asked: Unconfirmed, found: frozenset[str], now: datetime) -> None:
        """Note what a query found after no report came."""
        claims = [self._claims[_key(i)] for i in asked.items]
        with self._write() as session:
            for change in commitments.record_checked(session, claims, found, now):
                self._alert(session, change.peer, f"{change.sop_instance_uid}: {change.comment}")

    def alert(self, peer: str, sentence: str, now: datetime) -> None:
        """Something about a peer that a person has to know."""
        with self._write() as session:
            self._alert(session, peer, sentence)

    def went_wrong(self, name: str, sentence: str, now: datetime) -> None:
        """A step for a peer failed here, and not at the peer."""
        with self._write() as session:
            troubles.note(session, f"peer:{name}", sentence, self.here, now)

    def went_well(self, name: str) -> None:
        """It goes well again."""
        with self._write() as session:
            troubles.over(session, f"peer:{name}")

    def _alert(self, session: Session, peer: str, sentence: str) -> None:
        alert = events.security_alert(
            self.here, sentence=sentence, peer=self._party(peer), outcome=Outcome.MINOR
        )
        trail.append(session, alert)

    def _party(self, name: str) -> Party:
        for peer in self.house.config.delivery.peers:
            if peer.name == name:
                return Party(peer.ae_title, peer.host)
        return Party(name)

    def _item(self, claim: outbox.Claim) -> Item:
        return Item(
            delivery_id=claim.delivery_id,
            attempt=claim.attempts,
            revision_id=claim.revision_id,
            role=claim.role,
            position=claim.position,
            sop_class_uid=claim.sop_class_uid,
            sop_instance_uid=claim.sop_instance_uid,
            file_sha256=claim.file_sha256,
            path=self.house.store.place(claim.file_sha256),
            queued_at=claim.created_at,
        )


def _key(item: Item) -> tuple[int, int]:
    return item.delivery_id, item.attempt


def _outcome(decision: Decision) -> Outcome:
    if decision.state == "SENT":
        return Outcome.SUCCESS
    return Outcome.SERIOUS if decision.state == "PARKED" else Outcome.MINOR


def _about(session: Session, claim: outbox.Claim) -> About:
    about = _about_delivery(session, claim.delivery_id, claim.sop_instance_uid)
    return About(
        patient_id=about.patient_id,
        sop_instance_uid=claim.sop_instance_uid,
        sop_class_uid=claim.sop_class_uid,
        cycle_id=about.cycle_id,
        revision_id=claim.revision_id,
    )


def _about_delivery(session: Session, delivery_id: int, sop_instance_uid: str) -> About:
    found = session.execute(
        select(CycleRow.id, CycleRow.patient_id, Revision.id)
        .join(Revision, Revision.cycle_id == CycleRow.id)
        .join(Delivery, Delivery.revision_id == Revision.id)
        .where(Delivery.id == delivery_id)
    ).one()
    cycle_id, patient_id, revision_id = found
    return About(
        patient_id=patient_id, sop_instance_uid=sop_instance_uid, cycle_id=cycle_id, revision_id=revision_id
    )


def deliver(house: House, stop: threading.Event) -> None:
    """The deliver role: send until ``stop``; take commitment reports on a port of our own."""
    box = Outbox(house)
    box.park_for_unknown_peers(datetime.now(UTC))
    listener = _listener(house, box)
    try:
        dispatcher.serve(box, house.config.delivery, stop)
    finally:
        if listener is not None:
            listener.stop()


def _listener(house: House, box: Outbox) -> CommitmentListener | None:
    settings = house.config.delivery.commitment_listener
    if settings is None:
        return None
    callers = [p.ae_title for p in house.config.delivery.peers if p.storage_commitment]
    listener = CommitmentListener(
        settings, callers, lambda report: box.commitment_reported(report, datetime.now(UTC))
    )
    with listening("delivery.commitment_listener.port", settings.host, settings.port):
        listener.start()
    return listener
