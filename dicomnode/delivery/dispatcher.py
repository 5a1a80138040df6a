"""The sender's loop. One thread per peer, so that a dead archive delays no other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dicomnode.database.items import one_item
from dicomnode.delivery import commitment, query, scu
from dicomnode.delivery.outbox import Decision, Item, OutboxProtocol, OutboxUnavailable, Unconfirmed
from dicomnode.delivery.policy import NOT_SENDABLE, STOPPED, Breaker, BreakerState, Outcome, next_try
from dicomnode.delivery.scu import Answered, By
from dicomnode.delivery.settings import DeliverySettings, PeerSettings
from dicomnode.errors import DeliveryFailed, ItemFault

LOG = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
"""Of a thread whose steps fail."""

Send = Callable[[PeerSettings, Sequence[Item]], Iterator[Answered]]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class PeerRun:
    """What the sender remembers about one peer between two steps."""

    peer: PeerSettings
    breaker: Breaker = field(default_factory=Breaker)


@dataclass(frozen=True)
class StepSummary:
    """One step for one peer."""

    peer: str
    breaker: BreakerState
    claimed: int = 0
    delivered: int = 0
    waiting: int = 0
    parked: int = 0
    asked: int = 0


def decide(answered: Answered, peer: PeerSettings, breaker: Breaker, now: datetime) -> Decision:
    """What the outbox row becomes. Pure.

    Faults of the object are counted by its own tries, faults of the association by the failures of the
    peer in a row.
    """
    answer, item = answered.answer, answered.item
    if answer.outcome is Outcome.DELIVERED:
        return Decision("SENT", answered.status, answered.comment, None, True, answer)
    if answer.outcome is Outcome.DELIVERED_WITH_WARNING:
        alert = answer.sentence if answer.alert else ""
        return Decision("SENT_WITH_WARNING", answered.status, answered.comment, None, True, answer, alert)
    if answer.outcome is Outcome.WAITING:
        return Decision("QUEUED", answered.status, answered.comment, now, False, answer)
    again = next_try(
        answer,
        tries=item.attempt if answered.counted else breaker.failures,
        queued_at=item.queued_at,
        now=now,
        peer=peer,
        seed=f"{item.sop_instance_uid}:{peer.name}",
    )
    alert = answer.sentence if answer.alert or again is None else ""
    return Decision(
        "PARKED" if again is None else "QUEUED",
        answered.status,
        answered.comment,
        again,
        answered.counted,
        answer,
        alert,
    )


def run_once(
    outbox: OutboxProtocol,
    run: PeerRun,
    *,
    clock: Callable[[], datetime] = utc_now,
    limit: int = 50,
    send: Send = scu.send,
    stop: threading.Event | None = None,
) -> StepSummary:
    """One step for one peer: send what is due, then ask for the commitment that is due.

    Where ``stop`` is set or the revision is stopped meanwhile, the object on its way is finished and the
    others are put back.
    Changes ``run.breaker``. Raises OutboxUnavailable where the outbox is away.
    """
    now = clock()
    run.breaker = run.breaker.at(now)
    if run.breaker.state is BreakerState.OPEN:
        return StepSummary(run.peer.name, run.breaker.state)
    # A half-open breaker lets one object through as a trial.
    items = outbox.claim(run.peer.name, now, 1 if run.breaker.state is BreakerState.HALF_OPEN else limit)
    decisions = _send_items(outbox, run, items, clock, send(run.peer, items), stop) if items else []
    asked = 0
    if run.peer.storage_commitment and run.breaker.state is BreakerState.CLOSED:
        asked = _ask_for_commitment(outbox, run, clock)
    return StepSummary(
        run.peer.name,
        run.breaker.state,
        claimed=len(items),
        delivered=sum(d.answer.stored for d in decisions),
        waiting=sum(d.state == "QUEUED" for d in decisions),
        parked=sum(d.state == "PARKED" for d in decisions),
        asked=asked,
    )


def _send_items(
    outbox: OutboxProtocol,
    run: PeerRun,
    items: Sequence[Item],
    clock: Callable[[], datetime],
    answers: Iterator[Answered],
    stop: threading.Event | None,
) -> list[Decision]:
    decisions: list[Decision] = []
    failed_before = False
    for done, answered in enumerate(_each_apart(items, answers), start=1):
        now = clock()
        # One association that fails is one failure of the peer, however many objects it carried.
        if answered.by is By.PEER:
            run.breaker = run.breaker.succeeded()
        elif answered.by in (By.SILENCE, By.ASSOCIATION) and not failed_before:
            run.breaker, failed_before = run.breaker.failed(now, run.peer), True
        decision = decide(answered, run.peer, run.breaker, now)
        if not outbox.record(answered.item, decision, now):
            LOG.warning("%s: lease of delivery %s was lost", run.peer.name, answered.item.delivery_id)
        decisions.append(decision)
        wanted = outbox.renew(items[done:], now) if done < len(items) else 0
        LOG.info(
            "%s: delivery %s (%s) %s, status %s",
            run.peer.name,
            answered.item.delivery_id,
            answered.item.role,
            answered.answer.outcome.value,
            answered.status,
        )
        if not wanted or (stop is not None and stop.is_set()):
            break
    _put_back(outbox, run.peer, items[len(decisions) :], clock())
    return decisions


def _each_apart(items: Sequence[Item], answers: Iterator[Answered]) -> Iterator[Answered]:
    """An object that defeats our code is parked; those behind it get their turn with the next association."""
    for item in items:
        try:
            with one_item():
                answered = next(answers, None)
        except ItemFault as fault:
            yield Answered(item, By.FILE, NOT_SENDABLE, "fault", str(fault))
            return
        if answered is None:
            return
        yield answered


def _put_back(outbox: OutboxProtocol, peer: PeerSettings, items: Sequence[Item], now: datetime) -> None:
    """What was leased and did not get its turn waits for the next sender, without a lease."""
    for item in items:
        stopped = Answered(item, By.CHAIN, STOPPED, "stopped")
        outbox.record(item, decide(stopped, peer, Breaker(), now), now)


def _ask_for_commitment(outbox: OutboxProtocol, run: PeerRun, clock: Callable[[], datetime]) -> int:
    peer, now = run.peer, clock()
    asked = 0
    for group in outbox.unconfirmed(peer.name, now, peer.commitment_timeout_h, peer.commitment_tries):
        try:
            if group.asked >= peer.commitment_tries:
                found = query.find_instances(peer, [item.path for item in group.items])
                outbox.commitment_checked(group, found, clock())
            else:
                _ask_once(outbox, peer, group, clock)
                asked += 1
            run.breaker = run.breaker.succeeded()
        except DeliveryFailed as why:
            run.breaker = run.breaker.failed(clock(), peer)
            outbox.alert(peer.name, f"storage commitment: {why}", clock())
            break
    return asked


def _ask_once(
    outbox: OutboxProtocol, peer: PeerSettings, group: Unconfirmed, clock: Callable[[], datetime]
) -> None:
    transaction_uid = commitment.new_transaction_uid()
    # First on record, then on the wire: the report may come before the answer.
    outbox.commitment_asked(group, transaction_uid, clock())
    asked = commitment.ask(
        peer,
        [commitment.Reference(item.sop_class_uid, item.sop_instance_uid) for item in group.items],
        transaction_uid,
        lambda report: outbox.commitment_reported(report, clock()),
    )
    if not asked.accepted:
        status = "no answer" if asked.status is None else f"status {asked.status:04X}"
        outbox.alert(peer.name, f"the peer does not take the request for commitment ({status})", clock())


def serve(
    outbox: OutboxProtocol,
    settings: DeliverySettings,
    stop: threading.Event,
    *,
    clock: Callable[[], datetime] = utc_now,
    on_step: Callable[[StepSummary], None] = lambda summary: None,
) -> None:
    """Send until ``stop`` is set. Each peer has a thread of its own.

    An outbox that is away is waited for. Any other fault of one thread is told (``outbox.went_wrong``) and
    tried again after a growing pause: the other peers get their objects.
    """

    def loop(name: str, step: Callable[[], object]) -> None:
        faults = 0
        while not stop.is_set():
            try:
                faults = _one_step(outbox, name, step, faults, clock)
            except OutboxUnavailable as why:
                LOG.warning("the outbox is away (%s); waiting", why)
            stop.wait(min(LONGEST_PAUSE_S, settings.poll_s * 2**faults))

    def peer_step(run: PeerRun) -> Callable[[], object]:
        limit = settings.objects_per_association
        return lambda: on_step(run_once(outbox, run, clock=clock, limit=limit, stop=stop))

    steps: list[tuple[str, Callable[[], object]]] = [("release", lambda: outbox.release_expired(clock()))]
    steps += [(peer.name, peer_step(PeerRun(peer))) for peer in settings.peers]
    threads = [threading.Thread(target=loop, args=step, name=f"deliver-{step[0]}") for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _one_step(
    outbox: OutboxProtocol, name: str, step: Callable[[], object], faults: int, clock: Callable[[], datetime]
) -> int:
    """One step of one thread. Returns its faults in a row. Raises OutboxUnavailable."""
    try:
        step()
    except OutboxUnavailable:
        raise
    except Exception as fault:  # a thread that ends would look healthy; one peer must not stop the others
        LOG.exception("%s: this step failed", name)
        outbox.went_wrong(name, f"delivery to {name} fails here: {type(fault).__name__}: {fault}", clock())
        return faults + 1
    if faults:
        outbox.went_well(name)
    return 0
