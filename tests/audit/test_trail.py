"""The trail: append-only, linear, and every tampering found at the right row."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from dicomnode.audit import checkpoints, events, tables, trail
from dicomnode.audit.event import Event, instant, plain
from dicomnode.audit.events import About
from dicomnode.audit.pseudonym import pseudonym, read_key
from dicomnode.database.database import Database
from dicomnode.errors import AuditBroken, ConfigError

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

WRITER = """
import sys
from dicomnode.database.database import Database
from dicomnode.audit import events, trail
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
database = Database(url)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    with database.write() as session:
        event = events.security_alert("NODE", sentence=f"{name} {number}", detail={"n": number})
        trail.append(session, event)
        if number == count - 1 and name == "hang":
            print("written", flush=True)
            sys.stdin.read()
"""


def writer(url: str, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, name, str(count)],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline() == "ready\n"


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()


def fill(database: Database, rows: int) -> None:
    with database.write() as session:
        for number in range(rows):
            event = events.series_used("NODE", About(series_instance_uid=f"1.2.{number}"), role="ct")
            trail.append(session, event, at=NOON + timedelta(seconds=number))


def unguard(database: Database) -> None:
    """What somebody with the owner's rights can do."""
    with database.write() as session:
        if database.dialect == "sqlite":
            for name in trail._GUARDS["sqlite"]:
                session.execute(text(f"DROP TRIGGER {name}"))
        else:
            session.execute(text("ALTER TABLE events DISABLE TRIGGER USER"))
            session.execute(text("ALTER TABLE checkpoints DISABLE TRIGGER USER"))


def test_the_trail_knows_its_tables_as_the_archive_made_them(database: Database) -> None:
    found = inspect(database.engine)
    for known in (tables.EVENTS, tables.CHECKPOINTS, tables.POSITIONS):
        assert [c.name for c in known.columns] == [c["name"] for c in found.get_columns(known.name)]
    for used in (tables.TIME_POINTS, tables.INSTANCES, tables.REVISIONS, tables.RESULTS):
        assert {c.name for c in used.columns} <= {c["name"] for c in found.get_columns(used.name)}


def test_rows_are_numbered_without_gaps_and_chained(database: Database) -> None:
    fill(database, 5)
    with database.read() as session:
        rows = session.execute(text("SELECT * FROM events ORDER BY seq")).all()
        found = trail.verify(session)
    assert [row.seq for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0].prev_hash == "0" * 64
    assert all(later.prev_hash == earlier.hash for earlier, later in itertools.pairwise(rows))
    assert found.whole
    assert (found.rows, found.last_seq, found.last_hash) == (5, 5, rows[-1].hash)


def test_the_hash_is_that_of_the_fixed_text() -> None:
    # printf 'dicomnode-audit-1\n1\n2026-03-01T12:00:00.000000Z\n%064d\n{}' 0 | sha256sum
    assert trail.row_hash(1, instant(NOON), trail.GENESIS, "{}") == (
        "0e35d55958f7a5d417e5cd81f2fafee13f31319d14d834e05c877f227880e52a"
    )


def test_an_event_and_its_change_stand_or_fall_together(database: Database) -> None:
    fill(database, 2)
    with pytest.raises(RuntimeError, match="on purpose"), database.write() as session:  # noqa: PT012
        trail.append(session, events.application_stopped("NODE", role="work"))
        raise RuntimeError("on purpose")
    fill(database, 1)
    with database.read() as session:
        assert (trail.count(session), trail.verify(session).whole) == (3, True)


REFUSED_BY_BOTH = [
    "UPDATE events SET body = '{}' WHERE seq = 2",
    "UPDATE events SET patient_id = 'x'",
    "DELETE FROM events WHERE seq = 3",
    "DELETE FROM events",
    "INSERT INTO events SELECT seq + 10, at, kind, event_code, action, outcome, patient_id, "
    "series_instance_uid, sop_instance_uid, cycle_id, peer, actor, body, hash, 'aa' FROM events "
    "WHERE seq = 3",
    "INSERT INTO events SELECT seq + 1, at, kind, event_code, action, outcome, patient_id, "
    "series_instance_uid, sop_instance_uid, cycle_id, peer, actor, body, 'zz', 'aa' FROM events "
    "WHERE seq = 3",
    "INSERT INTO events SELECT * FROM events WHERE seq = 2 ON CONFLICT (seq) DO UPDATE SET body = 'x'",
    "INSERT INTO events SELECT * FROM events WHERE seq = 2 ON CONFLICT DO NOTHING",
    "UPDATE checkpoints SET hash = 'x'",
    "DELETE FROM checkpoints",
]
REFUSED_BY_SQLITE = [
    "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 2",
    "REPLACE INTO events SELECT * FROM events WHERE seq = 2",
    "INSERT OR IGNORE INTO events SELECT * FROM events WHERE seq = 2",
    "UPDATE OR REPLACE events SET seq = 2 WHERE seq = 3",
    "INSERT OR REPLACE INTO events SELECT NULL, at, kind, event_code, action, outcome, patient_id, "
    "series_instance_uid, sop_instance_uid, cycle_id, peer, actor, body, prev_hash, hash FROM events",
    "INSERT OR REPLACE INTO checkpoints SELECT * FROM checkpoints",
]
REFUSED_BY_POSTGRESQL = [
    "TRUNCATE events",
    "TRUNCATE events, checkpoints CASCADE",
    "TRUNCATE checkpoints",
    "SET session_replication_role = replica; DELETE FROM events",
    "SET session_replication_role = replica; UPDATE events SET body = '{}'",
    "SET session_replication_role = replica; INSERT INTO events SELECT seq + 7, at, kind, event_code, "
    "action, outcome, patient_id, series_instance_uid, sop_instance_uid, cycle_id, peer, actor, body, "
    "'zz', 'aa' FROM events WHERE seq = 3",
    # Linked correctly, but the hash is not the row's.
    "INSERT INTO events SELECT seq + 1, at, kind, event_code, action, outcome, patient_id, "
    "series_instance_uid, sop_instance_uid, cycle_id, peer, actor, body, hash, repeat('a', 64) "
    "FROM events WHERE seq = 3",
    "CREATE TEMPORARY TABLE events AS SELECT * FROM public.events WHERE false; "
    "INSERT INTO public.events SELECT * FROM public.events WHERE seq = 1",
]


def test_the_database_refuses_every_change_of_the_trail(database: Database, tmp_path: Path) -> None:
    fill(database, 3)
    with database.write() as session:
        checkpoints.checkpoint(session, tmp_path / "marks")
    own = REFUSED_BY_SQLITE if database.dialect == "sqlite" else REFUSED_BY_POSTGRESQL
    for statement in REFUSED_BY_BOTH + own:
        with pytest.raises(DatabaseError, match=r"audit trail|UNIQUE|unique"), database.write() as session:  # noqa: PT012
            for part in statement.split("; "):
                session.execute(text(part))
    with database.read() as session:
        assert (trail.count(session), trail.verify(session).whole) == (3, True)


def test_replacing_is_refused_on_a_connection_that_never_heard_of_our_pragmas(tmp_path: Path) -> None:
    import sqlite3

    database = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    database.upgrade()
    fill(database, 3)
    stranger = sqlite3.connect(tmp_path / "a.sqlite3")
    assert stranger.execute("PRAGMA recursive_triggers").fetchone() == (0,)
    with pytest.raises(sqlite3.IntegrityError, match="does not follow the last one"):
        stranger.execute("INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 2")
    stranger.close()
    database.close()


TAMPERING: dict[str, tuple[str, int, str]] = {
    "body": ("UPDATE events SET body = REPLACE(body, '1.2.2', '1.2.9') WHERE seq = 3", 3, "time or body"),
    "time": ("UPDATE events SET at = '2026-01-01T00:00:00.000000Z' WHERE seq = 4", 4, "time or body"),
    "column": ("UPDATE events SET patient_id = 'P9', action = 'D' WHERE seq = 2", 2, "action.*body|patient"),
    "hash": ("UPDATE events SET hash = 'aa' WHERE seq = 5", 5, "time or body"),
    "link": ("UPDATE events SET prev_hash = 'aa' WHERE seq = 2", 2, "prev_hash is not the hash of row 1"),
    "deleted inside": ("DELETE FROM events WHERE seq = 3", 3, "missing: row 2 is followed by row 4"),
    "deleted first": ("DELETE FROM events WHERE seq = 1", 1, "missing: row 0 is followed by row 2"),
    "deleted last": ("DELETE FROM events WHERE seq >= 5", 5, "rows from here on are missing.*saw row 6"),
    "deleted all": ("DELETE FROM events", 1, "rows from here on are missing"),
    "order": ("UPDATE events SET seq = 9 WHERE seq = 2", 2, "missing: row 1 is followed by row 3"),
}


@pytest.mark.parametrize("kind", TAMPERING)
def test_tampering_is_found_at_its_row(database: Database, tmp_path: Path, kind: str) -> None:
    statement, seq, why = TAMPERING[kind]
    fill(database, 6)
    with database.write() as session:
        checkpoints.checkpoint(session, tmp_path / "marks")
    unguard(database)
    with database.write() as session:
        session.execute(text(statement))
    with database.read() as session:
        found = trail.verify(session, checkpoints.read_checkpoints(tmp_path / "marks"))
    assert found.broken_seq == seq
    assert {"events_chain", "events_chain (changed)"} & set(found.guards_missing)
    with pytest.raises(AuditBroken, match=rf"audit row {seq} does not verify: .*({why})"):
        found.raise_if_broken()


def test_a_chain_made_anew_is_found_by_the_checkpoint_outside(database: Database, tmp_path: Path) -> None:
    fill(database, 4)
    with database.write() as session:
        checkpoints.checkpoint(session, tmp_path / "marks")
    unguard(database)
    with database.write() as session:
        session.execute(text("DELETE FROM events WHERE seq >= 2"))
        for number in range(3):
            trail.append(session, events.application_stopped("FORGED", role=str(number)))
    with database.read() as session:
        assert trail.verify(session).broken_seq is None
        found = trail.verify(session, checkpoints.read_checkpoints(tmp_path / "marks"))
    assert (found.broken_seq, found.last_seq) == (4, 3)
    assert "rewritten up to this row" in found.why


def test_missing_triggers_alone_make_the_trail_not_whole(database: Database) -> None:
    fill(database, 1)
    unguard(database)
    with database.read() as session:
        found = trail.verify(session)
    assert not found.whole
    with pytest.raises(AuditBroken, match="triggers are missing or changed: checkpoints_no"):
        found.raise_if_broken()


def test_a_trigger_whose_body_was_emptied_is_named(database: Database) -> None:
    """Its name alone proves nothing: the owner puts one that refuses nothing in its place."""
    fill(database, 1)
    with database.write() as session:
        if database.dialect == "sqlite":
            session.execute(text("DROP TRIGGER events_no_update"))
            session.execute(
                text("CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT 1; END")
            )
            changed = "events_no_update (changed)"
        else:
            head = "CREATE OR REPLACE FUNCTION events_chain() RETURNS trigger LANGUAGE plpgsql"
            session.execute(text(f"{head} AS $$ BEGIN RETURN NEW; END $$"))
            changed = "events_chain (changed)"
    with database.read() as session:
        found = trail.verify(session)
    assert (found.guards_missing, found.whole) == ((changed,), False)


def test_four_processes_make_one_linear_chain(archive_url: str) -> None:
    database = Database(archive_url)
    database.upgrade()
    writers = [writer(archive_url, f"w{number}", 100) for number in range(4)]
    for process in writers:
        ready(process)
    for process in writers:
        start(process)
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with database.read() as session:
        found = trail.verify(session)
        sentences = session.execute(text("SELECT body FROM events ORDER BY seq")).scalars().all()
    assert (found.rows, found.whole) == (400, True)
    # They did take turns: the chain is not four runs one after the other.
    names = [next(f"w{n}" for n in range(4) if f"w{n} " in body) for body in sentences]
    assert sum(a != b for a, b in itertools.pairwise(names)) > 3
    database.close()


def test_a_writer_killed_inside_its_transaction_leaves_a_whole_trail(archive_url: str) -> None:
    database = Database(archive_url)
    database.upgrade()
    process = writer(archive_url, "hang", 5)
    ready(process)
    start(process)
    assert process.stdout
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    fill(database, 1)
    with database.read() as session:
        found = trail.verify(session)
    assert (found.rows, found.whole) == (5, True)  # four committed, the fifth not, one of ours
    database.close()


def test_writers_killed_at_random_instants_never_break_the_chain(archive_url: str) -> None:
    database = Database(archive_url)
    database.upgrade()
    for round_ in range(4):
        process = writer(archive_url, f"r{round_}", 100_000)
        ready(process)
        start(process)
        time.sleep(0.03 + 0.05 * round_)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with database.read() as session:
            assert trail.verify(session).whole
    with database.read() as session:
        assert trail.count(session) > 0
    database.close()


def test_an_append_costs_less_than_a_millisecond_of_cpu(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    database.upgrade()
    fill(database, 50)
    start = time.process_time()
    fill(database, 500)
    assert (time.process_time() - start) / 500 < 1e-3  # 0.14 ms measured
    database.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.text(alphabet=st.characters(codec=None)))
def test_any_text_off_the_wire_can_be_recorded(detail: dict[str, object], peer: str) -> None:
    event = Event("k", events.codes.AUDIT_LOG_USED, "R", (), peer=peer, detail=detail)
    body = event.body()
    assert body.isascii()
    assert body.isprintable()
    assert body == Event("k", events.codes.AUDIT_LOG_USED, "R", (), peer=peer, detail=detail).body()


def test_control_characters_and_surrogates_are_recorded_as_their_code_points(database: Database) -> None:
    event = events.security_alert("NODE", sentence="a\x00b\n\ud800c", detail={"x\x00": float("nan")})
    with database.write() as session:
        trail.append(session, event)
    with database.read() as session:
        body = session.execute(text("SELECT body FROM events")).scalar_one()
    assert r'"sentence":"a<U+0000>b<U+000A><U+D800>c"' in body
    assert r'"x<U+0000>":"nan"' in body


def test_a_time_without_a_zone_is_not_recorded() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        plain(datetime(2026, 3, 1))  # noqa: DTZ001


def _change(old: str, new: str) -> Callable[[str], str]:
    return lambda content: content.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "line", "fault"),
    [
        (_change('"seq": 2', '"seq": 3'), 1, "is not signed with the configured key"),
        (lambda content: content.split("\n", 1)[1], 1, "does not follow the line before it"),
        (lambda content: "garbage\n" + content, 1, "cannot be read"),
    ],
)  # fmt: skip
def test_a_changed_file_of_checkpoints_is_found(
    tmp_path: Path, change: Callable[[str], str], line: int, fault: str
) -> None:
    database, key = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}"), b"k" * 32
    database.upgrade()
    for _ in range(2):
        fill(database, 2)
        with database.write() as session:
            checkpoints.checkpoint(session, tmp_path, key=key)
    assert [mark.seq for mark in checkpoints.read_checkpoints(tmp_path, key=key)] == [2, 4]
    path = tmp_path / checkpoints.FILE_NAME
    path.write_text(change(path.read_text()))
    with pytest.raises(AuditBroken, match=f"line {line} of {checkpoints.FILE_NAME} {fault}"):
        checkpoints.read_checkpoints(tmp_path, key=key)
    database.close()


def test_a_line_that_a_power_cut_left_unfinished_is_dropped(database: Database, tmp_path: Path) -> None:
    fill(database, 1)
    for _ in range(2):
        with database.write() as session:
            checkpoints.checkpoint(session, tmp_path)
        with (tmp_path / checkpoints.FILE_NAME).open("a") as stream:
            stream.write('{"seq": 1, "ha')
    assert [mark.seq for mark in checkpoints.read_checkpoints(tmp_path)] == [1, 1]


def test_an_integrity_error_is_not_an_outage(database: Database) -> None:
    fill(database, 1)
    with pytest.raises(IntegrityError, match="append-only"), database.write() as session:
        session.execute(text("DELETE FROM events"))


def test_the_role_of_the_node_can_append_and_nothing_more(postgresql) -> None:
    url = postgresql.new_database()
    owner = Database(url)
    owner.upgrade()
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    grants = page[page.index("GRANT SELECT") : page.index("```", page.index("GRANT SELECT"))]
    with owner.write() as session:
        session.execute(text("CREATE ROLE dicomnode LOGIN"))
        for statement in grants.split(";"):
            if statement.strip():
                session.execute(text(statement))
    node = Database(url.replace("owner@", "dicomnode@"))
    node.check_current()
    fill(node, 2)
    with node.read() as session:
        assert trail.verify(session).whole
        assert session.execute(text("SELECT * FROM v_access")).all() == []
    for statement in (
        "UPDATE events SET body = ''",
        "TRUNCATE events",
        "ALTER TABLE events DISABLE TRIGGER ALL",
    ):
        with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), node.write() as session:
            session.execute(text(statement))
    node.close()
    owner.close()


def test_a_key_longer_than_an_index_can_hold_is_cut_in_its_column_only(database: Database) -> None:
    # PostgreSQL refuses an index entry of more than 2704 bytes.
    with database.write() as session:
        trail.append(session, events.instances_viewed("x" * 5000, About(patient_id="P"), what="show"))
    with database.read() as session:
        row = session.execute(text("SELECT actor, body FROM events")).one()
        assert trail.verify(session).whole
    assert row.actor == "x" * 256
    assert "x" * 5000 in row.body


def test_a_pseudonym_is_the_same_for_the_same_patient_and_key_only(tmp_path: Path) -> None:
    key = b"0123456789abcdef"
    # printf P1 | openssl dgst -sha256 -hmac 0123456789abcdef
    assert pseudonym("P1", key) == "p-66d63c8f9ab9ec77"
    assert pseudonym("P1 ", key) == pseudonym("P1", key)
    assert pseudonym("P1", key[::-1]) != pseudonym("P1", key)
    with pytest.raises(ConfigError, match="has 3 bytes; at least 16"):
        pseudonym("P1", b"abc")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32 + b"\n")
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read this key; run chmod 600"):
        read_key(path)
    path.chmod(0o600)
    assert read_key(path) == b"k" * 32
    with pytest.raises(ConfigError, match="key file not found"):
        read_key(tmp_path / "none")
