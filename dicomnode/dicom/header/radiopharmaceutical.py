"""What an image says of the radiopharmaceutical: nuclide, half-life, administered activity, when.

Units of RadionuclideTotalDose (0018,1074): PET Image, becquerel (PS3.3 C.8.9.2); NM Image, megabecquerel
(C.8.4.10); Enhanced PET, megabecquerel (C.8.22.4). Writers confuse them, so the size is checked too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.radionuclide import nuclides_of_text
from dicomnode.dicom.header.times import Clock, Instant, instant, instant_of, parse_offset, parse_time
from dicomnode.dicom.sop_classes import CLASSIC_PET
from dicomnode.model import Finding, Severity
from dicomnode.model.statements import Fact, Statement
from dicomnode.physics.nuclide_names import nuclide_of_code

# No administration lies outside: 0.1 MBq is below any diagnostic activity, 60 GBq above any therapy.
# The reading in Bq of a plausible MBq value is implausible and the other way round.
PLAUSIBLE_MBQ = (0.1, 60_000.0)


@dataclass(frozen=True)
class Injected:
    """As stated by one image; "" and None where it says nothing usable."""

    nuclide: str = ""
    half_life_s: float | None = None
    radiopharmaceutical: str = ""
    administered_mbq: float | None = None
    administered_at: datetime | None = None
    findings: tuple[Finding, ...] = ()


def clock_of(obj: Attributes, zone: ZoneInfo) -> Clock:
    """The object's own UTC offset (0008,0201) where it states one, else the site's zone."""
    return Clock(zone, parse_offset(obj.text("TimezoneOffsetFromUTC")))


def read_injected(obj: Attributes, clock: Clock) -> Injected:
    """Radiopharmaceutical Information Sequence (0054,0016), first item; several nuclides hold."""
    items = obj.items("RadiopharmaceuticalInformationSequence")
    if not items:
        return Injected()
    item, uid = items[0], obj.uid
    nuclide, about_nuclide = read_nuclide(items, uid)
    activity, about_activity = administered_mbq(
        item.number("RadionuclideTotalDose"), obj.text("SOPClassUID"), uid
    )
    start = administered_at(item, clock, uid)
    return Injected(
        nuclide,
        item.number("RadionuclideHalfLife"),
        item.text("Radiopharmaceutical") or item.first("RadiopharmaceuticalCodeSequence").text("CodeMeaning"),
        activity,
        start.at,
        about_nuclide + about_activity + start.findings,
    )


def read_nuclide(items: tuple[Attributes, ...], uid: str) -> tuple[str, tuple[Finding, ...]]:
    """One nuclide in ICRP 107 style from codes, code meanings and, failing these, the free text.

    Statements that contradict each other, or a second nuclide, give "" and a finding that holds.
    """
    names: dict[str, None] = {}
    for item in items:
        contradictions = _about_item(item, uid)
        if contradictions:
            return "", contradictions
        code = item.first("RadionuclideCodeSequence")
        stated = [nuclide_of_code(code.text("CodeValue"), code.text("CodingSchemeDesignator"))]
        stated += nuclides_of_text(code.text("CodeMeaning"))
        if not any(stated):
            agent = item.first("RadiopharmaceuticalCodeSequence").text("CodeMeaning")
            stated += nuclides_of_text(f"{item.text('Radiopharmaceutical')} ; {agent}")
        names.update(dict.fromkeys(name for name in stated if name))
    if len(names) > 1:
        sentence = (
            f"the object names more than one nuclide ({', '.join(names)}): state the nuclide of this "
            f"administration with `dicomnode administer` or `[[administration]]`"
        )
        return "", (Finding("mixed-nuclides", Severity.HOLD, sentence, subject=uid),)
    return next(iter(names), ""), ()


BY_CODE, BY_MEANING = "the code value of RadionuclideCodeSequence (0054,0300)", "its code meaning"
BY_NAME = "Radiopharmaceutical (0018,0031)"
BY_AGENT = "the meaning of RadiopharmaceuticalCodeSequence (0054,0304)"
NUCLIDE: Fact[frozenset[str]] = Fact(
    name="the nuclide",
    rule="mixed-nuclides",
    places=(BY_CODE, BY_MEANING, BY_NAME, BY_AGENT),
    agree=lambda a, b: bool(a & b),
    tolerance="none; every way to write a nuclide is read as ICRP 107 writes it",
    absent="the administration's counts; half-life and nuclide are compared before the dose",
    remedy="state the nuclide of this administration with `dicomnode administer` or `[[administration]]`",
    then="neither is used",
    show=lambda names: " and ".join(sorted(names)),
    standard="PS3.3 C.8.4.10 and C.8.9.2",
)


def _about_item(item: Attributes, uid: str) -> tuple[Finding, ...]:
    code, agent = item.first("RadionuclideCodeSequence"), item.first("RadiopharmaceuticalCodeSequence")
    by_code = nuclide_of_code(code.text("CodeValue"), code.text("CodingSchemeDesignator"))
    named = {
        BY_CODE: frozenset({by_code} - {""}),
        BY_MEANING: frozenset(nuclides_of_text(code.text("CodeMeaning"))),
        BY_NAME: frozenset(nuclides_of_text(item.text("Radiopharmaceutical"))),
        BY_AGENT: frozenset(nuclides_of_text(agent.text("CodeMeaning"))),
    }
    return NUCLIDE.settle((Statement(p, names or None) for p, names in named.items()), uid).findings


def administered_mbq(
    stated: float | None, sop_class: str, uid: str
) -> tuple[float | None, tuple[Finding, ...]]:
    """RadionuclideTotalDose in MBq by the unit of its SOP class, checked against ``PLAUSIBLE_MBQ``.

    Zero and absent are "not stated". A value that is plausible only in the other unit is read in that
    unit and holds; one that is plausible in neither is not used.
    """
    if not stated:
        return None, ()
    in_bq = sop_class in CLASSIC_PET
    low, high = PLAUSIBLE_MBQ
    as_written, otherwise = (stated / 1e6, stated) if in_bq else (stated, stated / 1e6)
    if low <= as_written <= high:
        return as_written, ()
    unit, other = ("Bq", "MBq") if in_bq else ("MBq", "Bq")
    head = (
        f"RadionuclideTotalDose is {stated:g}, in {unit} by its SOP class: {as_written:g} MBq is implausible"
    )
    if low <= otherwise <= high:
        sentence = f"{head}; read in {other} it is {otherwise:g} MBq: confirm it with `dicomnode administer`"
    else:
        otherwise, sentence = 0.0, f"{head}: state the activity with `dicomnode administer`"
    finding = Finding(
        "administered-activity-unit", Severity.HOLD, sentence, as_written, high, "MBq", uid, "PS3.3 C.8.9.2"
    )
    return otherwise or None, (finding,)


def administered_at(item: Attributes, clock: Clock, uid: str) -> Instant:
    """Start of the administration: RadiopharmaceuticalStartDateTime (0018,1078).

    RadiopharmaceuticalStartTime (0018,1072) has no date. It is only compared, never completed: therapy
    is imaged for days after the administration.
    """
    start = instant_of(item.text("RadiopharmaceuticalStartDateTime"), clock, uid)
    clock_time = item.text("RadiopharmaceuticalStartTime")
    if start.at is None:
        if parse_time(clock_time) is None:
            return start
        sentence = (
            "the administration is stated as a time of day without a date (RadiopharmaceuticalStartTime); it "
            "is not used: give date and time with `dicomnode administer` or `[[administration]]`"
        )
        return Instant(
            None, (Finding("administration-without-date", Severity.WARNING, sentence, subject=uid),)
        )
    again = instant(f"{start.at:%Y%m%d}", clock_time, clock).at
    apart = abs((again - start.at).total_seconds()) if again else 0.0
    if apart <= 60.0:
        return start
    sentence = (
        f"RadiopharmaceuticalStartTime and RadiopharmaceuticalStartDateTime differ by {apart:.0f} s; the "
        f"latter is used: check which is right"
    )
    rule = "administration-times-differ"
    return Instant(
        start.at, (*start.findings, Finding(rule, Severity.WARNING, sentence, apart, 60.0, "s", uid))
    )
