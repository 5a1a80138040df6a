"""Storage commitment in the outbox's rows: what is to be asked, what was asked, what the peer said.

As in :mod:`dicomnode.archive.outbox`, every function works within the caller's transaction and returns
what it changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from dicomnode.archive.outbox import (
    CLAIM_COLUMNS,
    COMMITTED,
    PARKED,
    QUEUED,
    SENT,
    SENT_WITH_WARNING,
    Change,
    Claim,
    forget_commitment,
    lock_rows,
)
from dicomnode.database.tables import Delivery, Result

_AWAITING = (SENT, SENT_WITH_WARNING)


@dataclass(frozen=True)
class Uncommitted:
    """Objects of one revision at one peer whose commitment is to be asked for; ``asked`` times so far."""

    revision_id: str
    asked: int
    claims: tuple[Claim, ...]


def unconfirmed(
    session: Session, peer: str, now: datetime, timeout_h: float, tries: int
) -> list[Uncommitted]:
    """What was sent to ``peer`` and not committed: never asked, or asked more than ``timeout_h`` ago.

    ``asked`` equal to ``tries`` means that a query is due; after it :func:`record_checked` sets one more,
    and the row is left alone.
    """
    rows = session.execute(
        select(*CLAIM_COLUMNS, Delivery.commitment_attempts)
        .join(Result, Result.id == Delivery.result_id)
        .where(
            Delivery.peer == peer,
            Delivery.state.in_(_AWAITING),
            Delivery.commitment_attempts <= tries,
            or_(
                Delivery.commitment_asked_at.is_(None),
                Delivery.commitment_asked_at <= now - timedelta(hours=timeout_h),
            ),
        )
        .order_by(Delivery.revision_id, Delivery.position)
    )
    groups: dict[tuple[str, int], list[Claim]] = {}
    for *columns, asked in rows:
        held = Claim(*columns)
        groups.setdefault((held.revision_id, asked), []).append(held)
    return [Uncommitted(revision, asked, tuple(claims)) for (revision, asked), claims in groups.items()]


def record_asked(session: Session, claims: Sequence[Claim], transaction_uid: str, now: datetime) -> int:
    """Note a request for commitment, before it leaves; how many rows it is about."""
    statement = (
        update(Delivery)
        .where(
            Delivery.id.in_([held.delivery_id for held in claims]),
            Delivery.state.in_(_AWAITING),
        )
        .values(
            transaction_uid=transaction_uid,
            commitment_asked_at=now,
            commitment_attempts=Delivery.commitment_attempts + 1,
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.execute(statement).all())


def record_report(
    session: Session,
    transaction_uid: str,
    committed: Collection[str],
    failed: Mapping[str, tuple[str, str]],
    now: datetime,
) -> list[Change]:
    """Note a report. ``failed`` maps SOP Instance UID to (remedy, sentence), the remedy being
    "send-again", "ask-again" or "person".

    Only the latest transaction of a row counts; an empty list means that the report is about none of
    ours (old, foreign, or forged), and changed nothing.
    """
    if not transaction_uid:
        return []
    which = and_(Delivery.transaction_uid == transaction_uid, Delivery.state.in_(_AWAITING))
    changes = []
    for row, role, uid in lock_rows(session, which):
        before = row.state
        if uid in committed:
            row.state, row.committed_at = COMMITTED, now
            sentence = "committed"
        elif uid in failed:
            remedy, sentence = failed[uid]
            row.last_comment = sentence
            _apply_remedy(row, remedy, now)
        else:
            continue
        changes.append(Change(row.id, row.peer, role, uid, before, row.state, row.last_status, sentence))
    session.flush()
    return changes


def _apply_remedy(row: Delivery, remedy: str, now: datetime) -> None:
    if remedy == "send-again":
        asked = row.commitment_attempts
        row.state, row.next_try_at = QUEUED, now
        forget_commitment(row)
        # A peer that loses it each time must not be fed for ever.
        row.commitment_attempts = asked
    elif remedy == "ask-again":
        # As if no report had come: asked again after the usual time, with a new transaction.
        row.transaction_uid = ""
    else:
        row.state, row.next_try_at = PARKED, None


def record_checked(
    session: Session, claims: Sequence[Claim], found: Collection[str], now: datetime
) -> list[Change]:
    """Note a query made because no report came. Found: it stays as sent. Not found: parked, for a person."""
    ids = [held.delivery_id for held in claims]
    which = and_(Delivery.id.in_(ids), Delivery.state.in_(_AWAITING))
    changes = []
    for row, role, uid in lock_rows(session, which):
        before = row.state
        row.commitment_attempts += 1
        row.commitment_asked_at = now
        if uid in found:
            row.last_comment = "never committed; a query found it at the peer"
        else:
            row.state, row.next_try_at = PARKED, None
            row.last_comment = "never committed, and a query did not find it at the peer"
        changes.append(
            Change(row.id, row.peer, role, uid, before, row.state, row.last_status, row.last_comment)
        )
    session.flush()
    return changes
