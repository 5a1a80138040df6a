"""The database, as the doctor finds it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from dicomnode.audit import events, trail
from dicomnode.database.database import Database
from dicomnode.node.doctor import Check, Verdict, record
from tests.conftest import PostgresqlServer
from tests.doctor.conftest import Configured
from tests.helpers.running_node import free_port


def asked(configured: Configured, url: str) -> list[Check]:
    return list(record.database(configured(f'[archive]\ndatabase_url = "{url}"\n')))


def failures(checks: list[Check]) -> list[str]:
    return [check.sentence for check in checks if check.verdict is Verdict.FAIL]


def serve(folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """`dicomnode serve` with the configuration of this folder; it has to end by itself."""
    start = [*before, "from dicomnode.cli import cli", "cli(['serve', '--config', 'config.toml'])"]
    command = [sys.executable, "-c", "; ".join(start)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder)


def test_a_sqlite_file_that_is_not_there_is_not_made(configured: Configured, tmp_path: Path) -> None:
    checks = list(record.database(configured("")))
    assert [c.verdict for c in checks] == [Verdict.OK]
    assert not (tmp_path / "data").exists()


def test_current_tables_are_well_and_an_older_revision_names_the_command(
    configured: Configured, archive_url: str
) -> None:
    archive = Database(archive_url)
    archive.upgrade()
    assert {c.verdict for c in asked(configured, archive_url)} == {Verdict.OK}
    archive.downgrade("0006")
    archive.close()
    (sentence,) = failures(asked(configured, archive_url))
    assert "is at revision 0006" in sentence
    assert "dicomnode db upgrade" in sentence


def test_an_event_of_the_future_says_that_this_clock_is_behind(
    configured: Configured, archive_url: str
) -> None:
    archive = Database(archive_url)
    archive.upgrade()
    told = events.application_started("NODE", role="work", version="1", config_digest="a")
    with archive.write() as session:
        trail.append(session, told, at=datetime.now(UTC) + timedelta(hours=1))
    archive.close()
    (sentence,) = failures(asked(configured, archive_url))
    seconds = int(sentence.partition("is ")[2].split()[0])
    assert 3590 <= seconds <= 3600


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://nobody@127.0.0.1:{port}/none", "Does PostgreSQL run there"),
        ("postgresql://nobody:secret@does-not-resolve.invalid/none", "cannot be used now"),
        ("mysql://nobody@127.0.0.1/none", "expected sqlite:///PATH"),
        ("no url", "expected sqlite:///PATH"),
    ],
)
def test_a_database_that_cannot_be_reached_fails_and_serve_ends_with_a_sentence(
    configured: Configured, tmp_path: Path, url: str, said: str
) -> None:
    (sentence,) = failures(asked(configured, url.format(port=free_port())))
    assert said in sentence
    assert "secret" not in sentence
    ended = serve(tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr


def test_a_file_that_is_no_database_fails_and_serve_ends_with_a_sentence(
    configured: Configured, tmp_path: Path
) -> None:
    (file := tmp_path / "notes.txt").write_text("not a database at all " * 100)
    (sentence,) = failures(asked(configured, f"sqlite:///{file}"))
    assert "file is not a database" in sentence
    ended = serve(tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr


def test_without_psycopg_serve_names_the_package(configured: Configured, tmp_path: Path) -> None:
    configured('[archive]\ndatabase_url = "postgresql://nobody@127.0.0.1/none"\n')
    ended = serve(tmp_path, "import sys", "sys.modules['psycopg'] = None")
    assert ended.returncode == 2
    assert "psycopg is not installed: pip install dicomnode[postgres]" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_role_without_rights_is_told_which_it_lacks_until_it_has_those_of_the_documentation(
    configured: Configured, postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    url = postgresql.new_database(current=True)
    name = url.rpartition("/")[2]
    theirs = url.replace("owner@", f"{name}_node@")
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name}_node LOGIN".encode())
        assert "permission denied" in failures(asked(configured, theirs))[0]
        ended = serve(tmp_path)
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
        owner.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}_node".encode())
        (sentence,) = failures(asked(configured, theirs))
        assert "INSERT cycles; UPDATE cycles" in sentence
        assert "INSERT events" in sentence
        assert "UPDATE events" not in sentence
        for grant in (
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}",
            "REVOKE UPDATE, DELETE, TRUNCATE ON events, checkpoints FROM {}",
        ):
            owner.execute(grant.format(f"{name}_node").encode())
    assert failures(asked(configured, theirs)) == []


def test_an_empty_database_whose_user_may_make_no_tables_names_the_remedy(
    configured: Configured, postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    url = postgresql.new_database()
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {name}_node LOGIN".encode())
        owner.execute(b"REVOKE CREATE ON SCHEMA public FROM PUBLIC")  # as from PostgreSQL 15 on
    assert failures(asked(configured, url)) == []
    (sentence,) = failures(asked(configured, url.replace("owner@", f"{name}_node@")))
    assert "run dicomnode db upgrade as the database's owner" in sentence
    ended = serve(tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
