"""A real node in processes of its own that tests break: its configuration, its processes, a sender."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
from pydicom import Dataset
from pynetdicom import AE, evt
from sqlalchemy import func, select

from dicomnode.casebook.house import House, open_house
from dicomnode.casebook.views import cycle_facts, cycle_rows
from dicomnode.config import load
from dicomnode.database.tables import EventRow
from tests.helpers.decided import shown

CONFIG = """
[node]
name = "FAULTS"
zone = "Europe/Zurich"
poll_s = 0.1
[archive]
data_folder = "{data}"
{archive}
[receive]
port = {port}
accept_unlisted_peers = true
free_space_reserve_mb = {reserve_mb}
max_associations_per_address = 32
{receive}
[work]
workers = {workers}
{work}
[cycle]
expected_time_points = {expected}
series_quiet_s = {quiet_s}
[registration]
samples = 5000
iterations = 30
residual_max_mm = 100.0
{rooms}
[operation]
health_port = {health}
[delivery]
poll_s = 0.1
{peers}
"""

PEER = """
[[delivery.peers]]
name = "{name}"
ae_title = "PACS"
host = "127.0.0.1"
port = {port}
objects = {objects}
retry_delays_min = [0.004]
slow_delays_min = [0.004, 0.004]
limited_tries = 3
{more}
"""

CONTEXTS = (
    "1.2.840.10008.1.1",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.20",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peer(name: str, port: int, objects: Sequence[str] = ("rtdose", "sr"), more: str = "") -> str:
    return PEER.format(name=name, port=port, objects=str(list(objects)).replace("'", '"'), more=more)


class Stand:
    """`dicomnode serve` in a folder."""

    def __init__(
        self,
        folder: Path,
        peers: Iterable[str] = (),
        *,
        archive: str = "",
        receive: str = "",
        work: str = "",
        rooms: str = "",
        workers: int = 1,
        expected: int = 2,
        data: Path | None = None,
        quiet_s: float = 3.0,
        reserve_mb: float = 5.0,
        path: Path | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.health_port = free_port(), free_port()
        self.config_path = folder / "config.toml"
        self.config_path.write_text(
            CONFIG.format(
                port=self.port, health=self.health_port, archive=archive, receive=receive, work=work,
                workers=workers, expected=expected, data=data or "data", rooms=rooms,
                quiet_s=quiet_s, reserve_mb=reserve_mb,
                peers="\n".join(peers),
            ),
            encoding="utf-8",
        )  # fmt: skip
        self.environment = dict(os.environ)
        if path is not None:  # engines of a test's own
            known = self.environment.get("PYTHONPATH", "")
            self.environment["PYTHONPATH"] = f"{path}{os.pathsep}{known}" if known else str(path)
            sys.path.insert(0, str(path))
        self.house: House = open_house(load(self.config_path))
        self.process: subprocess.Popen[bytes] | None = None

    # processes

    def start(self, *, wait: bool = True) -> None:
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicomnode", "serve", "--config", str(self.config_path)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment,
            )
        if wait:
            self.associate().release()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self.kill_all()
            self.house.database.close()

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it, and what outlived an earlier one."""
        mine = str(self.config_path)
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if mine in (process.info["cmdline"] or []):
                found.append(process)
        return found

    def role(self, name: str) -> psutil.Process | None:
        """The process of a role ("receive", "work", "deliver"), or None while there is none."""
        for process in self.processes():
            try:
                if process.cmdline()[-2:] == ["--role", name] and process.status() != psutil.STATUS_ZOMBIE:
                    return process
            except psutil.Error:
                continue
        return None

    def workers(self) -> list[psutil.Process]:
        """The Dask worker processes."""
        work = self.role("work")
        try:
            return [p for p in work.children() if "spawn_main" in " ".join(p.cmdline())] if work else []
        except psutil.Error:
            return []

    def kill(self, what: str) -> bool:
        """SIGKILL to "receive", "work", "deliver", "worker", "supervisor" or "node" (the whole group); False
        where there is none just now."""
        assert self.process is not None
        if what == "node":
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
            return True
        if what == "supervisor":
            self.process.kill()
            self.process.wait(20)
            return True
        for victim in self.victims(what)[:1]:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                return False
            return True
        return False

    def victims(self, what: str) -> list[Any]:
        """The processes that ``kill`` chooses from."""
        if what in ("node", "supervisor"):
            return [self.process] if self.process is not None else []
        if what == "worker":
            return self.workers()
        found = self.role(what)
        return [found] if found is not None else []

    def kill_all(self) -> None:
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self.process is not None:
            self.process.wait(20)

    # a sender

    def try_associate(self, title: str = "TESTER") -> Any:
        entity = AE(title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
        for context in CONTEXTS:
            entity.add_requested_context(context, "1.2.840.10008.1.2.1")
        return entity.associate(
            "127.0.0.1", self.port, ae_title="DICOMNODE", evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)]
        )

    def associate(self, timeout_s: float = 60.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            association = self.try_associate()
            if association.is_established:
                return association
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.1)

    def send(self, objects: Iterable[Dataset]) -> list[int]:
        """Statuses in order."""
        association = self.associate()
        statuses = [int(association.send_c_store(ds).Status) for ds in objects]
        association.release()
        return statuses

    # what it knows

    def health(self) -> dict[str, Any]:
        """The answer of /health, whatever its code."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health", timeout=30) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))

    def pids(self) -> dict[str, int]:
        """Process of each role, once all have begun their work."""
        deadline = time.monotonic() + 60
        while True:
            found = {name: self.role(name) for name in ("receive", "work", "deliver")}
            with self.house.database.read() as session:
                started = select(func.count()).where(EventRow.kind == "application-started")
                begun = int(session.scalar(started) or 0)
            if all(found.values()) and begun >= 3:
                return {name: process.pid for name, process in found.items() if process is not None}
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def cycles(self) -> list[dict[str, Any]]:
        return cycle_rows(self.house)

    def facts(self, number: int = 0) -> dict[str, Any]:
        return cycle_facts(self.house, self.cycles()[number]["id"])

    def wait(self, *states: str, number: int = 0, timeout_s: float = 120.0) -> dict[str, Any]:
        """Until the cycle is in one of ``states``; returns everything about it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            rows = self.cycles()
            if len(rows) > number and rows[number]["state"] in states:
                return self.facts(number)
            time.sleep(0.1)
        raise AssertionError(f"waited for {states}: {self.cycles()}; {self.log()[-3000:]}")

    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A verb of the command line against this node."""
        command = [sys.executable, "-m", "dicomnode", *arguments, "--config", str(self.config_path)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env=self.environment
        )

    def decide(self, verb: str, cycle_id: str, because: str) -> subprocess.CompletedProcess[str]:
        """A person who sees the cycle as it is now decides."""
        seen = shown(self.house, cycle_id)
        return self.run(verb, cycle_id, "--by", "AB", "--because", because, "--seen", seen)


def _no_delay(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
