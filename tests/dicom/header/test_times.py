"""Dates and times: midnight, daylight saving, offsets, old forms."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.dicom.header.times import Clock, instant, instant_of, parse_date, parse_offset, parse_time

BERLIN = Clock(ZoneInfo("Europe/Berlin"))


@given(st.datetimes(datetime(1995, 1, 1), datetime(2030, 1, 1)))  # noqa: DTZ001
def test_any_instant_in_utc_survives(moment: datetime) -> None:
    clock = Clock(ZoneInfo("Europe/Berlin"), UTC)
    read = instant(f"{moment:%Y%m%d}", f"{moment:%H%M%S.%f}", clock)
    assert read.at == moment.replace(tzinfo=UTC)
    assert not read.findings


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001
    st.sampled_from(["Europe/Berlin", "America/Detroit", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
)
def test_a_local_time_is_exact_or_says_that_it_may_be_an_hour_off(moment: datetime, name: str) -> None:
    zone = ZoneInfo(name)
    read = instant(f"{moment:%Y%m%d}", f"{moment:%H%M%S.%f}", Clock(zone))
    assert read.at is not None
    if not read.findings:
        assert read.at.astimezone(zone).replace(tzinfo=None, fold=0) == moment
        assert moment.replace(tzinfo=zone).utcoffset() == moment.replace(tzinfo=zone, fold=1).utcoffset()


@given(st.integers(1, 86_399))
def test_a_scan_across_midnight_is_short(seconds: int) -> None:
    before = instant("20240310", "235959", BERLIN).at
    start = datetime(2024, 3, 10, 23, 59, 59) + timedelta(seconds=seconds)  # noqa: DTZ001
    after = instant(f"{start:%Y%m%d}", f"{start:%H%M%S}", BERLIN).at
    assert before is not None
    assert after is not None
    assert (after - before).total_seconds() == seconds


def test_the_difference_over_a_change_to_summer_time_is_that_of_instants() -> None:
    # 2024-03-31 02:00 CET became 03:00 CEST: 24 h on the wall are 23 h
    first, second = instant("20240330", "120000", BERLIN).at, instant("20240331", "120000", BERLIN).at
    assert first is not None
    assert second is not None
    assert (second - first) == timedelta(hours=23)


def test_the_hour_that_occurs_twice_is_noted_and_read_as_summer_time() -> None:
    read = instant("20241027", "023000", BERLIN)
    assert read.at == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert [f.rule for f in read.findings] == ["daylight-saving"]
    assert "occurs twice" in read.findings[0].sentence


def test_the_hour_that_does_not_exist_is_noted_and_moved_on() -> None:
    read = instant("20240331", "023000", BERLIN)
    assert read.at == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)
    assert "does not exist" in read.findings[0].sentence


def test_a_stated_offset_wins_over_the_zone_and_leaves_no_doubt() -> None:
    clock = Clock(ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=-5)))
    assert instant("20241027", "023000", clock).at == datetime(2024, 10, 27, 7, 30, tzinfo=UTC)
    assert instant_of("20241027023000+0100", clock).at == datetime(2024, 10, 27, 1, 30, tzinfo=UTC)
    assert not instant("20241027", "023000", clock).findings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("09:53:00", time(9, 53)),
        ("0953", time(9, 53)),
        ("09", time(9)),
        ("184521.0000", time(18, 45, 21)),
        ("235960", time(23, 59, 59, 999_999)),
        ("246000", None),
        ("", None),
        ("9:53", None),
        ("120000.1", time(12, 0, 0, 100_000)),
    ],
)
def test_times_of_old_and_new_form_are_read(text: str, expected: time | None) -> None:
    assert parse_time(text) == expected


def test_dates_that_are_none_are_none() -> None:
    old = parse_date("1993.11.24")
    assert old is not None
    assert (old.year, old.month, old.day) == (1993, 11, 24)
    for text in ("", "00000000", "00010101", "20240230", "2024", "banana"):
        assert parse_date(text) is None


def test_a_datetime_without_hours_states_no_instant() -> None:
    assert instant_of("20240310", BERLIN).at is None
    assert instant_of("", BERLIN).at is None


def test_offsets_beyond_any_zone_are_none() -> None:
    assert parse_offset("-0500") == timezone(timedelta(hours=-5))
    for text in ("+1500", "-1300", "+0075", "0100", ""):
        assert parse_offset(text) is None
