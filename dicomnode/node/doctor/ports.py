"""The ports that the node listens on: free, or taken by this very node."""

from __future__ import annotations

import errno
import fcntl
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dicomnode.config import Config
from dicomnode.node.doctor.check import Check, fail, ok

WAIT_S = 3.0


@dataclass(frozen=True)
class Port:
    """One port, its keys in the configuration, and the role that listens (empty: the supervisor)."""

    name: str
    address: str
    number: int
    role: str


def ports(config: Config) -> Iterator[Check]:
    """Each port of this configuration."""
    for port in _wanted(config):
        yield _port(port, config.archive.data_folder)


def _wanted(config: Config) -> Iterator[Port]:
    yield Port("receive.port", config.receive.bind_address, config.receive.port, "receive")
    operation, web, listener = config.operation, config.web, config.delivery.commitment_listener
    yield Port("operation.health_port", operation.health_address, operation.health_port, "")
    if listener is not None:
        yield Port("delivery.commitment_listener.port", listener.host, listener.port, "deliver")
    if web.enabled:
        yield Port("web.port", web.address, web.port, "web")


def _port(port: Port, data: Path) -> Check:
    where = f"{port.address} port {port.number}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            port.address, port.number, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        return _taken(port, where, data) if error.errno == errno.EADDRINUSE else _refused(port, where, error)
    return ok(port.name, f"{where} is free")


def _taken(port: Port, where: str, data: Path) -> Check:
    ours = is_held(data / f"{port.role}.lock") if port.role else _is_health(port)
    if ours:
        return ok(port.name, f"{where} is taken, and this node runs")
    return fail(
        port.name, f"{where} is taken by another program (ss -ltnp shows it): end it, or set another port"
    )


def _refused(port: Port, where: str, error: OSError) -> Check:
    remedy = {
        errno.EACCES: "take a port above 1023, or give the service CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "it must be an address of this machine (ip address shows them)",
    }.get(error.errno or 0, "name an address of this machine")
    return fail(port.name, f"{where} cannot be listened on ({error.strerror}): {remedy}")


def is_held(lock: Path) -> bool:
    """Whether a running role of this data folder has its lock."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file: no role ever ran here
        return False
    return False


def _is_health(port: Port) -> bool:
    """Whether the /health of a dicomnode answers, well or not."""
    host = f"[{port.address}]" if ":" in port.address else port.address
    try:
        with urllib.request.urlopen(f"http://{host}:{port.number}/health", timeout=WAIT_S) as answer:
            return _speaks_of_roles(answer.read(10_000))
    except urllib.error.HTTPError as unwell:
        return _speaks_of_roles(unwell.read(10_000))
    except (OSError, ValueError):
        return False


def _speaks_of_roles(body: bytes) -> bool:
    try:
        facts = json.loads(body)
    except ValueError:
        return False
    return isinstance(facts, dict) and "roles" in facts
