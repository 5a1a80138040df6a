"""Each route x method x role, sessions, forms and headers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from starlette.responses import Response
from starlette.testclient import TestClient

from dicomnode.casebook.house import House
from dicomnode.database.tables import EventRow, WebSession
from dicomnode.errors import ConfigError
from dicomnode.web.app import HEADERS, Page, application
from dicomnode.web.rights import RIGHTS, Right, Role
from dicomnode.web.server import PAGES
from dicomnode.web.users import read_users, write_users
from tests.web.conftest import CYCLE, PASSWORD, field

PARTS = {
    "{cycle_id}": CYCLE, "{revision_id}": "r1", "{role}": "view-dose", "{name}": "pacs", "{uid}": "1.2.9",
    "{number:int}": "1",
}  # fmt: skip


def address(page: Page) -> str:
    path = page.path
    for part, value in PARTS.items():
        path = path.replace(part, value)
    return path.replace("/static/pacs", "/static/page.css")


def trail(house: House) -> int:
    with house.database.read() as session:
        return session.scalar(select(func.count()).select_from(EventRow)) or 0


@pytest.mark.parametrize("role", [None, *Role])
def test_every_route_answers_those_who_may_and_nobody_else(
    role: Role | None, stranger: TestClient, as_role: Callable[[str], TestClient]
) -> None:
    """Without the session's token a POST that may be done answers 403 with another sentence; GET 200, 303
    (from the start) or 409 (no such result). Whoever may not gets 403, whoever is nobody the log-in."""
    client = stranger if role is None else as_role(role)
    may = RIGHTS[role] if role is not None else frozenset()
    for page in PAGES:
        answer = client.request(page.method, address(page))
        case = (role, page.method, page.path, answer.status_code)
        if page.right is Right.NOBODY:
            assert answer.status_code in (200, 401), case
        elif role is None:
            assert answer.status_code == (303 if page.method == "GET" else 401), case
            assert "P1" not in answer.text
        elif page.right not in may:
            assert answer.status_code == 403, case
            assert "may not do this" in answer.text, case
            assert "P1" not in answer.text, case
        elif page.method == "POST":
            assert answer.status_code == 403, case
            assert "not of this log-in" in answer.text, case
        else:
            assert answer.status_code in (200, 303, 409), case


def test_who_makes_users_cannot_release_and_a_viewer_decides_nothing() -> None:
    assert Right.DECIDE in RIGHTS[Role.PHYSICIST]
    assert not any(Right.DECIDE in RIGHTS[r] for r in (Role.ADMINISTRATOR, Role.VIEWER, Role.AUDITOR))
    assert Right.LOOK not in RIGHTS[Role.ADMINISTRATOR]


def test_a_route_without_a_right_stops_the_start(house: House) -> None:
    bare = Page("/bare", "GET", None, lambda _asked: Response())
    with pytest.raises(ConfigError, match="the route GET /bare has no right"):
        application(house, (*PAGES, bare))


def test_without_a_user_it_does_not_start(house: House) -> None:
    write_users(house.config.web.users_file, {})
    with pytest.raises(ConfigError, match="nobody may log in"):
        application(house, PAGES)


def test_a_file_of_users_that_others_may_read_is_refused(house: House) -> None:
    os.chmod(house.config.web.users_file, 0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_users(house.config.web.users_file)


@pytest.mark.parametrize("path", ["/login", "/cycles", "/nowhere", "/static/page.css"])
def test_every_answer_carries_the_headers(path: str, stranger: TestClient) -> None:
    answer = stranger.get(path)
    assert {k: answer.headers[k] for k in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["content-security-policy"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_form_of_another_site_changes_nothing(
    site: str, house: House, as_role: Callable[[str], TestClient]
) -> None:
    client = as_role("physicist")
    page = client.get(f"/cycles/{CYCLE}").text
    before = trail(house)
    form = {
        "csrf": field(page, "csrf"),
        "seen": field(page, "seen"),
        "because": "looked at it",
        "password": PASSWORD,
    }
    answer = client.post(f"/cycles/{CYCLE}/release", data=form, headers={"sec-fetch-site": site})
    assert answer.status_code == 403
    assert trail(house) == before
    for token in ("", "x" * 43):
        answer = client.post(f"/cycles/{CYCLE}/release", data=form | {"csrf": token})
        assert answer.status_code == 403
    assert client.get(f"/cycles/{CYCLE}/release").status_code in (405, 409)
    assert trail(house) == before


def test_an_old_browser_is_judged_by_its_origin(house: House, as_role: Callable[[str], TestClient]) -> None:
    client = as_role("physicist")
    page = client.get(f"/cycles/{CYCLE}").text
    form = {
        "csrf": field(page, "csrf"),
        "seen": field(page, "seen"),
        "because": "looked at it",
        "password": PASSWORD,
    }
    del client.headers["sec-fetch-site"]
    for origin, status in (("https://evil", 403), ("null", 403), ("https://node", 303)):
        answer = client.post(f"/cycles/{CYCLE}/hold", data=form, headers={"origin": origin})
        assert answer.status_code == status, origin


def test_an_unknown_user_and_a_wrong_password_get_the_same_answer_and_then_have_to_wait(
    house: House, stranger: TestClient
) -> None:
    said = [stranger.post("/login", data={"user": u, "password": "x"}).text for u in ("physicist", "nobody")]
    assert said[0] == said[1]
    for _ in range(3):
        stranger.post("/login", data={"user": "physicist", "password": "x"})
    answer = stranger.post("/login", data={"user": "physicist", "password": PASSWORD})
    assert answer.status_code == 429
    with house.database.read() as session:
        failed = session.scalars(select(EventRow).where(EventRow.kind == "log-in-failed")).all()
    assert [row.outcome for row in failed] == [4] * 5
    assert {row.actor for row in failed} == {"physicist", "nobody"}


@pytest.mark.parametrize("ended", ["idle", "old", "out", "disabled"])
def test_a_log_in_ends(ended: str, house: House, as_role: Callable[[str], TestClient]) -> None:
    client = as_role("physicist")
    page = client.get("/cycles")
    assert page.status_code == 200
    if ended == "out":
        client.post("/logout", data={"csrf": field(page.text, "csrf")})
    elif ended == "disabled":
        users = read_users(house.config.web.users_file)
        write_users(house.config.web.users_file, {k: u for k, u in users.items() if k != "physicist"})
    else:
        column, ago = (
            (WebSession.used_at, 31 * 60) if ended == "idle" else (WebSession.began_at, 8 * 3600 + 60)
        )
        with house.database.write() as session:
            row = session.scalars(select(WebSession)).one()
            session.execute(update(WebSession).values({column: row.began_at - timedelta(seconds=ago)}))
    assert client.get("/cycles").headers["location"] == "/login"


def test_the_database_holds_no_cookie(house: House, as_role: Callable[[str], TestClient]) -> None:
    cookie = as_role("viewer").cookies["__Host-session"]
    with house.database.read() as session:
        row = session.scalars(select(WebSession)).one()
    assert cookie not in (row.id, row.csrf)
    assert len(cookie) >= 43


def test_the_web_process_loads_no_science_and_no_dask() -> None:
    code = (
        "import sys, dicomnode.web.server; heavy = {'scipy', 'torch', 'numba', 'SimpleITK', 'matplotlib', "
        "'highdicom', 'distributed', 'dask'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_scripts_and_styles_are_small_and_name_no_other_host() -> None:
    static = Path(__file__).parents[2] / "dicomnode" / "web" / "static"
    assert sum(p.stat().st_size for p in static.glob("*.js")) <= 60_000
    assert (static / "page.css").stat().st_size <= 12_000
    for path in static.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        assert "innerHTML" not in text
