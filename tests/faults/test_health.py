"""What /health calls well, and clients that say nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicomnode.archive.store import Store
from dicomnode.casebook.house import House, open_house
from dicomnode.config import load
from dicomnode.node import health
from dicomnode.node.bookmark import Bookmark, bookmark_path

CONFIG = '[archive]\ndata_folder = "data"\n[receive]\nfree_space_reserve_mb = 1\n'


@contextmanager
def served(folder: Path, alive: dict[str, bool]) -> Iterator[tuple[House, int]]:
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    house = open_house(load(folder / "config.toml"))
    assert isinstance(house.store, Store)
    server = health.health_server(house, lambda: alive, "127.0.0.1", 0)
    health.run_in_background(server)
    try:
        yield house, server.server_port
    finally:
        server.shutdown()
        server.server_close()
        house.database.close()


def ask(port: int) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as refused:
        with refused:
            return dict(json.load(refused))


def test_clients_that_say_nothing_keep_neither_the_answer_nor_the_end_waiting(tmp_path: Path) -> None:
    with served(tmp_path, {"work": True}) as (_, port):
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        assert ask(port)["well"] is True
    for one in idle:
        one.close()
    assert not any(t.name == "health" and t.is_alive() for t in threading.enumerate()), "it has ended"


def test_well_means_that_it_listens_that_no_role_dies_again_and_again_and_that_rounds_end(
    tmp_path: Path,
) -> None:
    alive = {"receive": True, "work": True, "deliver": True}
    with served(tmp_path, alive) as (house, port):
        assert ask(port)["well"] is True
        alive["work"] = False
        assert (ask(port)["well"], ask(port)["roles"]["work"]) == (False, False)
        alive["work"] = True
        folder, now = house.config.archive.data_folder, time.time()
        for role, limit_s in (("receive", health.LONGEST_SILENCE_S), ("work", health.LONGEST_ROUND_S)):
            mark = Bookmark(bookmark_path(folder, role))
            os.utime(bookmark_path(folder, role), (now - 400, now - 400))
            assert health.seconds_since_round(house.config, role, now - 1000) > limit_s
            mark.beat()
            assert health.seconds_since_round(house.config, role, now - 1000) < limit_s
            mark.close()
