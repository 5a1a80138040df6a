"""A real node in processes of its own, and the PACS it delivers to: for tests that follow objects through
all of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, _config, build_context, evt
from sqlalchemy import select

from dicomnode.audit import trail
from dicomnode.casebook.house import House, open_house
from dicomnode.casebook.views import cycle_facts, cycle_rows
from dicomnode.config import load
from dicomnode.database.tables import Calculation
from dicomnode.demo.pacs import DemoPacs
from dicomnode.receive.acceptance import STORAGE_CLASSES

CONFIG = """
[node]
name = "TESTNODE"
zone = "Europe/Zurich"
poll_s = 0.2
[archive]
data_folder = "data"
{database}
[receive]
port = {port}
accept_unlisted_peers = true
free_space_reserve_mb = 10.0
max_associations_per_address = 32
[work]
workers = 1
[cycle]
expected_time_points = {expected}
series_quiet_s = {quiet_s}
{cycle}
[operation]
health_port = {health}
[delivery]
poll_s = 0.3
[[delivery.peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs}
objects = ["rtdose", "sr"]
retry_delays_min = [0.02]
{more}
"""


SOP_CLASSES = ("1.2.840.10008.1.1", *STORAGE_CLASSES)
SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningNode:
    """`dicomnode serve` in a folder, and the PACS it delivers to.

    ``cycle`` are further lines of the table [cycle], ``more`` whatever follows the peer "pacs": further keys
    of that peer first, then other tables. ``pacs`` is the port of a PACS of the test's own.
    """

    def __init__(self, folder: Path, database: str = "", more: str = "", **settings: object) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.pacs = DemoPacs(folder / "pacs")
        self.port, self.health_port = free_port(), free_port()
        self.config_path = folder / "config.toml"
        self.settings = {
            "port": self.port,
            "health": self.health_port,
            "pacs": self.pacs.port,
            "database": database,
            "more": more,
            "cycle": "",
            "expected": 2,
            "quiet_s": 1.5,
        }
        self.configure(**settings)
        self.house: House = open_house(load(self.config_path))
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, **settings: object) -> None:
        """Write the configuration with these settings changed; it counts from the next start."""
        assert settings.keys() <= self.settings.keys()
        self.settings |= settings
        self.config_path.write_text(CONFIG.format(**self.settings), encoding="utf-8")

    def start(self) -> None:
        with (self.folder / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicomnode", "serve", "--config", str(self.config_path)],
                stderr=log,
                stdout=log,
                start_new_session=True,
            )
        self.associate().release()

    def stop(self) -> None:
        """In order."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def kill(self) -> None:
        """The whole node at once, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def close(self) -> None:
        self.stop()
        self.pacs.close()
        self.house.database.close()

    def associate(self, timeout_s: float = 40.0) -> Any:
        """An association with the receiver, waiting until it listens."""
        entity = AE("TESTER")
        entity.dimse_timeout = 20
        # a context for each syntax, so that a file is sent in the syntax it has
        entity.requested_contexts = [build_context(c, s) for c, s in product(SOP_CLASSES, SYNTAXES)]
        deadline = time.monotonic() + timeout_s
        while True:
            association = entity.associate(
                "127.0.0.1", self.port, ae_title="DICOMNODE", evt_handlers=[(evt.EVT_CONN_OPEN, no_delay)]
            )
            if association.is_established:
                return association
            assert time.monotonic() < deadline, (self.folder / "node.log").read_text()[-3000:]
            time.sleep(0.2)

    def send(self, files: Sequence[Path], change: Callable[[Any], None] = lambda _ds: None) -> None:
        association = self.associate()
        for path in files:
            dataset = dcmread(path)
            change(dataset)
            status = association.send_c_store(dataset)
            if "Status" not in status:  # pynetdicom's requestor lost the answer: as a PACS, send it again
                association.abort()
                association = self.associate()
                status = association.send_c_store(dataset)
            assert status.get("Status") == 0, f"{path.name}: {status}"
        association.release()

    def store(self, files: Sequence[Path]) -> dict[Path, int | None]:
        """Send Part 10 files byte for byte over one association: what each was answered; None where no
        presentation context was accepted for it."""
        association = self.associate()
        answers: dict[Path, int | None] = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
            for path in files:
                try:
                    answers[path] = association.send_c_store(path).get("Status", -1)
                except ValueError as refused:
                    if "presentation context" not in str(refused):
                        raise
                    answers[path] = None
        assert association.is_established
        association.release()
        return answers

    def cycles(self) -> list[dict[str, Any]]:
        return cycle_rows(self.house)

    def facts(self, number: int = 0) -> dict[str, Any]:
        return cycle_facts(self.house, self.cycles()[number]["id"])

    def measured(self, step: str) -> dict[str, Any]:
        """What a step of the latest revision of the first cycle measured, by time point."""
        revision = self.facts()["revision"]["id"]
        query = select(Calculation.parameters).where(
            Calculation.revision_id == revision, Calculation.step == step
        )
        with self.house.database.read() as session:
            rows = session.scalars(query.order_by(Calculation.id)).all()
        return dict(json.loads(rows[-1])["measured"])

    def is_well(self) -> bool:
        """What /health answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health", timeout=5) as answer:
            return answer.status == 200 and json.load(answer)["well"] is True

    def audit_is_whole(self) -> bool:
        """Whether every row of the trail still verifies."""
        with self.house.database.read() as session:
            return trail.verify(session, []).whole

    def wait(self, *states: str, number: int = 0, timeout_s: float = 400.0) -> dict[str, Any]:
        """Until the cycle is in one of ``states``; returns everything about it."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            rows = self.cycles()
            if len(rows) > number and rows[number]["state"] in states:
                return self.facts(number)
            time.sleep(0.2)
        raise AssertionError(f"waited for {states}: {self.cycles()}; {self.log()[-2000:]}")

    def log(self) -> str:
        return (self.folder / "node.log").read_text()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A verb of the command line against this node."""
        command = [sys.executable, "-m", "dicomnode", *arguments, "--config", str(self.config_path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def no_delay(event: evt.Event) -> None:
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
