"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.archive.database import Database

SHARED = Path(os.environ.get("DICOMNODE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


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
        self.binaries, self.folder, self._databases = binaries, folder, 0
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

    def new_database(self) -> str:
        """URL of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "owner", name)
        return f"postgresql+psycopg://owner@127.0.0.1:{self.port}/{name}"


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


@pytest.fixture
def database(archive_url: str) -> Iterator[Database]:
    """The archive's database with all its tables, on SQLite and on PostgreSQL."""
    made = Database(archive_url)
    made.upgrade()
    yield made
    made.close()
