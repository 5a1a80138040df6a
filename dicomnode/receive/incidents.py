"""Telling the ledger of incidents without letting a peer fill it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from dicomnode.errors import DicomnodeError
from dicomnode.receive.acceptance import printable
from dicomnode.receive.arrivals import Incident, Ledger

logger = logging.getLogger(__name__)

_QUIET_S = 60.0
_MAX_KEYS = 4096


@dataclass(frozen=True)
class Caller:
    """Who is at the other end; AE titles and subject are empty until they are known."""

    address: str
    association: str
    calling_ae: str = ""
    called_ae: str = ""
    subject: str = ""


class IncidentDesk:
    """Passes incidents on; of many alike (kind and address) within a minute only the first, then a count."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}
        self.count = 0

    def tell(self, kind: str, caller: Caller, sentence: str) -> None:
        """An incident about a connection."""
        repeated = self._due(kind, caller.address)
        if repeated is not None:
            self._pass_on(kind, caller, sentence, "", repeated)

    def tell_of_object(self, kind: str, caller: Caller, sentence: str, sop_instance_uid: str) -> None:
        """An incident about one object: every one is passed on."""
        with self._lock:
            self.count += 1
        self._pass_on(kind, caller, sentence, sop_instance_uid, 0)

    def _due(self, kind: str, address: str) -> int | None:
        now = time.monotonic()
        with self._lock:
            self.count += 1
            told_at, untold = self._last.get((kind, address), (-_QUIET_S, 0))
            if now - told_at < _QUIET_S:
                self._last[kind, address] = told_at, untold + 1
                return None
            if len(self._last) >= _MAX_KEYS:
                self._last.clear()
            self._last[kind, address] = now, 0
            return untold

    def _pass_on(self, kind: str, caller: Caller, sentence: str, uid: str, repeated: int) -> None:
        calling_ae = printable(caller.calling_ae)
        logger.warning("%s: %s at %s: %s", kind, calling_ae or "peer", caller.address, sentence)
        incident = Incident(
            kind, caller.address, calling_ae, sentence, uid, caller.association, datetime.now(UTC), repeated
        )
        try:
            self._ledger.incident(incident)
        except (DicomnodeError, OSError) as error:
            logger.error("incident %s could not be recorded: %s", kind, type(error).__name__)
