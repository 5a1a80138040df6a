"""Processes: receiving, working and delivering fail apart from each other.

`dicomnode serve` starts one process per role and restarts a role that dies. `--role` runs a single role
in the foreground, for several machines or an init system of one's own.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from dicomnode import __version__
from dicomnode.audit import events, trail
from dicomnode.casebook.house import House
from dicomnode.errors import ConfigError
from dicomnode.node.health import health_server, run_in_background

log = logging.getLogger(__name__)

ROLES = ("receive", "work", "deliver")
GRACE_S = 20.0
"""How long a role may take to end in order."""
LONGEST_PAUSE_S = 30.0
"""Upper limit of the growing pause before a role that keeps dying is started again."""
SUPERVISOR = "DICOMNODE_SUPERVISOR"
"""Environment of a role: process number of its supervisor, known even if that died before the role ran."""


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT, or the end of the supervising process sets."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    parent = int(os.environ.pop(SUPERVISOR, os.getppid()))

    def watch_parent() -> None:
        while not stop.wait(0.5):
            if os.getppid() != parent:  # the supervisor was killed: nobody would restart or stop us
                stop.set()

    threading.Thread(target=watch_parent, name="parent", daemon=True).start()
    return stop


def run_role(role: str, house: House, stop: threading.Event) -> None:
    """One role in this process until ``stop``."""
    with _the_only_one(house, role, stop):
        if stop.is_set():
            return
        _record_activity(house, role, started=True)
        {"receive": _receive, "work": _work, "deliver": _deliver, "web": _web}[role](house, stop)
        _record_activity(house, role, started=False)


@contextmanager
def _the_only_one(house: House, role: str, stop: threading.Event) -> Iterator[None]:
    """Wait until no other process has this role on this data folder.

    Where only the supervisor was killed, its roles end a moment after the next supervisor started new
    ones. The system drops the lock with the process that held it, however that ended.
    """
    with (house.config.archive.data_folder / f"{role}.lock").open("ab") as file:
        told = False
        while not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    log.warning("another process still has the role %s here: waiting for its end", role)
                told = True
                stop.wait(0.2)
        yield


def _record_activity(house: House, role: str, *, started: bool) -> None:
    here = house.config.node.name
    event = (
        events.application_started(here, role=role, version=__version__, config_digest=house.config.digest())
        if started
        else events.application_stopped(here, role=role)
    )
    with house.database.write() as session:
        trail.append(session, event)


def _receive(house: House, stop: threading.Event) -> None:
    from dicomnode.node.receipts import ReceiptLedger
    from dicomnode.receive.scp import Receiver

    receiver = Receiver(house.config.receive, house.store, ReceiptLedger(house), house.store.incoming)
    receiver.start()
    stop.wait()
    receiver.stop()


def _work(house: House, stop: threading.Event) -> None:
    from dicomnode.node.work import Rounds
    from dicomnode.node.workers import Workers

    workers = Workers(house.config.work)
    try:
        Rounds(house, workers).serve(stop)
    finally:
        workers.close()


def _deliver(house: House, stop: threading.Event) -> None:
    from dicomnode.node.deliver import deliver

    deliver(house, stop)


def _web(house: House, stop: threading.Event) -> None:
    if find_spec("starlette") is None or find_spec("uvicorn") is None or find_spec("argon2") is None:
        raise ConfigError(["web: the page's parts are not installed: pip install dicomnode[web]"])
    from dicomnode.web.server import serve

    serve(house, stop)


@dataclass
class Role:
    """One role's process, as the supervisor sees it."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    start_at: float = 0.0
    started_at: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def tend(self) -> None:
        """Start it if it does not run and its pause is over."""
        now = time.monotonic()
        if self.alive:
            if self.deaths and now - self.started_at > 60:
                self.deaths = 0
            return
        if self.process is not None:
            log.error("role %s ended with %s", self.name, self.process.returncode)
            self.process, self.deaths = None, self.deaths + 1
            self.start_at = now + min(LONGEST_PAUSE_S, 0.5 * 2 ** (self.deaths - 1))
        if now >= self.start_at:
            # It is told who started it, and sees when that is no longer its parent.
            environment = {**os.environ, SUPERVISOR: str(os.getpid())}
            self.process, self.started_at = subprocess.Popen(self.command, env=environment), now


def supervise(house: House, config_path: Path, stop: threading.Event) -> None:
    """Keep every role running until ``stop``, and answer health checks."""
    base = [sys.executable, "-m", "dicomnode", "serve", "--config", str(config_path), "--role"]
    names = (*ROLES, "web") if house.config.web.enabled else ROLES
    roles = [Role(name, [*base, name]) for name in names]
    operation = house.config.operation
    server = health_server(
        house, lambda: {r.name: r.alive for r in roles}, operation.health_address, operation.health_port
    )
    run_in_background(server)
    try:
        while not stop.wait(0.25):
            for role in roles:
                role.tend()
    finally:
        server.shutdown()
        _end(roles)


def _end(roles: list[Role]) -> None:
    """In order: ask all, wait, then insist."""
    running = [r.process for r in roles if r.process is not None and r.alive]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + GRACE_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
