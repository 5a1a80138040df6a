"""`dicomnode leave-out`: a series, a time point or a region, on record, and its undo."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from click.testing import CliRunner
from pydicom import Dataset
from sqlalchemy import select

from dicomnode.audit.about import Person
from dicomnode.calculation.job import LeftOutJob
from dicomnode.casebook import left_out
from dicomnode.cli import cli
from dicomnode.database.tables import EventRow, LeftOutRow, TimePointRow
from dicomnode.errors import Refused
from dicomnode.node.work import Rounds
from tests.casebook.test_holds import _Idle
from tests.faults.tiny import Tiny, uid
from tests.helpers.node_in_one_process import Desk

BY = Person("AB", "AB")
PATIENT, TOLD = "T-one", "2026-03-02T08:30+00:00"


def told(desk: Desk, *arguments: str) -> str:
    """What the command line answers."""
    config = ["--config", str(desk.folder / "config.toml"), "--by", "AB", "--because", "moved"]
    ran = CliRunner().invoke(cli, ["leave-out", *arguments, *config])
    assert ran.exit_code == 0, ran.output
    desk.review(PATIENT)
    return ran.output


def state_of(desk: Desk) -> tuple[str, list[str]]:
    (cycle,) = desk.rows()
    return cycle["cycle"]["state"], [t["label"] for t in cycle["time_points"]]


def again(objects: Sequence[Dataset], name: str) -> list[Dataset]:
    """The NM of a time point as another series of the same acquisition."""
    nm = objects[0]
    nm.SeriesInstanceUID, nm.SOPInstanceUID = uid(name, "series"), uid(name, "object")
    nm.file_meta.MediaStorageSOPInstanceUID = nm.SOPInstanceUID
    nm.SeriesDescription = name
    return [nm]


def test_a_corrected_series_takes_the_place_of_the_one_that_is_left_out(desk: Desk) -> None:
    """The correction comes under new UIDs: two series of one acquisition hold, the remedy works."""
    desk.administer(PATIENT, TOLD)
    first = Tiny("one").time_point(24.0)
    wrong = str(first[0].SeriesInstanceUID)
    for objects in (first, Tiny("one").time_point(96.0)):
        desk.arrive(objects)
    desk.arrive(again(Tiny("one").time_point(24.0), "corrected"))
    (cycle,) = desk.rows()
    cycle_id = cycle["cycle"]["id"]
    assert state_of(desk)[0] == "HELD"
    assert (
        "'SPECT', 'corrected'" in cycle["cycle"]["reasons"][0]
        or "'corrected', 'SPECT'" in (cycle["cycle"]["reasons"][0])
    )
    assert told(desk, wrong, "--cycle", cycle_id[:8]) == f"series {wrong} is left out of cycle {cycle_id}\n"
    assert state_of(desk) == ("READY", ["T1", "T2"])
    with desk.house.database.read() as session:
        used = session.scalars(select(TimePointRow.emission_series_uid)).all()
    assert uid("corrected", "series") in used
    job = desk.start(cycle_id)
    assert [(x.kind, x.subject, x.by) for x in job.left_out] == [("series", wrong, "AB")]
    assert [f.sentence for f in job.doubts if f.rule == "series-not-used"] == [
        "not used: 'SPECT' (NM, 1 object): left out by AB: moved"
    ]
    told(desk, wrong, "--cycle", cycle_id, "--undo")
    assert state_of(desk)[0] == "HELD"
    with desk.house.database.read() as session:
        kinds = session.scalars(select(EventRow.kind).where(EventRow.actor == "AB")).all()
        row = session.scalars(select(LeftOutRow)).one()
    assert [k for k in kinds if k in ("left-out", "taken-in")] == ["left-out", "taken-in"]
    assert row.undone_at is not None


def test_a_time_point_that_is_left_out_is_not_waited_for(new_desk: Callable[..., Desk]) -> None:
    """3 expected, 3 there, the middle one left out: the cycle is ready with 2 and says so."""
    desk = new_desk(expected=3)
    desk.administer(PATIENT, TOLD)
    for hours in (4.0, 24.0, 96.0):
        desk.arrive(Tiny("one").time_point(hours))
    (cycle,) = desk.rows()
    cycle_id = cycle["cycle"]["id"]
    emission = cycle["time_points"][1]["emission_series_uid"]
    told(desk, "T2", "--cycle", cycle_id)
    assert state_of(desk) == ("READY", ["T1", "T2"])
    (cycle,) = desk.rows()
    assert [round(t["hours"]) for t in cycle["time_points"]] == [4, 96]
    told(desk, emission, "--cycle", cycle_id, "--undo")
    (cycle,) = desk.rows()
    assert [round(t["hours"]) for t in cycle["time_points"]] == [4, 24, 96]


def test_what_the_cycle_does_not_have_cannot_be_left_out(desk: Desk) -> None:
    desk.administer(PATIENT, TOLD)
    desk.arrive(Tiny("one").cycle())
    (cycle,) = desk.rows()
    for what in ("T9", "1.2.3", "liver"):
        with pytest.raises(Refused, match=f"has no series, time point or region {what}"):
            left_out.leave_out(desk.house, cycle["cycle"]["id"], what, BY, "x", desk.now)
    with pytest.raises(Refused, match="is not left out"):
        left_out.take_in(desk.house, cycle["cycle"]["id"], "T1", BY, "x", desk.now)


def test_the_work_role_sees_it_and_reviews_the_patient(desk: Desk) -> None:
    desk.administer(PATIENT, TOLD)
    desk.arrive(Tiny("one").cycle())
    (cycle,) = desk.rows()
    with desk.house.database.read() as session:
        before = left_out.changed_since(session, left_out.Seen())
    left_out.leave_out(desk.house, cycle["cycle"]["id"], "T1", BY, "moved", desk.now)
    with desk.house.database.read() as session:
        after = left_out.changed_since(session, before)
        assert after.patients == (PATIENT,)
        assert left_out.changed_since(session, after).patients == ()
    rounds = Rounds(desk.house, _Idle())
    rounds._review(desk.now)
    (cycle,) = desk.rows()
    assert len(cycle["time_points"]) == 1


def test_a_region_that_is_left_out_changes_the_digest_of_the_job_and_its_undo_brings_it_back(
    desk: Desk,
) -> None:
    desk.administer(PATIENT, TOLD)
    desk.arrive(Tiny("one").cycle())
    (cycle,) = desk.rows()
    job = desk.start(cycle["cycle"]["id"])
    liver = LeftOutJob(kind="region", subject="liver", by="AB", because="cut")
    out = job.model_copy(update={"left_out": (liver,)})
    assert out.regions_left_out == {"liver"}
    assert out.inputs_digest() != job.inputs_digest()
