"""Identity of a cycle on record; that of its revisions follows from it (``calculation.planning``)."""

from __future__ import annotations

from uuid import uuid4


def new_cycle_id() -> str:
    """A cycle is known by its row, not by its content, which may be corrected."""
    return str(uuid4())
