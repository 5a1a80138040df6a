"""One answer of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """OK; WARN: it works, and somebody should look; FAIL: a part of the node does not work or is unsafe."""

    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """What was looked at (a key of the configuration where there is one), how it is, and the remedy."""

    name: str
    verdict: Verdict
    sentence: str


def ok(name: str, sentence: str) -> Check:
    """All is well."""
    return Check(name, Verdict.OK, sentence)


def warn(name: str, sentence: str) -> Check:
    """It works, and somebody should look."""
    return Check(name, Verdict.WARN, sentence)


def fail(name: str, sentence: str) -> Check:
    """A part of the node does not work, or is unsafe."""
    return Check(name, Verdict.FAIL, sentence)
