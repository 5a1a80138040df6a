"""Findings as a person reads them: what holds first, each sentence once, with all it is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import floor, log10
from typing import Any

ORDER = {"hold": 0, "warning": 1, "note": 2}
ACCEPTED = " (accepted by a person)"


@dataclass(frozen=True)
class Group:
    """One sentence, and the time points, regions or series that it is said of."""

    severity: str
    rule: str
    sentence: str
    accepted: bool
    subjects: tuple[str, ...]
    measured: str
    limit: str


def grouped(
    rows: Iterable[Mapping[str, Any]], accepted: Iterable[tuple[str, str]], labels: Mapping[str, str]
) -> tuple[Group, ...]:
    """HOLD, WARNING, NOTE; ``labels``: Series Instance UID -> the time point's label."""
    taken = set(accepted)
    found: dict[tuple[str, str, str, bool, str, str], list[str]] = {}
    for row in rows:
        measured, limit = compared(row["measured"], row["limit"], row["unit"])
        was = (row["rule"], row["subject"]) in taken
        sentence = row["sentence"].removesuffix(ACCEPTED)
        key = (row["severity"], row["rule"], sentence, was, measured, limit)
        subject = labels.get(row["subject"], row["subject"])
        found.setdefault(key, []).append(subject)
    groups = [
        Group(severity, rule, sentence, was, tuple(dict.fromkeys(s for s in subjects if s)), measured, limit)
        for (severity, rule, sentence, was, measured, limit), subjects in found.items()
    ]
    return tuple(sorted(groups, key=lambda g: (ORDER[g.severity], g.rule)))


def sentence_of(rows: Iterable[Mapping[str, Any]], rule: str) -> str:
    """What a rule says; empty where it says nothing."""
    return next((row["sentence"] for row in rows if row["rule"] == rule), "")


def compared(measured: float | None, limit: float | None, unit: str) -> tuple[str, str]:
    """Both numbers to the digit where they differ, three at least."""
    if measured is None:
        return "", ""
    digits = 3
    if limit is not None and measured != limit:
        greatest = max(abs(measured), abs(limit))
        digits = max(3, min(9, 2 + floor(log10(greatest)) - floor(log10(abs(measured - limit)))))
    said = [f"{n:.{digits}g} {unit}".strip() if n is not None else "" for n in (measured, limit)]
    return said[0], said[1]
