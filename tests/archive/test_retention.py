"""Purging received files."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.archive import retention
from dicomnode.archive.retention import PurgedStudy
from dicomnode.archive.store import Store
from dicomnode.audit import events, trail
from dicomnode.audit.events import About
from dicomnode.audit.queries import Filter, entries
from dicomnode.database.database import Database
from dicomnode.database.tables import CycleRow, Instance, Result, Revision, Series, TimePointRow

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=100), NOW - timedelta(days=5)
LIMIT = NOW - timedelta(days=30)
CT = "1.2.840.10008.5.1.4.1.1.2"


def received(session: Session, store: Store, series: str, *, at: datetime, state: str = "USED") -> str:
    """One series of one instance; returns its file's digest."""
    digest = store.put(series.encode())
    os.utime(store.path(digest), (at.timestamp(), at.timestamp()))
    session.add(
        Series(
            series_instance_uid=series, study_instance_uid="1.9", patient_id="P1", patient_name="D^J",
            modality="CT", role="ct", first_received_at=at, last_received_at=at, state=state,
        )
    )  # fmt: skip
    session.add(
        Instance(
            sop_instance_uid=series + ".1", sop_class_uid=CT, transfer_syntax_uid="1.2.840.10008.1.2.1",
            sha256=digest, file_sha256=digest, size_bytes=3, calling_ae="A", called_ae="B",
            peer_address="127.0.0.1", received_at=at, state="INDEXED", series_instance_uid=series,
        )
    )  # fmt: skip
    return digest


def cycle(session: Session, name: str, state: str, series: str) -> None:
    session.add(
        CycleRow(id=name, patient_id="P1", nuclide="Lu-177", state=state, state_since=OLD, opened_at=OLD)
    )
    session.flush()
    session.add(TimePointRow(cycle_id=name, label="T1", acquired_at=OLD, emission_series_uid=series))


def purge(database: Database, store: Store) -> list[PurgedStudy]:
    recorded: list[PurgedStudy] = []
    done = retention.purge(
        database, store, received_before=LIMIT, now=NOW, record=lambda _, study: recorded.append(study)
    )
    assert done == recorded
    return done


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_only_old_files_of_delivered_cycles_go_and_their_rows_stay(database: Database, store: Store) -> None:
    with database.write() as session:
        files = {
            name: received(session, store, uid, at=at, state=state)
            for name, uid, at, state in [
                ("delivered", "1.1", OLD, "USED"),
                ("held", "1.2", OLD, "USED"),
                ("new", "1.3", NEW, "USED"),
                ("waiting", "1.4", OLD, "WAITING"),
                ("unused", "1.5", OLD, "UNUSED"),
            ]
        }
        cycle(session, "c1", "DELIVERED", "1.1")
        cycle(session, "c2", "HELD", "1.2")
        cycle(session, "c3", "DELIVERED", "1.3")
    assert purge(database, store) == [PurgedStudy("1.9", "P1", {CT: 2})]
    assert {name for name, digest in files.items() if store.holds(digest)} == {"held", "new", "waiting"}
    with database.read() as session:
        rows = session.execute(select(Instance.series_instance_uid, Instance.purged_at)).all()
        assert retention.purged_count(session) == 2
    assert {uid for uid, purged_at in rows if purged_at == NOW} == {"1.1", "1.5"}
    assert len(rows) == 5
    assert purge(database, store) == []


def test_a_file_that_a_result_shares_or_that_came_again_stays(database: Database, store: Store) -> None:
    with database.write() as session:
        shared = received(session, store, "1.1", at=OLD, state="UNUSED")
        again = received(session, store, "1.2", at=OLD, state="UNUSED")
        cycle(session, "c1", "DELIVERED", "1.9")
        session.add(
            Revision(id="r", cycle_id="c1", number=1, state="DELIVERED", inputs_digest="", created_at=OLD)
        )
        session.flush()
        session.add(Result(revision_id="r", role="x", file_sha256=shared, created_at=OLD))
    store.put(b"1.2")
    purge(database, store)
    assert store.verify(shared)
    assert store.verify(again)


def test_files_left_by_a_crash_after_the_commit_go_with_the_next_purge(
    database: Database, store: Store
) -> None:
    with database.write() as session:
        digest = received(session, store, "1.1", at=OLD, state="UNUSED")
        session.flush()
        session.scalars(select(Instance)).one().purged_at = NOW
    purge(database, store)
    assert not store.holds(digest)


def test_the_event_is_written_in_the_transaction_of_the_purge(database: Database, store: Store) -> None:
    with database.write() as session:
        received(session, store, "1.1", at=OLD, state="UNUSED")

    def record(session: Session, study: PurgedStudy) -> None:
        about = About(patient_id=study.patient_id, study_instance_uid=study.study_instance_uid)
        trail.append(session, events.study_deleted("NODE", about, instances=study.instances, because="age"))

    retention.purge(database, store, received_before=LIMIT, now=NOW, record=record)
    with database.read() as session:
        (entry,) = entries(session, Filter(patient_id="P1"))
    assert (entry.kind, entry.action) == ("study-deleted", "D")
    assert entry.body["detail"] == {"because": "age", "instances": {CT: 1}}
