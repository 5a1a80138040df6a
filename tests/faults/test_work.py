"""Computations whose worker dies, hangs or eats all memory; data that come in the middle of one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dicomnode.database.tables import EventRow

ENGINES = Path(__file__).with_name("engines")


@dataclass
class Bench:
    """A node whose engine does what ``tell`` says."""

    stand: Any
    pacs: Any
    behaviour: Path
    count: int = 0

    def tell(self, word: str) -> None:
        fresh = self.behaviour.with_suffix(".new")
        fresh.write_text(word)
        fresh.replace(self.behaviour)

    def reasons(self, number: int) -> list[str]:
        rows = self.stand.cycles()
        return list(rows[number]["reasons"]) if len(rows) > number else []


def make_bench(folder: Path, stands: Any, pacs_of: Any, work: str = "", workers: int = 1) -> Bench:
    behaviour = folder / "behaviour"
    behaviour.write_text("ok")
    rooms = f'[dose]\nengine = "fault_engines:Told"\noptions = {{ behaviour = "{behaviour}" }}'
    pacs = pacs_of.JournalPacs()
    peer = stands.peer("pacs", pacs.port)
    stand = stands.Stand(folder / "node", [peer], rooms=rooms, work=work, workers=workers, path=ENGINES)
    stand.start()
    return Bench(stand, pacs, behaviour)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, stands: Any, pacs_of: Any) -> Iterator[Bench]:
    made = make_bench(tmp_path_factory.mktemp("bench"), stands, pacs_of, "memory_gb = 1.0", workers=2)
    yield made
    made.stand.close()
    made.pacs.close()


@pytest.fixture
def number(bench: Bench) -> int:
    """Number of the cycle that the test will make."""
    bench.tell("ok")
    return len(bench.stand.cycles())


def test_a_worker_that_dies_is_replaced_and_the_cycle_computed_once_more(
    bench: Bench, number: int, tiny: Any
) -> None:
    bench.tell("die-once")
    bench.stand.send(tiny.Tiny("once").cycle())
    facts = bench.stand.wait("DELIVERED", "HELD", number=number)
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]
    assert [r["attempts"] for r in facts["revisions"]] == [2]
    with bench.stand.house.database.read() as session:
        bodies = list(session.scalars(select(EventRow.body).where(EventRow.cycle_id == facts["cycle"]["id"])))
    assert any("its worker died" in b for b in bodies), "the first death is on record"


@pytest.mark.long
@pytest.mark.parametrize("word", ["die", "eat"])
def test_a_computation_that_kills_its_worker_twice_is_held_until_a_person_releases_it(
    bench: Bench, number: int, tiny: Any, word: str
) -> None:
    bench.tell(word)
    bench.stand.send(tiny.Tiny(word).cycle())
    facts = bench.stand.wait("HELD", "DELIVERED", number=number)
    assert facts["cycle"]["state"] == "HELD"
    assert (
        "its worker died (KilledWorker), 2 times: look at the log, then release"
        in (facts["cycle"]["reasons"][0])
    )
    assert [r["attempts"] for r in facts["revisions"]] == [2]
    bench.tell("ok")
    again = bench.stand.decide("release", facts["cycle"]["id"], "engine repaired")
    assert again.returncode == 0, again.stderr
    facts = bench.stand.wait("DELIVERED", number=number)
    assert facts["revision"]["number"] == 2


def test_a_late_time_point_during_the_computation_leaves_only_the_new_revision(
    bench: Bench, number: int, tiny: Any
) -> None:
    patient = tiny.Tiny("late")
    bench.tell("wait")
    bench.stand.send(patient.cycle())
    bench.stand.wait("COMPUTING", number=number)
    bench.stand.send(patient.time_point(48.0))
    bench.stand.wait("COLLECTING", "READY", number=number)
    before = set(bench.pacs.kept())
    bench.tell("ok")
    facts = bench.stand.wait("DELIVERED", "HELD", number=number)
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]
    assert sorted((r["number"], r["state"]) for r in facts["revisions"]) == [
        (1, "SUPERSEDED"),
        (2, "DELIVERED"),
    ]
    assert len(facts["time_points"]) == 3
    sent = {r["sop_instance_uid"] for r in facts["results"] if r["role"] in ("rtdose", "sr")}
    assert set(bench.pacs.kept()) - before == sent, "nothing of the overtaken revision left"


@pytest.mark.long
def test_a_full_disk_in_a_worker_is_waited_for(bench: Bench, number: int, tiny: Any) -> None:
    bench.tell("full")
    bench.stand.send(tiny.Tiny("full").cycle())
    deadline = time.monotonic() + 60
    while bench.reasons(number) != ["the disk is full: free some space"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    bench.tell("ok")
    facts = bench.stand.wait("DELIVERED", "HELD", number=number)
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]


@pytest.mark.long
def test_a_computation_beyond_its_limit_is_ended_twice_and_held(
    tmp_path: Path, stands: Any, pacs_of: Any, tiny: Any
) -> None:
    bench = make_bench(tmp_path, stands, pacs_of, "compute_timeout_s = 20.0")
    try:
        bench.tell("wait")
        bench.stand.send(tiny.Tiny("slow").cycle())
        facts = bench.stand.wait("HELD", "DELIVERED", timeout_s=180)
        assert facts["cycle"]["reasons"] == [
            "it took longer than its limit, 2 times: look at the log, then release"
        ]
        bench.tell("ok")
        again = bench.stand.decide("release", facts["cycle"]["id"], "repaired")
        assert again.returncode == 0, again.stderr
        bench.stand.wait("DELIVERED")
    finally:
        bench.stand.close()
        bench.pacs.close()
