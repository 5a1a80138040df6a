"""The database: driver, answer, revision of its tables, rights, and its clock against the record."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from dicomnode.config import Config
from dicomnode.database.database import ArchiveOutdated, ArchiveUnavailable, Database, named, understood
from dicomnode.database.tables import Base, EventRow
from dicomnode.errors import ConfigError
from dicomnode.node.doctor.check import Check, fail, ok, warn
from dicomnode.node.doctor.places import existing

NAME = "archive.database_url"
APPENDED_ONLY = ("events", "checkpoints")
"""Tables of which the node's role needs no UPDATE (docs/audit.md takes it away)."""
APART = timedelta(seconds=2)
"""Two clocks that NTP keeps differ by less than a tenth of a second on a local network."""


def database(config: Config) -> Iterator[Check]:
    """Everything about the database, as far as it can be asked. A new SQLite file is not made."""
    try:
        url = understood(config.archive.url)
    except ConfigError as error:
        yield fail(NAME, str(error))
        return
    file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    if file is not None and not file.exists():
        yield ok(NAME, f"{file} is not there yet: the first start makes it in {existing(file)}")
        return
    if file is not None and stat.S_IMODE(file.stat().st_mode) & 0o077:
        yield warn(NAME, f"others may read the database: chmod 600 {file}")
    try:
        # SQLite connects by opening the file, and PostgreSQL's driver has to be there.
        archive = Database(config.archive.url, lock_timeout_s=config.archive.lock_timeout_s)
    except ConfigError as error:
        yield fail(NAME, str(error))
    except OSError as error:
        yield fail(
            NAME, f"{error.filename} cannot be opened ({error.strerror}): give it to the service's user"
        )
    else:
        yield from _asked(archive)
        archive.close()


def _asked(archive: Database) -> Iterator[Check]:
    where = named(archive.url)
    try:
        if not archive.current():
            yield _may_make_tables(archive)
            return
        archive.check_current()
        yield ok(NAME, f"{where} answers, and its tables are at this version's revision {archive.current()}")
        yield _rights(archive)
        yield from _clocks(archive)
    except ArchiveOutdated as error:
        yield fail(NAME, str(error))
    except (ArchiveUnavailable, ConfigError) as error:
        yield fail(NAME, f"{error}. {_remedy(archive)}")
    except DBAPIError as error:
        yield fail(NAME, f"{where}: {' '.join(str(error.orig).split())}. {_remedy(archive)}")


def _remedy(archive: Database) -> str:
    if archive.dialect == "sqlite":
        return "Does the service's user own the file and its folder, and is it a database of dicomnode?"
    return (
        "Does PostgreSQL run there, do archive.database_url and ~/.pgpass have the right host, user and "
        "password, and has that user the rights of docs/audit.md?"
    )


def _may_make_tables(archive: Database) -> Check:
    where = named(archive.url)
    if archive.dialect == "postgresql":
        with archive.read() as session:
            if not session.scalar(text("SELECT has_schema_privilege(current_schema(), 'CREATE')")):
                return fail(
                    NAME,
                    f"{where} is empty, and this user may not make tables: run dicomnode db upgrade as the "
                    f"database's owner",
                )
    return ok(NAME, f"{where} answers and is empty: the first start makes its tables")


def _rights(archive: Database) -> Check:
    """A transaction that may write, and on PostgreSQL the rights on each table."""
    with archive.write() as session:
        session.connection()  # SQLite: BEGIN IMMEDIATE, an error where the file cannot be written
        lacking = _lacking(session) if archive.dialect == "postgresql" else []
    if lacking:
        return fail(
            "database rights",
            f"this user may not {'; '.join(lacking)}: GRANT as docs/audit.md has it, as the tables' owner",
        )
    return ok("database rights", "tables can be read and written")


def _lacking(session: Session) -> list[str]:
    if session.scalar(text("SHOW transaction_read_only")) == "on":
        return ["write at all (the server is read-only: a standby?)"]
    wanted = [
        (right, table)
        for table in sorted(Base.metadata.tables)
        for right in ("SELECT", "INSERT", "UPDATE")
        if not (right == "UPDATE" and table in APPENDED_ONLY)
    ]
    return [
        f"{right} {table}"
        for right, table in wanted
        if not session.scalar(select(func.has_table_privilege(literal(table), literal(right))))
    ]


def _clocks(archive: Database) -> Iterator[Check]:
    """No event of the record lies ahead of this clock, and the database server's clock agrees."""
    with archive.read() as session:
        last = session.scalar(select(func.max(EventRow.at)))
        theirs = session.scalar(text("SELECT clock_timestamp()")) if archive.dialect == "postgresql" else None
        now = datetime.now(UTC)
    if last and (ahead := datetime.fromisoformat(last) - now) > APART:
        yield fail(
            "clock",
            f"the last event on record is {ahead.total_seconds():.0f} s ahead of this clock: set it right "
            f"(NTP)",
        )
    if theirs is not None and abs(theirs - now) > APART:
        yield fail(
            "clock",
            f"this clock and the database server's differ by {abs(theirs - now).total_seconds():.0f} s: run "
            f"NTP on both",
        )
