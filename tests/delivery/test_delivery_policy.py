"""The table of statuses, range boundary by range boundary (PS3.4 B.2, PS3.7 C)."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.delivery.policy import (
    FAULT_TABLE,
    NO_ANSWER,
    Breaker,
    BreakerState,
    Fault,
    Outcome,
    Retry,
    classify,
    delay,
    next_try,
)
from dicomnode.delivery.settings import PeerSettings

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
PEER = PeerSettings(name="pacs", ae_title="PACS", host="127.0.0.1", retry_jitter=0)
OC, R = Outcome, Retry

TABLE = [
    (0x0000, OC.DELIVERED, R.NONE, False),
    (0x0001, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0x0107, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0x0110, OC.TRANSIENT, R.LIMITED, False),
    (0x0111, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0x0116, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0x0117, OC.CONFIGURATION, R.NONE, True),
    (0x0118, OC.PERMANENT, R.LIMITED, True),
    (0x0119, OC.CONFIGURATION, R.NONE, True),
    (0x0122, OC.CONFIGURATION, R.NONE, True),
    (0x0124, OC.CONFIGURATION, R.NONE, True),
    (0x0210, OC.CONFIGURATION, R.NONE, True),
    (0x0211, OC.CONFIGURATION, R.NONE, True),
    (0x0212, OC.CONFIGURATION, R.NONE, True),
    (0x0213, OC.TRANSIENT, R.LIMITED, False),
    (0x0214, OC.PERMANENT, R.LIMITED, True),
    (0xA6FF, OC.PERMANENT, R.LIMITED, True),
    (0xA700, OC.TRANSIENT, R.GROWING, False),
    (0xA702, OC.TRANSIENT, R.GROWING, False),
    (0xA703, OC.PERMANENT, R.NONE, True),
    (0xA76F, OC.PERMANENT, R.NONE, True),
    (0xA770, OC.PERMANENT, R.NONE, True),
    (0xA779, OC.PERMANENT, R.NONE, True),
    (0xA77A, OC.TRANSIENT, R.GROWING, False),
    (0xA77B, OC.PERMANENT, R.NONE, True),
    (0xA77C, OC.PERMANENT, R.NONE, True),
    (0xA7FF, OC.PERMANENT, R.NONE, True),
    (0xA800, OC.PERMANENT, R.LIMITED, True),
    (0xA8FF, OC.PERMANENT, R.LIMITED, True),
    (0xA900, OC.PERMANENT, R.NONE, True),
    (0xA9FF, OC.PERMANENT, R.NONE, True),
    (0xAA00, OC.PERMANENT, R.LIMITED, True),
    (0xAFFF, OC.PERMANENT, R.LIMITED, True),
    (0xB000, OC.DELIVERED_WITH_WARNING, R.NONE, False),
    (0xB001, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0xB006, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0xB007, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0xBFFF, OC.DELIVERED_WITH_WARNING, R.NONE, True),
    (0xC000, OC.PERMANENT, R.SLOW, True),
    (0xC211, OC.PERMANENT, R.SLOW, True),
    (0xCFFF, OC.PERMANENT, R.SLOW, True),
    (0xD000, OC.PERMANENT, R.LIMITED, True),
    (0xFE00, OC.PERMANENT, R.LIMITED, True),
    (0xFF00, OC.PERMANENT, R.LIMITED, True),
    (None, OC.UNKNOWN, R.GROWING, False),
]


@pytest.mark.parametrize(("status", "outcome", "retry", "alert"), TABLE)
def test_each_status_has_its_class(status, outcome, retry, alert):
    answer = classify(status)
    assert (answer.outcome, answer.retry, answer.alert) == (outcome, retry, alert)


@given(st.integers(0, 0xFFFF))
def test_only_success_and_warnings_count_as_stored(status):
    warnings = {0x0001, 0x0107, 0x0111, 0x0116} | set(range(0xB000, 0xC000))
    assert classify(status).stored == (status == 0 or status in warnings)


@given(st.integers(0, 0xFFFF))
def test_what_is_given_up_at_once_always_alerts(status):
    answer = classify(status)
    if not answer.stored and answer.retry is Retry.NONE:
        assert answer.alert


@pytest.mark.parametrize(
    ("fault", "outcome", "retry", "alert"),
    [
        (Fault.UNREACHABLE, OC.TRANSIENT, R.GROWING, False),
        (Fault.TLS, OC.CONFIGURATION, R.HOURLY, True),
        (Fault.REJECTED_TRANSIENT, OC.TRANSIENT, R.GROWING, False),
        (Fault.REJECTED_PERMANENT, OC.CONFIGURATION, R.HOURLY, True),
        (Fault.ABORTED, OC.TRANSIENT, R.GROWING, False),
    ],
)
def test_each_association_fault_has_its_class(fault, outcome, retry, alert):
    answer = FAULT_TABLE[fault]
    assert (answer.outcome, answer.retry, answer.alert) == (outcome, retry, alert)


def minutes_to_next(status, tries, queued_at=NOW, answer=None):
    answer = answer or classify(status)
    at = next_try(answer, tries=tries, queued_at=queued_at, now=NOW, peer=PEER, seed="s")
    return None if at is None else (at - NOW).total_seconds() / 60


def test_transient_delays_grow_1_5_15_60_and_stay_at_60():
    assert [minutes_to_next(0xA700, n) for n in (1, 2, 3, 4, 5, 50)] == [1, 5, 15, 60, 60, 60]


def test_processing_failure_is_parked_after_five_tries():
    assert [minutes_to_next(0x0110, n) for n in (1, 2, 3, 4, 5)] == [1, 5, 15, 60, None]


def test_cannot_understand_gets_one_slow_series():
    assert [minutes_to_next(0xC211, n) for n in (1, 2, 3, 4)] == [15, 60, 240, None]


def test_a_permanent_rejection_is_tried_again_slowly():
    answer = FAULT_TABLE[Fault.REJECTED_PERMANENT]
    assert [minutes_to_next(None, n, answer=answer) for n in (1, 2, 9)] == [60, 60, 60]


@pytest.mark.parametrize("status", [0xA900, 0xA777, 0x0122, 0x0124])
def test_a_permanent_refusal_is_parked_at_once(status):
    assert minutes_to_next(status, 1) is None


def test_an_object_older_than_a_week_is_parked_but_never_before_its_series():
    old = NOW - timedelta(days=7, seconds=1)
    assert [minutes_to_next(0xA700, n, old) for n in (1, 2, 3, 4)] == [1, 5, 15, None]
    assert minutes_to_next(0xA700, 99, NOW - timedelta(days=6, hours=23)) == 60


@given(st.integers(1, 9), st.text(max_size=20), st.floats(0, 0.9))
def test_jitter_stays_within_its_part_and_follows_from_the_seed(tries, seed, jitter):
    waiting = delay((10.0,), tries, jitter, seed)
    assert 10 * (1 - jitter) - 1e-4 <= waiting.total_seconds() / 60 <= 10 * (1 + jitter) + 1e-4
    assert waiting == delay((10.0,), tries, jitter, seed)


def test_two_objects_do_not_come_back_in_step():
    assert delay((10.0,), 1, 0.2, "a") != delay((10.0,), 1, 0.2, "b")


def test_the_breaker_opens_at_the_third_failure_and_lets_a_trial_through():
    breaker = Breaker().failed(NOW, PEER).failed(NOW, PEER)
    assert breaker.state is BreakerState.CLOSED
    breaker = breaker.failed(NOW, PEER)
    # The third failure waits for the third delay: 15 minutes.
    assert breaker == Breaker(BreakerState.OPEN, 3, NOW + timedelta(minutes=15))
    assert breaker.at(NOW + timedelta(minutes=14)).state is BreakerState.OPEN
    trial = breaker.at(NOW + timedelta(minutes=15))
    assert trial.state is BreakerState.HALF_OPEN
    assert trial.succeeded() == Breaker()
    again = trial.failed(NOW, PEER)
    assert (again.state, again.failures, again.open_until) == (BreakerState.OPEN, 4, NOW + timedelta(hours=1))


def test_no_answer_means_the_same_object_again():
    assert "same object is sent again" in NO_ANSWER.sentence
