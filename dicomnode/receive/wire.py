"""The connection of one peer, with a bound on everything the peer controls.

Nothing is allocated for a length before it was compared with its limit, and no read waits longer than
the peer's pace allows: a stalled, trickling or silent peer costs one thread for a bounded time.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass

from dicomnode.errors import DicomnodeError

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
"""PDU types, PS3.8 9.3."""

MAX_ASSOCIATE_BYTES = 262144
"""128 presentation contexts (PS3.8 9.3.2.2) with 20 transfer syntaxes of 68 bytes each are 180 KB."""

_HEADER = struct.Struct(">BxL")
_HEADER_BYTES = 6
_PDU_SLACK_BYTES = 12
"""Some senders do not count the PDU or PDV header into the maximum length (PS3.8 D.1)."""
_HANG_UP_S = 1.0
_HANG_UP_CHUNKS = 64
_CHUNK_BYTES = 65536
_MAX_ABORT_WAIT_S = 2.0


class PeerGone(DicomnodeError):
    """The connection ended, or failed, on the peer's side."""


class PeerMisbehaved(DicomnodeError):
    """The peer broke the protocol or a limit; ``kind`` is the kind of the incident."""

    def __init__(self, kind: str, sentence: str) -> None:
        self.kind = kind
        super().__init__(sentence)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.kind, self.args[0])


@dataclass(frozen=True)
class Limits:
    """What a peer may take of a connection."""

    max_pdu_bytes: int
    idle_timeout_s: float
    stall_timeout_s: float
    minimum_bytes_per_s: float
    message_deadline_s: float


class Pace:
    """How long the peer may still take for what it has begun."""

    def __init__(self, stall_s: float, deadline_s: float, minimum_bytes_per_s: float) -> None:
        self._stall_s = stall_s
        self._deadline_s = deadline_s
        self._minimum_bytes_per_s = minimum_bytes_per_s
        self._began = time.monotonic()
        self.received_bytes = 0

    def patience_s(self) -> float:
        """Seconds the next read may wait. Raises ``PeerMisbehaved`` for a peer that is too slow."""
        elapsed_s = time.monotonic() - self._began
        left_s = self.left_s()
        rate = self.received_bytes / elapsed_s if elapsed_s > self._stall_s else float("inf")
        if rate < self._minimum_bytes_per_s:
            raise PeerMisbehaved(
                "too-slow", f"sends {rate:.0f} bytes/s where {self._minimum_bytes_per_s:g} are the minimum"
            )
        return min(self._stall_s, left_s)

    def left_s(self) -> float:
        """Seconds to the deadline. Raises ``PeerMisbehaved`` where it has passed."""
        left_s = self._began + self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise PeerMisbehaved("too-slow", f"what it began was not complete after {self._deadline_s:g} s")
        return left_s


class Wire:
    """One accepted connection. Used by one thread; only ``cut`` may be called from another."""

    def __init__(self, connection: socket.socket, limits: Limits, associate_timeout_s: float) -> None:
        self._socket = connection
        self._limits = limits
        self._pace: Pace | None = Pace(associate_timeout_s, associate_timeout_s, 0.0)
        self._buffer = bytearray(limits.max_pdu_bytes + _PDU_SLACK_BYTES)
        self._header = bytearray(_HEADER_BYTES)
        self.received_bytes = 0
        _tune(connection)

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """Shake hands; raises ``PeerMisbehaved`` (kind tls-failed). Call before anything is read."""
        self._socket.settimeout(self._patience_s())
        try:
            # The handshake runs here, in the peer's own thread and under its own time limit.
            secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
            self._socket = secured
            secured.do_handshake()
        except OSError as error:
            self._socket.close()  # an abort would begin another handshake
            reason = getattr(error, "reason", None) or type(error).__name__
            raise PeerMisbehaved("tls-failed", f"TLS handshake failed: {reason}") from error
        return secured

    def read_pdu(self) -> tuple[int, memoryview]:
        """Type and body of the next PDU. The body is valid until the next call."""
        self._fill(memoryview(self._header))
        kind, length = _HEADER.unpack(self._header)
        limit = self._limit_bytes(kind)
        if length > limit:
            raise PeerMisbehaved("over-limit", f"PDU of type {kind} announces {length} bytes; limit {limit}")
        buffer = self._buffer if length <= len(self._buffer) else bytearray(length)
        body = memoryview(buffer)[:length]
        self._fill(body)
        return kind, body

    def end_message(self) -> None:
        """What the peer began is complete: from here on it may be silent for the idle time."""
        self._pace = None

    def silent_for(self, seconds: float) -> bool:
        """True if nothing arrives within ``seconds``."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return False
        poll = select.poll()  # select.select takes no descriptor above 1023
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(seconds * 1000)

    def send(self, data: bytes) -> None:
        """Send all; a peer that does not read loses its connection after the stall time."""
        try:
            self._socket.settimeout(self._limits.stall_timeout_s)
            self._socket.sendall(data)
        except OSError as error:
            raise PeerGone(f"could not be answered ({type(error).__name__})") from error

    def hang_up(self) -> None:
        """Close so that what was sent last still arrives: a close with unread input would reset it."""
        until = time.monotonic() + _HANG_UP_S
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            for _chunk in range(_HANG_UP_CHUNKS):
                self._socket.settimeout(max(until - time.monotonic(), 0.001))
                if not self._socket.recv(_CHUNK_BYTES):
                    break
        self._socket.close()

    def abort(self, source: int, reason: int = 0) -> None:
        """Send an A-ABORT (PS3.8 9.3.8) if the peer still takes it."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_MAX_ABORT_WAIT_S)
            self._socket.sendall(struct.pack(">BxLxxBB", ABORT, 4, source, reason))

    def cut(self) -> None:
        """End the reading from another thread: the reader wakes with ``PeerGone`` and can still abort."""
        with contextlib.suppress(OSError):
            # The plain socket's shutdown, below TLS: SSLSocket.shutdown must not run beside a reader.
            socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def _limit_bytes(self, kind: int) -> int:
        if kind == ASSOCIATE_RQ:
            return MAX_ASSOCIATE_BYTES
        if kind == P_DATA:
            return self._limits.max_pdu_bytes + _PDU_SLACK_BYTES
        if kind in (RELEASE_RQ, RELEASE_RP, ABORT):
            return 4
        raise PeerMisbehaved("malformed", f"sent an unknown or unexpected PDU of type {kind}")

    def _patience_s(self) -> float:
        return self._limits.idle_timeout_s if self._pace is None else self._pace.patience_s()

    def _fill(self, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            filled += self._read_some(view[filled:])

    def _read_some(self, view: memoryview) -> int:
        wait_s = self._patience_s()
        try:
            self._socket.settimeout(wait_s)
            count = self._socket.recv_into(view)
        except TimeoutError as error:
            if self._pace is not None:
                self._pace.left_s()
            raise PeerMisbehaved("too-slow", f"sent nothing for {wait_s:.1f} s") from error
        except OSError as error:
            raise PeerGone(f"connection failed ({type(error).__name__})") from error
        if count == 0:
            raise PeerGone("closed the connection")
        if self._pace is None:
            limits = self._limits
            self._pace = Pace(limits.stall_timeout_s, limits.message_deadline_s, limits.minimum_bytes_per_s)
        self._pace.received_bytes += count
        self.received_bytes += count
        return count


def _tune(connection: socket.socket) -> None:
    """No Nagle (44 ms stall per object with some senders); keep-alive finds peers that lost power."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
