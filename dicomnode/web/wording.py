"""Filters of the templates: times in the site's zone, names, numbers, states."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dicomnode.model.text import printable
from dicomnode.results.wording import iso_date, readable_name, significant

SIGNS = {
    "HELD": "◆", "COLLECTING": "○", "READY": "◔", "COMPUTING": "◑", "CHECKED": "◕", "RELEASED": "●",
    "DELIVERED": "✔", "CLOSED": "■",
}  # fmt: skip
"""A shape beside the word, for readers who do not tell the colours."""


def told_by(source: str) -> str:
    """Where an administration was learned, in words."""
    kind, _, who = source.partition(":")
    known = {"person": who, "header": "the images", "config": "the configuration"}
    return known.get(kind, "a report")


def filters(zone: str) -> dict[str, Callable[[Any], str]]:
    """By name, for the templates."""
    at_site = ZoneInfo(zone)

    def when(moment: datetime | None) -> str:
        return f"{moment.astimezone(at_site):%Y-%m-%d %H:%M}" if moment is not None else "–"

    return {
        "when": when,
        "person_name": lambda raw: printable(readable_name(raw)),
        "date": iso_date,
        "number": lambda value: significant(float(value)) if value is not None else "–",
        "told_by": told_by,
        "sign": lambda state: SIGNS.get(state, "○"),
        "short": lambda identifier: str(identifier)[:8],
    }
