"""The life of a cycle as a table. Pure: it says what to do, the node does it.

COLLECTING -> READY -> COMPUTING -> CHECKED -> RELEASED -> DELIVERED, and HELD from anywhere. A cycle that
lost its images to another one is HELD, and CLOSED when a person has seen to what had left of it.
A revision that has been overtaken is SUPERSEDED; that is a state of revisions, not of cycles.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a cycle stands."""

    COLLECTING = "COLLECTING"
    READY = "READY"
    COMPUTING = "COMPUTING"
    CHECKED = "CHECKED"
    RELEASED = "RELEASED"
    DELIVERED = "DELIVERED"
    HELD = "HELD"
    CLOSED = "CLOSED"


class Happening(StrEnum):
    """What may happen to a cycle."""

    DATA_CHANGED = "DATA_CHANGED"
    """Instances, structures or an administration came that the last revision has not seen."""
    COMPLETE = "COMPLETE"
    DOUBT = "DOUBT"
    """A rule holds it before or after the computation, or a conflicting object came before it left."""
    STARTED = "STARTED"
    PASSED = "PASSED"
    """Computed, and every rule lets it go."""
    FAILED = "FAILED"
    """The computation could not be done, or its worker died twice."""
    INTERRUPTED = "INTERRUPTED"
    """The node stopped during the computation; it is done again."""
    QUEUED = "QUEUED"
    """Every delivery is in the outbox."""
    ALL_DELIVERED = "ALL_DELIVERED"
    PERSON_HOLDS = "PERSON_HOLDS"


class Instruction(StrEnum):
    """What the node is to do, in the transaction that records the change."""

    COMPUTE = "COMPUTE"
    QUEUE_DELIVERIES = "QUEUE_DELIVERIES"
    WITHDRAW_DELIVERIES = "WITHDRAW_DELIVERIES"
    """Objects not yet sent stay here: of whatever revision, they are in doubt or out of date."""
    ALERT = "ALERT"


S, H, Do = State, Happening, Instruction

TABLE: dict[tuple[State, Happening], tuple[State, tuple[Instruction, ...]]] = {
    (S.COLLECTING, H.DATA_CHANGED): (S.COLLECTING, ()),
    (S.COLLECTING, H.COMPLETE): (S.READY, (Do.COMPUTE,)),
    (S.COLLECTING, H.DOUBT): (S.HELD, (Do.ALERT,)),
    (S.COLLECTING, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.READY, H.STARTED): (S.COMPUTING, ()),
    (S.READY, H.DATA_CHANGED): (S.COLLECTING, ()),
    (S.READY, H.DOUBT): (S.HELD, (Do.ALERT,)),
    (S.READY, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.COMPUTING, H.PASSED): (S.CHECKED, ()),
    (S.COMPUTING, H.DOUBT): (S.HELD, (Do.ALERT,)),
    (S.COMPUTING, H.FAILED): (S.HELD, (Do.ALERT,)),
    (S.COMPUTING, H.INTERRUPTED): (S.READY, (Do.COMPUTE,)),
    (S.COMPUTING, H.DATA_CHANGED): (S.COLLECTING, ()),
    (S.COMPUTING, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.CHECKED, H.QUEUED): (S.RELEASED, (Do.QUEUE_DELIVERIES,)),
    (S.CHECKED, H.DATA_CHANGED): (S.COLLECTING, ()),
    (S.CHECKED, H.DOUBT): (S.HELD, (Do.ALERT,)),
    (S.CHECKED, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.RELEASED, H.ALL_DELIVERED): (S.DELIVERED, ()),
    (S.RELEASED, H.DATA_CHANGED): (S.COLLECTING, (Do.WITHDRAW_DELIVERIES,)),
    (S.RELEASED, H.DOUBT): (S.HELD, (Do.WITHDRAW_DELIVERIES, Do.ALERT)),
    (S.RELEASED, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.DELIVERED, H.DATA_CHANGED): (S.COLLECTING, (Do.WITHDRAW_DELIVERIES,)),
    (S.DELIVERED, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.HELD, H.DATA_CHANGED): (S.COLLECTING, ()),
    (S.HELD, H.DOUBT): (S.HELD, ()),
    (S.HELD, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    (S.CLOSED, H.DATA_CHANGED): (S.COLLECTING, ()),
    (S.CLOSED, H.PERSON_HOLDS): (S.HELD, (Do.WITHDRAW_DELIVERIES,)),
    # What a release of a held cycle means depends on what it has: see released().
}


class NoSuchStep(ValueError):
    """The table has no such step; ``str()`` is a sentence for a person."""


def advance(state: State, happening: Happening) -> tuple[State, tuple[Instruction, ...]]:
    """The next state and what to do. Raises NoSuchStep where the table has no such step."""
    try:
        return TABLE[(state, happening)]
    except KeyError:
        raise NoSuchStep(f"a cycle that is {state} cannot take {happening}") from None


def released(*, left_before: bool, has_images: bool) -> tuple[State, tuple[Instruction, ...]]:
    """A person releases a cycle. What had been released before and was stopped leaves as it is; anything
    else is computed (again), so that report and record say what the person accepted. Without images there is
    nothing to compute: it is over."""
    if not has_images:
        return State.CLOSED, ()
    if left_before:
        return State.RELEASED, (Instruction.QUEUE_DELIVERIES,)
    return State.READY, (Instruction.COMPUTE,)
