"""The outbox in SQL, on SQLite and PostgreSQL."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.archive import commitments, outbox
from dicomnode.database.tables import Delivery

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BOTH = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


@dataclass(frozen=True)
class Tried:
    state: str
    status: str = "0000"
    comment: str = ""
    next_try_at: datetime | None = None
    counted: bool = True


SENT = Tried("SENT")


def later(minutes, status="A700", counted=True):
    return Tried("QUEUED", status, "", NOW + minutes * MINUTE, counted)


@pytest.fixture
def do(engine):
    """Runs one function in one transaction."""

    def run(function, *arguments, **more):
        with Session(engine, expire_on_commit=False) as session, session.begin():
            return function(session, *arguments, **more)

    return run


@pytest.fixture
def claim(do):
    def run(now=NOW, peer="pacs", owner="a", limit=50, lease_s=60):
        return do(outbox.claim, peer, owner, now, lease_s, limit)

    return run


def states(do):
    return do(
        lambda s: [
            tuple(r) for r in s.execute(select(Delivery.position, Delivery.state).order_by(Delivery.position))
        ]
    )


def roles(claims):
    return [held.role for held in claims]


def test_queueing_twice_makes_no_second_row(do, add_revision):
    plan = {"pacs": [("rtdose", 0)], "tps": [("rtdose", 0), ("pdf", 2)]}

    def twice(session):
        revision, results = add_revision(session, ["rtdose"])
        first = outbox.enqueue(session, revision, results, plan, NOW)
        return first, outbox.enqueue(session, revision, results, plan, NOW)

    first, second = do(twice)
    assert len(first.new) == 2
    assert first.missing == (("tps", "pdf"),)
    assert second.new == ()
    assert do(outbox.pending) == {"pacs": {"QUEUED": 1}, "tps": {"QUEUED": 1}}


@BOTH
def test_a_claim_is_leased_in_order_and_to_one_sender_only(queue, claim):
    queue()
    assert roles(claim()) == ["rtplan", "rtdose-companion", "sr"]
    assert claim(owner="b") == []


@BOTH
def test_a_claim_holds_objects_of_one_revision(queue, claim):
    first, second = queue(), queue()
    claims = [claim(), claim()]
    assert [{held.sop_instance_uid for held in c} for c in claims] == [
        set(first.values()),
        set(second.values()),
    ]


def test_another_peers_objects_are_not_claimed(queue, claim):
    queue(peers=("pacs", "tps"))
    assert len(claim(peer="tps")) == 3
    assert len(claim(peer="pacs")) == 3


@BOTH
def test_a_dose_never_leaves_before_its_plan_was_taken(queue, claim, do):
    queue()
    plan, dose, report = claim()
    do(outbox.record, plan, later(5), NOW)
    do(outbox.record, dose, Tried("QUEUED", "waiting", "", NOW, False), NOW)
    do(outbox.record, report, SENT, NOW)
    # The plan is due in 5 minutes; the dose is due now, but waits for it.
    assert claim() == []
    assert roles(claim(NOW + 5 * MINUTE)) == ["rtplan", "rtdose-companion"]


def test_a_parked_plan_holds_its_dose_but_not_the_report(queue, claim, do):
    queue()
    plan, dose, report = claim()
    do(outbox.record, plan, Tried("PARKED", "0122"), NOW)
    do(outbox.record, dose, Tried("QUEUED", "waiting", "", NOW, False), NOW)
    do(outbox.record, report, Tried("QUEUED", "A700", "", NOW), NOW)
    assert roles(claim(NOW + 60 * MINUTE)) == ["sr"]
    do(outbox.requeue, [plan.delivery_id], NOW)
    assert roles(claim(NOW + 60 * MINUTE)) == ["rtplan", "rtdose-companion"]


def test_a_limit_that_cuts_a_chain_leaves_the_dose_waiting(queue, claim):
    queue()
    assert roles(claim(limit=1)) == ["rtplan"]
    # The plan is on its way but not yet taken: only the report may go.
    assert roles(claim(owner="b")) == ["sr"]


def test_a_failed_association_does_not_count_as_a_try(queue, claim, do):
    queue(roles=(("rtdose", 0),))
    for _ in range(3):
        (held,) = claim()
        assert held.attempts == 1
        do(outbox.record, held, Tried("QUEUED", "unreachable", "", NOW, counted=False), NOW)
    (held,) = claim()
    do(outbox.record, held, Tried("QUEUED", "A700", "", NOW), NOW)
    assert claim()[0].attempts == 2


@BOTH
def test_a_dead_senders_objects_come_back_when_the_lease_is_over(queue, claim, do):
    uids = queue(roles=(("rtdose", 0),))
    (dead,) = claim(lease_s=60)
    assert do(outbox.release_expired, NOW + MINUTE) == []
    (change,) = do(outbox.release_expired, NOW + MINUTE + timedelta(seconds=1))
    assert (change.before, change.after, change.sop_instance_uid) == ("SENDING", "QUEUED", uids["rtdose"])
    (held,) = claim(NOW + 2 * MINUTE, owner="b")
    assert held.attempts == 2
    # The dead sender wakes up and reports: it changes nothing.
    assert do(outbox.record, dead, SENT, NOW + 3 * MINUTE) is None
    assert do(outbox.renew, [dead], NOW, 600) == 0
    assert do(outbox.record, held, SENT, NOW + 3 * MINUTE).after == "SENT"


def test_a_sender_that_starts_again_takes_back_its_own_leases(queue, claim, do):
    queue(roles=(("rtdose", 0),))
    claim(owner="a", lease_s=3600)
    assert do(outbox.release_expired, NOW, "b") == []
    assert len(do(outbox.release_expired, NOW, "a")) == 1


def test_a_renewed_lease_lasts_longer(queue, claim, do):
    queue(roles=(("rtdose", 0),))
    held = claim(lease_s=60)
    assert do(outbox.renew, held, NOW + MINUTE / 2, 60) == 1
    assert do(outbox.release_expired, NOW + 1.4 * MINUTE) == []
    assert len(do(outbox.release_expired, NOW + 1.6 * MINUTE)) == 1


@BOTH
def test_four_senders_at_once_claim_each_object_once(queue, engine, do):
    for _ in range(12):
        queue()
    got, faults = [], []

    def sender(owner):
        try:
            idle = 0
            while idle < 3:
                with Session(engine) as session, session.begin():
                    claims = outbox.claim(session, "pacs", owner, NOW, 60, 2)
                idle = 0 if claims else idle + 1
                for held in claims:
                    with Session(engine) as session, session.begin():
                        assert outbox.record(session, held, SENT, NOW) is not None
                    got.append(held)
        except Exception as fault:
            faults.append(fault)

    threads = [threading.Thread(target=sender, args=(f"sender-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert len(got) == 36
    assert len({held.delivery_id for held in got}) == 36
    for revision in {held.revision_id for held in got}:
        order = [held.role for held in got if held.revision_id == revision]
        assert order.index("rtplan") < order.index("rtdose-companion")
    assert do(outbox.pending) == {"pacs": {"SENT": 36}}


def test_what_was_superseded_does_not_leave(queue, claim, do):
    queue(roles=(("rtdose", 0), ("sr", 2)))
    claim(limit=1)
    (change,) = do(outbox.withdraw, "revision-1", "superseded by revision 2", NOW)
    assert (change.role, change.after, change.comment) == ("sr", "PARKED", "superseded by revision 2")
    assert claim() == []


def test_sending_again_keeps_the_object_and_counts_anew(queue, claim, do):
    uids = queue(roles=(("rtdose", 0),))
    (held,) = claim()
    do(outbox.record, held, Tried("PARKED", "A900"), NOW)
    assert claim() == []
    (change,) = do(outbox.requeue, [held.delivery_id], NOW + MINUTE)
    assert (change.before, change.after) == ("PARKED", "QUEUED")
    (again,) = claim(NOW + MINUTE)
    assert (again.sop_instance_uid, again.attempts) == (uids["rtdose"], 1)


def test_a_revision_is_delivered_when_every_peer_has_everything(queue, claim, do):
    queue(roles=(("rtdose", 0),), peers=("pacs", "tps"))
    assert not do(outbox.is_delivered, "revision-1")
    for peer in ("pacs", "tps"):
        do(outbox.record, claim(peer=peer)[0], SENT, NOW)
    assert do(outbox.is_delivered, "revision-1")
    assert not do(outbox.is_delivered, "revision-1", {"pacs"})
    assert not do(outbox.is_delivered, "revision-2")


# -- storage commitment ------------------------------------------------------------------------------


@pytest.fixture
def sent(queue, claim, do):
    uids = queue(roles=(("rtdose", 0), ("sr", 2)))
    for held in claim():
        do(outbox.record, held, SENT, NOW)
    return uids


def due(do, now, timeout_h=6, tries=3):
    return do(commitments.unconfirmed, "pacs", now, timeout_h, tries)


@BOTH
def test_a_report_commits_what_it_names(sent, do):
    (group,) = due(do, NOW)
    assert (group.asked, len(group.claims)) == (0, 2)
    assert do(commitments.record_asked, group.claims, "2.25.1", NOW) == 2
    assert due(do, NOW + timedelta(hours=5)) == []
    failed = {sent["sr"]: ("send-again", "the peer does not have the object")}
    changes = do(commitments.record_report, "2.25.1", {sent["rtdose"]}, failed, NOW)
    assert [(c.role, c.after) for c in changes] == [("rtdose", "COMMITTED"), ("sr", "QUEUED")]


def test_a_report_on_a_transaction_that_is_not_ours_changes_nothing(sent, do):
    (group,) = due(do, NOW)
    do(commitments.record_asked, group.claims, "2.25.1", NOW)
    assert do(commitments.record_report, "2.25.2", set(sent.values()), {}, NOW) == []
    assert do(commitments.record_report, "", set(sent.values()), {}, NOW) == []
    assert do(outbox.pending) == {"pacs": {"SENT": 2}}


def test_without_a_report_it_is_asked_again_then_looked_up_then_left(sent, do):
    for n in range(3):
        (group,) = due(do, NOW + n * timedelta(hours=6))
        assert group.asked == n
        do(commitments.record_asked, group.claims, f"2.25.{n + 1}", NOW + n * timedelta(hours=6))
    (group,) = due(do, NOW + timedelta(hours=18))
    assert group.asked == 3  # now a query is due
    changes = do(commitments.record_checked, group.claims, {sent["rtdose"]}, NOW + timedelta(hours=18))
    assert [(c.role, c.after) for c in changes] == [("rtdose", "SENT"), ("sr", "PARKED")]
    assert "a query did not find it" in changes[1].comment
    assert due(do, NOW + timedelta(days=99)) == []


@pytest.mark.parametrize(("remedy", "after"), [("ask-again", "SENT"), ("person", "PARKED")])
def test_a_failure_leads_to_its_remedy(sent, do, remedy, after):
    (group,) = due(do, NOW)
    do(commitments.record_asked, group.claims, "2.25.1", NOW)
    changes = do(commitments.record_report, "2.25.1", {sent["rtdose"]}, {sent["sr"]: (remedy, "why")}, NOW)
    assert (changes[1].after, changes[1].comment) == (after, "why")


def test_an_object_sent_again_is_asked_about_again(sent, do, claim):
    (group,) = due(do, NOW)
    do(commitments.record_asked, group.claims, "2.25.1", NOW)
    do(commitments.record_report, "2.25.1", set(), {sent["sr"]: ("send-again", "gone")}, NOW)
    (held,) = claim()
    do(outbox.record, held, SENT, NOW)
    (group,) = due(do, NOW)
    assert ([c.role for c in group.claims], group.asked) == (["sr"], 1)
