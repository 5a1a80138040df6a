"""When an image was acquired: what states the instant, and what must lie before or after it."""

from __future__ import annotations

from datetime import datetime, timedelta

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.times import Clock, Instant, instant, instant_of
from dicomnode.model import Finding, Severity
from dicomnode.model.statements import LONGEST_SCAN, Fact, Statement, instants_within, show_instant

BEDS_APART = timedelta(minutes=30)
"""AcquisitionDateTime may be that of the first bed, AcquisitionTime that of the slice's own bed."""

_DATE_TIME = "AcquisitionDateTime (0008,002A)"
_DATE_AND_TIME = "AcquisitionDate and AcquisitionTime (0008,0022 and 0032)"
_FRAMES = "FrameAcquisitionDateTime (0018,9074) of the first frame"
_ACQUIRED = "the acquisition's own date and time"
_SERIES = "SeriesDate and SeriesTime (0008,0021 and 0031)"
_CONTENT = "ContentDate and ContentTime (0008,0023 and 0033)"
_STUDY = "StudyDate and StudyTime (0008,0020 and 0030)"

_REMEDY = (
    "release the cycle only where that is right, and the hours after the administration with it; else have "
    "the sender correct the dates and send the series again under a new UID, and leave this one out with "
    "`dicomnode leave-out`"
)

ACQUISITION_START = Fact(
    name="the start of the acquisition",
    rule="acquisition-times-differ",
    places=(_DATE_TIME, _DATE_AND_TIME, _FRAMES),
    agree=instants_within(BEDS_APART),
    tolerance="30 min: the one may be of the first bed, the other of the slice's own",
    absent="SeriesDate and SeriesTime stand in, with a warning; without these the series is refused",
    remedy=_REMEDY,
    show=show_instant,
    standard="PS3.3 C.7.6.1",
)


def _not_much_later(acquired: datetime, made: datetime) -> bool:
    return acquired - made <= LONGEST_SCAN


def _not_much_earlier(acquired: datetime, begun: datetime) -> bool:
    return begun - acquired <= LONGEST_SCAN


ACQUIRED_BEFORE_SERIES_ENDED = Fact(
    name="the acquisition",
    differ="begins more than 12 h after its series",
    rule="acquisition-after-series",
    places=(_ACQUIRED, _SERIES),
    agree=_not_much_later,
    tolerance="12 h later; any time earlier, since a series is also made again days after",
    absent="not compared",
    remedy=_REMEDY,
    show=show_instant,
    standard="PS3.3 C.7.3.1",
)
ACQUIRED_BEFORE_CONTENT = Fact(
    name="the acquisition",
    differ="begins more than 12 h after its pixels were made",
    rule="acquisition-after-content",
    places=(_ACQUIRED, _CONTENT),
    agree=_not_much_later,
    tolerance="12 h later; any time earlier",
    absent="not compared",
    remedy=_REMEDY,
    show=show_instant,
    standard="PS3.3 C.7.6.1",
)
ACQUIRED_AFTER_STUDY_BEGAN = Fact(
    name="the acquisition",
    differ="begins more than 12 h before its study",
    rule="acquisition-before-study",
    places=(_ACQUIRED, _STUDY),
    agree=_not_much_earlier,
    tolerance="12 h earlier; any time later, since a study may hold the scans of a week",
    absent="not compared",
    remedy=_REMEDY,
    show=show_instant,
    standard="PS3.3 C.7.2.1",
)
_BOUNDS = (
    (ACQUIRED_BEFORE_SERIES_ENDED, _SERIES, "Series"),
    (ACQUIRED_BEFORE_CONTENT, _CONTENT, "Content"),
    (ACQUIRED_AFTER_STUDY_BEGAN, _STUDY, "Study"),
)


def acquired_at(obj: Attributes, clock: Clock) -> Instant:
    """Start of the acquisition by ``ACQUISITION_START``, and whether series, content and study allow it.

    SeriesDate and SeriesTime stand in with a finding; processing may have written them.
    """
    uid, series = obj.uid, obj.text("SeriesInstanceUID")
    read = {
        _DATE_TIME: instant_of(obj.text("AcquisitionDateTime"), clock, uid),
        _DATE_AND_TIME: _of_kind(obj, "Acquisition", clock, uid),
        _FRAMES: _first_frame(obj, clock),
    }
    settled = ACQUISITION_START.settle((Statement(p, i.at) for p, i in read.items()), series)
    if settled.value is None:
        return _of_series(obj, clock)
    bounds = tuple(f for bound in _BOUNDS for f in _about_bound(obj, settled.value, clock, *bound))
    return Instant(settled.value, read[settled.origin].findings + settled.findings + bounds)


def _of_kind(obj: Attributes, kind: str, clock: Clock, uid: str = "") -> Instant:
    return instant(obj.text(f"{kind}Date"), obj.text(f"{kind}Time"), clock, uid)


def _about_bound(
    obj: Attributes, acquired: datetime, clock: Clock, fact: Fact[datetime], place: str, kind: str
) -> tuple[Finding, ...]:
    stated = [Statement(_ACQUIRED, acquired), Statement(place, _of_kind(obj, kind, clock).at)]
    return fact.settle(stated, obj.text("SeriesInstanceUID")).findings


def _of_series(obj: Attributes, clock: Clock) -> Instant:
    series = _of_kind(obj, "Series", clock, obj.uid)
    if series.at is None:
        return series
    sentence = (
        "the object states no acquisition date and time; SeriesDate and SeriesTime are used, which "
        "processing may have rewritten: check the time of the acquisition"
    )
    finding = Finding("acquisition-time-from-series", Severity.WARNING, sentence, subject=obj.uid)
    return Instant(series.at, (*series.findings, finding))


def _first_frame(obj: Attributes, clock: Clock) -> Instant:
    """The earliest FrameAcquisitionDateTime of an enhanced object."""
    frames = obj.items("PerFrameFunctionalGroupsSequence")
    texts = {f.first("FrameContentSequence").text("FrameAcquisitionDateTime") for f in frames}
    read = (instant_of(text, clock, obj.uid) for text in texts)
    instants = [(i.at.timestamp(), i) for i in read if i.at is not None]
    return min(instants, key=lambda pair: pair[0])[1] if instants else Instant(None)
