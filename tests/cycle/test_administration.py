"""Administrations from several sources."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dicomnode.cycle.administration import reconcile
from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Administration

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


def test_administrations_of_different_days_are_different() -> None:
    second = replace(HEADER, at=AT + timedelta(days=56))
    assert reconcile([], [], [second, HEADER], SETTINGS).administrations == (HEADER, second)
