"""A different object under a known SOP Instance UID, or another word about an administration, come after
the cycle that uses it was complete.

While a cycle collects, ``cycles.review`` sees it. Later it must not wait for the next review: what has not
left the house stays here until a person says which object is right.
"""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from dicomnode.audit import codes, events, trail
from dicomnode.casebook.lifecycle import Happening, State
from dicomnode.casebook.plans import look_at
from dicomnode.casebook.state import change, finding_row
from dicomnode.check import rules
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
        select(first.sop_instance_uid, first.series_instance_uid)
        .join(second, second.sop_instance_uid == first.sop_instance_uid)
        .where(second.state == "CONFLICT", second.id > after, first.state == "INDEXED")
        .distinct()
    )
    for uid, series_uid in session.execute(met).all():
        for row in _cycles_that_use(session, series_uid):
            found = rules.conflicting_instance(uid)
            if State(row.state) is not State.COLLECTING and not _is_known(session, row, found):
                _stop(session, row, found, config, now)


def stop_contradicted(session: Session, patient_id: str, config: Config, now: datetime) -> None:
    """Hold the cycles of a patient of whose administration something else was told; once per statement."""
    complete = select(CycleRow).where(
        CycleRow.patient_id == patient_id, CycleRow.state != State.COLLECTING.value
    )
    for row in session.scalars(complete).all():
        seen = look_at(session, row, config)
        for found in seen.doubts if seen is not None else ():
            about_it = found.severity is Severity.HOLD and found.rule.startswith("administ")
            if about_it and not _is_known(session, row, found):
                _stop(session, row, found, config, now)


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
    told = select(FindingRow.id).where(
        FindingRow.cycle_id == row.id, FindingRow.rule == found.rule, FindingRow.subject == found.subject
    )
    return session.scalars(told).first() is not None


def _stop(session: Session, row: CycleRow, found: Finding, config: Config, now: datetime) -> None:
    late = State(row.state) is State.DELIVERED
    if late:
        found = Finding(
            found.rule, Severity.WARNING, f"after the delivery {found.sentence}", subject=found.subject
        )
    session.add(finding_row(found, row.id, "", now))
    if late:
        _tell(session, row, found, config)
        return
    reasons = [*json.loads(row.reasons), found.sentence] if row.state == State.HELD else [found.sentence]
    change(session, row, Happening.DOUBT, reasons, config.node.name, now)


def _tell(session: Session, row: CycleRow, found: Finding, config: Config) -> None:
    detail = {"cycle_id": row.id, "subject": found.subject}
    told = events.security_alert(
        config.node.name, sentence=found.sentence, alert=codes.SOFTWARE_CONFIGURATION, detail=detail
    )
    trail.append(session, told)
