"""One C-STORE: from its command set to its status."""

from __future__ import annotations

import errno
import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dicomnode.errors import DicomnodeError
from dicomnode.receive.acceptance import (
    CANNOT_UNDERSTAND,
    DUPLICATE_INSTANCE,
    OUT_OF_RESOURCES,
    SUCCESS,
    printable,
    refuse_store,
)
from dicomnode.receive.arrivals import Arrival, Disposition, Keeper, Ledger
from dicomnode.receive.command import AFFECTED_CLASS, AFFECTED_INSTANCE, Command
from dicomnode.receive.incidents import Caller, IncidentDesk
from dicomnode.receive.negotiation import Context
from dicomnode.receive.settings import ReceiveSettings
from dicomnode.receive.spool import Spool, Temporary, file_head

logger = logging.getLogger(__name__)

_MB = 1_000_000
_ROOM_CHECK_BYTES = 64 * _MB


class Tally:
    """Counts since the start. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Add to the count called ``name``."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts.get(name, 0)


@dataclass(frozen=True)
class Storage:
    """What storing needs: the settings, the folder, and what ``node`` supplied."""

    settings: ReceiveSettings
    spool: Spool
    keeper: Keeper
    ledger: Ledger
    desk: IncidentDesk
    tally: Tally = field(default_factory=Tally)


class Storing:
    """Takes the fragments of one data set, unread, and ends in a status (PS3.4 B.2.3).

    A refused object is still read to its end, without being written: DIMSE has no earlier place for the
    answer, and the association stays usable for the next object.
    """

    def __init__(self, storage: Storage, caller: Caller, context: Context, command: Command) -> None:
        self._storage = storage
        self._caller = caller
        self._context = context
        self.sop_class = command.uid(AFFECTED_CLASS)
        self.sop_instance = command.uid(AFFECTED_INSTANCE)
        self._temporary: Temporary | None = None
        self._data_bytes = 0
        self._checked_bytes = 0
        self._refusal = refuse_store(self.sop_class, self.sop_instance, context.abstract_syntax)
        if self._refusal is None:
            self._begin()
        else:
            self._tell("malformed", self._refusal[1])

    def write(self, fragment: memoryview) -> None:
        """The next bytes of the data set."""
        self._data_bytes += len(fragment)
        if self._temporary is None:
            return
        if self._data_bytes > self._storage.settings.max_instance_mb * _MB:
            self._give_up(CANNOT_UNDERSTAND, "object is larger than this node accepts", "over-limit")
            return
        try:
            self._temporary.write(fragment)
        except OSError as error:
            self._give_up(OUT_OF_RESOURCES, _words(error), "not-stored")
            return
        if self._data_bytes - self._checked_bytes >= _ROOM_CHECK_BYTES:
            self._checked_bytes = self._data_bytes
            self._check_room()

    def finish(self) -> tuple[int, str]:
        """Keep and record the complete object. Status and error comment of the answer."""
        if self._refusal is None and self._data_bytes == 0:
            self._give_up(CANNOT_UNDERSTAND, "no data set", "malformed")
        try:
            status, comment = self._refusal or self._keep()
        except (DicomnodeError, OSError) as error:
            status, comment = OUT_OF_RESOURCES, _words(error)
            self._tell("not-stored", comment)
        finally:
            self.discard()
        if status not in (SUCCESS, DUPLICATE_INSTANCE):
            self._storage.tally.add("refused")
        return status, comment

    def discard(self) -> None:
        """Remove the temporary, if the keeper has not taken it."""
        if self._temporary is not None:
            self._temporary.__exit__(None, None, None)
            self._temporary = None

    def _begin(self) -> None:
        try:
            if not self._storage.spool.has_room():
                self._give_up(OUT_OF_RESOURCES, "free space is below the reserve", "not-stored")
                return
            self._temporary = self._storage.spool.new().__enter__()
            head = file_head(self.sop_class, self.sop_instance, self._context.transfer_syntax)
            self._temporary.write_head(head)
        except OSError as error:
            self._give_up(OUT_OF_RESOURCES, _words(error), "not-stored")

    def _check_room(self) -> None:
        if not self._storage.spool.has_room():
            self._give_up(OUT_OF_RESOURCES, "free space is below the reserve", "not-stored")

    def _keep(self) -> tuple[int, str]:
        if self._temporary is None:
            raise AssertionError("an object without refusal has a temporary")
        kept = self._storage.keeper.adopt(self._temporary.path, self._temporary.measured())
        arrival = Arrival(
            self.sop_instance,
            self.sop_class,
            self._context.transfer_syntax,
            kept,
            printable(self._caller.calling_ae),
            printable(self._caller.called_ae),
            self._caller.address,
            printable(self._caller.subject),
            self._caller.association,
            datetime.now(UTC),
        )
        disposition = self._storage.ledger.record(arrival)
        self._storage.tally.add(disposition.value)
        self._storage.tally.add("bytes", kept.size_bytes)
        return self._conflict() if disposition is Disposition.CONFLICT else (SUCCESS, "")

    def _conflict(self) -> tuple[int, str]:
        self._tell("conflict", "a known SOP Instance UID came with other bytes; both are kept")
        if self._storage.settings.conflict_status == "success":
            return SUCCESS, ""
        return DUPLICATE_INSTANCE, "this SOP Instance UID is known with other content"

    def _give_up(self, status: int, comment: str, kind: str) -> None:
        self._refusal = status, comment
        self.discard()
        self._tell(kind, comment)

    def _tell(self, kind: str, sentence: str) -> None:
        self._storage.desk.tell_of_object(kind, self._caller, sentence, printable(self.sop_instance)[:64])


def _words(error: DicomnodeError | OSError) -> str:
    """Why an object was not stored, for the error comment: no path, no SQL."""
    if not isinstance(error, OSError):
        return "the record could not be written"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk full"
    return f"file could not be written ({errno.errorcode.get(error.errno or 0, 'OSError')})"
