"""Release, hold and send count for the state that the person was shown, and for a cycle named in full."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from dicomnode.audit.about import Person
from dicomnode.casebook import decisions
from dicomnode.casebook.house import House, open_house
from dicomnode.casebook.state import finding_row
from dicomnode.casebook.views import looked_at
from dicomnode.config import load
from dicomnode.database.tables import CycleRow, EventRow, Revision, TimePointRow
from dicomnode.errors import Refused
from dicomnode.model import Finding, Severity
from tests.helpers.decided import shown

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
EVA = Person("eva", "Eva Egli")
CYCLE = "0123456789abcdef"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "config.toml").write_text('[archive]\ndata_folder = "data"\n', encoding="utf-8")
    made = open_house(load(tmp_path / "config.toml"))
    with made.database.write() as session:
        session.add(
            CycleRow(
                id=CYCLE, patient_id="P", nuclide="Lu-177", state="HELD", state_since=NOW, opened_at=NOW,
                inputs_digest="a", reasons="[]", accepted="[]",
            )
        )  # fmt: skip
        session.flush()
        session.add(Revision(id="r1", cycle_id=CYCLE, number=1, state="HELD", inputs_digest="a",
                             created_at=NOW, attempts=1))  # fmt: skip
        session.add(TimePointRow(cycle_id=CYCLE, label="T1", acquired_at=NOW, emission_series_uid="1.2"))
    yield made
    made.database.close()


def events(house: House, kind: str) -> int:
    with house.database.read() as session:
        return session.scalar(select(func.count()).where(EventRow.kind == kind)) or 0


def test_a_finding_that_came_after_the_look_refuses_the_release(house: House) -> None:
    seen = shown(house, CYCLE)
    with house.database.write() as session:
        session.add(finding_row(Finding("late", Severity.HOLD, "a late doubt"), CYCLE, "", NOW))
    with pytest.raises(Refused, match="has changed since it was looked at"):
        decisions.release(house, CYCLE, EVA, "looked at", NOW, seen=seen)
    assert events(house, "cycle-released") == 0
    decisions.release(house, CYCLE, EVA, "looked at again", NOW, seen=shown(house, CYCLE))
    with house.database.read() as session:
        assert session.get_one(CycleRow, CYCLE).released_by == "Eva Egli (eva)"
        assert session.scalars(select(EventRow.actor).where(EventRow.kind == "cycle-released")).all() == [
            "eva"
        ]


@pytest.mark.parametrize("what", ["series", "revision"])
def test_a_series_or_a_revision_that_came_in_between_refuses_it(house: House, what: str) -> None:
    seen = shown(house, CYCLE)
    with house.database.write() as session:
        if what == "series":
            session.add(TimePointRow(cycle_id=CYCLE, label="T2", acquired_at=NOW, emission_series_uid="1.3"))
        else:
            session.add(Revision(id="r2", cycle_id=CYCLE, number=2, state="HELD", inputs_digest="b",
                                 created_at=NOW, attempts=1))  # fmt: skip
    for decide in (decisions.release, decisions.hold):
        with pytest.raises(Refused, match="has changed"):
            decide(house, CYCLE, EVA, "looked at", NOW, seen=seen)


def test_of_two_people_who_saw_the_same_one_releases(house: House) -> None:
    seen = shown(house, CYCLE)
    decisions.release(house, CYCLE, EVA, "fine", NOW, seen=seen)
    with pytest.raises(Refused, match="has changed"):
        decisions.release(house, CYCLE, Person("urs", "Urs"), "fine too", NOW, seen=seen)
    assert events(house, "cycle-released") == 1


@pytest.mark.parametrize("name", ["", "0", "0123456"])
def test_an_empty_or_short_identifier_acts_on_nothing(house: House, name: str) -> None:
    with pytest.raises(Refused, match="too short to name"):
        decisions.hold(house, name, EVA, "an empty shell variable", NOW, seen=shown(house, CYCLE))
    assert events(house, "cycle-held") == 0


def test_eight_characters_are_enough_of_identifier_and_state(house: House) -> None:
    decisions.hold(house, CYCLE[:8], EVA, "wrong patient", NOW, seen=shown(house, CYCLE)[:8])
    assert events(house, "cycle-held") == 1


def test_a_look_is_on_record(house: House) -> None:
    looked_at(house, EVA, CYCLE, "show")
    with house.database.read() as session:
        (row,) = session.scalars(select(EventRow).where(EventRow.kind == "instances-viewed"))
    assert (row.actor, row.patient_id, row.cycle_id) == ("eva", "P", CYCLE)
