"""What was checked, and what the checks add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding asks for."""

    NOTE = "note"
    """Recorded and shown."""
    WARNING = "warning"
    """Shown prominently in the report; the result may leave."""
    HOLD = "hold"
    """The cycle waits for a person."""


@dataclass(frozen=True)
class Finding:
    """One checked statement.

    Attributes
    ----------
    rule : the rule's identifier, e.g. "activity-above-administered"
    severity : Severity
    sentence : what was found and what a person should do, in one sentence, without patient identity
    measured, limit, unit : the numbers compared, where the rule compares numbers
    subject : UID, region or time point the finding is about
    source : where the limit comes from
    """

    rule: str
    severity: Severity
    sentence: str
    measured: float | None = None
    limit: float | None = None
    unit: str = ""
    subject: str = ""
    source: str = ""


def apart(measured: float, limit: float, digits: int = 3) -> tuple[str, str]:
    """Two different numbers with as many significant digits as tell them apart, at least ``digits``."""
    for n in range(digits, 18):
        texts = f"{measured:.{n}g}", f"{limit:.{n}g}"
        if texts[0] != texts[1] or measured == limit:
            break
    return texts


def each_once(findings: Iterable[Finding]) -> list[tuple[Finding, int]]:
    """Findings that say the same are one line; with how many there are of each."""
    lines: dict[tuple[Severity, str], tuple[Finding, int]] = {}
    for f in findings:
        first, count = lines.get((f.severity, f.sentence), (f, 0))
        lines[f.severity, f.sentence] = (first, count + 1)
    return list(lines.values())


def line_of(sentence: str, count: int) -> str:
    """A sentence, and how often it was found where that was more than once."""
    return f"{sentence} ({count} times)" if count > 1 else sentence


@dataclass(frozen=True)
class Verdict:
    """All findings of a cycle; releases only where none of them holds."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Verdict:
        return cls(tuple(findings))

    @property
    def release(self) -> bool:
        return not self.holds

    @property
    def words(self) -> str:
        """What the checks add up to, as report and SR say it. Nothing that warns is "passed" alone."""
        if not self.release:
            return "HELD"
        warns = any(f.severity is Severity.WARNING for f in self.findings)
        return "PASSED WITH WARNINGS" if warns else "CHECKS PASSED"

    @property
    def holds(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.HOLD)
