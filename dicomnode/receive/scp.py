"""The receiver: listens, gives each connection a place and a thread, and stops cleanly."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.receive.acceptance import plain_address
from dicomnode.receive.arrivals import Keeper, Ledger
from dicomnode.receive.association import Association, House
from dicomnode.receive.commitment import Reporter, quiet_pynetdicom
from dicomnode.receive.incidents import Caller, IncidentDesk
from dicomnode.receive.places import Places
from dicomnode.receive.settings import ReceiveSettings
from dicomnode.receive.spool import Spool
from dicomnode.receive.storing import Storage
from dicomnode.receive.tls import server_context
from dicomnode.receive.wire import Limits, Wire

logger = logging.getLogger(__name__)

_BACKLOG = 256
_CUT_WAIT_S = 5.0
_ACCEPT_PAUSE_S = 0.05


@dataclass(frozen=True)
class Health:
    """Numbers of a receiver since its start, for metrics."""

    listening: bool
    started_at: datetime
    connections_waiting: int
    associations_served: int
    connections_total: int
    associations_total: int
    instances_new: int
    instances_duplicate: int
    instances_conflict: int
    instances_refused: int
    stored_bytes: int
    incidents: int
    swept_files: int


class Receiver:
    """A C-STORE, C-ECHO and storage commitment SCP.

    Parameters
    ----------
    settings
        Whom to serve, and how much of it.
    keeper, ledger
        What makes an object safe, and what records it; both are used from several threads.
    incoming
        Folder for objects that are being received, on the file system of the keeper's store.
    """

    def __init__(self, settings: ReceiveSettings, keeper: Keeper, ledger: Ledger, incoming: Path) -> None:
        self._settings = settings
        desk = IncidentDesk(ledger)
        self._storage = Storage(
            settings, Spool(incoming, settings.free_space_reserve_mb), keeper, ledger, desk
        )
        self._house = House(
            self._storage,
            Places(settings.max_associations, settings.max_associations_per_address),
            Reporter(settings, desk),
            server_context(settings.tls) if settings.tls else None,
        )
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread()
        self._stopping = threading.Event()
        self._started_at = datetime.now(UTC)
        self._swept = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._listener is None:
            raise RuntimeError("the receiver does not listen")
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Sweep the incoming folder, listen, serve in the background. Raises OSError (address in use)."""
        quiet_pynetdicom()
        self._swept = self._storage.spool.sweep()
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.bind_address else socket.AF_INET
        self._listener = socket.create_server(
            (settings.bind_address, settings.port), family=family, backlog=_BACKLOG
        )
        if not settings.peers and not settings.accept_unlisted_peers:
            logger.warning("receive.peers is empty: every sender will be refused")
        self._acceptor = threading.Thread(target=self._accept, name="receive-accept", daemon=True)
        self._acceptor.start()
        logger.info("listening on %s port %d as %s", settings.bind_address, self.port, settings.ae_title)

    def stop(self, grace_s: float | None = None) -> None:
        """No new connections; running associations get ``grace_s`` to end, then they are aborted."""
        if self._stopping.is_set() or self._listener is None:
            return
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._house.reporter.stop()
        self._wait_for_end(self._settings.stop_grace_s if grace_s is None else grace_s)
        for place in self._house.places.holders():
            place.cut()
        self._wait_for_end(_CUT_WAIT_S)

    def health(self) -> Health:
        """Numbers for metrics."""
        holders = self._house.places.holders()
        served = sum(place.served for place in holders)
        tally = self._storage.tally
        return Health(
            listening=self._acceptor.is_alive() and not self._stopping.is_set(),
            started_at=self._started_at,
            connections_waiting=len(holders) - served,
            associations_served=served,
            connections_total=tally["connections"],
            associations_total=tally["associations"],
            instances_new=tally["new"],
            instances_duplicate=tally["duplicate"],
            instances_conflict=tally["conflict"],
            instances_refused=tally["refused"],
            stored_bytes=tally["bytes"],
            incidents=self._storage.desk.count,
            swept_files=self._swept,
        )

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None and not self._stopping.is_set():
            try:
                connection, name = listener.accept()
            except OSError as error:
                if not self._stopping.is_set():
                    # Out of file descriptors, or the peer is gone already: neither may end the service.
                    logger.warning("a connection could not be accepted: %s", error.strerror)
                    time.sleep(_ACCEPT_PAUSE_S)
                continue
            self._welcome(connection, plain_address(name[0]))

    def _welcome(self, connection: socket.socket, address: str) -> None:
        settings = self._settings
        limits = Limits(
            settings.max_pdu_bytes,
            settings.idle_timeout_s,
            settings.stall_timeout_s,
            settings.minimum_bytes_per_s,
            settings.message_deadline_s,
        )
        wire = Wire(connection, limits, settings.associate_timeout_s)
        caller = Caller(address, str(uuid.uuid4()))
        place = self._house.places.wait(address, wire.cut)
        association = Association(self._house, wire, place, caller)
        self._storage.tally.add("connections")
        try:
            threading.Thread(target=association.run, name="receive-association", daemon=True).start()
        except RuntimeError:  # no more threads
            self._house.places.leave(place)
            connection.close()
            logger.exception("a connection could not be served")

    def _wait_for_end(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._house.places.holders() and time.monotonic() < until:
            time.sleep(0.01)
