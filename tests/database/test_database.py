"""The database on SQLite and PostgreSQL: migrations, transactions, outages."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, String, Table, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute

from dicomnode.archive import outbox
from dicomnode.archive.settings import ArchiveSettings
from dicomnode.audit import codes
from dicomnode.audit.codes import Code
from dicomnode.casebook.lifecycle import State
from dicomnode.database.database import ArchiveOutdated, ArchiveUnavailable, Database
from dicomnode.database.tables import (
    AdministrationRow,
    Base,
    CycleRow,
    Delivery,
    EventRow,
    FindingRow,
    Series,
    UtcDateTime,
)
from dicomnode.errors import ConfigError
from dicomnode.model import Severity
from dicomnode.model.series import Role

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def administration() -> AdministrationRow:
    return AdministrationRow(
        patient_id="P1", nuclide="Lu-177", activity_mbq=7400.0, administered_at=NOON, source="config",
        recorded_at=NOON,
    )  # fmt: skip


def test_migrations_make_exactly_the_tables_of_the_models(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_downgrade_to_base_leaves_nothing_and_an_upgrade_brings_it_back(database: Database) -> None:
    database.downgrade("base")
    assert database.current() == ""
    left = inspect(database.engine)
    assert left.get_table_names() == ["alembic_version"]
    assert left.get_view_names() == []
    database.upgrade()
    assert "v_organ_doses" in inspect(database.engine).get_view_names()
    database.check_current()


def test_an_upgrade_twice_changes_nothing(database: Database) -> None:
    before = database.current()
    database.upgrade()
    assert database.current() == before != ""


def test_an_empty_database_is_refused_and_the_message_names_the_remedy(archive_url: str) -> None:
    database = Database(archive_url)
    with pytest.raises(ArchiveOutdated, match=r"\(empty\).*dicomnode db upgrade"):
        database.check_current()
    database.close()


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ArchiveOutdated, match=r"revision 9999, which this version .* does not know"):
        database.check_current()


def test_a_transaction_is_kept_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), database.write() as session:  # noqa: PT012
        session.add(administration())
        session.flush()
        raise RuntimeError("on purpose")
    with database.write() as session:
        session.add(administration())
    with database.read() as session:
        kept = session.scalars(select(AdministrationRow)).all()
    assert [(row.activity_mbq, row.administered_at) for row in kept] == [(7400.0, NOON)]


def test_a_foreign_key_to_nothing_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(
            text(
                "INSERT INTO time_points (cycle_id, label, acquired_at, emission_series_uid, ct_series_uid, "
                "structure_series_uids) VALUES ('none', 'T1', '2026-03-01 12:00:00', '1.2', '', '[]')"
            )
        )


def test_sqlite_runs_durably_and_its_file_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "a.sqlite3"
    database = Database(f"sqlite:///{path}")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}
    with database.read() as session:
        found = {name: session.execute(text(f"PRAGMA {name}")).scalar_one() for name in wanted}
    assert found == wanted
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    database.close()


def test_a_sqlite_writer_that_waits_too_long_gets_an_outage(tmp_path: Path) -> None:
    first = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}", lock_timeout_s=0.1)
    first.upgrade()
    with first.write() as holding:
        holding.add(administration())
        holding.flush()
        with pytest.raises(ArchiveUnavailable, match="database is locked"), first.write() as waiting:
            waiting.add(administration())
        with first.read() as reading:
            assert reading.scalars(select(AdministrationRow)).all() == []
    first.close()


def test_a_folder_in_place_of_the_database_is_an_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    database.upgrade()
    database.close()
    for path in tmp_path.iterdir():
        path.unlink()
    (tmp_path / "a.sqlite3").mkdir()
    with pytest.raises(ArchiveUnavailable, match="unable to open database file"), database.read() as session:
        session.execute(text("SELECT 1"))


def test_postgresql_may_go_away_and_come_back(postgresql) -> None:
    database = Database(postgresql.new_database())
    database.upgrade()
    with database.write() as session:
        session.add(administration())
    postgresql.stop()
    try:
        with pytest.raises(ArchiveUnavailable, match="cannot be used now"), database.write() as session:
            session.add(administration())
        with pytest.raises(ArchiveUnavailable, match="cannot be used now"):
            database.current()
    finally:
        postgresql.start()
    with database.write() as session:
        session.add(administration())
    with database.read() as session:
        assert len(session.scalars(select(AdministrationRow)).all()) == 2
    database.close()


def test_postgresql_dying_inside_a_transaction_is_an_outage_and_nothing_is_kept(postgresql) -> None:
    database = Database(postgresql.new_database())
    database.upgrade()
    try:
        with pytest.raises(ArchiveUnavailable), database.write() as session:  # noqa: PT012
            session.add(administration())
            session.flush()
            postgresql.stop()
            session.add(administration())
    finally:
        postgresql.start()
    with database.read() as session:
        assert session.scalars(select(AdministrationRow)).all() == []
    database.close()


def test_a_reading_session_cannot_write_on_postgresql(postgresql) -> None:
    database = Database(postgresql.new_database())
    database.upgrade()
    with pytest.raises(Exception, match="read-only transaction"), database.read() as session:  # noqa: PT012
        session.add(administration())
        session.flush()
    with database.write() as session:
        session.add(administration())
    with database.write() as session:
        assert session.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
    database.close()


def test_an_address_that_is_no_archive_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match=r"expected sqlite:///PATH .* got mysql://u:\*\*\*@h/x"):
        Database("mysql://u:secret@h/x")
    with pytest.raises(ConfigError, match="expected sqlite:///PATH"):
        Database("sqlite://")


def test_the_default_database_lies_in_the_data_folder() -> None:
    assert ArchiveSettings(data_folder=Path("/srv/node")).url == "sqlite:////srv/node/dicomnode.sqlite3"


def test_three_processes_that_upgrade_at_once_make_one_archive(archive_url: str) -> None:
    code = "import sys; from dicomnode.database.database import Database; Database(sys.argv[1]).upgrade()"
    started = [subprocess.Popen([sys.executable, "-c", code, archive_url]) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    database = Database(archive_url)
    database.check_current()
    database.close()


def at_its_limit(column: Column[Any]) -> object:
    """A value of the column's longest text (four bytes each character), or any value where it is no text."""
    if isinstance(column.type, String):
        return "\N{MUSICAL SYMBOL G CLEF}" * (column.type.length or 512)
    return NOON if isinstance(column.type, UtcDateTime) else column.type.python_type(1)


@pytest.mark.parametrize("table", [t for t in Base.metadata.sorted_tables if t.name != "events"])
def test_every_column_takes_a_text_at_its_limit(database: Database, table: Table) -> None:
    """Without foreign keys, which are not what is asked here; the trail's rows are made by its own code."""
    row = {column.name: at_its_limit(column) for column in table.columns if not column.foreign_keys}
    needed = [c for c in table.columns if c.foreign_keys and not c.nullable]
    with database.engine.connect() as connection, connection.begin() as transaction:
        if database.dialect == "postgresql":
            connection.exec_driver_sql("SET session_replication_role = replica")
        else:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        row |= {column.name: at_its_limit(column) for column in needed}
        connection.execute(table.insert().values(row))
        found = connection.execute(select(table)).mappings().one()
        assert {name: found[name] for name in row} == row
        transaction.rollback()


def test_every_word_that_the_software_writes_fits_its_column() -> None:
    words: dict[InstrumentedAttribute[str], Iterable[str]] = {
        CycleRow.state: State,
        Series.role: Role,
        FindingRow.severity: Severity,
        Delivery.state: (*outbox.TAKEN_BY_PEER, outbox.GIVEN_UP),
        EventRow.event_code: [c.code for c in vars(codes).values() if isinstance(c, Code)],
    }
    for column, written in words.items():
        length = column.type.length  # type: ignore[attr-defined]
        assert max(map(len, written)) <= length, column
