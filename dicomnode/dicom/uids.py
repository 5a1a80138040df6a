"""Unique identifiers that a repeated calculation finds again.

A result that is made twice from the same revision must be the same object: PACS keep the *old* content
silently where a UID comes back with other bytes, or delete it. So a UID is a function of the revision
and of the object's role, and of nothing else; a new revision has new UIDs.
"""

from __future__ import annotations

import re
from uuid import UUID, uuid5

ROOT = UUID("6f1c1c1a-0f0e-5b7e-9a52-6d1f0c6b8b11")
"""Name space of this software's UIDs: fixed for ever, drawn once at random."""

_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*")


def is_uid(text: str) -> bool:
    """True where ``text`` is a UID by PS3.5 section 9.1: digits and dots, no leading zeros, at most 64."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def named_uid(*names: str) -> str:
    """The UID of whatever ``names`` identify: ``2.25.`` and a UUIDv5 as an integer (PS3.5 B.2)."""
    return f"2.25.{uuid5(ROOT, chr(31).join(names)).int}"


def revision_uid(revision_id: str, role: str) -> str:
    """UID of the object or series that plays ``role`` in a revision.

    Objects that differ in any byte need roles of their own: ``"rtdose"`` and ``"rtdose-16"`` for a
    peer that reads 16 bits only, ``"rtdose-series"`` for the series that both stand in.
    """
    return named_uid("revision", revision_id, role)


IMPLEMENTATION_CLASS_UID = named_uid("implementation")
"""(0002,0012) of every file written here."""
