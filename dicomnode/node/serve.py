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
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from dicomnode import __version__
from dicomnode.audit import events, trail
from dicomnode.casebook import troubles
from dicomnode.casebook.house import House
from dicomnode.database.database import ArchiveUnavailable
from dicomnode.errors import ConfigError
from dicomnode.node import set_aside
from dicomnode.node.bookmark import Bookmark, bookmark_path, read_bookmark
from dicomnode.node.health import health_server, run_in_background
from dicomnode.node.listening import listening
from dicomnode.node.set_aside import Ended

log = logging.getLogger(__name__)

ROLES = ("receive", "work", "deliver")
GRACE_S = 20.0
"""How long a role may take to end in order."""
DEATHS_TOLD = 3
"""So many deaths in a row of one role are a trouble that a person is told of; so many of one item are its
own fault, and it is set aside."""
STAYS_UP_S = 60.0
"""After so long a role is well again."""
LONGEST_PAUSE_S = 30.0
"""Upper limit of the growing pause before a role that keeps dying is started again."""
SUPERVISOR = "DICOMNODE_SUPERVISOR"
"""Environment of a role: process number of its supervisor, known even if that died before the role ran."""


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM, SIGINT, or the end of the supervising process sets. A shell is no supervisor:
    what it started with `nohup` outlives it."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    supervisor = int(os.environ.pop(SUPERVISOR, "0"))

    def watch_supervisor() -> None:
        while not stop.wait(0.5):
            if os.getppid() != supervisor:  # it was killed: nobody would restart or stop us
                stop.set()

    if supervisor:
        threading.Thread(target=watch_supervisor, name="supervisor", daemon=True).start()
    return stop


def run_role(role: str, house: House, stop: threading.Event) -> None:
    """One role in this process until ``stop``."""
    with _the_only_one(house, role, stop):
        if stop.is_set():
            return
        _record_activity(house, role, started=True)
        log.info("the role %s runs, version %s", role, __version__)
        {"receive": _receive, "work": _work, "deliver": _deliver, "web": _web}[role](house, stop)
        log.info("the role %s stops", role)
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
    door = house.config.receive
    with listening("receive.port", door.bind_address, door.port):
        receiver.start()
    bookmark = Bookmark(bookmark_path(house.config.archive.data_folder, "receive"))
    while not stop.wait(1.0):
        if receiver.health().listening:
            bookmark.beat()
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
    bookmark: Path
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    items: Counter[str] = field(default_factory=Counter)
    """What it was about when it died, and how often."""
    start_at: float = 0.0
    started_at: float = 0.0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def stays_up(self) -> bool:
        """Alive, and not only since a moment after deaths in a row."""
        return self.alive and self.deaths < DEATHS_TOLD

    def tend(self) -> Ended | None:
        """Start it if it does not run and its pause is over; what is to be told since the last time."""
        now = time.monotonic()
        if self.alive:
            if self.deaths and now - self.started_at > STAYS_UP_S:
                self.deaths = 0
                self.items.clear()
                return Ended(self.name, 0)
            return None
        ended = None
        if self.process is not None:
            log.error("role %s ended with %s", self.name, self.process.returncode)
            self.process, self.deaths = None, self.deaths + 1
            self.start_at = now + min(LONGEST_PAUSE_S, 0.5 * 2 ** (self.deaths - 1))
            ended = Ended(self.name, self.deaths, self._repeated_item())
        if now >= self.start_at:
            # It is told who started it, and sees when that is no longer its parent.
            environment = {**os.environ, SUPERVISOR: str(os.getpid())}
            self.process, self.started_at = subprocess.Popen(self.command, env=environment), now
        return ended

    def _repeated_item(self) -> str:
        """The item that it died of so often that the item is to blame; empty where there is none."""
        item = read_bookmark(self.bookmark)
        self.items[item] += bool(item)
        return item if self.items[item] >= DEATHS_TOLD else ""


def supervise(house: House, config_path: Path, stop: threading.Event) -> None:
    """Keep every role running until ``stop``, and answer health checks."""
    base = [sys.executable, "-m", "dicomnode", "serve", "--config", str(config_path), "--role"]
    folder = house.config.archive.data_folder
    names = (*ROLES, "web") if house.config.web.enabled else ROLES
    roles = [Role(name, [*base, name], bookmark_path(folder, name)) for name in names]
    _forget_roles(house)
    operation = house.config.operation
    address, port = operation.health_address, operation.health_port
    with listening("operation.health_port", address, port):
        server = health_server(house, lambda: {r.name: r.stays_up for r in roles}, address, port)
    run_in_background(server)
    untold: list[Ended] = []
    try:
        while not stop.wait(0.25):
            untold += [ended for role in roles if (ended := role.tend()) is not None]
            untold = [] if untold and _tell(house, untold) else untold
    finally:
        server.shutdown()
        _end(roles)


def _forget_roles(house: House) -> None:
    """What a service before this one saw of its roles, and whom it did not review, is tried anew."""
    with house.database.write() as session:
        troubles.forget(session, ("role:", troubles.SKIPPED))


def _tell(house: House, ended: Sequence[Ended]) -> bool:
    """On record, for `status`; False where the database is away, and it is told later."""
    try:
        with house.database.write() as session:
            for one in ended:
                set_aside.role_ended(session, one, house.config.node.name, datetime.now(UTC), DEATHS_TOLD)
    except ArchiveUnavailable as outage:
        log.warning("waiting for the database: %s", outage)
        return False
    return True


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
