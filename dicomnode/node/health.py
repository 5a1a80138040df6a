"""A health answer and Prometheus metrics over HTTP, on loopback unless configured otherwise."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dicomnode.casebook.house import House
from dicomnode.casebook.status import status
from dicomnode.config import Config
from dicomnode.database.database import ArchiveUnavailable
from dicomnode.node.bookmark import bookmark_path

RolesAlive = Callable[[], dict[str, bool]]

CLIENT_TIMEOUT_S = 5.0
"""How long a client may keep its thread waiting."""
LONGEST_SILENCE_S = 30.0
"""The receiver says every second that it listens."""
LONGEST_ROUND_S = 300.0
"""A role that has ended no round for so long is not well, even if its process runs."""
TICKING = ("work", "deliver")
"""Roles that go round and say so."""


class _Gauges(Collector):
    """Everything that `dicomnode status` counts, as gauges."""

    def __init__(self, house: House, roles: RolesAlive) -> None:
        self.house, self.roles = house, roles

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = status(self.house)
        for name, text, counts in (
            ("dicomnode_instances", "received objects by state", now.instances),
            ("dicomnode_series", "series by state", now.series),
            ("dicomnode_cycles", "cycles by state", now.cycles),
        ):
            family = GaugeMetricFamily(name, text, labels=["state"])
            for state, n in counts.items():
                family.add_metric([state], n)
            yield family
        deliveries = GaugeMetricFamily(
            "dicomnode_deliveries", "outbox by peer and state", labels=["peer", "state"]
        )
        for peer, counts in now.deliveries.items():
            for state, n in counts.items():
                deliveries.add_metric([peer, state], n)
        yield deliveries
        yield GaugeMetricFamily(
            "dicomnode_quarantined", "objects in quarantine that wait for a person", now.quarantined
        )
        yield GaugeMetricFamily(
            "dicomnode_troubles", "what goes wrong now and waits for a person", len(now.troubles)
        )
        yield GaugeMetricFamily("dicomnode_free_bytes", "free space in the store", now.free_gb * 2**30)
        up = GaugeMetricFamily("dicomnode_role_up", "1 while the role's process runs", labels=["role"])
        for role, alive in self.roles().items():
            up.add_metric([role], float(alive))
        yield up


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each client: one that says nothing delays neither the others nor the end of the node."""

    daemon_threads = True
    block_on_close = False


class _Silent(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """No access log: a health check every second is noise."""


def health_server(house: House, roles: RolesAlive, address: str, port: int) -> WSGIServer:
    """A server that is not yet running; ``serve_forever`` it in a thread.

    ``/health``: 200 where all is well, 503 otherwise, with a JSON body that says which. Well: the database
    answers, the disk has room, each role runs and does not die again and again, the receiver listens, and
    the last round of the others is not long ago. ``/metrics``: Prometheus text.
    """
    since = time.time()
    registry = CollectorRegistry()
    registry.register(_Gauges(house, roles))

    def application(environ: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            respond("200 OK", [("Content-Type", "text/plain; version=0.0.4; charset=utf-8")])
            return [generate_latest(registry)]
        if path == "/health":
            facts = _facts(house, roles, since)
            code = HTTPStatus.OK if facts["well"] else HTTPStatus.SERVICE_UNAVAILABLE
            respond(f"{code.value} {code.phrase}", [("Content-Type", "application/json")])
            return [json.dumps(facts).encode()]
        respond("404 Not Found", [("Content-Type", "text/plain")])
        return [b"/health and /metrics are here\n"]

    return make_server(address, port, application, server_class=_Server, handler_class=_Silent)


def _facts(house: House, roles: RolesAlive, since: float) -> dict[str, Any]:
    alive, config = roles(), house.config
    reserve = config.receive.free_space_reserve_mb * 1e6
    checks = {
        "database": _answers(house),
        "disk": house.store.free_bytes() > reserve,
        "listening": seconds_since_round(config, "receive", since) < LONGEST_SILENCE_S,
        "rounds": all(seconds_since_round(config, role, since) < LONGEST_ROUND_S for role in TICKING),
    }
    return {"well": all(checks.values()) and all(alive.values()), **checks, "roles": alive}


def _answers(house: House) -> bool:
    try:
        with house.database.read() as session:
            session.connection()
    except ArchiveUnavailable:
        return False
    return True


def seconds_since_round(config: Config, role: str, since: float) -> float:
    """Time since the last round of a role ended, or since ``since`` where that is later."""
    try:
        last = bookmark_path(config.archive.data_folder, role).stat().st_mtime
    except FileNotFoundError:
        last = since
    return time.time() - max(last, since)


def run_in_background(server: WSGIServer) -> threading.Thread:
    """Serve until ``server.shutdown()``."""
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    return thread
