"""A receiving PACS that keeps a journal and can be told to misbehave; and a listener that only rejects."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from dicomnode.demo.pacs import STORED


@dataclass(frozen=True)
class Got:
    """One C-STORE that was answered: what, with which bytes, and the answer."""

    uid: str
    sha256: str
    status: int
    sop_class: str


class JournalPacs:
    """Answers every C-STORE with ``status`` after ``delay_s``; ``abort`` breaks off instead."""

    def __init__(self, port: int = 0, status: int = 0, delay_s: float = 0.0, abort: bool = False) -> None:
        self.status, self.delay_s, self.abort = status, delay_s, abort
        self.journal: list[Got] = []
        self._lock = threading.Lock()
        entity = AE("PACS")
        for context in STORED:
            entity.add_supported_context(context, ExplicitVRLittleEndian)
        entity.maximum_associations = 50
        self._server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def _store(self, event: Any) -> int:
        time.sleep(self.delay_s)
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        uid, status = str(event.request.AffectedSOPInstanceUID), self.status
        if self.abort:
            status = -1
        with self._lock:
            self.journal.append(Got(uid, digest, status, str(event.request.AffectedSOPClassUID)))
        if self.abort:
            event.assoc.abort()
        return 0 if self.abort else status

    def got(self) -> list[Got]:
        with self._lock:
            return list(self.journal)

    def kept(self) -> dict[str, set[str]]:
        """SOP Instance UID -> digests of what was stored (Success or warning) or may have been (aborted)."""
        kept: dict[str, set[str]] = {}
        for one in self.got():
            if one.status in (0, -1) or one.status >> 12 == 0xB:
                kept.setdefault(one.uid, set()).add(one.sha256)
        return kept

    def close(self) -> None:
        self._server.shutdown()


class Rejecting:
    """Answers every association request with A-ASSOCIATE-RJ (PS3.8 9.3.4) of one result and reason."""

    def __init__(self, result: int, reason: int, source: int) -> None:
        self._answer = bytes((3, 0, 0, 0, 0, 4, 0, result, source, reason))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port, self.requests = int(self._socket.getsockname()[1]), 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.requests += 1
                connection.recv(65536)
                connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
