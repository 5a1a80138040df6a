"""Administrations from several sources."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.cycle.administration import reconcile
from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Administration, Severity

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HEADER = Administration("Lu-177", 7400.0, AT, source="1.2.3")
SETTINGS = CycleSettings()


def test_a_person_settles_what_headers_say() -> None:
    told = replace(HEADER, at=AT + timedelta(hours=1), source="person:AB")
    got = reconcile([told], [], [HEADER], SETTINGS)
    assert got.administrations == (told,)
    assert got.findings == ()


def test_two_headers_that_contradict_each_other_hold() -> None:
    other = replace(HEADER, at=AT + timedelta(minutes=11), source="1.2.4")
    got = reconcile([], [], [HEADER, other], SETTINGS)
    assert [f.rule for f in got.findings] == ["administration-time-contradicts"]
    assert got.findings[0].measured == 11


def test_a_report_and_a_header_that_differ_in_activity_hold() -> None:
    report = replace(HEADER, activity_mbq=7000.0, source="1.2.5")
    got = reconcile([], [report], [HEADER], SETTINGS)
    assert got.administrations == (report,)
    assert [f.rule for f in got.findings] == ["administered-activity-contradicts"]


def test_a_mistyped_day_in_a_header_holds_and_makes_no_second_administration() -> None:
    told = replace(HEADER, source="person:AB")
    mistyped = replace(HEADER, at=AT + timedelta(hours=23), source="1.2.4")
    got = reconcile([told], [], [HEADER, mistyped], SETTINGS)
    assert got.administrations == (told,)
    (found,) = got.doubts[told]
    assert (found.rule, found.severity, found.subject) == (
        "administration-date-contradicts", Severity.HOLD, "1.2.4",
    )  # fmt: skip
    assert found.measured == pytest.approx(23 / 24)


@pytest.mark.parametrize("source", ["person:AB", "1.2.3"])
def test_two_administrations_of_equal_rank_within_the_window_both_count_and_hold(source: str) -> None:
    """A second treatment with 131I after two days is possible; a corrected day that left both is likelier."""
    first = replace(HEADER, nuclide="I-131", source=source)
    second = replace(first, at=AT + timedelta(days=2))
    sources = ([first, second], []) if source == "person:AB" else ([], [first, second])
    got = reconcile(sources[0], [], sources[1], SETTINGS)
    assert got.administrations == (first, second)
    assert [[f.rule for f in got.doubts[a]] for a in (first, second)] == [["administrations-too-close"]] * 2
    assert {f.measured for f in got.findings} == {2.0}
    assert [f.subject for f in got.doubts[first]] == ["2026-03-04T09:00+00:00"], "the other one"


def test_four_cycles_eight_weeks_apart_are_nobodys_doubt() -> None:
    told = [replace(HEADER, at=AT + timedelta(weeks=8 * n), source="person:AB") for n in range(2)]
    headers = [replace(HEADER, at=AT + timedelta(weeks=8 * n), source=f"1.2.{n}") for n in range(4)]
    got = reconcile(told, [], headers, SETTINGS)
    assert got.administrations == (*told, *headers[2:])
    assert got.findings == ()


def test_a_persons_word_comes_before_that_of_the_configuration() -> None:
    configured = replace(HEADER, source="config")
    told = replace(HEADER, at=AT + timedelta(hours=1), activity_mbq=7000.0, source="person:AB")
    got = reconcile([configured, told], [], [], SETTINGS)
    assert (got.administrations, got.findings) == ((told,), ())


def test_a_contradiction_belongs_to_the_administration_that_it_was_matched_to() -> None:
    report = replace(HEADER, source="1.99.1")
    other = replace(HEADER, activity_mbq=6000.0, source="1.99.2")
    later = replace(HEADER, at=AT + timedelta(days=56), source="1.99.3")
    got = reconcile([], [other, report, later], [], SETTINGS)
    assert [f.rule for f in got.doubts[other]] == ["administered-activity-contradicts"]
    assert later not in got.doubts


def test_administrations_of_different_days_are_different() -> None:
    second = replace(HEADER, at=AT + timedelta(days=56))
    assert reconcile([], [], [second, HEADER], SETTINGS).administrations == (HEADER, second)
