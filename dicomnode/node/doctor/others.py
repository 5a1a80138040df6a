"""Other machines: peers, audit repository, scheduler."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from dicomnode.audit import syslog
from dicomnode.config import Config
from dicomnode.delivery.echo import ask
from dicomnode.delivery.settings import PeerSettings
from dicomnode.errors import DeliveryFailed
from dicomnode.node.doctor.check import Check, fail, ok, warn

LONGEST_S = 10.0
"""A person waits for the answer, so the peers' own, longer limits do not count here."""


def peers(config: Config) -> Iterator[Check]:
    """C-ECHO to every receiving system, over TLS where it has it; all at once."""
    if not config.receive.peers and not config.receive.accept_unlisted_peers:
        yield warn("receive.peers", "empty: every sender is refused; name those that may send")
    wanted = config.delivery.peers
    if not wanted:
        yield warn("delivery.peers", "empty: no result leaves this node; name the PACS there")
        return
    with ThreadPoolExecutor(len(wanted)) as pool:
        yield from pool.map(_peer, wanted)


def _peer(peer: PeerSettings) -> Check:
    limits = ("connect_timeout_s", "association_timeout_s", "response_timeout_s")
    patient = peer.model_copy(update={limit: min(LONGEST_S, getattr(peer, limit)) for limit in limits})
    name, where = f"delivery.peers {peer.name}", f"{peer.ae_title} at {peer.host}:{peer.port}"
    try:
        ask(patient)
    except DeliveryFailed as error:
        return fail(
            name,
            f"{error.status}: does {where} run and does a firewall let us through, does it know our AE title "
            f"{peer.calling_ae_title}, and has it {'TLS as configured here' if peer.tls else 'no TLS'}?",
        )
    return ok(name, f"{where} answers C-ECHO{' over TLS' if peer.tls else ''}")


def repository(config: Config) -> Iterator[Check]:
    """A connection to the audit record repository, with the TLS handshake; nothing is sent."""
    audit = config.audit
    if not audit.syslog_host:
        return
    destination = syslog.destination_of(audit)
    if audit.syslog_transport == "udp":
        yield warn("audit.syslog", f"{destination}: UDP answers nothing; tls tells of a loss")
        return
    try:
        syslog.reach(audit)
    except DeliveryFailed as error:
        yield fail("audit.syslog", f"{error}: does the repository run there, and are audit.syslog_... right?")
    else:
        yield ok("audit.syslog", f"{destination} takes our connection")


def scheduler(config: Config) -> Iterator[Check]:
    """Where Dask's scheduler is another program: whether it listens, and whether just anybody reaches it."""
    address = config.work.scheduler
    if address == "local":
        return
    place = urlsplit(address)
    try:
        with socket.create_connection((place.hostname or "", place.port or 8786), LONGEST_S):
            pass
    except (OSError, ValueError) as error:
        yield fail(
            "work.scheduler",
            f"{address} does not answer ({error}): start `dask scheduler` there, or name it right",
        )
        return
    if place.scheme == "tcp" and not _loopback(place.hostname or ""):
        yield warn(
            "work.scheduler",
            f"{address} is not encrypted, and whoever reaches it runs programs on the workers: use tls://, "
            f"or let a firewall keep others away",
        )
    else:
        yield ok("work.scheduler", f"{address} listens")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
