"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dicomnode.database.database import Database

if TYPE_CHECKING:
    from tests.helpers.node_in_one_process import Desk

SHARED = Path(os.environ.get("DICOMNODE_SHARED", Path(__file__).resolve().parents[2] / "shared"))

PROCESSES = ("delivery", "deploy", "faults", "gate", "interop", "journey", "receive")
"""Folders whose tests drive real processes against the clock."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a loaded machine a test with real processes may lose once: it is run once more and reported as
    "rerun". Every other test fails at once."""
    for item in items:
        if set(PROCESSES) & set(item.path.parts):
            item.add_marker(pytest.mark.processes)
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real and reference data beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the data folder shared/ beside the checkout (or DICOMNODE_SHARED)")
    return SHARED


def find_program(name: str) -> str:
    """Path of an independent program (storescu, Orthanc, ...); skips with the reason where missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs the program {name}: run deploy/test-peers.sh")
    return path


class PostgresqlServer:
    """A PostgreSQL cluster of the tests' own, on a free loopback port; it can be stopped and started."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        self._databases, self._template = 0, ""
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            user = pwd.getpwnam("nobody")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "-D", str(folder / "data"), "-U", "owner", "-A", "trust", "-E", "UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self.binaries / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, timeout=60)

    def start(self) -> None:
        """Start and wait until it answers. fsync is off: these tests kill processes, not the power."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"),
                  "-o", options, "start")  # fmt: skip

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def new_database(self, *, current: bool = False) -> str:
        """URL of a new database: empty, or ``current`` with all the archive's tables."""
        if current and not self._template:
            self._template = self.new_database()
            made = Database(self._template)
            made.upgrade()
            made.close()
        self._databases += 1
        name, server = f"test{self._databases}", f"postgresql://owner@127.0.0.1:{self.port}"
        template = self._template.rpartition("/")[2] if current else "template1"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return f"{server}/{name}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real PostgreSQL server; skips where its programs are missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb:
        pytest.skip("needs PostgreSQL (initdb): run deploy/test-peers.sh")
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-postgresql-"))
    server = PostgresqlServer(Path(initdb).resolve().parent, folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'archive.sqlite3'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture(scope="session")
def current_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all the archive's tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "current.sqlite3"
    made = Database(f"sqlite:///{path}")
    made.upgrade()
    made.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """The archive's database with all its tables, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("current_sqlite"), tmp_path / "archive.sqlite3")
        made = Database(f"sqlite:///{path}")
    else:
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        made = Database(server.new_database(current=True))
    yield made
    made.close()


@pytest.fixture
def new_desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Desk(...), a node without processes, in a folder of its own; all are closed at the end."""
    from tests.helpers.node_in_one_process import Desk

    made: list[Desk] = []

    def make(**settings: Any) -> Desk:
        folder = tmp_path / f"desk{len(made)}"
        folder.mkdir()
        made.append(Desk(folder, **settings))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk(new_desk: Callable[..., Desk]) -> Desk:
    return new_desk()
