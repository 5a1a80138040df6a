"""Removes received files that are old enough and whose cycles are delivered.

The row stays and says when (``purged_at``). First the rows and the event are committed, then the files
go: a crash in between leaves files too many, and the next purge removes them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from dicomnode.archive.store import Store
from dicomnode.database.database import Database
from dicomnode.database.tables import CycleRow, Instance, Result, Series, TimePointRow


@dataclass(frozen=True)
class PurgedStudy:
    """What was removed of one study: SOP Class UID -> number of instances."""

    study_instance_uid: str
    patient_id: str
    instances: dict[str, int]


def purge(
    database: Database,
    store: Store,
    *,
    received_before: datetime,
    now: datetime,
    record: Callable[[Session, PurgedStudy], object],
) -> list[PurgedStudy]:
    """Purge what was received before ``received_before``; ``record`` appends the event (110105).

    Kept: everything that is not indexed, that belongs to a cycle which is not DELIVERED, that came as
    part of a series which is open or waiting, and every file that another row still needs.
    """
    with database.write() as session:
        chosen = _choose(session, received_before)
        for instance, _ in chosen:
            instance.purged_at = now
        studies = _by_study(chosen)
        for study in studies:
            record(session, study)
    _remove_files(database, store, received_before)
    return studies


def _choose(session: Session, received_before: datetime) -> list[tuple[Instance, Series]]:
    rows = session.execute(
        select(Instance, Series)
        .join(Series, Series.series_instance_uid == Instance.series_instance_uid)
        .where(
            Instance.received_at < received_before,
            Series.last_received_at < received_before,
            Instance.state == "INDEXED",
            Instance.purged_at.is_(None),
            Series.state.in_(("USED", "UNUSED", "REFUSED")),
        )
    )
    needed = _series_in_progress(session)
    return [(instance, series) for instance, series in rows if series.series_instance_uid not in needed]


def _series_in_progress(session: Session) -> set[str]:
    points = session.scalars(
        select(TimePointRow)
        .join(CycleRow, CycleRow.id == TimePointRow.cycle_id)
        .where(CycleRow.state != "DELIVERED")
    )
    needed: set[str] = set()
    for point in points:
        needed |= {point.emission_series_uid, point.ct_series_uid, *json.loads(point.structure_series_uids)}
    return needed


def _by_study(chosen: Iterable[tuple[Instance, Series]]) -> list[PurgedStudy]:
    found: dict[tuple[str, str], Counter[str]] = {}
    for instance, series in chosen:
        key = (series.study_instance_uid, series.patient_id)
        found.setdefault(key, Counter())[instance.sop_class_uid] += 1
    return [PurgedStudy(study, patient, dict(count)) for (study, patient), count in sorted(found.items())]


def _remove_files(database: Database, store: Store, received_before: datetime) -> None:
    with database.read() as session:
        purged = set(session.scalars(select(Instance.file_sha256).where(Instance.purged_at.is_not(None))))
        kept = session.scalars(select(Instance.file_sha256).where(Instance.purged_at.is_(None)))
        made = session.scalars(select(Result.file_sha256))
        removable = purged - set(kept) - set(made)
    for digest in sorted(removable):
        # A file that came again since is newer than its row's tombstone and stays.
        store.discard(digest, written_before=received_before.timestamp())


def purged_count(session: Session) -> int:
    """How many received instances have a row and no file any more."""
    return session.scalar(select(func.count()).where(Instance.purged_at.is_not(None))) or 0
