"""The sender's loop with a real outbox in SQL and real peers."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from dicomnode.archive import outbox as sql
from dicomnode.database.tables import Delivery
from dicomnode.delivery import scu
from dicomnode.delivery.commitment import CommitmentListener
from dicomnode.delivery.dispatcher import PeerRun, run_once, serve
from dicomnode.delivery.outbox import OutboxUnavailable
from dicomnode.delivery.policy import BreakerState
from dicomnode.delivery.settings import DeliverySettings, ListenerSettings

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
FAST = {"retry_delays_min": (0.005,), "response_timeout_s": 10}


class Clock:
    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now

    def pass_(self, **more):
        self.now += timedelta(**more)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outbox(engine, adapter, store):
    return adapter.SqlOutbox(engine, store)


@pytest.fixture
def rows(engine):
    def read():
        with Session(engine) as session:
            return list(session.scalars(select(Delivery).order_by(Delivery.revision_id, Delivery.position)))

    return read


@pytest.fixture
def serving(outbox):
    """Runs the loop in a thread; returns a function that stops it and hands on its fault."""
    stop, faults, threads = threading.Event(), [], []

    def start(*peers, outbox=outbox, **more):
        settings = DeliverySettings(peers=peers, poll_s=0.05)

        def run():
            try:
                serve(outbox, settings, stop, **more)
            except BaseException as fault:
                faults.append(fault)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return faults

    yield start
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def states(rows):
    return [row.state for row in rows]


def test_one_step_sends_a_revision_in_order(scripted, make_peer, queue, outbox, rows, clock):
    uids = queue()
    pacs = scripted()
    run = PeerRun(make_peer(pacs.port))
    summary = run_once(outbox, run, clock=clock)
    assert (summary.claimed, summary.delivered, summary.parked) == (3, 3, 0)
    assert [got.uid for got in pacs.got] == list(uids.values())
    assert states(rows()) == ["SENT"] * 3
    assert [(r.attempts, r.last_status, r.sent_at) for r in rows()] == [(1, "0000", START)] * 3
    assert run_once(outbox, run, clock=clock).claimed == 0


@pytest.mark.parametrize(
    ("status", "state", "minutes", "alert"),
    [
        (0x0000, "SENT", None, ""),
        (0xB000, "SENT_WITH_WARNING", None, ""),
        (0xB006, "SENT_WITH_WARNING", None, "discarded"),
        (0x0110, "QUEUED", 1, ""),
        (0x0122, "PARKED", None, "not supported"),
        (0x0124, "PARKED", None, "not authorised"),
        (0x0213, "QUEUED", 1, ""),
        (0xA700, "QUEUED", 1, ""),
        (0xA777, "PARKED", None, "refused by the rules"),
        (0xA77A, "QUEUED", 1, ""),
        (0xA900, "PARKED", None, "does not match"),
        (0xC211, "QUEUED", 15, "cannot understand"),
    ],
)
def test_each_status_class_of_a_peer_leads_to_its_state(
    scripted, make_peer, queue, outbox, rows, clock, status, state, minutes, alert
):
    queue(roles=(("rtdose", 0),))
    pacs = scripted()
    pacs.answers = [status]
    run_once(outbox, PeerRun(make_peer(pacs.port)), clock=clock)
    (row,) = rows()
    assert (row.state, row.last_status) == (state, f"{status:04X}")
    assert row.next_try_at == (None if minutes is None else START + timedelta(minutes=minutes))
    assert (alert in " ".join(outbox.alerts)) if alert else outbox.alerts == []


def test_a_plan_refused_for_now_keeps_its_dose_back_and_both_arrive_in_order(
    scripted, make_peer, queue, outbox, rows, clock
):
    uids = queue()
    pacs = scripted()
    pacs.answers = [0xA700]
    run = PeerRun(make_peer(pacs.port))
    run_once(outbox, run, clock=clock)
    assert states(rows()) == ["QUEUED", "QUEUED", "SENT"]
    assert run_once(outbox, run, clock=clock).claimed == 0
    clock.pass_(minutes=1)
    assert run_once(outbox, run, clock=clock).delivered == 2
    taken = [got.uid for got in pacs.got]
    assert taken == [uids["rtplan"], uids["sr"], uids["rtplan"], uids["rtdose-companion"]]


def test_a_peer_that_dies_after_receiving_gets_the_same_object_again(
    scripted, make_peer, queue, outbox, rows, clock
):
    uids = queue(roles=(("rtdose", 0),))
    pacs = scripted()
    pacs.answers = [lambda event: event.assoc.abort() or 0x0000]
    run = PeerRun(make_peer(pacs.port))
    run_once(outbox, run, clock=clock)
    assert (rows()[0].state, rows()[0].last_status) == ("QUEUED", "no answer")
    clock.pass_(minutes=1)
    run_once(outbox, run, clock=clock)
    assert rows()[0].state == "SENT"
    assert [got.uid for got in pacs.got] == [uids["rtdose"]] * 2
    assert pacs.got[0].data == pacs.got[1].data


def test_a_dead_peer_is_left_alone_and_tried_with_one_object_when_its_time_is_over(
    make_peer, scripted, queue, outbox, rows, clock
):
    for _ in range(3):
        queue(roles=(("rtdose", 0), ("sr", 2)))
    run = PeerRun(make_peer(1))
    for _ in range(3):
        assert run_once(outbox, run, clock=clock).claimed == 2
    assert run.breaker.state is BreakerState.OPEN
    assert run_once(outbox, run, clock=clock).claimed == 0
    assert [row.attempts for row in rows()] == [0] * 6
    clock.pass_(minutes=15)
    assert run_once(outbox, run, clock=clock).claimed == 1
    assert run.breaker.failures == 4
    clock.pass_(minutes=60)
    run.peer = make_peer(scripted().port)
    assert run_once(outbox, run, clock=clock).delivered == 1
    assert run.breaker.state is BreakerState.CLOSED
    while run_once(outbox, run, clock=clock).claimed:
        pass
    assert states(rows()) == ["SENT"] * 6


def test_objects_for_a_peer_that_stays_away_are_parked_after_a_week_with_an_alert(
    make_peer, queue, outbox, rows, clock
):
    queue(roles=(("rtdose", 0),))
    run = PeerRun(make_peer(1))
    tries = 0
    while rows()[0].state == "QUEUED":
        tries += run_once(outbox, run, clock=clock).claimed
        clock.pass_(hours=8)
        assert clock.now < START + timedelta(days=8)
    assert clock.now - START > timedelta(days=7)
    assert tries > 15
    assert "no connection to the peer" in outbox.alerts[-1]


def test_a_permanent_rejection_alerts_and_is_tried_again_after_an_hour(
    scripted, make_peer, queue, outbox, rows, clock
):
    queue(roles=(("rtdose", 0),))
    run_once(outbox, PeerRun(make_peer(scripted().port, ae_title="WRONG")), clock=clock)
    (row,) = rows()
    assert (row.state, row.last_status) == ("QUEUED", "rejected-permanent")
    assert row.next_try_at == START + timedelta(hours=1)
    assert "compare both AE titles" in outbox.alerts[0]


def test_a_dead_peer_does_not_delay_another(raw_peer, scripted, make_peer, queue, serving, rows, eventually):
    # "silent" accepts TCP and never answers: each try lasts its whole time-out of 4 s.
    silent = make_peer(raw_peer(), name="silent", association_timeout_s=4, stall_timeout_s=3)
    pacs = scripted()
    queue(peers=("silent", "pacs"), now=datetime.now(UTC))
    start = time.monotonic()
    serving(silent, make_peer(pacs.port))
    eventually(lambda: len(pacs.got) == 3, 3, "delivery to the living peer")
    assert time.monotonic() - start < 3
    silent_states = [row.state for row in rows() if row.peer == "silent"]
    assert silent_states == ["SENDING"] * 3


def test_a_stop_finishes_the_object_on_its_way_and_puts_back_the_others(
    scripted, make_peer, queue, outbox, rows, clock
):
    queue()
    pacs, stop = scripted(), threading.Event()
    pacs.answers = [lambda event: stop.set() or 0x0000]
    run = PeerRun(make_peer(pacs.port))
    run_once(outbox, run, clock=clock, stop=stop)
    assert [(row.state, row.attempts) for row in rows()] == [("SENT", 1), ("QUEUED", 0), ("QUEUED", 0)]
    assert run_once(outbox, run, clock=clock).delivered == 2


def test_an_outbox_that_goes_away_is_waited_for(scripted, make_peer, queue, outbox, serving, eventually):
    pacs = scripted()
    queue(now=datetime.now(UTC))
    claim, away = outbox.claim, iter([True] * 3)

    def sometimes(*arguments):
        if next(away, False):
            raise OutboxUnavailable("the database is away")
        return claim(*arguments)

    outbox.claim = sometimes
    faults = serving(make_peer(pacs.port))
    eventually(lambda: len(pacs.got) == 3)
    assert faults == []


def test_a_fault_of_one_thread_is_told_until_it_is_over_and_stops_no_other(
    scripted, make_peer, queue, outbox, serving, eventually
):
    pacs = scripted()
    queue(now=datetime.now(UTC))
    release, broken = outbox.release_expired, iter([True] * 2)

    def sometimes(*arguments):
        if next(broken, False):
            raise ZeroDivisionError("a bug")
        return release(*arguments)

    outbox.release_expired, told, wrong = sometimes, [], outbox.went_wrong
    outbox.went_wrong = lambda *what: (told.append(what[1]), wrong(*what))
    faults = serving(make_peer(pacs.port))
    eventually(lambda: len(pacs.got) == 3 and len(told) == 2 and not outbox.troubles)
    assert told == ["delivery to release fails here: ZeroDivisionError: a bug"] * 2
    assert faults == []


def test_an_object_that_defeats_the_sender_is_parked_and_the_others_leave(
    make_peer, outbox, queue, rows, clock, scripted
):
    uids, pacs = queue(), scripted()
    real = scu.send

    def odd(peer, items):
        for item in items:
            if item.sop_instance_uid == uids["sr"]:
                raise KeyError("an odd object")
            yield from real(peer, [item])

    run = PeerRun(make_peer(pacs.port))
    for _ in range(3):
        run_once(outbox, run, clock=clock, send=odd)
    assert sorted(states(rows())) == ["PARKED", "SENT", "SENT"]
    assert any("this node cannot send the object" in sentence for sentence in outbox.alerts)


def test_a_database_error_is_told_as_an_absent_outbox(adapter, tmp_path, store):
    outbox = adapter.SqlOutbox(adapter.engine_of(f"sqlite:///{tmp_path}/no/such/folder/a.db"), store)
    with pytest.raises(OutboxUnavailable) as caught:
        outbox.claim("pacs", START, 1)
    assert isinstance(caught.value.__cause__, OperationalError)


# -- storage commitment through the loop ----------------------------------------------------------------


def test_without_reports_a_fresh_transaction_each_time_then_a_look_up(
    scripted, make_peer, queue, outbox, rows, clock
):
    uids = queue(roles=(("rtdose", 0), ("sr", 2)))
    pacs = scripted()
    pacs.found = [uids["rtdose"]]
    run = PeerRun(make_peer(pacs.port, storage_commitment=True, commitment_wait_s=0))
    for _ in range(4):
        run_once(outbox, run, clock=clock)
        clock.pass_(hours=6)
    transactions = [str(request.TransactionUID) for request in pacs.transactions]
    assert len(transactions) == len(set(transactions)) == 3
    assert states(rows()) == ["SENT", "PARKED"]
    assert "a query found it" in rows()[0].last_comment
    assert "a query did not find it" in rows()[1].last_comment


def test_orthanc_commits_over_an_association_of_its_own(
    orthanc, make_peer, queue, outbox, rows, clock, eventually
):
    orthanc.start()
    uids = queue(roles=(("rtdose", 0), ("sr", 2)))
    listener = CommitmentListener(
        ListenerSettings(port=orthanc.report_port), ["PACS"], lambda r: outbox.commitment_reported(r, clock())
    )
    listener.start()
    try:
        peer = make_peer(orthanc.port, storage_commitment=True, commitment_wait_s=0, **FAST)
        assert run_once(outbox, PeerRun(peer), clock=clock).delivered == 2
        eventually(lambda: states(rows()) == ["COMMITTED"] * 2, 20, "commitment")
        assert orthanc.uids() == sorted(uids.values())
    finally:
        listener.stop()


def test_orthanc_without_the_object_makes_it_leave_again(
    orthanc, make_peer, queue, outbox, rows, clock, eventually, engine
):
    orthanc.start()
    uids = queue(roles=(("rtdose", 0),))
    with Session(engine) as session, session.begin():
        # As after a PACS that lost it: on our record it was sent.
        (held,) = sql.claim(session, "pacs", "x", START, 60, 1)
        session.get(Delivery, held.delivery_id).state = "SENT"
    listener = CommitmentListener(
        ListenerSettings(port=orthanc.report_port), ["PACS"], lambda r: outbox.commitment_reported(r, clock())
    )
    listener.start()
    try:
        run = PeerRun(make_peer(orthanc.port, storage_commitment=True, commitment_wait_s=0, **FAST))
        run_once(outbox, run, clock=clock)
        eventually(lambda: states(rows()) == ["QUEUED"], 20, "the report of a failure")
        assert rows()[0].last_comment == "the peer does not have the object"
        run_once(outbox, run, clock=clock)
        eventually(lambda: states(rows()) == ["COMMITTED"], 20, "commitment")
        assert orthanc.uids() == [uids["rtdose"]]
    finally:
        listener.stop()


# -- PACS away and back; the sender killed ---------------------------------------------------------------


def test_a_pacs_that_was_away_gets_everything_once_and_plans_before_doses(
    orthanc, make_peer, queue, serving, rows, eventually
):
    expected = [uid for _ in range(3) for uid in queue(now=datetime.now(UTC)).values()]
    # Delays of 0.3 s instead of minutes.
    serving(make_peer(orthanc.port, **FAST))
    eventually(lambda: any(row.last_status == "unreachable" for row in rows()), 10, "a failed try")
    orthanc.start()
    eventually(lambda: states(rows()) == ["SENT"] * 9, 30, "delivery after the return")
    assert orthanc.uids() == sorted(expected)
    by_role = {(row.revision_id, row.position): row.sent_at for row in rows()}
    for revision in ("revision-1", "revision-2", "revision-3"):
        assert by_role[revision, 0] < by_role[revision, 1]


def test_a_sender_killed_between_sending_and_recording_makes_no_second_object(
    orthanc, queue, engine, store, rows, eventually
):
    orthanc.start()
    uids = queue(now=datetime.now(UTC))
    script = str(Path(__file__).with_name("sql_outbox.py"))
    command = [sys.executable, script, str(engine.url), str(store), "127.0.0.1", str(orthanc.port)]
    first = subprocess.Popen([*command, "hang"], stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "sent\n"
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    assert orthanc.uids() == [uids["rtplan"]]
    assert states(rows()) == ["SENDING"] * 3
    second = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: states(rows()) == ["SENT"] * 3, 30, "delivery by the second sender")
    finally:
        second.terminate()
        second.wait()
    assert orthanc.uids() == sorted(uids.values())
    assert [row.attempts for row in rows()] == [2, 2, 2]


@pytest.mark.long
def test_senders_killed_at_random_instants_deliver_each_object_once(
    orthanc, queue, engine, store, rows, eventually
):
    orthanc.start()
    expected = [uid for _ in range(60) for uid in queue(now=datetime.now(UTC)).values()]
    script = str(Path(__file__).with_name("sql_outbox.py"))
    command = [sys.executable, script, str(engine.url), str(store), "127.0.0.1", str(orthanc.port)]
    random, rounds, deadline = Random(1), 0, time.monotonic() + 900
    while (taken := states(rows()).count("SENT")) < len(expected):
        # Each is killed a moment after so many more objects were taken, however long it needs for them.
        goal = min(len(expected), taken + random.randint(1, 12))
        sender = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while states(rows()).count("SENT") < goal:
                assert time.monotonic() < deadline, f"{taken} of {len(expected)} after {rounds} rounds"
                assert sender.poll() is None, "it ended by itself"
                time.sleep(0.005)
            time.sleep(random.uniform(0.0, 0.05))
        finally:
            sender.kill()
            sender.wait()
        rounds += 1
    assert rounds >= len(expected) / 40
    assert max(row.attempts for row in rows()) >= 2  # some were in flight
    assert orthanc.uids() == sorted(expected)
    order = {(row.revision_id, row.position): row.sent_at for row in rows()}
    assert all(order[revision, 0] < order[revision, 1] for revision, position in order if position == 0)
