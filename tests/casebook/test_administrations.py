"""What is known of administrations, as it decides over cycles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dicomnode.audit import queries
from dicomnode.casebook import administrations, decisions
from dicomnode.database.tables import CycleRow
from dicomnode.errors import Refused
from dicomnode.model import Administration
from tests.faults.tiny import ADMINISTERED, Tiny
from tests.helpers.decided import AB, administration
from tests.helpers.node_in_one_process import Desk

PATIENT = "T-one"


def test_two_reports_that_contradict_each_other_hold_until_a_person_accepts_it(desk: Desk) -> None:
    """Also where the second comes after the first was matched, and changes nothing that is computed."""
    desk.report(PATIENT, Administration("Lu-177", 7400.0, ADMINISTERED, source="1.99.1"))
    desk.arrive(Tiny("one").time_point(24.0))
    (cycle,) = desk.rows()
    assert (cycle["cycle"]["state"], desk.rules(cycle["cycle"]["id"])) == ("COLLECTING", [])
    later = Administration("Lu-177", 6000.0, ADMINISTERED + timedelta(hours=8), source="1.99.2")
    desk.report(PATIENT, later)
    (cycle,) = desk.rows()
    assert cycle["cycle"]["state"] == "HELD"
    assert desk.rules(cycle["cycle"]["id"]) == [
        "administered-activity-contradicts", "administration-time-contradicts",
    ]  # fmt: skip
    assert len(cycle["cycle"]["reasons"]) == 2
    desk.release(cycle["cycle"]["id"])
    assert desk.start(cycle["cycle"]["id"]).administration.activity_mbq == 7400.0


def test_a_header_with_the_wrong_day_does_not_split_the_therapy(desk: Desk) -> None:
    """Told: 2 March, 08:30. The header of the 24.5 h scan says 3 March, 08:30."""
    desk.administer(PATIENT, "2026-03-02T08:30+00:00")
    desk.arrive(Tiny("one").time_point(4.0))
    start = ADMINISTERED + timedelta(hours=24.5)
    desk.arrive(Tiny("one", ADMINISTERED + timedelta(days=1)).time_point(24.5, at=start))
    (cycle,) = desk.rows()
    assert hours_of(cycle) == [4.0, 24.5]
    assert (cycle["cycle"]["state"], desk.rules(cycle["cycle"]["id"])) == (
        "HELD", ["administration-date-contradicts"],
    )  # fmt: skip
    desk.release(cycle["cycle"]["id"])
    job = desk.start(cycle["cycle"]["id"])
    assert (job.administration.at, len(job.time_points)) == (ADMINISTERED, 2)


@pytest.mark.parametrize(
    ("state", "after"),
    [("COMPUTING", "HELD"), ("RELEASED", "HELD"), ("DELIVERED", "DELIVERED"), ("HELD", "HELD")],
)
def test_a_report_that_contradicts_what_a_complete_cycle_used_is_told_once(
    new_desk: Callable[..., Desk], state: str, after: str
) -> None:
    desk = new_desk(expected=1)
    desk.report(PATIENT, Administration("Lu-177", 7400.0, ADMINISTERED, source="1.99.1"))
    desk.arrive(Tiny("one").time_point(24.0))
    cycle = desk.rows()[0]["cycle"]["id"]
    with desk.house.database.write() as session:
        row = session.get(CycleRow, cycle)
        assert row is not None
        assert row.state == "READY"
        row.state = state
    other = Administration("Lu-177", 7900.0, ADMINISTERED, source="1.99.2")
    desk.report(PATIENT, other)
    desk.review(PATIENT)
    assert desk.rows()[0]["cycle"]["state"] == after
    severity = "warning" if state == "DELIVERED" else "hold"
    assert desk.rules(cycle, severity) == ["administered-activity-contradicts"]
    with desk.house.database.read() as session:
        alerts = list(queries.entries(session, queries.Filter(kind="security-alert"), limit=9))
    assert len(alerts) == (state == "DELIVERED")


def test_a_person_corrects_a_wrong_day(desk: Desk) -> None:
    """Told of 3 March, 08:30, then of 2 March: the 24 h scan would count as one of 0 h."""
    for hours in (4.0, 24.5, 72.0):
        desk.arrive(Tiny("one").time_point(hours))
    desk.administer(PATIENT, "2026-03-02T08:30+00:00")
    wrong = desk.administer(PATIENT, "2026-03-03T08:30+00:00")
    cycles = desk.rows()
    assert [c["cycle"]["state"] for c in cycles] == ["HELD", "HELD"]
    assert [hours_of(c) for c in cycles] == [[4.0], [0.5, 48.0]]
    assert all("administrations-too-close" in desk.rules(c["cycle"]["id"]) for c in cycles)

    right = desk.administer(PATIENT, "2026-03-02T08:30+00:00", replaces=wrong)
    whole = next(c for c in desk.rows() if c["time_points"])
    assert hours_of(whole) == [4.0, 24.5, 72.0]
    assert (whole["cycle"]["state"], desk.rules(whole["cycle"]["id"])) == ("READY", [])
    assert [t["id"] for t in whole["told"]] == [right]
    (empty,) = [c for c in desk.rows() if not c["time_points"]]
    assert (empty["cycle"]["state"], desk.rules(empty["cycle"]["id"])) == ("HELD", ["cycle-without-images"])
    with desk.house.database.read() as session:
        events = list(queries.entries(session, queries.Filter(kind="administration-withdrawn"), limit=9))
    assert {e.body["detail"]["administration_id"] for e in events} == {right - 2, wrong}


def test_what_a_person_told_of_the_wrong_patient_is_withdrawn_and_the_node_looks_again(desk: Desk) -> None:
    desk.arrive(Tiny("one", mbq=7000.0).time_point(24.0))
    seen = administrations.Told()
    number = desk.administer(PATIENT, "2026-03-02T08:30+00:00", 5000.0)
    with desk.house.database.read() as session:
        seen = administrations.changed_since(session, seen)
    assert seen.patients == (PATIENT,)
    decisions.withdraw(
        desk.house, number, AB, "it was another patient", seen=administration(desk.house, number)
    )
    with desk.house.database.read() as session:
        again = administrations.changed_since(session, seen)
        assert again.patients == (PATIENT,)
        assert administrations.changed_since(session, again).patients == ()
    desk.review(PATIENT)
    assert desk.rows()[0]["administration"]["activity_mbq"] == 7000.0, "that of the header"
    with pytest.raises(Refused, match="was withdrawn"):
        decisions.withdraw(desk.house, number, AB, "again", seen=administration(desk.house, number))


def test_an_administration_replaces_only_one_of_the_same_patient(desk: Desk) -> None:
    number = desk.administer("T-two", "2026-03-02T08:30+00:00")
    with pytest.raises(Refused, match="another patient's"):
        desk.administer(PATIENT, "2026-03-02T08:30+00:00", replaces=number)


def hours_of(facts: dict[str, Any]) -> list[float]:
    return [round(p["hours"], 2) for p in facts["time_points"]]
