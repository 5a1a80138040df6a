"""UUIDs of cycles and revisions: derived from what they are, so that doing a thing twice makes it once."""

from __future__ import annotations

from uuid import UUID, uuid4, uuid5

REVISION = UUID("6f1f4d1e-7f3b-5c39-9d2b-0b8f6f1a8a11")
"""Name space of revisions; never change it."""


def new_cycle_id() -> str:
    """A cycle is known by its row, not by its content, which may be corrected."""
    return str(uuid4())


def revision_id(cycle_id: str, number: int, inputs_digest: str) -> str:
    """The same revision of the same inputs has the same identity, also after a crash."""
    return str(uuid5(REVISION, f"{cycle_id}/{number}/{inputs_digest}"))
