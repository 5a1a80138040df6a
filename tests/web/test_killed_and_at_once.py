"""The page's process killed in the middle of a release, and two people who release at the same instant."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from dicomnode.casebook.house import House
from dicomnode.database.tables import CycleRow, EventRow
from tests.helpers.running_node import free_port
from tests.web.conftest import CYCLE, PASSWORD, field


def hold_again(house: House) -> None:
    with house.database.write() as session:
        session.execute(update(CycleRow).values(state="HELD", released_by="", accepted="[]"))


def released(house: House) -> tuple[int, bool]:
    """How many releases are in the trail, and whether the cycle's row says so."""
    with house.database.read() as session:
        events = session.scalar(select(func.count()).where(EventRow.kind == "cycle-released")) or 0
        return events, session.get_one(CycleRow, CYCLE).state != "HELD"


@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.long)])
def test_of_two_people_at_the_same_instant_one_releases(
    rounds: int, house: House, as_role: Callable[[str], TestClient]
) -> None:
    clients = [as_role("physicist"), as_role("physicist")]
    for n in range(rounds):
        pages = [client.get(f"/cycles/{CYCLE}").text for client in clients]
        start, found = threading.Barrier(2), []

        def post(client: TestClient, page: str, start: threading.Barrier, found: list[int]) -> None:
            form = {name: field(page, name) for name in ("csrf", "seen")}
            start.wait()
            sent = form | {"because": "looked at it", "password": PASSWORD}
            found.append(client.post(f"/cycles/{CYCLE}/release", data=sent).status_code)

        both = [
            threading.Thread(target=post, args=(client, page, start, found))
            for client, page in zip(clients, pages, strict=True)
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert sorted(found) == [303, 409]
        assert released(house) == (n + 1, True)
        hold_again(house)


class Process:
    """The page as a process of its own."""

    def __init__(self, house: House, folder: Path, port: int) -> None:
        command = [sys.executable, "-m", "dicomnode", "serve", "--role", "web", "--config"]
        with (folder / "web.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(folder / "config.toml")], stdout=log, stderr=log, start_new_session=True
            )
        self.port, self.cookie = port, ""
        for _ in range(600):
            try:
                self.ask("GET", "/login")
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError((folder / "web.log").read_text())

    def ask(self, method: str, path: str, form: dict[str, str] | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"sec-fetch-site": "same-origin", "cookie": self.cookie}
        headers |= {"content-type": "application/x-www-form-urlencoded"}
        connection.request(method, path, urlencode(form or {}), headers)
        return connection.getresponse()

    def log_in(self) -> None:
        answer = self.ask("POST", "/login", {"user": "physicist", "password": PASSWORD})
        assert answer.status == 303
        self.cookie = (answer.getheader("set-cookie") or "").partition(";")[0]

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.parametrize("rounds", [2, pytest.param(50, marks=pytest.mark.long)])
def test_killed_in_a_release_state_and_event_are_both_there_or_neither(
    rounds: int, house: House, tmp_path: Path
) -> None:
    port, draw = free_port(), random.Random(1)
    config = tmp_path / "config.toml"
    config.write_text(config.read_text() + f"[web]\nport = {port}\n", encoding="utf-8")
    before = 0
    for _ in range(rounds):
        page = Process(house, tmp_path, port)
        page.log_in()
        text = page.ask("GET", f"/cycles/{CYCLE}").read().decode()
        form = {name: field(text, name) for name in ("csrf", "seen")}
        form |= {"because": "looked at it", "password": PASSWORD}

        def post(page: Process, form: dict[str, str]) -> None:
            try:
                page.ask("POST", f"/cycles/{CYCLE}/release", form)
            except (OSError, http.client.HTTPException):
                return

        thread = threading.Thread(target=post, args=(page, form))
        thread.start()
        time.sleep(draw.uniform(0.0, 0.15))
        page.kill()
        thread.join()
        events, gone = released(house)
        assert events - before == int(gone)
        before = events
        hold_again(house)
