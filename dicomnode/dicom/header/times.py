"""Dates and times as DICOM writes them (PS3.5 6.2: DA, TM, DT), made into instants.

Every instant is returned with a *fixed* UTC offset. Python subtracts two datetimes that share one
``ZoneInfo`` by their wall clocks and so forgets a change to summer time between them; two fixed
offsets are subtracted as instants.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from dicomnode.model import Finding, Severity

_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})$")
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,6})\d*)?)?)?$")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})$")
_DATETIME = re.compile(r"(\d{8})(\d{2}[\d.]*)?([+-]\d{4})?$")


@dataclass(frozen=True)
class Clock:
    """How an object's local times are to be read.

    Attributes
    ----------
    zone : the site's zone
    offset : UTC offset that the object states in (0008,0201), or None
    """

    zone: ZoneInfo
    offset: timezone | None = None


@dataclass(frozen=True)
class Instant:
    """An instant, or None where the text holds none, and what reading it had to assume."""

    at: datetime | None
    findings: tuple[Finding, ...] = ()


def parse_date(text: str) -> date | None:
    """A DA value; also the ACR-NEMA form ``1993.11.24``. None where empty, no real date, or before 1900."""
    match = _DATE.match(text.strip(" \0"))
    if match is None or not 1900 <= int(match[1]) <= 9000:
        return None
    try:
        return date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None


def parse_time(text: str) -> time | None:
    """A TM value; also the ACR-NEMA form ``09:53:00``. None where empty or no real time.

    A leap second (60) is read as the last microsecond of its minute.
    """
    match = _TIME.match(text.strip(" \0"))
    if match is None:
        return None
    hour, minute, second = (int(match[i] or 0) for i in (1, 2, 3))
    micro = int((match[4] or "0").ljust(6, "0"))
    if second == 60:
        second, micro = 59, 999_999
    try:
        return time(hour, minute, second, micro)
    except ValueError:
        return None


def parse_offset(text: str) -> timezone | None:
    """A UTC offset ``+0100`` (0008,0201). None where empty or outside -12 h to +14 h."""
    match = _OFFSET.match(text.strip(" \0"))
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    signed = timedelta(minutes=minutes if match[1] == "+" else -minutes)
    if int(match[3]) > 59 or not timedelta(hours=-12) <= signed <= timedelta(hours=14):
        return None
    return timezone(signed)


def instant(day: str, clock_time: str, clock: Clock, subject: str = "") -> Instant:
    """The instant of a DA and a TM value. No instant where either is missing or unreadable."""
    d, t = parse_date(day), parse_time(clock_time)
    if d is None or t is None:
        return Instant(None)
    return _fixed(datetime.combine(d, t), clock, subject)


def instant_of(text: str, clock: Clock, subject: str = "") -> Instant:
    """The instant of a DT value; its own offset wins. A DT without hours states no instant."""
    match = _DATETIME.match(text.strip(" \0"))
    if match is None or not match[2]:
        return Instant(None)
    own = parse_offset(match[3]) if match[3] else None
    return instant(match[1], match[2], Clock(clock.zone, own or clock.offset), subject)


def _fixed(local: datetime, clock: Clock, subject: str) -> Instant:
    """``local`` with a fixed offset; says so where the clock showed that time twice or never."""
    if clock.offset is not None:
        return Instant(local.replace(tzinfo=clock.offset))
    zoned = local.replace(tzinfo=clock.zone)
    other = zoned.replace(fold=1)
    before, after = _offset(zoned), _offset(other)
    at = _pinned(zoned, before)
    if before == after:
        return Instant(at)
    if before > after:  # the hour that is lived twice in autumn
        said, assumed = "occurs twice", "the first (summer time)"
    else:  # the hour that is skipped in spring: PEP 495 reads it by the offset before the change
        said, assumed = "does not exist", "the offset before the change"
    sentence = (
        f"the local time {local:%Y-%m-%d %H:%M} {said} in {clock.zone.key} and the object states no offset "
        f"from UTC; {assumed} was assumed, so it may be wrong by one hour: check the scanner's clock"
    )
    return Instant(at, (Finding("daylight-saving", Severity.WARNING, sentence, subject=subject),))


def _offset(at: datetime) -> timedelta:
    return at.utcoffset() or timedelta(0)


def _pinned(local: datetime, offset: timedelta) -> datetime:
    """The wall clock with its offset; the wall clock of a skipped hour moves on, as an instant."""
    zone = local.tzinfo
    pinned = local.replace(tzinfo=timezone(offset), fold=0)
    real = pinned.astimezone(zone)
    return real.replace(tzinfo=timezone(_offset(real)), fold=0)
