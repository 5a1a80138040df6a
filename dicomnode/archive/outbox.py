"""The outbox in SQL: which object goes to which peer, who sends it just now, and what came of it.

Every function works within the caller's transaction and returns what it changed, so that the caller can
write the audit event into the same transaction. Call :func:`claim` as the first statement of its
transaction: it is then one UPDATE, safe between several senders on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from dicomnode.database.tables import Delivery, Result

QUEUED, SENDING, PARKED = "QUEUED", "SENDING", "PARKED"
GIVEN_UP = "GIVEN_UP"
SENT, SENT_WITH_WARNING, COMMITTED = "SENT", "SENT_WITH_WARNING", "COMMITTED"
TAKEN_BY_PEER = (SENT, SENT_WITH_WARNING, COMMITTED)


@dataclass(frozen=True)
class Claim:
    """One object for one peer, leased to ``owner`` for one try.

    ``created_at`` is when the object was made; ``attempts`` counts this try too.
    """

    delivery_id: int
    revision_id: str
    peer: str
    role: str
    position: int
    sop_class_uid: str
    sop_instance_uid: str
    file_sha256: str
    created_at: datetime
    attempts: int
    owner: str


@dataclass(frozen=True)
class Enqueued:
    """``new`` rows, and what a peer should get but the revision does not have: (peer, role)."""

    new: tuple[Delivery, ...]
    missing: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Change:
    """One row that changed its state, for the audit event."""

    delivery_id: int
    peer: str
    role: str
    sop_instance_uid: str
    before: str
    after: str
    status: str
    comment: str


class Tried(Protocol):
    """What became of a try. ``state``: QUEUED, SENT, SENT_WITH_WARNING or PARKED; ``counted`` is False
    where the association failed, so that the try does not count against the object's limits."""

    @property
    def state(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def comment(self) -> str: ...
    @property
    def next_try_at(self) -> datetime | None: ...
    @property
    def counted(self) -> bool: ...


def enqueue(
    session: Session,
    revision_id: str,
    results: Sequence[Result],
    plan: Mapping[str, Sequence[tuple[str, int]]],
    now: datetime,
) -> Enqueued:
    """Queue ``results`` of a revision for peers: ``plan`` maps each peer to its (role, position) pairs.

    What is queued or sent already stays as it is, so a repeated call changes nothing.
    """
    by_role = {result.role: result for result in results}
    stated = select(Delivery.result_id, Delivery.peer).where(Delivery.revision_id == revision_id)
    known = {(result_id, peer) for result_id, peer in session.execute(stated)}
    wanted = [(peer, role, position) for peer, roles in plan.items() for role, position in roles]
    missing = tuple((peer, role) for peer, role, _ in wanted if role not in by_role)
    new = tuple(
        Delivery(
            result_id=by_role[role].id,
            revision_id=revision_id,
            peer=peer,
            position=position,
            state=QUEUED,
            next_try_at=now,
        )
        for peer, role, position in wanted
        if role in by_role and (by_role[role].id, peer) not in known
    )
    session.add_all(new)
    session.flush()
    return Enqueued(new, missing)


def _due(row: type[Delivery], peer: str, now: datetime) -> list[ColumnElement[bool]]:
    """Conditions for ``row`` to leave now.

    A row whose predecessor (position one less, same revision and peer) is neither taken by the peer nor
    due together with it has to wait.
    """
    before = aliased(Delivery)
    held_back = (
        select(before.id)
        .where(
            before.revision_id == row.revision_id,
            before.peer == row.peer,
            before.position == row.position - 1,
            before.state.not_in(TAKEN_BY_PEER),
            or_(before.state != QUEUED, before.next_try_at > now),
        )
        .correlate(row)
        .exists()
    )
    return [row.peer == peer, row.state == QUEUED, row.next_try_at <= now, ~held_back]


def is_any_due(session: Session, peer: str, now: datetime) -> bool:
    """Whether ``claim`` would find something; reads only."""
    row = aliased(Delivery)
    return session.scalar(select(row.id).where(*_due(row, peer, now)).limit(1)) is not None


def is_any_expired(session: Session, now: datetime) -> bool:
    """Whether ``release_expired`` would find something; reads only."""
    expired = select(Delivery.id).where(Delivery.state == SENDING, Delivery.lease_until < now)
    return session.scalar(expired.limit(1)) is not None


def claim(session: Session, peer: str, owner: str, now: datetime, lease_s: float, limit: int) -> list[Claim]:
    """Lease up to ``limit`` due objects of one revision for ``peer``, in sending order."""
    first, row = aliased(Delivery), aliased(Delivery)
    longest_waiting = (
        select(first.revision_id)
        .where(*_due(first, peer, now))
        .order_by(first.next_try_at, first.id)
        .limit(1)
        .scalar_subquery()
    )
    rows = (
        select(row.id)
        .where(*_due(row, peer, now), row.revision_id == longest_waiting)
        .order_by(row.position)
        .limit(limit)
        .with_for_update(skip_locked=True, of=row)
    )
    statement = (
        update(Delivery)
        .where(Delivery.id.in_(rows), Delivery.state == QUEUED)
        .values(
            state=SENDING,
            lease_owner=owner,
            lease_until=now + timedelta(seconds=lease_s),
            attempts=Delivery.attempts + 1,
            last_tried_at=now,
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    taken = set(session.execute(statement).scalars())
    return _in_order(session, _without_predecessor_put_back(session, taken))


def _without_predecessor_put_back(session: Session, taken: set[int]) -> set[int]:
    """Give back what another sender's claim of the predecessor, running at the same time, left alone."""
    before = aliased(Delivery)
    orphans = select(Delivery.id).where(
        Delivery.id.in_(taken),
        select(before.id)
        .where(
            before.revision_id == Delivery.revision_id,
            before.peer == Delivery.peer,
            before.position == Delivery.position - 1,
            before.state.not_in(TAKEN_BY_PEER),
            before.id.not_in(taken),
        )
        .exists(),
    )
    lonely = set(session.execute(orphans).scalars())
    if lonely:
        session.execute(
            update(Delivery)
            .where(Delivery.id.in_(lonely))
            .values(state=QUEUED, lease_owner="", lease_until=None, attempts=Delivery.attempts - 1)
            .execution_options(synchronize_session=False)
        )
    return taken - lonely


CLAIM_COLUMNS = (
    Delivery.id,
    Delivery.revision_id,
    Delivery.peer,
    Result.role,
    Delivery.position,
    Result.sop_class_uid,
    Result.sop_instance_uid,
    Result.file_sha256,
    Result.created_at,
    Delivery.attempts,
    Delivery.lease_owner,
)


def _in_order(session: Session, ids: Collection[int]) -> list[Claim]:
    rows = session.execute(
        select(*CLAIM_COLUMNS)
        .join(Result, Result.id == Delivery.result_id)
        .where(Delivery.id.in_(ids))
        .order_by(Delivery.position, Delivery.id)
    )
    return [Claim(*row) for row in rows]


def renew(session: Session, claims: Sequence[Claim], now: datetime, lease_s: float) -> int:
    """Lengthen leases that are still ours; how many."""
    renewed = 0
    for held in claims:
        renewed += _update_held(session, held, {"lease_until": now + timedelta(seconds=lease_s)})
    return renewed


def record(session: Session, held: Claim, tried: Tried, now: datetime) -> Change | None:
    """Write what became of a try; None (nothing is written) where the lease went to another meanwhile."""
    values = {
        "state": tried.state,
        "last_status": tried.status,
        "last_comment": tried.comment,
        "last_tried_at": now,
        "next_try_at": tried.next_try_at,
        "lease_owner": "",
        "lease_until": None,
        "attempts": held.attempts if tried.counted else held.attempts - 1,
    }
    if tried.state in TAKEN_BY_PEER:
        values["sent_at"] = now
    if not _update_held(session, held, values):
        return None
    return Change(
        held.delivery_id,
        held.peer,
        held.role,
        held.sop_instance_uid,
        SENDING,
        tried.state,
        tried.status,
        tried.comment,
    )


def _update_held(session: Session, held: Claim, values: Mapping[str, object]) -> int:
    """Update the row if it is still in the state in which ``held`` left it."""
    statement = (
        update(Delivery)
        .where(
            Delivery.id == held.delivery_id,
            Delivery.state == SENDING,
            Delivery.lease_owner == held.owner,
            Delivery.attempts == held.attempts,
        )
        .values(**values)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.execute(statement).all())


def release_expired(session: Session, now: datetime, owner: str = "") -> list[Change]:
    """Put back what a dead sender held: leases that ran out and, at its start, those of ``owner`` itself.

    The object may have reached the peer: it is sent again at once, as the same object.
    """
    expired = Delivery.lease_until < now
    theirs = or_(expired, Delivery.lease_owner == owner) if owner else expired
    return _move(session, and_(Delivery.state == SENDING, theirs), QUEUED, now, "lease ran out")


def requeue(session: Session, delivery_ids: Collection[int], now: datetime) -> list[Change]:
    """Send parked, sent or committed objects again, because a person says so; tries count anew."""
    chosen = and_(Delivery.id.in_(delivery_ids), Delivery.state.not_in((QUEUED, SENDING)))
    changes = _move(session, chosen, QUEUED, now, "sent again by a person")
    session.execute(
        update(Delivery).where(Delivery.id.in_([c.delivery_id for c in changes])).values(attempts=0)
    )
    return changes


def withdraw(session: Session, revision_id: str, because: str, now: datetime) -> list[Change]:
    """Park what of a revision has not left yet (it was superseded, or held)."""
    chosen = and_(Delivery.revision_id == revision_id, Delivery.state == QUEUED)
    return _move(session, chosen, PARKED, now, because)


def park_for_others(session: Session, known: Collection[str], because: str, now: datetime) -> list[Change]:
    """Park what waits for peers other than ``known``."""
    chosen = and_(Delivery.peer.not_in(known), Delivery.state.in_((QUEUED, SENDING)))
    return _move(session, chosen, PARKED, now, because)


def give_up(session: Session, delivery_ids: Collection[int], because: str, now: datetime) -> list[Change]:
    """Parked objects that a person lets go, and what waits behind one of them: this peer gets none of it."""
    chosen = and_(Delivery.id.in_(delivery_ids), Delivery.state == PARKED)
    before = aliased(Delivery)
    behind = and_(
        Delivery.state == QUEUED,
        select(before.id)
        .where(
            before.revision_id == Delivery.revision_id,
            before.peer == Delivery.peer,
            before.position == Delivery.position - 1,
            before.state == GIVEN_UP,
        )
        .exists(),
    )
    return _move(session, chosen, GIVEN_UP, now, because) + _move(session, behind, GIVEN_UP, now, because)


def _move(session: Session, which: ColumnElement[bool], state: str, now: datetime, why: str) -> list[Change]:
    """Set the rows in ``which`` to ``state``; what is queued again is to be committed again."""
    changes = []
    for row, role, uid in lock_rows(session, which):
        changes.append(Change(row.id, row.peer, role, uid, row.state, state, row.last_status, why))
        row.state, row.lease_owner, row.lease_until = state, "", None
        row.last_comment = why
        row.next_try_at = now if state == QUEUED else None
        if state == QUEUED:
            forget_commitment(row)
    session.flush()
    return changes


def lock_rows(session: Session, which: ColumnElement[bool]) -> list[tuple[Delivery, str, str]]:
    """Rows with role and SOP Instance UID, as they are now, locked where the database can."""
    rows = session.execute(
        select(Delivery, Result.role, Result.sop_instance_uid)
        .join(Result, Result.id == Delivery.result_id)
        .where(which)
        .order_by(Delivery.id)
        .with_for_update(of=Delivery)
        .execution_options(populate_existing=True)
    )
    return [(row, role, uid) for row, role, uid in rows]


def forget_commitment(row: Delivery) -> None:
    """The object leaves again: what was asked about its last journey no longer counts."""
    row.transaction_uid, row.commitment_asked_at = "", None
    row.commitment_attempts, row.committed_at = 0, None


def pending(session: Session) -> dict[str, dict[str, int]]:
    """Number of rows by peer and state."""
    rows = session.execute(
        select(Delivery.peer, Delivery.state, func.count()).group_by(Delivery.peer, Delivery.state)
    )
    counts: dict[str, dict[str, int]] = {}
    for peer, state, number in rows:
        counts.setdefault(peer, {})[state] = number
    return counts


def is_waiting(session: Session, revision_id: str) -> bool:
    """True where something of a revision is queued, or on its way."""
    waiting = select(Delivery.id).where(
        Delivery.revision_id == revision_id, Delivery.state.in_((QUEUED, SENDING))
    )
    return session.scalars(waiting).first() is not None


def is_delivered(session: Session, revision_id: str, peers_with_commitment: Collection[str] = ()) -> bool:
    """True where a revision has deliveries and every one was taken (and committed, where that is asked).

    What a person gave up is not waited for, unless nothing else is left.
    """
    rows = session.execute(
        select(Delivery.peer, Delivery.state).where(Delivery.revision_id == revision_id)
    ).all()
    left = [(peer, state) for peer, state in rows if state != GIVEN_UP]
    return bool(left) and all(
        state == COMMITTED if peer in peers_with_commitment else state in TAKEN_BY_PEER
        for peer, state in left
    )
