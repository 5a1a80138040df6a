"""``dicomnode audit`` and ``dicomnode db`` as a person uses them."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from dicomnode.audit import checkpoints, trail
from dicomnode.audit.queries import Filter, entries
from dicomnode.cli.node.audit import audit
from dicomnode.cli.node.db import db
from dicomnode.database.database import Database


def run(*arguments: str, archive: Database | None = None) -> Result:
    group = db if arguments[0] in ("upgrade", "current") else audit
    url = archive.url.render_as_string(hide_password=False) if archive else ""
    return CliRunner().invoke(group, [*arguments, *(["--database", url] if archive else [])])


def last_event(archive: Database) -> dict[str, object]:
    with archive.read() as session:
        return next(entries(session, Filter(), limit=1)).body


def test_a_query_prints_and_leaves_its_own_event(filled: Database) -> None:
    result = run("query", "--patient", "P1", "--kind", "instance-sent", archive=filled)
    assert result.exit_code == 0
    assert "B000 coerced" in result.output
    assert result.output.count("\n") == 1
    event = last_event(filled)
    assert (event["kind"], event["patient_id"]) == ("audit-log-used", "P1")
    assert event["detail"] == {
        "verb": "query",
        "query": {"patient_id": "P1", "kind": "instance-sent"},
        "rows": 1,
    }


def test_json_is_one_object_a_line_and_csv_a_table(filled: Database) -> None:
    lines = run("query", "--outcome", "4", "--json", archive=filled).output.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [3, 6, 8]
    table = list(csv.DictReader(io.StringIO(run("query", "--outcome", "4", "--csv", archive=filled).output)))
    assert [row["seq"] for row in table] == ["3", "6", "8"]
    assert json.loads(table[2]["body"])["detail"]["status"] == "B000"


def test_times_are_taken_with_their_offset(filled: Database) -> None:
    arguments = ("query", "--since", "2026-03-02T09:02:00+01:00", "--until", "2026-03-02T08:04Z", "--json")
    found = run(*arguments, archive=filled).output.splitlines()
    assert [json.loads(line)["seq"] for line in found] == [3, 4]
    wrong = run("query", "--since", "yesterday", archive=filled)
    assert wrong.exit_code == 2
    assert "'yesterday' is not a time such as 2026-03-01" in wrong.output


def test_a_story_is_told_in_order_and_of_nothing_there_is_none(filled: Database) -> None:
    told = run("story", "c1", "--json", archive=filled)
    assert [json.loads(line)["seq"] for line in told.output.splitlines()] == [4, 5, 6, 7, 8, 9]
    unknown = run("story", "c9", archive=filled)
    assert unknown.exit_code == 1
    assert "the trail knows nothing of c9" in unknown.output


def test_verify_says_yes_and_is_recorded(filled: Database, tmp_path: Path) -> None:
    with filled.write() as session:
        checkpoints.checkpoint(session, tmp_path / "marks")
    result = run("verify", "--checkpoints", str(tmp_path / "marks"), archive=filled)
    assert result.exit_code == 0
    assert "10 rows and 1 checkpoints verify" in result.output
    assert last_event(filled)["kind"] == "audit-verified"


def test_verify_names_the_first_broken_row_and_exits_1(filled: Database) -> None:
    guards = trail._GUARDS["sqlite"]
    drop = [f"DROP TRIGGER {name}" for name in sorted(guards)]
    with filled.write() as session:
        for statement in drop if filled.dialect == "sqlite" else ["ALTER TABLE events DISABLE TRIGGER USER"]:
            session.execute(text(statement))
        session.execute(text("UPDATE events SET body = REPLACE(body, 'coerced', 'fine') WHERE seq = 8"))
    result = run("verify", archive=filled)
    assert result.exit_code == 1
    assert "audit row 8 does not verify: its time or body is not what was written" in result.output
    assert last_event(filled)["outcome"] == 12


def test_export_sends_to_a_repository(filled: Database) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        result = run(
            "export", "--host", "127.0.0.1", "--port", str(port), "--transport", "udp", archive=filled
        )
    assert result.output == f"11 messages to udp://127.0.0.1:{port}\n"


def test_an_upgrade_makes_the_archive_and_current_tells_it(tmp_path: Path) -> None:
    archive = Database(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    empty = run("current", archive=archive)
    assert (empty.exit_code, "dicomnode db upgrade" in empty.output) == (1, True)
    outdated = run("query", archive=archive)
    assert (outdated.exit_code, "run: dicomnode db upgrade" in outdated.output) == (2, True)
    upgraded = run("upgrade", archive=archive).output
    assert upgraded == f"(empty) -> {archive.current()}\n"
    assert run("current", archive=archive).output == f"{archive.current()}\n"
    archive.close()


def test_a_wrong_path_makes_no_new_database(tmp_path: Path) -> None:
    result = CliRunner().invoke(audit, ["query", "--database", f"sqlite:///{tmp_path / 'typo'}"])
    assert (result.exit_code, "there is no such database" in result.output) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["dicomnode.cli.node.audit", "dicomnode.cli.node.db"])
def test_the_commands_load_no_database_until_they_run(module: str) -> None:
    code = (
        f"import sys, {module}; print([m for m in ('sqlalchemy', 'alembic', 'pydicom') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_forged_file_of_checkpoints_makes_verify_exit_1(filled: Database, tmp_path: Path) -> None:
    with filled.write() as session:
        checkpoints.checkpoint(session, tmp_path)
    (tmp_path / checkpoints.FILE_NAME).write_text("forged\n")
    result = run("verify", "--checkpoints", str(tmp_path), archive=filled)
    assert result.exit_code == 1
    assert "line 1 of audit-checkpoints.jsonl cannot be read" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "--database", "sqlite:////no/such/folder/a.db"], "there is no such database"),
        (["verify", "--database", "nonsense"], "expected sqlite:///PATH"),
        (["query", "--config", "/no/such/config.toml"], "name the archive with"),
        (["verify", "--key-file", "/no/such/key", "--database", "sqlite:////tmp"], "key file not found"),
        (
            ["export", "--host", "h", "--port", "1", "--transport", "tcp", "--database", "x"],
            "expected sqlite",
        ),
        (["story", "x", "--database", "postgresql://nobody@127.0.0.1:1/x"], "cannot be used now"),
    ],
)
def test_an_error_is_a_sentence_and_exit_code_2_since_1_means_tampering(
    arguments: list[str], said: str
) -> None:
    result = CliRunner().invoke(audit, arguments)
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
    assert said in result.output
