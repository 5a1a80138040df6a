"""A Patient ID corrected in the PACS, and sent again under the same UIDs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from pydicom import Dataset
from sqlalchemy import func, select

from dicomnode.audit.about import Person
from dicomnode.casebook import contradictions, corrections
from dicomnode.casebook.status import status
from dicomnode.cli import cli
from dicomnode.database.tables import FindingRow, Instance
from dicomnode.errors import Refused
from tests.faults.tiny import Tiny
from tests.helpers.node_in_one_process import Desk

BY = Person("AB", "AB")
RIGHT, WRONG, TOLD = "T-one", "T-0ne", "2026-03-02T08:30+00:00"


def scan(hours: float, patient: str = RIGHT) -> list[Dataset]:
    """The same objects, under one patient or the other."""
    objects = Tiny("one").time_point(hours)
    for ds in objects:
        ds.PatientID = patient
    return objects


def cycles(desk: Desk) -> dict[str, dict[str, Any]]:
    return {c["cycle"]["patient_id"]: c for c in desk.rows()}


def told(desk: Desk, *arguments: str) -> str:
    config = ["--config", str(desk.folder / "config.toml")]
    ran = CliRunner().invoke(cli, [*arguments, *config])
    assert ran.exit_code in (0, 1), ran.output
    return ran.output


@pytest.fixture
def corrected(new_desk: Callable[..., Desk]) -> Desk:
    """3 scans of 3; the second came under a wrong Patient ID, was corrected, and came again: 17 objects."""
    desk = new_desk(expected=3)
    desk.administer(RIGHT, TOLD)
    desk.arrive(scan(4.0))
    desk.arrive(scan(24.0, WRONG))
    desk.arrive(scan(96.0))
    assert {p: len(c["time_points"]) for p, c in cycles(desk).items()} == {RIGHT: 2, WRONG: 1}
    desk.arrive(scan(24.0))
    desk.review(RIGHT)
    desk.review(WRONG)
    return desk


def test_the_cycles_of_both_patients_are_held_by_one_sentence_for_a_series(corrected: Desk) -> None:
    """115 equal sentences were seen. Here: 1 SPECT object and 16 CT slices, 2 sentences for each patient."""
    found = cycles(corrected)
    assert {p: c["cycle"]["state"] for p, c in found.items()} == {RIGHT: "HELD", WRONG: "HELD"}
    for patient, rule in ((WRONG, "conflicting-instance"), (RIGHT, "correction-waits")):
        rows = [f for f in found[patient]["findings"] if f["rule"] == rule]
        assert sorted(f["measured"] for f in rows) == [1.0, 16.0]
        assert all("differ in PatientID; the pixels are the same" in f["sentence"] for f in rows)
        assert all("quarantine choose" in f["sentence"] for f in rows)
        assert not any(RIGHT in f["sentence"] or WRONG in f["sentence"] for f in rows)
    assert status(corrected.house).contradicted == 17


def test_the_list_shows_both_patients_and_the_second_object_takes_the_place_of_the_first(
    corrected: Desk,
) -> None:
    listed = told(corrected, "quarantine", "list")
    assert "16 objects of series" in listed
    assert f"patient {WRONG} first, {RIGHT} second" in listed
    said = told(corrected, "quarantine", "choose", "second", "--all", "--by", "AB", "--because", "corrected")
    assert said == "of 17 objects the second is used\n"
    corrected.index()
    for patient in (RIGHT, WRONG):
        corrected.review(patient)
    found = cycles(corrected)
    right = found[RIGHT]
    assert (right["cycle"]["state"], [round(t["hours"]) for t in right["time_points"]]) == (
        "READY", [4, 24, 96],
    )  # fmt: skip
    assert found[WRONG]["cycle"]["state"] == "HELD"
    assert found[WRONG]["time_points"] == []
    assert len(corrected.start(right["cycle"]["id"]).time_points) == 3
    assert status(corrected.house).contradicted == 0
    with corrected.house.database.read() as session:
        states = dict(session.execute(select(Instance.state, func.count()).group_by(Instance.state)).all())
    assert states == {"INDEXED": 51, "NOT_CHOSEN": 17}


def test_where_the_first_are_right_both_cycles_go_on_as_they_were(corrected: Desk) -> None:
    told(corrected, "quarantine", "choose", "first", "--all", "--by", "AB", "--because", "mix-up")
    corrected.index()
    for patient in (RIGHT, WRONG):
        corrected.review(patient)
    found = cycles(corrected)
    assert len(found[RIGHT]["time_points"]) == 2
    assert [f["rule"] for f in found[RIGHT]["findings"] if f["rule"] == "correction-waits"] == []
    assert [f["rule"] for f in found[RIGHT]["findings"] if f["severity"] == "hold"] == ["near-twin"]
    corrections.choose(corrected.house, "second", [str(scan(24.0)[0].StudyInstanceUID)], BY, "after all")
    corrected.index()
    assert len(cycles(corrected)[RIGHT]["time_points"]) == 3


def test_other_pixels_under_one_uid_are_said_to_be_that_and_hold(desk: Desk) -> None:
    desk.administer(RIGHT, TOLD)
    desk.arrive(scan(24.0))
    other = scan(24.0)[0]
    other.PixelData = bytes(len(other.PixelData))
    desk.arrive([other])
    desk.arrive(scan(96.0))
    held = cycles(desk)[RIGHT]
    assert held["cycle"]["state"] == "HELD"
    (reason,) = [f["sentence"] for f in held["findings"] if f["rule"] == "conflicting-instance"]
    assert "the pixels differ, too" in reason


def test_a_conflict_stops_a_cycle_that_is_ready_at_once_and_counts_as_it_grows(desk: Desk) -> None:
    desk.administer(RIGHT, TOLD)
    desk.arrive(scan(24.0))
    desk.arrive(scan(96.0))
    slices = scan(24.0, WRONG)[1:]
    for number, part in ((1, slices[:1]), (16, slices[1:])):
        desk.receive(part)
        with desk.house.database.write() as session:
            contradictions.stop_cycles(session, -1, desk.house.config, desk.now)
        held = cycles(desk)[RIGHT]["cycle"]
        assert held["state"] == "HELD"
        assert [r.split()[1] for r in held["reasons"]] == [str(number)]
    with desk.house.database.read() as session:
        assert len(session.scalars(select(FindingRow).where(FindingRow.severity == "hold")).all()) == 1


def test_a_choice_of_what_did_not_come_twice_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused, match="no two objects came under such a UID"):
        corrections.choose(desk.house, "first", ["1.2.3"], BY, "x")
