"""Heads of the trail, kept in a file outside the database.

One line of JSON per checkpoint; each carries the digest of the line before, and an HMAC where a key is
configured. Let the folder lie on another machine, or on a medium that can only be written once.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from dicomnode.audit.event import instant
from dicomnode.audit.tables import CHECKPOINTS, EVENTS
from dicomnode.errors import AuditBroken

FILE_NAME = "audit-checkpoints.jsonl"


@dataclass(frozen=True)
class Checkpoint:
    """The trail's head at one moment: its last row's number and hash, the number of rows, the time."""

    seq: int
    hash: str
    count: int
    at: str


def checkpoint(session: Session, folder: Path, *, key: bytes = b"", at: datetime | None = None) -> Checkpoint:
    """Write the trail's head to ``folder`` (synced) and to the checkpoints table.

    ``session`` is a write transaction. The file comes first: a line too many does no harm, one too few does.
    """
    last = session.execute(select(EVENTS.c.seq, EVENTS.c.hash).order_by(EVENTS.c.seq.desc()).limit(1)).first()
    count = session.execute(select(func.count()).select_from(EVENTS)).scalar_one()
    seq, found = (last.seq, last.hash) if last else (0, "0" * 64)
    mark = Checkpoint(seq, found, count, instant(at or datetime.now(UTC)))
    _write_line(folder, mark, key)
    session.execute(insert(CHECKPOINTS), asdict(mark))
    return mark


def read_checkpoints(folder: Path, *, key: bytes = b"") -> list[Checkpoint]:
    """All checkpoints of ``folder``, oldest first.

    Raises ``AuditBroken`` where a line was changed, removed from the middle, or not signed with ``key``.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return []
    marks: list[Checkpoint] = []
    previous = ""
    for number, line in enumerate(_whole_lines(path.read_text(encoding="ascii")), start=1):
        mark, fault = _read_line(line, previous, key)
        if mark is None:
            seq = marks[-1].seq + 1 if marks else 1
            raise AuditBroken(seq, f"line {number} of {FILE_NAME} {fault}")
        marks.append(mark)
        previous = hashlib.sha256(line.encode()).hexdigest()
    return marks


def _write_line(folder: Path, mark: Checkpoint, key: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / FILE_NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "r+", encoding="ascii") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        lines = _whole_lines(stream.read())
        # A line that a power cut left unfinished proves nothing and would spoil the next one.
        stream.truncate(sum(len(line) + 1 for line in lines))
        previous = hashlib.sha256(lines[-1].encode()).hexdigest() if lines else ""
        entry = {**asdict(mark), "previous": previous}
        entry["hmac"] = _sign(entry, key)
        stream.write(json.dumps(entry, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _whole_lines(content: str) -> list[str]:
    return content[: content.rfind("\n") + 1].splitlines()


def _read_line(line: str, previous: str, key: bytes) -> tuple[Checkpoint | None, str]:
    try:
        entry = json.loads(line)
        signature = entry.pop("hmac")
        mark = Checkpoint(entry["seq"], entry["hash"], entry["count"], entry["at"])
    except (ValueError, KeyError, AttributeError):
        return None, "cannot be read"
    if entry["previous"] != previous:
        return None, "does not follow the line before it"
    if key and not hmac.compare_digest(signature, _sign(entry, key)):
        return None, "is not signed with the configured key"
    return mark, ""


def _sign(entry: dict[str, object], key: bytes) -> str:
    if not key:
        return ""
    return hmac.new(key, json.dumps(entry, sort_keys=True).encode(), hashlib.sha256).hexdigest()
