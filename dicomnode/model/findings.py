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
    def holds(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.HOLD)
