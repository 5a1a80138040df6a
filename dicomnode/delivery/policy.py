"""What an answer means and what happens next. Pure: no clock, no network, no randomness of its own.

The table follows PS3.4 Table B.2-1 and PS3.7 Annex C, with what vendors really send (dcm4chee's
A770 to A77B, pynetdicom's C211 for any fault of its handler).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from dicomnode.delivery.settings import PeerSettings


class Outcome(StrEnum):
    """What became of one object at one try."""

    DELIVERED = "delivered"
    DELIVERED_WITH_WARNING = "delivered-with-warning"
    TRANSIENT = "transient"
    PERMANENT = "permanent"
    CONFIGURATION = "configuration"
    """A person has to change a setting here or at the peer."""
    UNKNOWN = "unknown"
    """No answer: it may or may not be there. The same UID is sent again, never a new one."""
    WAITING = "waiting"
    """Not offered: the object it refers to was not taken."""


class Retry(StrEnum):
    """How it is tried again."""

    NONE = "none"
    GROWING = "growing"
    LIMITED = "limited"
    SLOW = "slow"
    HOURLY = "hourly"


@dataclass(frozen=True)
class Answer:
    """The class of an answer, how to go on, and a sentence for a person."""

    outcome: Outcome
    retry: Retry
    alert: bool
    sentence: str

    @property
    def stored(self) -> bool:
        return self.outcome in (Outcome.DELIVERED, Outcome.DELIVERED_WITH_WARNING)


def _ok_but(sentence: str, *, alert: bool) -> Answer:
    return Answer(Outcome.DELIVERED_WITH_WARNING, Retry.NONE, alert, sentence)


def _configuration(sentence: str) -> Answer:
    return Answer(Outcome.CONFIGURATION, Retry.NONE, True, sentence)


def _permanent(sentence: str) -> Answer:
    return Answer(Outcome.PERMANENT, Retry.NONE, True, sentence)


def _transient(sentence: str, retry: Retry = Retry.GROWING) -> Answer:
    return Answer(Outcome.TRANSIENT, retry, False, sentence)


# First match counts: (first status, last status, answer).
STATUS_TABLE: tuple[tuple[int, int, Answer], ...] = (
    (0x0000, 0x0000, Answer(Outcome.DELIVERED, Retry.NONE, False, "stored")),
    (0x0001, 0x0001, _ok_but("stored, with a warning that says no more", alert=True)),
    (0x0107, 0x0107, _ok_but("stored, attribute list error", alert=True)),
    (0x0110, 0x0110, _transient("processing failure at the peer", Retry.LIMITED)),
    (
        0x0111,
        0x0111,
        _ok_but("the peer says that it has this SOP Instance UID already: compare it there", alert=True),
    ),
    (0x0116, 0x0116, _ok_but("stored, attribute value out of range", alert=True)),
    (0x0117, 0x0117, _configuration("invalid SOP instance: the peer refuses this kind of UID")),
    (0x0119, 0x0119, _configuration("class-instance conflict at the peer")),
    (0x0122, 0x0122, _configuration("SOP class not supported: enable it at the peer or leave it out")),
    (0x0124, 0x0124, _configuration("not authorised: allow our AE title at the peer")),
    (0x0210, 0x0210, _configuration("duplicate invocation")),
    (0x0211, 0x0211, _configuration("unrecognised operation: the peer does not take C-STORE")),
    (0x0212, 0x0212, _configuration("mistyped argument")),
    (0x0213, 0x0213, _transient("resource limitation at the peer", Retry.LIMITED)),
    (0xA700, 0xA702, _transient("out of resources at the peer")),
    # dcm4chee-arc: patient or study is being deleted just now.
    (0xA77A, 0xA77A, _transient("deletion in progress at the peer")),
    (
        0xA770,
        0xA77B,
        _permanent("refused by the rules of the peer's archive (patient or rejection conflict)"),
    ),
    (0xA703, 0xA7FF, _permanent("refused by a rule of the peer")),
    (0xA900, 0xA9FF, _permanent("data set does not match its SOP class")),
    (0xB000, 0xB000, _ok_but("stored, some elements coerced", alert=False)),
    (0xB006, 0xB006, _ok_but("stored, but elements were discarded: look at the object there", alert=True)),
    (
        0xB007,
        0xB007,
        _ok_but("stored, data set does not match SOP class: look at the object there", alert=True),
    ),
    (0xB000, 0xBFFF, _ok_but("stored, with a warning of the peer's own", alert=True)),
    # Any fault in the handler of a pynetdicom peer, a full disk too, reads C211: one slow series.
    (0xC000, 0xCFFF, Answer(Outcome.PERMANENT, Retry.SLOW, True, "the peer cannot understand the object")),
)

NOT_IN_TABLE = Answer(
    Outcome.PERMANENT, Retry.LIMITED, True, "a status that the standard does not give for C-STORE"
)
NO_ANSWER = Answer(
    Outcome.UNKNOWN, Retry.GROWING, False, "no answer: it may be stored or not, the same object is sent again"
)
WAITING = Answer(Outcome.WAITING, Retry.NONE, False, "waits for the object that it refers to")
STOPPED = Answer(Outcome.WAITING, Retry.NONE, False, "the sender was stopped before its turn")
OBJECT_UNREADABLE = _permanent("the file of this object is missing or damaged in our archive")
NOT_SENDABLE = _permanent("this node cannot send the object: have its log looked at, then send it again")
FILE_AWAY = _transient("the file of this object cannot be read from our archive just now", Retry.LIMITED)
CONTEXT_REFUSED = _configuration(
    "the peer takes this SOP class in no transfer syntax that we offer: enable it there or leave it out"
)


class Fault(StrEnum):
    """Why there was no association."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    REJECTED_TRANSIENT = "rejected-transient"
    REJECTED_PERMANENT = "rejected-permanent"
    ABORTED = "aborted"


FAULT_TABLE: dict[Fault, Answer] = {
    Fault.UNREACHABLE: _transient("no connection to the peer"),
    Fault.TLS: Answer(
        Outcome.CONFIGURATION,
        Retry.HOURLY,
        True,
        "TLS failed: compare certificates and authorities on both sides",
    ),
    Fault.REJECTED_TRANSIENT: _transient("the peer has no association free"),
    Fault.REJECTED_PERMANENT: Answer(
        Outcome.CONFIGURATION,
        Retry.HOURLY,
        True,
        "the peer rejects the association: compare both AE titles and our address on its list",
    ),
    Fault.ABORTED: _transient("the peer broke off the association"),
}


def classify(status: int | None) -> Answer:
    """Class of a C-STORE status; ``None`` means that no answer came."""
    if status is None:
        return NO_ANSWER
    for first, last, answer in STATUS_TABLE:
        if first <= status <= last:
            return answer
    return NOT_IN_TABLE


def delay(delays_min: tuple[float, ...], tries: int, jitter: float, seed: str) -> timedelta:
    """Waiting after the ``tries``-th failure (1, 2, ...); the last delay repeats.

    The random part, within ``jitter`` of the delay to both sides, follows from ``seed`` alone.
    """
    minutes = delays_min[min(max(tries, 1), len(delays_min)) - 1]
    digest = hashlib.sha256(f"{seed}:{tries}".encode()).digest()
    unit = int.from_bytes(digest[:8], "big") / 2**64
    return timedelta(minutes=minutes * (1 + jitter * (2 * unit - 1)))


def next_try(
    answer: Answer, *, tries: int, queued_at: datetime, now: datetime, peer: PeerSettings, seed: str
) -> datetime | None:
    """When to try again, ``None`` to park.

    Growing and hourly series end with the object's age, but never before as many tries as there are
    delays: an old object that a person sends again gets its series too.
    """
    if answer.retry is Retry.NONE:
        return None
    if answer.retry is Retry.SLOW:
        if tries > len(peer.slow_delays_min):
            return None
        return now + delay(peer.slow_delays_min, tries, peer.retry_jitter, seed)
    if answer.retry is Retry.LIMITED and tries >= peer.limited_tries:
        return None
    too_old = now - queued_at > timedelta(days=peer.max_age_days)
    if too_old and tries >= len(peer.retry_delays_min):
        return None
    delays = (max(peer.retry_delays_min),) if answer.retry is Retry.HOURLY else peer.retry_delays_min
    return now + delay(delays, tries, peer.retry_jitter, seed)


class BreakerState(StrEnum):
    """Closed: send. Open: leave the peer alone. Half open: one object as a trial."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class Breaker:
    """Circuit breaker of one peer; every step returns a new one."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    open_until: datetime | None = None

    def at(self, now: datetime) -> Breaker:
        """The breaker at ``now``: an open one whose time is over is half open."""
        if self.state is BreakerState.OPEN and self.open_until is not None and now >= self.open_until:
            return replace(self, state=BreakerState.HALF_OPEN)
        return self

    def succeeded(self) -> Breaker:
        return Breaker()

    def failed(self, now: datetime, peer: PeerSettings) -> Breaker:
        failures = self.failures + 1
        if failures < peer.breaker_failures and self.state is BreakerState.CLOSED:
            return Breaker(BreakerState.CLOSED, failures)
        pause = delay(peer.retry_delays_min, failures, peer.retry_jitter, f"breaker:{peer.name}")
        return Breaker(BreakerState.OPEN, failures, now + pause)
