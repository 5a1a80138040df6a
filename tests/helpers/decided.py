"""A person who decides, and what that person was shown."""

from __future__ import annotations

from dicomnode.audit.about import Person
from dicomnode.casebook.house import House
from dicomnode.casebook.seen import administration_shown, state_shown
from dicomnode.database.tables import AdministrationRow, CycleRow

AB = Person("AB", "AB")


def shown(house: House, cycle_id: str) -> str:
    """Digest of the state of a cycle as it is at this moment."""
    with house.database.read() as session:
        return state_shown(session, session.get_one(CycleRow, cycle_id))


def administration(house: House, number: int) -> str:
    """Digest of an administration."""
    with house.database.read() as session:
        return administration_shown(session.get_one(AdministrationRow, number))
