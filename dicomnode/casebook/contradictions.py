"""A different object under a known SOP Instance UID, or another word about an administration, come after
the cycle that uses it was complete.

While a cycle collects, ``cycles.review`` sees it. Later it must not wait for the next review: what has not
left the house stays here until a person says which object is right.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session, aliased

from dicomnode.audit import codes, events, trail
from dicomnode.casebook.lifecycle import Happening, State
from dicomnode.casebook.plans import look_at
from dicomnode.casebook.state import change, finding_row
from dicomnode.config import Config
from dicomnode.database.tables import CycleRow, FindingRow, Instance, TimePointRow
from dicomnode.model import Finding, Severity


def newest(session: Session) -> int:
    """Row of the latest conflicting object, 0 where there is none."""
    return session.scalar(select(func.max(Instance.id)).where(Instance.state == "CONFLICT")) or 0


def stop_cycles(session: Session, after: int, config: Config, now: datetime) -> None:
    """Hold the cycles whose objects have met a different one in a row beyond ``after``; once per object.

    A cycle that was delivered keeps its state: nothing can be stopped any more, an alert tells of it.
    """
    first, second = aliased(Instance), aliased(Instance)
    met = (
        select(first.series_instance_uid)
        .join(second, second.sop_instance_uid == first.sop_instance_uid)
        .where(second.state == "CONFLICT", second.id > after, first.state == "INDEXED")
        .distinct()
    )
    uses = {row.id: row for uid in session.scalars(met).all() for row in _cycles_that_use(session, uid)}
    for row in uses.values():
        if State(row.state) is not State.COLLECTING:
            _stop_where_in_doubt(session, row, config, now)


def stop_contradicted(session: Session, patient_id: str, config: Config, now: datetime) -> None:
    """Hold the complete cycles of a patient in which something is in doubt that was not when they became
    complete: another word about the administration, another object under a UID, a second CT; once each."""
    complete = select(CycleRow).where(
        CycleRow.patient_id == patient_id, CycleRow.state != State.COLLECTING.value
    )
    for row in session.scalars(complete).all():
        _stop_where_in_doubt(session, row, config, now)


BY_OURSELVES = "received-files-removed"
"""Retention removed the files, as it should after a delivery: no contradiction."""


def _stop_where_in_doubt(session: Session, row: CycleRow, config: Config, now: datetime) -> None:
    seen = look_at(session, row, config)
    said = [f.sentence for f in seen.doubts] if seen is not None else []
    for found in seen.doubts if seen is not None else ():
        holds = found.severity is Severity.HOLD and found.rule != BY_OURSELVES
        if holds and not _is_known(session, row, found):
            _stop(session, row, found, said, config, now)


def _cycles_that_use(session: Session, series_uid: str) -> list[CycleRow]:
    uses = select(TimePointRow.cycle_id).where(
        or_(
            TimePointRow.emission_series_uid == series_uid,
            TimePointRow.ct_series_uid == series_uid,
            TimePointRow.structure_series_uids.contains(f'"{series_uid}"'),
        )
    )
    return list(session.scalars(select(CycleRow).where(CycleRow.id.in_(uses))))


def _is_known(session: Session, row: CycleRow, found: Finding) -> bool:
    if [found.rule, found.subject] in json.loads(row.accepted):
        return True
    told = select(FindingRow.sentence).where(
        FindingRow.cycle_id == row.id, FindingRow.rule == found.rule, FindingRow.subject == found.subject
    )
    # a sentence that grows (a count, what a comparison found) takes the place of the one before
    return any(found.sentence in sentence for sentence in session.scalars(told))


def _stop(
    session: Session,
    row: CycleRow,
    found: Finding,
    said: Collection[str],
    config: Config,
    now: datetime,
) -> None:
    late = State(row.state) is State.DELIVERED
    if late:
        found = Finding(
            found.rule, Severity.WARNING, f"after the delivery {found.sentence}", subject=found.subject
        )
    before = _no_longer_said(session, row, found.rule, said)
    session.execute(delete(FindingRow).where(FindingRow.id.in_(before)))
    session.add(finding_row(found, row.id, "", now))
    if late:
        _tell(session, row, found, config)
        return
    old = json.loads(row.reasons) if row.state == State.HELD else []
    reasons = [*(r for r in old if r not in before.values()), found.sentence]
    change(session, row, Happening.DOUBT, reasons, config.node.name, now)


def _no_longer_said(session: Session, row: CycleRow, rule: str, said: Collection[str]) -> dict[int, str]:
    """Findings of a rule whose sentence another has taken over (a count grew, a comparison was made)."""
    rows = session.execute(
        select(FindingRow.id, FindingRow.sentence).where(
            FindingRow.cycle_id == row.id, FindingRow.revision_id == "", FindingRow.rule == rule
        )
    ).all()
    return {i: sentence for i, sentence in rows if not any(now in sentence for now in said)}


def _tell(session: Session, row: CycleRow, found: Finding, config: Config) -> None:
    detail = {"cycle_id": row.id, "subject": found.subject}
    told = events.security_alert(
        config.node.name, sentence=found.sentence, alert=codes.SOFTWARE_CONFIGURATION, detail=detail
    )
    trail.append(session, told)
