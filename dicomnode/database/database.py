"""The database: SQLite (several processes of one machine) or PostgreSQL (several machines).

``with database.write() as session`` is one transaction: committed at the end, rolled back on an error.
On SQLite it takes the write lock at its first statement (BEGIN IMMEDIATE), so that a transaction that
reads and then writes cannot fail half-way. ``with database.read() as session`` sees one state of the
database and changes nothing. An outage is ``ArchiveUnavailable``: nothing was committed, try again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from dicomnode.errors import ConfigError, DicomnodeError

# One connection per association and worker at most; each waits its turn to write anyway.
_MORE_CONNECTIONS = 60
# Any constant will do; two processes that upgrade at once must use the same one.
_UPGRADE_LOCK = 0x6469636F
_LIMIT_EXCEEDED = "54"
"""Class of SQLSTATE for what is too large for a row or an index; psycopg calls it operational."""


class ArchiveUnavailable(DicomnodeError):
    """The database cannot be used now. Nothing of this transaction was committed; try again."""


class ArchiveOutdated(DicomnodeError):
    """The tables are not those that this version of dicomnode needs."""


class Database:
    """One database of the archive.

    Parameters
    ----------
    url
        SQLAlchemy URL: ``sqlite:///PATH`` or ``postgresql+psycopg://USER@HOST/NAME``.
    lock_timeout_s
        How long a writer waits for another, s.
    """

    def __init__(self, url: str, *, lock_timeout_s: float = 30.0) -> None:
        self.url = understood(url)
        self.engine = (
            _sqlite(self.url, lock_timeout_s)
            if self.dialect == "sqlite"
            else _postgresql(self.url, lock_timeout_s)
        )
        self._writer = self.engine.execution_options(dicomnode_writes=True)
        self._reader = (
            self.engine
            if self.dialect == "sqlite"
            else self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        )

    @property
    def dialect(self) -> str:
        """ "sqlite" or "postgresql"."""
        return self.url.get_backend_name()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction that may write; committed at the end."""
        with _outages(self.url), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One consistent view of the database; nothing is written."""
        with _outages(self.url), Session(self._reader, expire_on_commit=False) as session:
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Create or bring up to date all tables, triggers and views, in one transaction."""
        with self._migrating() as config:
            command.upgrade(config, revision)

    def downgrade(self, revision: str) -> None:
        """Go back to an earlier revision ("base" removes everything). For tests and repairs only."""
        with self._migrating() as config:
            command.downgrade(config, revision)

    def current(self) -> str:
        """Revision of the tables; empty where there are none."""
        with _refusals(self.url), _outages(self.url), self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""

    def check_current(self) -> None:
        """Raise ``ArchiveOutdated`` unless the tables are at this version's revision."""
        found, known = self.current(), _scripts()
        head = known.get_current_head() or ""
        if found == head:
            return
        if found and found not in {script.revision for script in known.walk_revisions()}:
            raise ArchiveOutdated(
                f"{named(self.url)} is at revision {found}, which this version of dicomnode does not know; "
                f"it knows {head}. Install the newer dicomnode that made it"
            )
        raise ArchiveOutdated(
            f"{named(self.url)} is at revision {found or '(empty)'} and this version of dicomnode needs "
            f"{head}. Make a backup, then run: dicomnode db upgrade"
        )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _migrating(self) -> Iterator[Config]:
        with _refusals(self.url), _outages(self.url), self._writer.begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
            config = _config()
            config.attributes["connection"] = connection
            yield config


def understood(url: str) -> URL:
    """The URL with the driver that is used. Raises ``ConfigError`` for what is no database of ours."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        # Not what was given: it may hold a password.
        raise ConfigError(["database_url: expected sqlite:///PATH or postgresql+psycopg://..."]) from None
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise ConfigError(
            [f"database_url: expected sqlite:///PATH or postgresql+psycopg://..., got {named(parsed)}"]
        )
    return parsed


def named(url: URL) -> str:
    """The URL as people may see it, without its password."""
    return url.render_as_string(hide_password=True)


def _sqlite(url: URL, lock_timeout_s: float) -> Engine:
    path = Path(url.database or "")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The file holds patient data: it is ours alone from its first byte (WAL and SHM take its mode).
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = create_engine(
        url,
        hide_parameters=True,
        max_overflow=_MORE_CONNECTIONS,
        connect_args={"timeout": lock_timeout_s, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def settle(connection: sqlite3.Connection, record: object) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            # Without it INSERT OR REPLACE deletes a row and no DELETE trigger fires.
            "recursive_triggers = ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("dicomnode_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL, lock_timeout_s: float) -> Engine:
    # A client that hangs inside a transaction would hold the trail's lock: the server ends it.
    options = (
        f"-c timezone=UTC -c lock_timeout={lock_timeout_s:.0f}s -c idle_in_transaction_session_timeout=300s"
    )
    if find_spec("psycopg") is None:
        raise ConfigError(["database_url: psycopg is not installed: pip install dicomnode[postgres]"])
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        max_overflow=_MORE_CONNECTIONS,
        # The trail reads the newest row after it has the lock: each statement needs a fresh snapshot.
        isolation_level="READ COMMITTED",
        connect_args={"connect_timeout": 10, "options": options, "application_name": "dicomnode"},
    )

    @event.listens_for(engine, "connect")
    def settle(connection: Any, record: object) -> None:
        # Success is answered after COMMIT: COMMIT has to mean that the disk has it.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false) "
                "WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            )
        connection.commit()

    return engine


@contextmanager
def _outages(url: URL) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        if is_outage(error):
            raise ArchiveUnavailable(_outage(url, error)) from error
        raise


@contextmanager
def _refusals(url: URL) -> Iterator[None]:
    """At the start, before any item could be to blame: no database of ours, or no right to use it."""
    try:
        yield
    except DBAPIError as error:
        why = " ".join(str(error.orig).split())
        raise ConfigError([f"database_url: {named(url)} cannot be used: {why}"]) from error


def is_outage(error: Exception) -> bool:
    """Whether trying again may help; a value that the database can never hold is no outage."""
    if isinstance(error, ArchiveUnavailable | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if (getattr(error.orig, "sqlstate", None) or "").startswith(_LIMIT_EXCEEDED):
        return False
    return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated


def _outage(url: URL, error: Exception) -> str:
    why = str(getattr(error, "orig", None) or error).strip().replace("\n", " ")
    hint = " (has dicomnode db upgrade been run?)" if "no such" in why else ""
    return f"the database {named(url)} cannot be used now: {why}{hint}. Nothing was stored; it is tried again"


def _config() -> Config:
    config = Config()
    with as_file(files("dicomnode.database") / "migrations") as folder:
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
