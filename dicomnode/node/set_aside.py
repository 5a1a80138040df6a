"""A role that dies: on record, and the item that it dies of again and again set aside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from dicomnode.casebook import intake, troubles
from dicomnode.casebook.state import hold_for_fault
from dicomnode.database.tables import CycleRow


@dataclass(frozen=True)
class Ended:
    """One role that ended (``deaths`` in a row; 0 where it stays up again) and, where it is to blame, the
    item that it was about (see ``node.bookmark``)."""

    role: str
    deaths: int
    item: str = ""


def role_ended(session: Session, ended: Ended, here: str, now: datetime, deaths_told: int) -> None:
    """Write what became of a role; set its item aside."""
    subject = f"role:{ended.role}"
    if ended.deaths == 0:
        troubles.over(session, subject)
    elif ended.deaths >= deaths_told:
        why = f"the role {ended.role} does not stay up: look at the log of the service"
        troubles.note(session, subject, why, here, now)
    kind, _, name = ended.item.partition(":")
    if kind == "object":
        why = f"the role {ended.role} died of it repeatedly; have its sender look at it"
        intake.set_aside(session, int(name), why, here)
    elif kind == "patient":
        troubles.skip(session, name, here, now)
    elif kind == "cycle" and (row := session.get(CycleRow, name)) is not None:
        hold_for_fault(session, row, f"the role {ended.role} died of it repeatedly", here, now)
