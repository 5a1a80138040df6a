"""The state of a cycle in its row: each step of the table with its audit event.

Every function works within the caller's transaction.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.archive import outbox
from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.casebook.lifecycle import TABLE, Happening, Instruction, State, advance
from dicomnode.database.tables import CycleRow, FindingRow, Revision
from dicomnode.model import Finding

log = logging.getLogger(__name__)

HELD_BY = "held by "
"""How the reason begins for which a person holds a cycle."""


def about(row: CycleRow, revision_id: str = "") -> About:
    """A cycle (and one of its revisions) as the audit trail names it."""
    return About(patient_id=row.patient_id, cycle_id=row.id, revision_id=revision_id)


def change(
    session: Session, row: CycleRow, happening: Happening, reasons: Sequence[str], here: str, now: datetime
) -> tuple[Instruction, ...]:
    """Take one step of the table, with its audit event; what must not leave any more stays here.

    Returns the table's instructions.
    """
    before = State(row.state)
    after, instructions = advance(before, happening)
    reasons = list(dict.fromkeys(reasons))
    row.reasons = json.dumps(reasons)
    if Instruction.WITHDRAW_DELIVERIES in instructions:
        _withdraw(session, row, reasons[0] if reasons else "its inputs changed", now)
    if after is not before:
        row.state, row.state_since = after, now
        moved = events.cycle_state_changed(here, about(row), before=before, after=after, reasons=reasons)
        trail.append(session, moved)
        log.info("cycle %s: %s -> %s", row.id, before, after)
    return instructions


def _withdraw(session: Session, row: CycleRow, because: str, now: datetime) -> None:
    """Stop every revision of the cycle that still has something to send."""
    for revision in session.scalars(
        select(Revision).where(
            Revision.cycle_id == row.id, Revision.released_at.is_not(None), Revision.state != "SUPERSEDED"
        )
    ):
        if revision.state == "RELEASED" or outbox.is_waiting(session, revision.id):
            outbox.withdraw(session, revision.id, because, now)
            revision.state = "HELD"


def hold_for_fault(session: Session, row: CycleRow, fault: str, here: str, now: datetime) -> None:
    """Hold a cycle that defeats this software (or the database) where it can be held; a person looks."""
    if (State(row.state), Happening.DOUBT) not in TABLE:
        return
    why = f"the node cannot go on with this cycle: {fault}; have it looked at, then release or hold it"
    reasons = [why, *json.loads(row.reasons)] if row.state == State.HELD else [why]
    change(session, row, Happening.DOUBT, reasons, here, now)


def is_held_by_person(row: CycleRow) -> bool:
    """Whether a person stopped it: then only a person lets it go on, whatever arrives or is configured."""
    return row.state == State.HELD and any(r.startswith(HELD_BY) for r in json.loads(row.reasons))


def current_revision(session: Session, cycle_id: str) -> Revision | None:
    """The latest revision of a cycle."""
    return session.scalars(
        select(Revision).where(Revision.cycle_id == cycle_id).order_by(Revision.number.desc())
    ).first()


def finding_row(finding: Finding, cycle_id: str, revision: str, now: datetime) -> FindingRow:
    """A finding as a row."""
    return FindingRow(
        cycle_id=cycle_id,
        revision_id=revision,
        series_instance_uid="",
        rule=finding.rule,
        severity=finding.severity.value,
        sentence=finding.sentence,
        measured=finding.measured,
        limit=finding.limit,
        unit=finding.unit,
        subject=finding.subject,
        source=finding.source,
        found_at=now,
    )
