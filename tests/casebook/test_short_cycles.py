"""A cycle short of time points says so, and holds where the missing scan may be under another Patient ID."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from pydicom import Dataset

from dicomnode.casebook.twins import one_off
from tests.faults.tiny import Tiny
from tests.helpers.node_in_one_process import Desk

PATIENT, TOLD = "4711-0815", "2026-03-02T08:30+00:00"


def scan(hours: float, patient: str = PATIENT, **more: str) -> list[Dataset]:
    objects = Tiny(f"{patient}/{more.get('PatientName', '')}").time_point(hours)
    for ds in objects:
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient, "Doe^Jane", "19600101"
        for keyword, value in more.items():
            setattr(ds, keyword, value)
    return objects


def after_the_quiet_time(desk: Desk, patients: Sequence[str] = (PATIENT,)) -> dict[str, list[str]]:
    """Patient ID -> reasons of its cycle (its state where there are none), 100 h later."""
    desk.now += timedelta(hours=100)
    for patient in patients:
        desk.review(patient)
    rows = {c["cycle"]["patient_id"]: c["cycle"] for c in desk.rows()}
    return {p: rows[p]["reasons"] or [rows[p]["state"]] for p in patients}


def test_two_of_three_time_points_are_said_in_the_findings_of_the_job(new_desk: Callable[..., Desk]) -> None:
    desk = new_desk(expected=3)
    for hours in (4.0, 24.0):
        desk.arrive(scan(hours))
    assert after_the_quiet_time(desk) == {PATIENT: ["READY"]}
    (cycle,) = desk.rows()
    (said,) = [f for f in desk.start(cycle["cycle"]["id"]).doubts if f.rule == "time-points-missing"]
    assert said.sentence.startswith("2 of 3 time points: ")
    assert (said.measured, said.limit) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("other", "more", "reasons"),
    [
        ("4711-0816", {}, "the same name, the same birth date, Patient IDs one character apart"),
        ("9999", {}, "the same name, the same birth date, the same nuclide and minute"),
        (
            "4711-8015",
            {"PatientBirthDate": "19611231"},
            "the same name, Patient IDs one character apart, the same nuclide",
        ),
        ("4711-0805", {"PatientName": ""}, "the same birth date, Patient IDs one character apart, the same"),
    ],
)
def test_a_near_twin_holds_both_short_cycles(
    new_desk: Callable[..., Desk], other: str, more: dict[str, str], reasons: str
) -> None:
    desk = new_desk(expected=3)
    for hours in (4.0, 24.0):
        desk.arrive(scan(hours))
    desk.arrive(scan(96.0, other, **more))
    for said in after_the_quiet_time(desk, (PATIENT, other)).values():
        assert len(said) == 1
        assert reasons in said[0]
        assert PATIENT not in said[0]


def test_other_people_are_no_twins(new_desk: Callable[..., Desk]) -> None:
    """Next number, same day and minute of treatment, same birth date: another name is another person."""
    desk = new_desk(expected=3)
    for hours in (4.0, 24.0):
        desk.arrive(scan(hours))
    desk.arrive(scan(24.0, "4711-0816", PatientName="Roe^Richard"))
    assert after_the_quiet_time(desk) == {PATIENT: ["READY"]}


def test_a_whole_cycle_has_no_twins(desk: Desk) -> None:
    for hours in (4.0, 24.0):
        desk.arrive(scan(hours))
    desk.arrive(scan(96.0, "4711-0816"))
    assert after_the_quiet_time(desk) == {PATIENT: ["READY"]}


@pytest.mark.parametrize(
    ("a", "b", "off"),
    [
        ("12", "13", True), ("12", "21", True), ("12", "123", True), ("123", "13", True),
        ("12", "12", False), ("12", "34", False), ("1234", "2143", False), ("1", "123", False),
    ],
)  # fmt: skip
def test_one_character_off(a: str, b: str, off: bool) -> None:
    assert one_off(a, b) is off
