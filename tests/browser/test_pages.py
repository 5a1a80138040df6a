"""Every page at both widths and in both schemes: nothing runs that should not, nothing sticks out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from dicomnode.database.tables import EventRow
from tests.browser.chromium import Chromium
from tests.browser.conftest import CYCLE, PASSWORD, Served

At = Callable[[Served, str, str], Chromium]
PAGES = {"/cycles": "physicist", f"/cycles/{CYCLE}": "physicist", "/operation": "administrator",
         "/questions?number=2": "auditor", f"/story?id={CYCLE}": "auditor"}  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_a_page_asks_no_other_host_breaks_no_policy_and_does_not_scroll_sideways(
    path: str, page: Served, at: At
) -> None:
    browser = at(page, path, PAGES[path])
    for scheme in ("light", "dark"):
        for width in (1280, 400):
            browser.look(width, scheme)
            assert browser.run("return document.documentElement.scrollWidth") <= width
    others = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)"
                         ".filter((n) => !n.startsWith(location.origin))")  # fmt: skip
    assert others == []
    assert browser.complaints() == []
    run = (
        "return [...document.scripts].filter((s) => s.type !== 'application/json').map((s) => s.text).join()"
    )
    assert "alert(1)" not in browser.run(run)


def test_a_physicist_releases_on_the_page(page: Served, at: At) -> None:
    browser = at(page, f"/cycles/{CYCLE}", "physicist")
    form = f'form[action="/cycles/{CYCLE}/release"]'
    browser.type(f'{form} textarea[name="because"]', "The outlines of T3 lie on the liver.")
    browser.type(f'{form} input[name="password"]', PASSWORD + "\ue007")  # by the keyboard: Enter
    browser.until("document.body.innerText.includes('Physicist Person (physicist)')")
    with page.house.database.read() as session:
        released = select(func.count()).where(EventRow.kind == "cycle-released")
        assert session.scalar(released) == 1
