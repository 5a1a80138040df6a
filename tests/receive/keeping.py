"""A small real store and ledger for the receiver's tests and benchmark: files by digest, SQLite with
synchronous=FULL. A file ``fault`` in the root makes them fail in a chosen way."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from dicomnode.receive import Arrival, Disposition, Incident, NotStored
from dicomnode.receive.arrivals import Kept

_HEAD_BYTES = 132


@dataclass(frozen=True)
class KeptFile:
    file_sha256: str
    data_set_sha256: str
    size_bytes: int


class Faults:
    def __init__(self, root: Path) -> None:
        self._path = root / "fault"

    def strike(self, where: str) -> None:
        if not self._path.exists():
            return
        place, _, what = self._path.read_text().partition(":")
        if place != where:
            return
        if what.startswith("E"):
            raise OSError(getattr(errno, what), "as ordered")
        if what == "database":
            raise NotStored("the database does not answer")
        if what == "bug":
            raise RuntimeError("a fault of our own")
        time.sleep(float(what))


class FileStore:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.incoming = root / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)
        self._faults = Faults(root)

    def adopt(self, temporary: Path, measured: Kept) -> KeptFile:
        self._faults.strike("adopt")
        whole, data_set, size = _digests(temporary)
        # What the receiver measured while writing is what a reader of the file finds.
        assert (measured.file_sha256, measured.data_set_sha256) == (whole, data_set)
        assert measured.size_bytes == size
        folder = self._root / "store" / whole[:2]
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(folder / whole)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return KeptFile(whole, data_set, size)


def _digests(path: Path) -> tuple[str, str, int]:
    whole, data_set, size = hashlib.sha256(), hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        head = file.read(_HEAD_BYTES + 12)
        meta_length = int.from_bytes(head[-4:], "little")
        head += file.read(meta_length)
        whole.update(head)
        size = len(head)
        while block := file.read(1 << 20):
            whole.update(block)
            data_set.update(block)
            size += len(block)
    return whole.hexdigest(), data_set.hexdigest(), size


class SqliteLedger:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._faults = Faults(root)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(root / "ledger.db", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS arrivals (uid TEXT, class TEXT, syntax TEXT, data_set TEXT,"
            " file TEXT, size INTEGER, calling TEXT, called TEXT, address TEXT, subject TEXT,"
            " association TEXT, at TEXT,"
            " UNIQUE (uid, data_set))"
        )
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS incidents (kind TEXT, address TEXT, calling TEXT, sentence TEXT,"
            " uid TEXT, repeated INTEGER)"
        )

    def record(self, arrival: Arrival) -> Disposition:
        self._faults.strike("record")
        kept = arrival.kept
        row = (
            arrival.sop_instance_uid,
            arrival.sop_class_uid,
            arrival.transfer_syntax_uid,
            kept.data_set_sha256,
            kept.file_sha256,
            kept.size_bytes,
            arrival.calling_ae,
            arrival.called_ae,
            arrival.peer_address,
            arrival.peer_subject,
            arrival.association,
            arrival.received_at.isoformat(),
        )
        with self._lock:
            cursor = self._database.execute(
                f"INSERT OR IGNORE INTO arrivals VALUES ({','.join('?' * len(row))})", row
            )
            if cursor.rowcount == 0:
                return Disposition.DUPLICATE
            (count,) = self._database.execute(
                "SELECT COUNT(*) FROM arrivals WHERE uid = ?", (arrival.sop_instance_uid,)
            ).fetchone()
        return Disposition.NEW if count == 1 else Disposition.CONFLICT

    def incident(self, incident: Incident) -> None:
        row = (
            incident.kind,
            incident.peer_address,
            incident.calling_ae,
            incident.sentence,
            incident.sop_instance_uid,
            incident.repeated,
        )
        with self._lock:
            self._database.execute("INSERT INTO incidents VALUES (?,?,?,?,?,?)", row)

    def holds(self, sop_class_uid: str, sop_instance_uid: str) -> bool:
        with self._lock:
            rows = self._database.execute(
                "SELECT file FROM arrivals WHERE class = ? AND uid = ?", (sop_class_uid, sop_instance_uid)
            ).fetchall()
        return any((self._root / "store" / digest[:2] / digest).exists() for (digest,) in rows)
