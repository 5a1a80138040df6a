"""Sends the trail to an audit record repository: RFC 5424 messages over TLS (RFC 5425), TCP or UDP.

A position is kept per destination and moved on only after the repository has taken the batch and the
connection was closed in order; so a message may arrive twice after a fault, but none is left out. UDP
knows no answer: use it on loopback only.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from dicomnode.audit.event import instant
from dicomnode.audit.message import to_syslog, to_xml
from dicomnode.audit.settings import AuditSettings
from dicomnode.audit.tables import EVENTS, POSITIONS
from dicomnode.errors import ConfigError, DeliveryFailed

_BATCH = 500


class Archive(Protocol):
    """What the export needs of the database."""

    def read(self) -> AbstractContextManager[Session]:
        """A session that only reads."""
        ...

    def write(self) -> AbstractContextManager[Session]:
        """One transaction."""
        ...


def export(archive: Archive, settings: AuditSettings) -> int:
    """Send all rows that the destination does not have yet; returns how many.

    Raises ``DeliveryFailed`` where the repository does not take them; the next call begins again at the
    first row that it may not have.
    """
    destination, sent = destination_of(settings), 0
    while batch := _next_batch(archive, settings, destination):
        _send([message for _, message in batch], settings, destination)
        with archive.write() as session:
            _move_on(session, destination, batch[-1][0])
        sent += len(batch)
    return sent


def reach(settings: AuditSettings) -> None:
    """Open a connection (with tls, the handshake), send nothing, and close it in order.

    Raises ``DeliveryFailed`` where the repository does not take it.
    """
    try:
        with _connected(settings):
            pass
    except OSError as error:
        raise DeliveryFailed(destination_of(settings), str(error), "with the next export") from error


def destination_of(settings: AuditSettings) -> str:
    """Name of the configured destination. Raises ``ConfigError`` where there is none."""
    if not settings.syslog_host:
        raise ConfigError(["audit.syslog_host is empty: name the audit record repository"])
    return f"{settings.syslog_transport}://{settings.syslog_host}:{settings.syslog_port}"


def position(session: Session, destination: str) -> int:
    """Number of the last row that ``destination`` has; 0 at the beginning."""
    found = session.execute(select(POSITIONS.c.seq).where(POSITIONS.c.destination == destination)).scalar()
    return found or 0


def _next_batch(archive: Archive, settings: AuditSettings, destination: str) -> list[tuple[int, bytes]]:
    with archive.read() as session:
        after = position(session, destination)
        rows = session.execute(
            select(EVENTS).where(EVENTS.c.seq > after).order_by(EVENTS.c.seq).limit(_BATCH)
        ).all()
    host, process_id = socket.getfqdn(), os.getpid()
    batch = []
    for row in rows:
        xml = to_xml(
            seq=row.seq,
            at=row.at,
            row_hash=row.hash,
            body=row.body,
            source_id=settings.source_id,
            enterprise_site_id=settings.enterprise_site_id,
        )
        message = to_syslog(xml, at=row.at, outcome=row.outcome, host=host, process_id=process_id)
        batch.append((row.seq, message))
    return batch


def _move_on(session: Session, destination: str, seq: int) -> None:
    if seq <= position(session, destination):
        return
    session.execute(delete(POSITIONS).where(POSITIONS.c.destination == destination))
    session.execute(
        insert(POSITIONS), {"destination": destination, "seq": seq, "at": instant(datetime.now(UTC))}
    )


def _send(messages: list[bytes], settings: AuditSettings, destination: str) -> None:
    try:
        if settings.syslog_transport == "udp":
            _send_datagrams(messages, settings)
        else:
            with _connected(settings) as connection:
                for message in messages:
                    # RFC 5425 4.3: MSG-LEN SP SYSLOG-MSG, no other framing.
                    connection.sendall(b"%d %b" % (len(message), message))
    except OSError as error:
        raise DeliveryFailed(destination, str(error), "with the next export") from error


def _send_datagrams(messages: list[bytes], settings: AuditSettings) -> None:
    kind = socket.AF_INET6 if ":" in settings.syslog_host else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message, (settings.syslog_host, settings.syslog_port))


@contextmanager
def _connected(settings: AuditSettings) -> Iterator[socket.socket]:
    address, timeout = (settings.syslog_host, settings.syslog_port), settings.syslog_timeout_s
    with socket.create_connection(address, timeout) as plain:
        if settings.syslog_transport == "tcp":
            yield plain
            plain.shutdown(socket.SHUT_WR)
            _drain(plain)
        else:
            with _context(settings).wrap_socket(plain, server_hostname=settings.syslog_host) as secured:
                yield secured
                _close_in_order(secured)


def _close_in_order(secured: ssl.SSLSocket) -> None:
    # RFC 5425 4.4: close_notify first. The peer's own comes after it has read everything; a reset
    # instead (an OSError) tells that something was lost, and the batch is sent again.
    try:
        secured.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        # Many receivers close TCP without close_notify; end of file is as good.
        return


def _drain(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def _context(settings: AuditSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.syslog_ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.syslog_certificate_file:
        # A passphrase would be asked for on the terminal, where no service sits.
        context.load_cert_chain(settings.syslog_certificate_file, settings.syslog_key_file, password="")
    return context
