"""The append-only, hash-chained trail.

Row n holds ``hash = SHA-256("dicomnode-audit-1" LF seq LF at LF prev_hash LF body)``, all as text, with
the hash of row n - 1 as ``prev_hash`` and 64 zeros before row 1; rows are numbered without gaps. Writers
take turns: on SQLite by the write lock of the transaction, on PostgreSQL by an advisory lock that is
held until the transaction ends. So append last in a transaction.

What the chain cannot show by itself, a cut at the end or a chain made anew by somebody with the
database's owner rights, the checkpoints outside the database show (``dicomnode.audit.checkpoints``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Row, func, insert, select, text
from sqlalchemy.orm import Session

from dicomnode.audit.checkpoints import Checkpoint
from dicomnode.audit.event import Event, instant
from dicomnode.audit.tables import EVENTS, KEY_LENGTH, KEYS
from dicomnode.errors import AuditBroken

GENESIS = "0" * 64
# Any constant that nothing else in this database locks; the INSERT trigger takes the same one.
LOCK = 0x64696175

_LOCK = text(f"SELECT pg_advisory_xact_lock({LOCK})")
_HEAD = select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)
_INSERT = insert(EVENTS)
_GUARDS: dict[str, dict[str, str]] = {
    "sqlite": {
        "events_chain": "52c0560436a5f5cb98ce3068c37a7061",
        "events_no_update": "768d60f80b9dfdafef386b8703b6c832",
        "events_no_delete": "1eead6e25f4da4792736df8957b37c49",
        "checkpoints_once": "3a1901e9327d1bd3e4b6713159cf3c94",
        "checkpoints_no_update": "377598e13f614356d18fdd0fc234ad1a",
        "checkpoints_no_delete": "f03e7c27ee0d52aee744761181093986",
    },
    "postgresql": {
        "events_chain": "8db2972324c6f188cb37ca74f8a61757",
        "events_no_change": "bd9b6fbc4f3f58ae57e9a18da45611d9",
        "events_no_truncate": "b33f0048696a16db6a9591ff11f85da1",
        "checkpoints_no_change": "bd9b6fbc4f3f58ae57e9a18da45611d9",
        "checkpoints_no_truncate": "b33f0048696a16db6a9591ff11f85da1",
    },
}
"""Triggers of events and checkpoints, and the first half of the digest of what each does."""
_DEFINITIONS = {
    "sqlite": "SELECT name, sql FROM sqlite_master "
    "WHERE type = 'trigger' AND tbl_name IN ('events', 'checkpoints')",
    # tgenabled 'A': also under session_replication_role = replica.
    "postgresql": "SELECT t.tgname, concat_ws(' ', t.tgtype, t.tgenabled, p.proname, p.prosrc) "
    "FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
    "WHERE NOT t.tgisinternal AND t.tgrelid IN ('events'::regclass, 'checkpoints'::regclass)",
}


@dataclass(frozen=True)
class Verification:
    """What became of checking the trail.

    Attributes
    ----------
    rows : rows that were read
    last_seq, last_hash : the last row that verified
    checkpoints : checkpoints outside the database that were compared
    broken_seq : the first row that does not verify, None where all do
    why : what is wrong with it
    guards_missing : triggers that should be there and are not
    """

    rows: int
    last_seq: int
    last_hash: str
    checkpoints: int = 0
    broken_seq: int | None = None
    why: str = ""
    guards_missing: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every row verifies and every guard is in place."""
        return self.broken_seq is None and not self.guards_missing

    def raise_if_broken(self) -> None:
        """Raise ``AuditBroken`` with the first broken row."""
        if self.broken_seq is not None:
            raise AuditBroken(self.broken_seq, self.why)
        if self.guards_missing:
            raise AuditBroken(
                self.last_seq, "triggers are missing or changed: " + ", ".join(self.guards_missing)
            )


def append(session: Session, event: Event, *, at: datetime | None = None) -> int:
    """Write ``event`` as the next row, in the caller's write transaction; returns its number.

    The caller commits: the event and the change that it tells of stand or fall together.
    """
    connection = session.connection()  # Core: this runs once for every image received
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK)
    head = connection.execute(_HEAD).first()
    seq, prev_hash = (head.seq + 1, head.hash) if head else (1, GENESIS)
    moment, body = instant(at or datetime.now(UTC)), event.body()
    row = _columns(body)
    row.update(seq=seq, at=moment, body=body, prev_hash=prev_hash)
    row["hash"] = row_hash(seq, moment, prev_hash, body)
    connection.execute(_INSERT, row)
    return seq


def head(session: Session) -> tuple[int, str]:
    """Number and hash of the last row; (0, zeros) where there is none."""
    last = session.execute(_HEAD).first()
    return (last.seq, last.hash) if last else (0, GENESIS)


def row_hash(seq: int, at: str, prev_hash: str, body: str) -> str:
    """Hash of one row. The fixed text, not the database's idea of a type, is what is hashed."""
    return hashlib.sha256(f"dicomnode-audit-1\n{seq}\n{at}\n{prev_hash}\n{body}".encode()).hexdigest()


def verify(session: Session, checkpoints: Iterable[Checkpoint] = ()) -> Verification:
    """Recompute the whole chain and compare it with the checkpoints kept outside the database."""
    marks: dict[int, Checkpoint] = {}
    for mark in checkpoints:
        # The oldest one counts: a later one of the same row may have seen a trail made anew.
        marks.setdefault(mark.seq, mark)
    missing = missing_guards(session)
    rows, seq, last = 0, 0, GENESIS
    for row in session.execute(select(EVENTS).order_by(EVENTS.c.seq).execution_options(yield_per=1000)):
        fault = _fault(row, seq, last) or _mismatch(marks.get(row.seq), row.hash)
        if fault:
            broken = min(row.seq, seq + 1)
            return Verification(rows, seq, last, len(marks), broken, fault, missing)
        rows, seq, last = rows + 1, row.seq, row.hash
    beyond = [mark for number, mark in sorted(marks.items()) if number > seq]
    if beyond:
        why = f"rows from here on are missing: a checkpoint of {beyond[-1].at} saw row {beyond[-1].seq}"
        return Verification(rows, seq, last, len(marks), seq + 1, why, missing)
    return Verification(rows, seq, last, len(marks), guards_missing=missing)


def missing_guards(session: Session) -> tuple[str, ...]:
    """Names of the triggers that should guard the trail and do not: absent, changed, or not ours."""
    dialect = session.get_bind().dialect.name
    wanted, found = _GUARDS[dialect], guards(session)
    absent = [name for name in wanted if name not in found]
    changed = [f"{name} (changed)" for name in wanted if name in found and found[name] != wanted[name]]
    added = [f"{name} (not ours)" for name in found if name not in wanted]
    return tuple(sorted((*absent, *changed, *added)))


def guards(session: Session) -> dict[str, str]:
    """Name and digest of each trigger of the trail as the database has it."""
    rows = session.execute(text(_DEFINITIONS[session.get_bind().dialect.name]))
    return {name: hashlib.sha256(" ".join(body.split()).encode()).hexdigest()[:32] for name, body in rows}


def count(session: Session) -> int:
    """Number of rows."""
    return session.execute(select(func.count()).select_from(EVENTS)).scalar_one()


def _columns(body: str) -> dict[str, object]:
    # Taken from the body, so that writing and verifying cannot disagree about them.
    said = json.loads(body)
    row: dict[str, object] = {key: said[key][:KEY_LENGTH] for key in KEYS}
    row.update(
        kind=said["kind"], event_code=said["event_id"]["code"], action=said["action"], outcome=said["outcome"]
    )
    return row


def _fault(row: Row[tuple[object, ...]], seq: int, last: str) -> str:
    if row.seq != seq + 1:
        return f"it is missing: row {seq} is followed by row {row.seq}"
    if row.prev_hash != last:
        return f"its prev_hash is not the hash of row {seq}"
    if row.hash != row_hash(row.seq, row.at, row.prev_hash, row.body):
        return "its time or body is not what was written"
    said = _columns(row.body)
    wrong = [name for name, value in said.items() if getattr(row, name) != value]
    return f"its columns {', '.join(wrong)} do not repeat its body" if wrong else ""


def _mismatch(mark: Checkpoint | None, found: str) -> str:
    if mark is None or mark.hash == found:
        return ""
    return f"a checkpoint of {mark.at} saw another row here: the trail was rewritten up to this row"
