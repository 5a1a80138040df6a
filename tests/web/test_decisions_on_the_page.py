"""A person looks, decides and is on record; what changed in between refuses the decision."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dicomnode.audit import trail
from dicomnode.casebook.house import House
from dicomnode.casebook.state import finding_row
from dicomnode.database.database import Database
from dicomnode.database.tables import CycleRow, EventRow, Instance
from dicomnode.model import Finding, Severity
from dicomnode.web.app import application
from dicomnode.web.server import PAGES
from tests.web.conftest import CYCLE, HOSTILE, NOW, PASSWORD, SAME_SITE, field


def form_of(client: TestClient, **more: str) -> dict[str, str]:
    page = client.get(f"/cycles/{CYCLE}").text
    given = {"csrf": field(page, "csrf"), "seen": field(page, "seen"), "password": PASSWORD}
    return given | {"because": "looked at every scan"} | more


def kinds(house: House, *wanted: str) -> list[tuple[str, str]]:
    with house.database.read() as session:
        rows = session.execute(select(EventRow.kind, EventRow.actor).order_by(EventRow.seq))
        return [(kind, actor) for kind, actor in rows if kind in wanted]


def test_a_physicist_releases_what_was_seen(house: House, as_role: Callable[[str], TestClient]) -> None:
    client = as_role("physicist")
    answer = client.post(f"/cycles/{CYCLE}/release", data=form_of(client))
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/cycles/{CYCLE}"
    with house.database.read() as session:
        assert session.get_one(CycleRow, CYCLE).released_by == "Physicist Person (physicist)"
    assert kinds(house, "cycle-released") == [("cycle-released", "physicist")]


def test_a_hold_that_came_after_the_look_refuses_it(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    client = as_role("physicist")
    form = form_of(client)
    with house.database.write() as session:
        session.add(finding_row(Finding("late", Severity.HOLD, "a late doubt"), CYCLE, "", NOW))
    answer = client.post(f"/cycles/{CYCLE}/release", data=form)
    assert answer.status_code == 409
    assert "has changed since it was looked at" in answer.text
    assert kinds(house, "cycle-released") == []


@pytest.mark.parametrize(("wrong", "status"), [({"password": "nearly"}, 403), ({"because": "ok"}, 409)])
def test_without_password_or_reason_nothing_is_done(
    wrong: dict[str, str], status: int, house: House, as_role: Callable[[str], TestClient]
) -> None:
    client = as_role("physicist")
    assert client.post(f"/cycles/{CYCLE}/release", data=form_of(client, **wrong)).status_code == status
    assert kinds(house, "cycle-released") == []
    assert len(kinds(house, "log-in-failed")) == (1 if "password" in wrong else 0)


def test_two_people_at_once_one_release(house: House, as_role: Callable[[str], TestClient]) -> None:
    """Both saw the same; the second is told that it changed."""
    one, other = as_role("physicist"), as_role("physicist")
    forms = form_of(one), form_of(other)
    found = [
        c.post(f"/cycles/{CYCLE}/release", data=f).status_code
        for c, f in zip((one, other), forms, strict=True)
    ]
    assert found == [303, 409]
    assert len(kinds(house, "cycle-released")) == 1


def test_each_look_leaves_one_row_and_the_chain_verifies(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    viewer, physicist = as_role("viewer"), as_role("physicist")
    for _ in range(3):
        assert viewer.get(f"/cycles/{CYCLE}").status_code == 200
    physicist.get(f"/cycles/{CYCLE}")
    assert kinds(house, "instances-viewed", "logged-in") == [
        ("logged-in", "viewer"), ("logged-in", "physicist"), ("instances-viewed", "viewer"),
        ("instances-viewed", "physicist"),
    ]  # fmt: skip
    with house.database.read() as session:
        assert trail.verify(session, []).whole


def test_a_look_that_cannot_be_recorded_shows_nothing(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    cookie = as_role("viewer").cookies["__Host-session"]
    short = replace(house, database=Database(house.config.archive.url, lock_timeout_s=0.2))
    client = TestClient(
        application(short, PAGES), "https://node", headers=SAME_SITE, cookies={"__Host-session": cookie}
    )
    file = house.config.archive.url.removeprefix("sqlite:///")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = client.get(f"/cycles/{CYCLE}")
    assert answer.status_code == 503
    assert "P1" not in answer.text
    other.execute("ROLLBACK")
    other.close()
    assert client.get(f"/cycles/{CYCLE}").status_code == 200
    short.database.close()


def test_hostile_text_is_text(as_role: Callable[[str], TestClient]) -> None:
    client = as_role("physicist")
    for path in ("/cycles", f"/cycles/{CYCLE}", "/operation", f"/cycles?patient={HOSTILE}"):
        page = client.get(path)
        assert page.status_code == 200
        assert "alert(1)" in page.text
        assert "<script>alert" not in page.text


def test_a_page_takes_whole_identifiers_only(as_role: Callable[[str], TestClient]) -> None:
    client = as_role("viewer")
    assert client.get(f"/cycles/{CYCLE[:8]}").status_code == 409


def test_an_administration_is_told_and_taken_back(house: House, as_role: Callable[[str], TestClient]) -> None:
    client = as_role("physicist")
    told = {"patient_id": "P1", "nuclide": "Lu-177", "activity_mbq": "7300", "at": "2026-03-09T09:00",
            "cycle_id": CYCLE}  # fmt: skip
    assert client.post("/administrations", data=form_of(client, **told)).status_code == 303
    wrong = form_of(client, **(told | {"activity_mbq": "7,3 GBq"}))
    assert client.post("/administrations", data=wrong).status_code == 409
    page = client.get(f"/cycles/{CYCLE}").text
    part = page[page.index("/administrations/2/withdraw") :]
    form = {"csrf": field(part, "csrf"), "seen": field(part, "seen"), "password": PASSWORD, "cycle_id": CYCLE}
    answer = client.post("/administrations/2/withdraw", data=form | {"because": "of another patient"})
    assert answer.status_code == 303
    assert len(kinds(house, "administration-withdrawn")) == 1


def test_an_administrator_dismisses_what_is_in_quarantine(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    client = as_role("administrator")
    page = client.get("/operation").text
    assert "P1" not in page
    form = {
        "csrf": field(page, "csrf"),
        "because": "asked the sender",
        "password": PASSWORD,
        "decision": "dismiss",
    }
    assert client.post("/quarantine/1.2.9", data=form).status_code == 303
    with house.database.read() as session:
        assert session.scalars(select(Instance.state)).one() == "DISMISSED"


def test_an_auditor_asks_takes_a_file_and_verifies(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    client = as_role("auditor")
    page = client.get("/questions", params={"number": "10", "patient_id": "P1"})
    assert page.status_code == 200
    file = client.get("/questions/10.csv", params={"patient_id": "P1"})
    assert file.text.splitlines()[0] == "at,actor,kind,series_instance_uid,cycle_id"
    assert kinds(house, "data-exported") == [("data-exported", "auditor")]
    client.post("/verify", data={"csrf": field(client.get("/story").text, "csrf")})
    assert "whole" in client.get("/story", params={"id": CYCLE}).text
