"""Administered activity from structured reports (Radiopharmaceutical Radiation Dose SR, TID 10021/10022).

Any SR that holds an Administered Activity (113507, DCM) is read the same way; what counts is the
concept, not the SOP class.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.dicom.header.dataset import Attributes, open_object, quiet
from dicomnode.dicom.header.radionuclide import nuclides_of_text
from dicomnode.dicom.header.radiopharmaceutical import PLAUSIBLE_MBQ, clock_of
from dicomnode.dicom.header.times import Clock, instant_of
from dicomnode.errors import Inconsistent, MissingAttribute, Refused
from dicomnode.model import Administration, Finding, Severity
from dicomnode.physics.nuclide_names import nuclide_of_code

ADMINISTRATION_EVENT = "113502"
ACTIVITY = "113507"
MEASURED_BEFORE = "113508"
MEASURED_AFTER = "113509"
START = "123003"
AGENT = frozenset({"F-61FDB", "349358000"})
RADIONUCLIDE = frozenset({"C-10072", "89457008"})
MAX_CONTENT_ITEMS = 50_000

# UCUM unit -> MBq
_MBQ = {"MBq": 1.0, "Bq": 1e-6, "kBq": 1e-3, "GBq": 1e3, "mCi": 37.0, "uCi": 0.037, "Ci": 37_000.0}


@dataclass
class _Event:
    """What one administration container states, as it is gathered."""

    activity: dict[str, float] = field(default_factory=dict)
    start: str = ""
    nuclides: dict[str, None] = field(default_factory=dict)
    agent: str = ""
    unit_faults: list[str] = field(default_factory=list)


def walk(obj: Attributes) -> Iterator[Attributes]:
    """Every content item below ``obj``, depth first, without recursion.

    Raises Refused beyond ``MAX_CONTENT_ITEMS``.
    """
    stack, seen = list(reversed(obj.items("ContentSequence"))), 0
    while stack:
        item = stack.pop()
        seen += 1
        if seen > MAX_CONTENT_ITEMS:
            raise Refused("the report holds more content items than any real report", uid=obj.uid)
        yield item
        stack.extend(reversed(item.items("ContentSequence")))


def reports_administration(obj: Attributes) -> bool:
    """True where a report holds an Administered Activity."""
    return any(_concept(item) == ACTIVITY for item in walk(obj))


@quiet()
def read_administrations(
    path: Path, zone: ZoneInfo
) -> tuple[tuple[Administration, ...], tuple[Finding, ...]]:
    """Every administration that a report states, with what is doubtful about them.

    Activity is the net Administered Activity, or, where it is missing, the measured activity before less
    that after the administration (a finding says so). Raises MissingAttribute where the report holds no
    administration or one without nuclide, activity or start; Refused where a unit is not known.
    """
    return administrations_of(open_object(path, pixels=False), zone)


def administrations_of(
    obj: Attributes, zone: ZoneInfo
) -> tuple[tuple[Administration, ...], tuple[Finding, ...]]:
    """:func:`read_administrations` of a report that is already parsed."""
    events = [i for i in walk(obj) if _concept(i) == ADMINISTRATION_EVENT] or [obj]
    read = [_administration(_gather(event), clock_of(obj, zone), obj.uid) for event in events]
    return tuple(a for a, _ in read), tuple(f for _, fs in read for f in fs)


def _gather(container: Attributes) -> _Event:
    event = _Event()
    for item in walk(container):
        concept = _concept(item)
        code = item.first("ConceptCodeSequence")
        if concept in (ACTIVITY, MEASURED_BEFORE, MEASURED_AFTER):
            _take_activity(event, concept, item.first("MeasuredValueSequence"), container.uid)
        elif concept == START:
            _same(event.start, item.text("DateTime"), "starts", container.uid)
            event.start = event.start or item.text("DateTime")
        elif concept in AGENT:
            event.agent = event.agent or code.text("CodeMeaning")
        elif concept in RADIONUCLIDE:
            by_code = nuclide_of_code(code.text("CodeValue"), code.text("CodingSchemeDesignator"))
            names = (by_code, *nuclides_of_text(code.text("CodeMeaning")))
            event.nuclides.update(dict.fromkeys(n for n in names if n))
    if not event.nuclides:
        event.nuclides.update(dict.fromkeys(nuclides_of_text(event.agent)))
    return event


def _same(before: str, now: str, what: str, uid: str) -> None:
    """Raises Inconsistent where one administration states one thing twice, with different values."""
    if before and now and before != now:
        raise Inconsistent(
            f"the report states two {what} of one administration ({before} and {now})",
            attribute="ContentSequence", uid=uid, remedy="Enter it with `dicomnode administer`",
        )  # fmt: skip


def _take_activity(event: _Event, concept: str, measured: Attributes, uid: str) -> None:
    number = measured.number("NumericValue")
    unit = measured.first("MeasurementUnitsCodeSequence").text("CodeValue")
    if number is None:
        return
    if unit not in _MBQ:
        event.unit_faults.append(unit)
        return
    mbq = number * _MBQ[unit]
    before = event.activity.get(concept)
    _same("" if before is None else f"{before:.6g} MBq", f"{mbq:.6g} MBq", "values of an activity", uid)
    event.activity[concept] = mbq


def _administration(event: _Event, clock: Clock, uid: str) -> tuple[Administration, tuple[Finding, ...]]:
    if event.unit_faults:
        raise Refused(
            "the administered activity is in an unknown unit", attribute="MeasurementUnitsCodeSequence",
            value=event.unit_faults[0], uid=uid, remedy="Enter it with `dicomnode administer`",
        )  # fmt: skip
    start = instant_of(event.start, clock, uid)
    findings = list(start.findings)
    activity = _net_activity(event, findings, uid)
    if start.at is None or activity is None or len(event.nuclides) != 1:
        lacking = [
            name
            for name, there in (
                ("start", start.at),
                ("activity", activity),
                ("nuclide", len(event.nuclides) == 1),
            )
            if not there
        ]
        raise MissingAttribute(
            f"the report does not state one {' and '.join(lacking)} of the administration",
            attribute="ContentSequence", uid=uid, remedy="Enter it with `dicomnode administer`",
        )  # fmt: skip
    return Administration(
        next(iter(event.nuclides)),
        activity,
        start.at,
        event.agent,
        max(0.0, event.activity.get(MEASURED_AFTER, 0.0)),
        source=uid,
    ), tuple(findings)


def _net_activity(event: _Event, findings: list[Finding], uid: str) -> float | None:
    """Net administered activity, MBq."""
    activity = event.activity.get(ACTIVITY)
    if activity is None and MEASURED_BEFORE in event.activity:
        activity = event.activity[MEASURED_BEFORE] - event.activity.get(MEASURED_AFTER, 0.0)
        sentence = (
            "the report gives the activity measured before and after, not the administered activity; their "
            "difference is used without correction for decay between the two measurements"
        )
        findings.append(
            Finding("activity-from-syringe", Severity.WARNING, sentence, activity, None, "MBq", uid)
        )
    if activity is None or activity <= 0:
        return None
    low, high = PLAUSIBLE_MBQ
    if not low <= activity <= high:
        sentence = (
            f"the reported activity, {activity:g} MBq, is implausible: confirm with `dicomnode administer`"
        )
        findings.append(
            Finding("administered-activity-unit", Severity.HOLD, sentence, activity, high, "MBq", uid)
        )
    return activity


def _concept(item: Attributes) -> str:
    return item.first("ConceptNameCodeSequence").text("CodeValue")
