"""What people decide, each decision one transaction with its audit event."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.archive import outbox
from dicomnode.audit import events, trail
from dicomnode.audit.about import Person
from dicomnode.casebook import administrations
from dicomnode.casebook.course import is_course_outdated, tell_later_cycles
from dicomnode.casebook.house import House
from dicomnode.casebook.lifecycle import Happening, Instruction, NoSuchStep, State, released
from dicomnode.casebook.seen import administration_shown, refuse_other, refuse_unseen
from dicomnode.casebook.state import HELD_BY, about, change, current_revision
from dicomnode.casebook.views import cycle_named
from dicomnode.config import Config
from dicomnode.database.tables import CycleRow, Delivery, FindingRow, TimePointRow
from dicomnode.errors import Refused
from dicomnode.model import Administration, Severity
from dicomnode.physics.nuclides import nuclide as known_nuclide


def administer(
    house: House,
    patient_id: str,
    nuclide: str,
    activity_mbq: float,
    at: str,
    radiopharmaceutical: str,
    residual_mbq: float,
    by: Person,
    now: datetime,
    replaces: int | None = None,
) -> int:
    """Record an administration told by a person, and return its number. What a person told before for the
    same day is withdrawn, and so is the administration number ``replaces``, of whatever day."""
    try:
        when = datetime.fromisoformat(at)
    except ValueError:
        raise Refused(
            "not a date and time", attribute="at", value=at, remedy="Write 2026-03-02T09:00"
        ) from None
    when = when if when.tzinfo else when.replace(tzinfo=ZoneInfo(house.config.node.zone))
    told = Administration(
        known_nuclide(nuclide).name,
        activity_mbq,
        when,
        radiopharmaceutical,
        residual_mbq,
        f"{administrations.PERSON}{by.said}",
    )
    with house.database.write() as session:
        if replaces is not None:
            wrong = administrations.told_by_person(session, replaces)
            if wrong.patient_id != patient_id:
                raise Refused(
                    f"administration {replaces} is another patient's", remedy="Use `dicomnode withdraw`"
                )
            administrations.withdraw(session, wrong, by, "replaced")
        administrations.withdraw_told_before(session, patient_id, told, by)
        row = administrations.record(session, patient_id, told, by, now)
        session.flush()
        assert row is not None  # one that says the same was withdrawn just now
        return row.id


def withdraw(house: House, number: int, by: Person, because: str, *, seen: str) -> str:
    """A person takes back what a person told, as it was ``seen`` (``seen.administration_shown``); returns a
    sentence. Raises Refused where it is another one than was seen, or no longer counts."""
    with house.database.write() as session:
        row = administrations.told_by_person(session, number)
        refuse_other(f"administration {number}", administration_shown(row), seen)
        administrations.withdraw(session, row, by, because)
        return f"administration {number} no longer counts"


def release(house: House, cycle_id: str, by: Person, because: str, now: datetime, *, seen: str) -> str:
    """A person releases a cycle as it was ``seen`` (a digest of ``seen.state_shown``); returns a sentence.

    Raises Refused where the cycle has changed since, cannot be released, or is not named in full.
    """
    with house.database.write() as session:
        row = cycle_named(session, cycle_id)
        refuse_unseen(session, row, seen)
        try:
            _release(session, row, by, because, house.config, now)
        except NoSuchStep as error:
            raise Refused(str(error)) from error
        return f"cycle {row.id} is {row.state}"


def _release(
    session: Session, row: CycleRow, by: Person, because: str, config: Config, now: datetime
) -> None:
    """A person takes responsibility: what held the cycle is recorded as accepted."""
    revision = current_revision(session, row.id)
    left_before = (
        revision is not None
        and revision.inputs_digest == row.inputs_digest
        and revision.released_at is not None
        and not is_course_outdated(session, revision)
    )
    if State(row.state) not in (State.HELD, State.COLLECTING):
        raise NoSuchStep(f"cycle {row.id} is {row.state}; only a held or collecting one can be released")
    row.accepted = json.dumps(sorted(set(map(tuple, json.loads(row.accepted))) | set(_held(session, row))))
    row.released_by, row.released_because = by.said, because
    before = State(row.state)
    has_images = session.scalars(select(TimePointRow.id).where(TimePointRow.cycle_id == row.id)).first()
    after, instructions = released(left_before=left_before, has_images=has_images is not None)
    row.state, row.state_since, row.reasons = after, now, "[]"
    trail.append(session, events.cycle_released(by, about(row), because=because))
    moved = events.cycle_state_changed(
        config.node.name, about(row), before=before, after=after, reasons=[f"released by {by.said}"]
    )
    trail.append(session, moved)
    if Instruction.QUEUE_DELIVERIES in instructions and revision is not None:
        revision.state = "RELEASED"
        stopped = select(Delivery.id).where(Delivery.revision_id == revision.id, Delivery.state == "PARKED")
        outbox.requeue(session, session.scalars(stopped).all(), now)


def _held(session: Session, row: CycleRow) -> Sequence[tuple[str, str]]:
    revision = current_revision(session, row.id)
    of_now = ["", revision.id if revision is not None else ""]
    return [
        (rule, subject)
        for rule, subject in session.execute(
            select(FindingRow.rule, FindingRow.subject).where(
                FindingRow.cycle_id == row.id,
                FindingRow.revision_id.in_(of_now),
                FindingRow.severity == Severity.HOLD.value,
            )
        )
    ]


def hold(house: House, cycle_id: str, by: Person, because: str, now: datetime, *, seen: str) -> str:
    """A person holds a cycle as it was ``seen``; returns a sentence. Raises as ``release``."""
    with house.database.write() as session:
        row = cycle_named(session, cycle_id)
        refuse_unseen(session, row, seen)
        _hold(session, row, by, because, house.config, now)
        return f"cycle {row.id} is {row.state}"


def _hold(session: Session, row: CycleRow, by: Person, because: str, config: Config, now: datetime) -> None:
    """A person stops the cycle; what has not left stays here."""
    trail.append(session, events.cycle_held(by, about(row), because=because))
    reasons = [f"{HELD_BY}{by.said}: {because}"]
    if State(row.state) is State.DELIVERED:
        tell_later_cycles(session, row, config, now)
    change(session, row, Happening.PERSON_HOLDS, reasons, config.node.name, now)


def send(
    house: House,
    cycle_id: str,
    by: Person,
    because: str,
    peer: str,
    now: datetime,
    *,
    seen: str,
    give_up: bool = False,
) -> str:
    """Queue parked deliveries again, or let them go (``give_up``); returns a sentence. Raises as
    ``release``."""
    with house.database.write() as session:
        row = cycle_named(session, cycle_id)
        refuse_unseen(session, row, seen)
        revision = current_revision(session, row.id)
        if revision is None or revision.state not in ("RELEASED", "DELIVERED"):
            raise Refused(f"cycle {row.id} has no released result", remedy="Release it first")
        parked = select(Delivery).where(Delivery.revision_id == revision.id, Delivery.state == "PARKED")
        if peer:
            parked = parked.where(Delivery.peer == peer)
        rows, which = session.scalars(parked).all(), about(row, revision.id)
        if give_up:
            why = f"given up by {by.said}: {because}"
            gone = len(outbox.give_up(session, [d.id for d in rows], why, now))
            trail.append(session, events.given_up(by, which, peer=peer, because=because, objects=gone))
            return f"{gone} objects are given up"
        _refuse_unknown(house, {peer} if peer else {d.peer for d in rows})
        outbox.requeue(session, [d.id for d in rows], now)
        trail.append(session, events.sent_again(by, which, peer=peer, because=because))
        return f"{len(rows)} objects are queued again"


def _refuse_unknown(house: House, peers: set[str]) -> None:
    unknown = sorted(peers - {p.name for p in house.config.delivery.peers})
    if unknown:
        raise Refused(
            f"no peer {', '.join(unknown)} is in [[delivery.peers]]", remedy="Add it, restart, and send again"
        )
