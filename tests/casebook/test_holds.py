"""What a person or a rule holds stays held, and ends in order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text, update

from dicomnode.calculation.job import Outcome
from dicomnode.casebook import decisions
from dicomnode.casebook.status import status
from dicomnode.cli import cli
from dicomnode.database.tables import CycleRow, Instance, OrganDoseRow
from dicomnode.model import OrganDose, Verdict
from dicomnode.node.work import Rounds
from dicomnode.node.workers import Workers
from tests.faults.tiny import Tiny
from tests.helpers.decided import AB, shown
from tests.helpers.node_in_one_process import Desk

PATIENT = "T-one"
TOLD = "2026-03-02T08:30+00:00"


@pytest.fixture
def held(desk: Desk) -> str:
    """A cycle of two time points that is ready, and that a person stopped."""
    for hours in (4.0, 24.5):
        desk.arrive(Tiny("one").time_point(hours))
    desk.administer(PATIENT, TOLD)
    (cycle,) = desk.rows()
    assert cycle["cycle"]["state"] == "READY"
    decisions.hold(
        desk.house,
        cycle["cycle"]["id"],
        AB,
        "wrong patient",
        desk.now,
        seen=shown(desk.house, cycle["cycle"]["id"]),
    )
    return str(cycle["cycle"]["id"])


def of(desk: Desk) -> tuple[str, list[str]]:
    (cycle,) = desk.rows()
    return cycle["cycle"]["state"], cycle["cycle"]["reasons"]


class _Idle(Workers):
    """No worker, nothing under way."""

    def __init__(self) -> None:
        pass


def test_what_a_person_holds_stays_held_when_more_arrives_and_when_something_is_told(
    desk: Desk, held: str
) -> None:
    """It would be computed and sent with the late series, although somebody said "wrong patient"."""
    desk.arrive(Tiny("one").time_point(72.0))
    state, reasons = of(desk)
    assert (state, reasons[0]) == ("HELD", "held by AB: wrong patient")
    assert "changed since" in reasons[1]
    desk.administer(PATIENT, TOLD, 7300.0)
    assert of(desk) == (state, reasons)
    Rounds(desk.house, _Idle())._collect_held_again(desk.now)
    desk.review(PATIENT)
    assert of(desk) == (state, reasons)
    desk.release(held)
    job = desk.start(held)
    assert (len(job.time_points), job.administration.activity_mbq) == (3, 7300.0)


def test_a_cycle_without_images_is_held_until_a_person_closes_it(desk: Desk) -> None:
    for hours in (4.0, 24.5):
        desk.arrive(Tiny("one").time_point(hours))
    desk.administer(PATIENT, TOLD)
    wrong = desk.administer(PATIENT, "2026-03-03T08:30+00:00")
    desk.administer(PATIENT, TOLD, replaces=wrong)
    (empty,) = (c["cycle"]["id"] for c in desk.rows() if not c["time_points"])
    Rounds(desk.house, _Idle())._collect_held_again(desk.now)  # after a start with another configuration
    desk.review(PATIENT)
    assert [h.cycle_id for h in status(desk.house).held] == [empty]
    assert (
        decisions.release(desk.house, empty, AB, "removed there", desk.now, seen=shown(desk.house, empty))
        == f"cycle {empty} is CLOSED"
    )
    desk.review(PATIENT)
    with desk.house.database.read() as session:
        states = dict(session.execute(select(CycleRow.id, CycleRow.state)).all())
        unfinished = set(session.scalars(text("SELECT cycle_id FROM v_unfinished_cycles")))
    assert states.pop(empty) == "CLOSED"
    assert unfinished == set(states), "the cycle that has the images is there, the closed one is not"
    assert not status(desk.house).waits_for_a_person


def test_a_late_series_of_a_cycle_whose_files_retention_removed_says_what_to_do(
    new_desk: Callable[..., Desk],
) -> None:
    desk = new_desk(expected=1)
    desk.administer(PATIENT, TOLD)
    first = Tiny("one").time_point(24.5)
    desk.arrive(first)
    with desk.house.database.write() as session:
        session.execute(update(Instance).values(purged_at=datetime(2026, 5, 1, tzinfo=UTC)))
    desk.arrive(Tiny("one").time_point(72.0))
    (cycle,) = desk.rows()
    assert (cycle["cycle"]["state"], desk.rules(cycle["cycle"]["id"])) == ("HELD", ["received-files-removed"])
    assert f"{len(first)} received files" in cycle["cycle"]["reasons"][0]
    desk.arrive(first)
    desk.release(cycle["cycle"]["id"])
    assert len(desk.start(cycle["cycle"]["id"]).time_points) == 2


def test_the_part_of_alpha_particles_has_a_column_that_quality_assurance_can_ask(desk: Desk) -> None:
    for hours in (4.0, 24.5):
        desk.arrive(Tiny("one").time_point(hours))
    desk.administer(PATIENT, TOLD)
    (cycle,) = desk.rows()
    job = desk.start(cycle["cycle"]["id"])
    organs = tuple(
        OrganDose(
            name, 2.0, 0.1, d2_gy=3.0, d50_gy=2.0, d98_gy=1.0, max_gy=3.0, volume_ml=9.0, mass_g=9.0,
            tia_mbq_s=1.0, alpha_gy=alpha,
        )
        for name, alpha in (("liver", 1.9), ("spleen", None))
    )  # fmt: skip
    desk.finish(job, Outcome(Verdict.of([]), (), (), organs))
    with desk.house.database.read() as session:
        rows = session.execute(text("SELECT region, alpha_gy FROM v_organ_doses ORDER BY region")).all()
        assert session.scalars(select(OrganDoseRow.alpha_gy).where(OrganDoseRow.region == "liver")).all()
    assert [tuple(r) for r in rows] == [("liver", 1.9), ("spleen", None)]
    shown = CliRunner().invoke(cli, ["show", job.cycle_id, "--config", str(desk.folder / "config.toml")])
    (header,) = (line for line in shown.output.splitlines() if line.startswith("region"))
    (liver,) = (line for line in shown.output.splitlines() if line.startswith("liver"))
    assert (header.split()[-2:], liver.split()[-1]) == (["alpha", "Gy"], "1.900")
