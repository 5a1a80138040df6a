"""The cycles of a patient brought up to date with what has arrived and what people said.

``review(patient)`` is idempotent: it regroups everything the archive holds of a patient, compares with
the rows, and lets the table in lifecycle.py decide. Each change of state and its audit event are one
transaction, the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.casebook import administrations
from dicomnode.casebook.course import tell_later_cycles
from dicomnode.casebook.identity import new_cycle_id
from dicomnode.casebook.lifecycle import Happening, State
from dicomnode.casebook.plans import doubts_of, gathered, job_of
from dicomnode.casebook.state import about, change, current_revision, finding_row, is_held_by_person
from dicomnode.config import Config
from dicomnode.cycle.gather import CyclePlan, Gathering
from dicomnode.cycle.readiness import readiness
from dicomnode.database.tables import (
    CycleRow,
    FindingRow,
    Series,
    TimePointRow,
)
from dicomnode.model import Finding, Severity
from dicomnode.model.series import Role, SeriesSummary

EMPTIED = Finding(
    "cycle-without-images",
    Severity.HOLD,
    "it has no images any more: an administration or a Patient ID was corrected, or they were left out; what "
    "it delivered, if anything, is wrong and has to be removed there; then release it, which closes it",
)


SINCE_HELD = "its images or its administration changed since; a release computes it with what is here then"


def review(
    session: Session,
    patient_id: str,
    config: Config,
    now: datetime,
    open_since: datetime | None = None,
    known_until: datetime | None = None,
) -> datetime | None:
    """Bring the cycles of one patient up to date. Returns when time alone may change something.

    ``open_since``, ``known_until``: the span in which silence says something, see ``readiness``.
    """
    series, known, gathering = gathered(session, patient_id, config)
    again: list[datetime] = []
    taken: set[str] = set()
    for plan in gathering.cycles:
        row = _row_of(session, plan, taken, config.node.name, now)
        taken.add(row.id)
        doubts = doubts_of(session, plan, known, config)
        look = _bring_up_to_date(session, row, plan, doubts, config, now, open_since, known_until)
        if look is not None:
            again.append(look)
    for row in _emptied(session, patient_id, taken):
        _stop_empty(session, row, config, now)
    _mark_series(session, series, gathering, config.node.name)
    return min(again, default=None)


def _row_of(session: Session, plan: CyclePlan, taken: set[str], here: str, now: datetime) -> CycleRow:
    """The row of a plan: the one that already holds most of its emission series, else a new one."""
    uids = [p.emission.series_uid for p in plan.time_points]
    owners = session.scalars(
        select(TimePointRow.cycle_id).where(TimePointRow.emission_series_uid.in_(uids))
    ).all()
    candidates = [
        c for c in dict.fromkeys(sorted(owners, key=lambda c: (-owners.count(c), c))) if c not in taken
    ]
    row = session.get(CycleRow, candidates[0]) if candidates else None
    if row is None:
        row = CycleRow(
            id=new_cycle_id(),
            patient_id=plan.patient_id,
            nuclide=plan.nuclide,
            state=State.COLLECTING,
            state_since=now,
            opened_at=now,
            reasons="[]",
            accepted="[]",
            inputs_digest="",
            released_by="",
            released_because="",
        )
        session.add(row)
        session.flush()
        opened = events.cycle_state_changed(here, about(row), before="", after=State.COLLECTING, reasons=[])
        trail.append(session, opened)
    row.nuclide = plan.nuclide
    return row


def _emptied(session: Session, patient_id: str, taken: set[str]) -> Sequence[CycleRow]:
    """Cycles whose images all belong to another one now: an administration was corrected or withdrawn."""
    return session.scalars(
        select(CycleRow).where(
            CycleRow.patient_id == patient_id,
            CycleRow.id.not_in(taken),
            CycleRow.id.in_(select(TimePointRow.cycle_id)),
        )
    ).all()


def _stop_empty(session: Session, row: CycleRow, config: Config, now: datetime) -> None:
    """Nothing of it may leave or count any more; a person has to see what had left."""
    session.execute(delete(TimePointRow).where(TimePointRow.cycle_id == row.id))
    tell_later_cycles(session, row, config, now)
    row.administration_id, row.inputs_digest = None, ""
    row.accepted, row.released_by, row.released_because = "[]", "", ""
    _write_findings(session, row, [EMPTIED], now)
    for happening in (Happening.DATA_CHANGED, Happening.DOUBT):
        change(session, row, happening, [EMPTIED.sentence], config.node.name, now)
    revision = current_revision(session, row.id)
    if revision is not None and revision.state != "SUPERSEDED":
        revision.state = "HELD"


def _bring_up_to_date(
    session: Session,
    row: CycleRow,
    plan: CyclePlan,
    doubts: Sequence[Finding],
    config: Config,
    now: datetime,
    open_since: datetime | None,
    known_until: datetime | None,
) -> datetime | None:
    """Rows, findings and state of one cycle; when to look again if time alone may change it."""
    _write_time_points(session, row, plan, config.node.name, now)
    digest = job_of(session, row, plan, 0, now).inputs_digest()
    if digest != row.inputs_digest:
        row.inputs_digest, row.accepted, row.released_by, row.released_because = digest, "[]", "", ""
        _tell_of_new_inputs(session, row, config, now)
        _write_findings(session, row, doubts, now)
    if _is_held_by_the_past(session, row, doubts):
        change(session, row, Happening.DATA_CHANGED, [], config.node.name, now)
    if State(row.state) is not State.COLLECTING:
        return None
    if not _are_written(session, row, doubts):  # a report or a setting may bring doubt, and images none
        _write_findings(session, row, doubts, now)
    ready = readiness(
        plan,
        now,
        config.cycle,
        released=bool(row.released_by),
        open_since=open_since,
        known_until=known_until,
    )
    quiet = ready.ready or ready.reasons != ("images are still arriving",)
    accepted = {tuple(a) for a in json.loads(row.accepted)}
    holds = [f for f in doubts if f.severity is Severity.HOLD and (f.rule, f.subject) not in accepted]
    if quiet and holds:
        change(session, row, Happening.DOUBT, [f.sentence for f in holds], config.node.name, now)
    elif ready.ready:
        change(session, row, Happening.COMPLETE, [], config.node.name, now)
    else:
        row.reasons = json.dumps(list(ready.reasons))
    return ready.look_again_at


def _is_held_by_the_past(session: Session, row: CycleRow, doubts: Sequence[Finding]) -> bool:
    """Whether what held a cycle has gone or changed: findings of the grouping held it, and others do now."""
    if State(row.state) is not State.HELD or is_held_by_person(row):
        return False
    written = select(FindingRow.rule, FindingRow.subject).where(
        FindingRow.cycle_id == row.id,
        FindingRow.revision_id == "",
        FindingRow.severity == Severity.HOLD.value,
    )
    accepted = {tuple(a) for a in json.loads(row.accepted)}
    held = {tuple(w) for w in session.execute(written)} - accepted
    now = {(f.rule, f.subject) for f in doubts if f.severity is Severity.HOLD} - accepted
    return bool(held - now)


def _tell_of_new_inputs(session: Session, row: CycleRow, config: Config, now: datetime) -> None:
    """It collects again, unless a person holds it: a late series must not undo "wrong patient"."""
    if not is_held_by_person(row):
        change(session, row, Happening.DATA_CHANGED, [], config.node.name, now)
        return
    reasons = [*json.loads(row.reasons), SINCE_HELD]
    change(session, row, Happening.DOUBT, reasons, config.node.name, now)


def _write_time_points(session: Session, row: CycleRow, plan: CyclePlan, here: str, now: datetime) -> None:
    wanted = {p.emission.series_uid: (i, p) for i, p in enumerate(plan.time_points, start=1)}
    existing = {
        r.emission_series_uid: r
        for r in session.scalars(select(TimePointRow).where(TimePointRow.cycle_id == row.id))
    }
    for uid, old in existing.items():
        if uid not in wanted:
            session.delete(old)
    for uid, (number, point) in wanted.items():
        target = existing.get(uid) or TimePointRow(cycle_id=row.id, emission_series_uid=uid)
        target.label, target.acquired_at = f"T{number}", point.acquired_at
        target.hours = (
            (point.acquired_at - plan.administration.at).total_seconds() / 3600
            if plan.administration is not None
            else None
        )
        target.ct_series_uid = point.ct.series_uid if point.ct else ""
        beside = [*point.structures, *([point.uncertainty] if point.uncertainty else [])]
        target.structure_series_uids = json.dumps([s.series_uid for s in beside])
        session.add(target)
    row.administration_id = administrations.row_of(session, plan.patient_id, plan.administration, here, now)


def _are_written(session: Session, row: CycleRow, findings: Sequence[Finding]) -> bool:
    written = select(FindingRow.rule, FindingRow.subject, FindingRow.sentence).where(
        FindingRow.cycle_id == row.id, FindingRow.revision_id == ""
    )
    rows = session.execute(written).all()
    return sorted(rows) == sorted((f.rule, f.subject, f.sentence) for f in findings)


def _write_findings(session: Session, row: CycleRow, findings: Sequence[Finding], now: datetime) -> None:
    """Replace the findings of a cycle that stem from grouping (revisions keep theirs)."""
    session.execute(delete(FindingRow).where(FindingRow.cycle_id == row.id, FindingRow.revision_id == ""))
    session.add_all(finding_row(f, row.id, "", now) for f in findings)


def _mark_series(session: Session, series: Sequence[SeriesSummary], found: Gathering, here: str) -> None:
    """Say of each series whether it is used, and if not, why."""
    used = {s.series_uid for plan in found.cycles for s in plan.series()}
    for summary in series:
        row = session.get(Series, summary.series_uid)
        assert row is not None  # summaries() read it in this transaction
        code, reason = found.unused.get(summary.series_uid, ("", ""))
        if summary.series_uid in used or summary.role is Role.ADMINISTRATION:
            state = "USED"
        else:
            state = "WAITING" if code == "no-partner" else "UNUSED"
        if (row.state, row.reason_code, row.reason) == (state, code, reason):
            continue
        row.state, row.reason_code, row.reason = state, code, reason
        which = About(
            patient_id=row.patient_id,
            study_instance_uid=row.study_instance_uid,
            series_instance_uid=row.series_instance_uid,
        )
        if state == "USED":
            trail.append(session, events.series_used(here, which, role=row.role))
        else:
            trail.append(session, events.series_unused(here, which, reason_code=code, reason=reason))
