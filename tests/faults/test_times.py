"""Midnight, daylight saving and time zones: hours after administration, to the second, or a finding."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

ZURICH = ZoneInfo("Europe/Zurich")


@dataclass(frozen=True)
class Case:
    """Local times of the site, whether objects state their offset, and what must come out."""

    name: str
    administered: str
    scanned: str
    seconds: int
    offset: bool = True
    finding: str = ""
    zone: str = "Europe/Zurich"
    fold: int = 0
    dates_only: bool = False
    """AcquisitionDate and -Time instead of AcquisitionDateTime."""


H = 3600
CASES = (
    Case("midnight", "2026-03-02T23:50:00", "2026-03-03T00:10:30", 20 * 60 + 30),
    Case("midnight without offset", "2026-03-02T23:50:00", "2026-03-03T00:10:30", 1230, offset=False),
    Case("midnight in DA and TM", "2026-03-02T23:50:00", "2026-03-03T00:10:30", 1230, False, dates_only=True),
    Case("new year", "2025-12-31T22:00:00", "2026-01-01T22:00:01", 24 * H + 1, offset=False),
    # 2026-03-29 02:00 -> 03:00 and 2026-10-25 03:00 -> 02:00 in Europe/Zurich
    Case("spring", "2026-03-28T12:00:00", "2026-03-29T12:00:00", 23 * H),
    Case("spring without offset", "2026-03-28T12:00:00", "2026-03-29T12:00:00", 23 * H, offset=False),
    Case("autumn", "2026-10-24T12:00:00", "2026-10-25T12:00:00", 25 * H),
    Case("autumn without offset", "2026-10-24T12:00:00", "2026-10-25T12:00:00", 25 * H, offset=False),
    Case("hour lived twice, first", "2026-10-24T12:00:00", "2026-10-25T02:30:00", 14 * H + 1800),
    Case("hour lived twice, second", "2026-10-24T12:00:00", "2026-10-25T02:30:00", 15 * H + 1800, fold=1),
    Case(
        "hour lived twice, unsaid", "2026-10-24T12:00:00", "2026-10-25T02:30:00", 14 * H + 1800, False,
        "occurs twice",
    ),
    Case(
        "hour that never was", "2026-03-28T12:00:00", "2026-03-29T02:30:00", 14 * H + 1800, False,
        "does not exist",
    ),
    Case("scanner on UTC", "2026-03-28T12:00:00", "2026-03-29T12:00:00", 24 * H, zone="UTC"),
    Case("scanner in Tokyo", "2026-03-28T12:00:00", "2026-03-29T12:00:00", 24 * H, zone="Asia/Tokyo"),
)  # fmt: skip


def written(case: Case, tiny: Any) -> Any:
    """The NM object of a case, as a scanner would write it."""
    zone = ZoneInfo(case.zone)
    given = datetime.fromisoformat(case.administered).replace(tzinfo=zone)
    at = datetime.fromisoformat(case.scanned).replace(tzinfo=zone, fold=case.fold)
    ds = tiny.Tiny(re.sub(r"\W+", "-", case.name), given).time_point(24.0, at=at)[0]
    if case.name == "hour that never was":  # the clock that was not put forward
        ds.AcquisitionTime = ds.SeriesTime = ds.StudyTime = ds.ContentTime = "023000"
        ds.AcquisitionDateTime = "20260329023000.000000+0100"
    if not case.offset:
        del ds.TimezoneOffsetFromUTC
        ds.AcquisitionDateTime = ds.AcquisitionDateTime[:-5]
        isotope = ds.RadiopharmaceuticalInformationSequence[0]
        isotope.RadiopharmaceuticalStartDateTime = isotope.RadiopharmaceuticalStartDateTime[:-5]
    if case.dates_only:
        del ds.AcquisitionDateTime
    return ds


@pytest.fixture(scope="module")
def grouped(
    stands: Any, tiny: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, Any]]]:
    """Facts of each case's cycle after one node in Zurich has grouped them all."""
    stand = stands.Stand(tmp_path_factory.mktemp("times") / "node", expected=9)
    stand.start()
    try:
        assert stand.send([written(case, tiny) for case in CASES]) == [0] * len(CASES)
        deadline = time.monotonic() + 60
        while len(stand.cycles()) < len(CASES):
            assert time.monotonic() < deadline, stand.log()[-2000:]
            time.sleep(0.2)
        facts = [stand.facts(n) for n in range(len(CASES))]
        yield {f["cycle"]["patient_id"]: f for f in facts}
    finally:
        stand.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hours_after_administration_are_right_to_the_second(
    case: Case, grouped: dict[str, dict[str, Any]]
) -> None:
    facts = grouped["T-" + re.sub(r"\W+", "-", case.name)]
    (point,) = facts["time_points"]
    assert point["hours"] * 3600 == pytest.approx(case.seconds, abs=0.5)
    told = [f["sentence"] for f in facts["findings"] if f["rule"] == "daylight-saving"]
    assert bool(told) == bool(case.finding), told
    assert case.finding in "".join(told)
