"""A role that dies again and again: told, and what it dies of is set aside."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.casebook.house import House
from dicomnode.casebook.status import status
from dicomnode.node.bookmark import Bookmark
from dicomnode.node.serve import DEATHS_TOLD, Ended, Role
from dicomnode.node.set_aside import role_ended
from tests.faults.odd_bytes import data_set, part10
from tests.faults.test_poison import house, take, verdicts, work

__all__ = ["house"]
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


def test_a_role_that_dies_three_times_at_one_object_has_it_quarantined(house: House, tmp_path: Path) -> None:
    """As out of memory, or a fault in a library of C, would do; -9 is no exception that could be caught."""
    take(house, part10(data_set("1.2.9.1"), "1.2.9.1"), "1.2.9.1")
    take(house, part10(data_set("1.2.9.2", series=b"1.2.7"), "1.2.9.2"), "1.2.9.2")
    mark = Bookmark(tmp_path / "work.at")
    mark._write("object:1")
    role, ended = Role("work", [sys.executable, "-c", DIES], tmp_path / "work.at"), []
    while len(ended) < DEATHS_TOLD:
        one = role.tend()
        ended += [one] if one else []
        time.sleep(0.02)
    assert ended == [Ended("work", 1), Ended("work", 2), Ended("work", 3, "object:1")]
    with house.database.write() as session:
        for one in ended:
            role_ended(session, one, "NODE", NOW, DEATHS_TOLD)
    work(house)
    assert [state for state, _ in verdicts(house).values()] == ["QUARANTINED", "INDEXED"]
    assert "the role work died of it repeatedly" in verdicts(house)["1.2.9.1"][1]
    assert status(house).troubles == ("the role work does not stay up: look at the log of the service",)
    with house.database.write() as session:
        role_ended(session, Ended("work", 0), "NODE", NOW, DEATHS_TOLD)
    assert status(house).troubles == ()


def test_a_patient_that_the_role_does_not_survive_is_reviewed_no_more(house: House) -> None:
    take(house, part10(data_set("1.2.9.1"), "1.2.9.1"), "1.2.9.1")
    work(house)
    with house.database.write() as session:
        role_ended(session, Ended("work", 3, "patient:P1"), "NODE", NOW, DEATHS_TOLD)
    work(house)
    assert len(status(house).troubles) == 3
    assert status(house).waits_for_a_person


def test_a_bookmark_outlives_the_process_and_says_nothing_between_two_items(tmp_path: Path) -> None:
    mark = Bookmark(tmp_path / "a")
    with mark.at("cycle:" + "x" * 600):
        assert (tmp_path / "a").read_text().strip() == ("cycle:" + "x" * 600)[:512]
    assert (tmp_path / "a").read_text().strip() == ""
    mark.close()
