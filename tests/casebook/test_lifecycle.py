"""The table of a cycle's life."""

from __future__ import annotations

import pytest

from dicomnode.casebook.lifecycle import (
    TABLE,
    Happening,
    Instruction,
    NoSuchStep,
    State,
    advance,
    released,
)


def test_the_straight_way() -> None:
    state = State.COLLECTING
    done = []
    for happening in ("COMPLETE", "STARTED", "PASSED", "QUEUED", "ALL_DELIVERED"):
        state, instructions = advance(state, Happening(happening))
        done += instructions
    assert state is State.DELIVERED
    assert done == [Instruction.COMPUTE, Instruction.QUEUE_DELIVERIES]


def test_new_data_always_lead_back_to_collecting() -> None:
    for state in State:
        assert advance(state, Happening.DATA_CHANGED)[0] is State.COLLECTING


def test_a_person_can_hold_at_any_time() -> None:
    for state in State:
        assert advance(state, Happening.PERSON_HOLDS)[0] is State.HELD


def test_a_held_cycle_leaves_only_by_a_person_or_by_new_data() -> None:
    leaving = {h for (s, h), (to, _) in TABLE.items() if s is State.HELD and to is not State.HELD}
    assert leaving == {Happening.DATA_CHANGED}
    assert released(left_before=True, has_images=True) == (State.RELEASED, (Instruction.QUEUE_DELIVERIES,))
    assert released(left_before=False, has_images=True) == (State.READY, (Instruction.COMPUTE,))
    assert released(left_before=True, has_images=False) == (State.CLOSED, ())


def test_nothing_is_queued_that_has_not_been_computed() -> None:
    queueing = {s for (s, _), (_, do) in TABLE.items() if Instruction.QUEUE_DELIVERIES in do}
    assert queueing == {State.CHECKED}


def test_a_step_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(NoSuchStep, match="DELIVERED cannot take PASSED"):
        advance(State.DELIVERED, Happening.PASSED)
