"""One fact of an input, every place that may state it, and what its statements add up to.

A :class:`Fact` is declared once, beside the code that reads it, with its places from the best to the least
trusted. What was read goes to :meth:`Fact.settle`: statements that agree are one value, whose origin names
the place; statements that differ give a finding that holds (or a refusal where nothing can be used), with
both values and both places. No reader chooses among statements in any other way. docs/facts.md lists all
facts, made from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from dicomnode.errors import Inconsistent
from dicomnode.model.findings import Finding, Severity

T = TypeVar("T")

LONGEST_SCAN = timedelta(hours=12)
"""No scan of a patient lasts longer; what lies further apart is not one scan, or one clock is wrong."""


@dataclass(frozen=True)
class Statement(Generic[T]):
    """A value (None: not stated) and the place that states it, one of its fact's ``places``."""

    place: str
    value: T | None


@dataclass(frozen=True)
class Settled(Generic[T]):
    """The value that counts, the place it came from, and a finding where statements differ."""

    value: T | None = None
    origin: str = ""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Fact(Generic[T]):
    """One fact of an input.

    Attributes
    ----------
    name : what it is, as a sentence begins with it ("the start of the acquisition")
    differ : how that sentence goes on where statements differ
    rule : identifier of the finding where its statements differ
    places : where it may be stated, the best first; attributes by keyword and tag
    agree : True for two values that are one; the statement of the better place comes first
    tolerance : the same in words
    absent : in words, what follows where nothing states it
    remedy : what a person should do where statements differ
    show : a value as the sentence writes it; None: without values, which name a patient
    then : which of them counts until a person has decided
    refused : True where differing statements make the object useless
    standard : paragraph that defines it
    """

    name: str
    rule: str
    places: tuple[str, ...]
    agree: Callable[[T, T], bool]
    tolerance: str
    absent: str
    remedy: str
    differ: str = "is stated twice, differently"
    show: Callable[[T], str] | None = str
    then: str = "the former is used"
    refused: bool = False
    standard: str = ""

    def settle(self, statements: Iterable[Statement[T]], subject: str) -> Settled[T]:
        """The value of the best place that states one, and whether the others agree with it.

        Raises
        ------
        Inconsistent : they differ, and the fact is one of those that are ``refused`` then
        """
        stated = [s for s in statements if s.value is not None]
        stated.sort(key=lambda s: self.places.index(s.place))
        if not stated:
            return Settled()
        best = stated[0]
        others = [s for s in stated[1:] if not self._same(best, s)]
        if not others:
            return Settled(best.value, best.place)
        sentence = self._sentence([best, others[0]])
        if self.refused:
            raise Inconsistent(sentence, attribute=best.place, uid=subject, remedy=self.remedy)
        advice = f"{sentence}; {self.then}: {self.remedy}"
        finding = Finding(self.rule, Severity.HOLD, advice, subject=subject, source=self.standard)
        return Settled(best.value, best.place, (finding,))

    def _same(self, best: Statement[T], other: Statement[T]) -> bool:
        assert best.value is not None
        assert other.value is not None
        return self.agree(best.value, other.value)

    def _sentence(self, two: Sequence[Statement[T]]) -> str:
        if self.show is None:
            return f"{self.name} {self.differ}: {' and '.join(s.place for s in two)}"
        texts = [f"{self.show(s.value)} by {s.place}" for s in two if s.value is not None]
        return f"{self.name} {self.differ}: {' and '.join(texts)}"


def within(absolute: float = 0.0, relative: float = 0.0) -> Callable[[float, float], bool]:
    """Two numbers agree where they differ by at most this much, or by this share of the larger one."""
    return lambda a, b: abs(a - b) <= max(absolute, relative * max(abs(a), abs(b)))


def instants_within(apart: timedelta) -> Callable[[datetime, datetime], bool]:
    """Two instants agree where they lie at most ``apart``."""
    return lambda a, b: abs(a - b) <= apart


def show_number(value: float) -> str:
    """A number with as many digits as two that differ need."""
    return f"{value:.7g}"


def show_instant(value: datetime) -> str:
    """An instant by its own clock."""
    return f"{value:%Y-%m-%d %H:%M:%S}"


def once(findings: Iterable[Finding], subject: str = "") -> tuple[Finding, ...]:
    """Findings that many objects of one series repeat, each rule once for each subject, with the count.

    ``subject``: what they are about instead of the single object, so that one decision settles them all.
    """
    first: dict[tuple[str, str], Finding] = {}
    count: dict[tuple[str, str], int] = {}
    for found in findings:
        about = replace(found, subject=subject or found.subject)
        key = (about.rule, about.subject)
        first.setdefault(key, about)
        count[key] = count.get(key, 0) + 1
    return tuple(
        replace(f, sentence=f"{f.sentence} (so {count[key]} objects say)") if count[key] > 1 else f
        for key, f in first.items()
    )


def at_time_point(findings: Iterable[Finding], label: str) -> tuple[Finding, ...]:
    """Findings whose sentences begin with the time point (``T2``) that they are about."""
    return tuple(
        f if f.sentence.startswith(label) else replace(f, sentence=f"{label}: {f.sentence}") for f in findings
    )


def one_scan(instants: Sequence[datetime], subject: str) -> tuple[Finding, ...]:
    """Hold where the instants of one series do not make one scan."""
    if not instants or max(instants) - min(instants) <= LONGEST_SCAN:
        return ()
    hours = (max(instants) - min(instants)) / timedelta(hours=1)
    sentence = (
        f"the objects of one series were acquired from {show_instant(min(instants))} to "
        f"{show_instant(max(instants))}, {hours:.1f} h apart: times that pass midnight under one date, or "
        f"two scans; have the sender correct AcquisitionDate and send the series again under a new UID, and "
        f"leave this one out with `dicomnode leave-out`"
    )
    limit = LONGEST_SCAN / timedelta(hours=1)
    return (Finding("scan-of-many-hours", Severity.HOLD, sentence, hours, limit, "h", subject),)
