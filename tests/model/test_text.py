"""Text from outside: one gate, one function for every printer."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.model.text import printable, shortened, spreadsheet_cell


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("LIVER\u202eREVIL", "LIVER<U+202E>REVIL"),
        ("A\nB", "A<U+000A>B"),
        ("\x1b[31mred", "<U+001B>[31mred"),
        ("A\0", "A<U+0000>"),
        ("A\u2066B\u2069", "A<U+2066>B<U+2069>"),
        ("LI\u200bVER", "LI<U+200B>VER"),
        ("\ud800", "<U+D800>"),
        ("Müller^Jörg", "Müller^Jörg"),
        ("山田^太郎\u3000様", "山田^太郎\u3000様"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_what_is_no_visible_character_is_shown_as_its_code_point(given: str, shown: str) -> None:
    assert printable(given) == shown


@given(st.text())
def test_every_text_becomes_one_line_that_every_database_and_printer_takes(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert "\0" not in shown
    shown.encode("utf-8")


def test_what_is_too_long_says_so() -> None:
    assert shortened("x" * 10, 10) == "x" * 10
    assert shortened("x" * 11, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", " =1"])
def test_a_cell_that_a_spreadsheet_would_run_is_text(cell: str) -> None:
    written = io.StringIO()
    csv.writer(written).writerow([spreadsheet_cell(cell), spreadsheet_cell("-1.5"), "liver"])
    assert written.getvalue()[0] in "'<", written.getvalue()
    assert written.getvalue().strip().endswith(",-1.5,liver")
