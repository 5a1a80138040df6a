"""What is known of administrations, as it decides over cycles."""

from __future__ import annotations

from datetime import timedelta

from dicomnode.model import Administration
from tests.desk import Desk
from tests.faults.tiny import ADMINISTERED, Tiny

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
