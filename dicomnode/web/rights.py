"""Who may do what. Each route names one right; each role has some."""

from __future__ import annotations

from enum import StrEnum


class Right(StrEnum):
    """What a route lets a person do."""

    NOBODY = "nobody"
    """Open without a log-in: the log-in itself, scripts and styles."""
    SELF = "self"
    """Whoever is logged in: the start page, logging out."""
    LOOK = "look"
    """Cycles, pictures, reports."""
    DECIDE = "decide"
    """Release, hold, tell and take back administrations."""
    SEND = "send"
    """Send again, give up, quarantine."""
    OPERATION = "operation"
    """Peers, queues, disk: read."""
    ECHO = "echo"
    ASK = "ask"
    """The fourteen questions."""
    AUDIT = "audit"
    """Tables as files, stories, verification."""


class Role(StrEnum):
    """What a person is at this node. Who makes users cannot release, and the other way round."""

    VIEWER = "viewer"
    PHYSICIST = "physicist"
    ADMINISTRATOR = "administrator"
    AUDITOR = "auditor"


_R = Right
RIGHTS: dict[Role, frozenset[Right]] = {
    Role.VIEWER: frozenset({_R.SELF, _R.LOOK}),
    Role.PHYSICIST: frozenset({_R.SELF, _R.LOOK, _R.DECIDE, _R.SEND, _R.OPERATION, _R.ASK}),
    Role.ADMINISTRATOR: frozenset({_R.SELF, _R.SEND, _R.OPERATION, _R.ECHO}),
    Role.AUDITOR: frozenset({_R.SELF, _R.LOOK, _R.OPERATION, _R.ASK, _R.AUDIT}),
}
