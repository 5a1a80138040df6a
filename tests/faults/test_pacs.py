"""Receiving systems that are absent, slow, refuse, warn or die: what becomes of each delivery."""

from __future__ import annotations

import copy
import socket
import time
from typing import Any

import pytest
from sqlalchemy import select

from dicomnode.database.tables import EventRow

# status -> (final state of the delivery, tries, alert). FIELD_NOTES-like classes of delivery/policy.py:
# limited_tries = 3 and two slow delays are configured, so 0110 is parked after 3 and C000 after 3 tries.
FINAL = {
    0x0000: ("SENT", 1, False),
    0xB000: ("SENT_WITH_WARNING", 1, False),
    0xB006: ("SENT_WITH_WARNING", 1, True),
    0xA900: ("PARKED", 1, True),
    0xC000: ("PARKED", 3, True),
    0x0110: ("PARKED", 3, True),
    0x0122: ("PARKED", 1, True),
    0x0124: ("PARKED", 1, True),
}


def by_peer(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {d["peer"]: d for d in facts["deliveries"]}


def wait_until(what: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_every_answer_of_a_pacs_ends_as_designed_and_delays_no_other(
    new_stand: Any, new_pacs: Any, pacs_of: Any, stands: Any, tiny: Any
) -> None:
    answering = {f"s{status:04x}": (new_pacs(status=status), status) for status in FINAL}
    full, dying = new_pacs(status=0xA700), new_pacs(abort=True)
    slow = new_pacs(delay_s=4.0)
    busy, stranger = pacs_of.Rejecting(2, 2, 3), pacs_of.Rejecting(1, 7, 1)  # PS3.8 table 9-21
    absent_port = stands.free_port()
    peers = [stands.peer(n, p.port, ["rtdose"]) for n, (p, _) in answering.items()]
    peers += [
        stands.peer(n, port, ["rtdose"])
        for n, port in {
            "full": full.port, "dying": dying.port, "slow": slow.port, "busy": busy.port,
            "stranger": stranger.port, "absent": absent_port,
        }.items()
    ]  # fmt: skip
    stand = new_stand(*peers)
    stand.send(tiny.Tiny("a").cycle())
    stand.wait("RELEASED")

    settled = {n: FINAL[status][:2] for n, (_, status) in answering.items()} | {"slow": ("SENT", 1)}

    def now() -> dict[str, tuple[str, int]]:
        return {n: (d["state"], d["attempts"]) for n, d in by_peer(stand.facts()).items()}

    wait_until(lambda: settled.items() <= now().items())
    # what may get better by itself is still tried
    for name in ("full", "dying", "busy", "absent"):
        wait_until(lambda name=name: by_peer(stand.facts())[name]["last_status"] != "")
        assert by_peer(stand.facts())[name]["state"] in ("QUEUED", "SENDING"), name

    def last(*names: str) -> tuple[str, ...]:
        found = by_peer(stand.facts())
        return tuple(found[name]["last_status"] for name in names)

    assert last("full") == ("A700",)
    # (a connection that closes right after the rejection may be seen first, as "aborted": it is tried again)
    expected = ("rejected-transient", "rejected-permanent", "unreachable")
    wait_until(lambda: last("busy", "stranger", "absent") == expected)
    wait_until(lambda: len(dying.got()) >= 2)  # no answer: the same object again
    assert len({(g.uid, g.sha256) for g in dying.got()}) == 1
    # a rejection for good is a matter of configuration: told, and tried rarely (here: twice at most)
    wait_until(lambda: by_peer(stand.facts())["stranger"]["state"] == "QUEUED")  # not in a try just now
    assert stand.facts()["cycle"]["state"] == "RELEASED"

    with stand.house.database.read() as session:
        alerts = set(session.scalars(select(EventRow.body).where(EventRow.kind == "security-alert")))
    assert any("rejects the association" in a for a in alerts)
    for sentence in ("elements were discarded", "does not match its SOP class", "cannot understand",
                     "SOP class not supported", "not authorised"):  # fmt: skip
        assert any(sentence in a for a in alerts), sentence

    # they come back: what waits leaves by itself, what is parked when a person says so
    full.status, dying.abort = 0, False
    absent = new_pacs(port=absent_port)
    for name, pacs in (("full", full), ("dying", dying), ("absent", absent)):
        wait_until(lambda name=name: by_peer(stand.facts())[name]["state"] == "SENT")
        assert len(pacs.kept()) == 1, name
    for pacs, _ in answering.values():
        pacs.status = 0
    again = stand.decide("send", stand.cycles()[0]["id"], "the peers were repaired")
    assert again.stdout.startswith("5 objects"), again.stdout + again.stderr
    wait_until(lambda: all(by_peer(stand.facts())[n]["state"].startswith("SENT") for n in answering))
    for name, (pacs, _) in answering.items():
        assert len({(g.uid, g.sha256) for g in pacs.got()}) == 1, name
    busy.close()
    stranger.close()


@pytest.mark.long
def test_a_pacs_that_answers_nothing_at_all_is_tried_again_with_the_same_object(
    new_stand: Any, new_pacs: Any, stands: Any, tiny: Any
) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    port = int(silent.getsockname()[1])
    more = "association_timeout_s = 1.0"
    stand = new_stand(stands.peer("pacs", port, ["rtdose"], more))
    stand.send(tiny.Tiny("a").cycle())
    stand.wait("RELEASED")
    wait_until(lambda: stand.facts()["deliveries"][0]["last_status"] != "")
    silent.close()
    pacs = new_pacs(port=port)
    stand.wait("DELIVERED")
    assert len(pacs.kept()) == 1


def test_a_person_holds_and_releases_while_objects_leave(
    new_stand: Any, new_pacs: Any, stands: Any, tiny: Any
) -> None:
    pacs = new_pacs(delay_s=20.0)
    stand = new_stand(stands.peer("pacs", pacs.port, ["rtdose", "sr"], "response_timeout_s = 60.0"))
    stand.send(tiny.Tiny("a").cycle())
    stand.wait("RELEASED")
    cycle = stand.cycles()[0]["id"]
    # both are leased for one association; the dose is on its way, the report waits for its turn
    wait_until(lambda: {d["state"] for d in stand.facts()["deliveries"]} == {"SENDING"})
    held = stand.decide("hold", cycle, "wrong patient?")
    assert held.returncode == 0, held.stderr
    pacs.delay_s = 0.0
    wait_until(lambda: {d["state"] for d in stand.facts()["deliveries"]} == {"PARKED", "SENT"})
    time.sleep(1.5)
    assert len(pacs.got()) == 1, "what was on its way has arrived, nothing else leaves"
    assert stand.cycles()[0]["state"] == "HELD"
    assert stand.decide("send", cycle, "too early").returncode == 2

    released = stand.decide("release", cycle, "the right patient")
    assert released.returncode == 0, released.stderr
    facts = stand.wait("DELIVERED")
    assert len(facts["revisions"]) == 1
    assert {len(contents) for contents in pacs.kept().values()} == {1}
    assert len(pacs.kept()) == 2


def test_an_object_that_contradicts_one_in_use_stops_what_has_not_left(
    new_stand: Any, new_pacs: Any, stands: Any, tiny: Any
) -> None:
    port = stands.free_port()  # nobody listens: the result waits in the outbox
    stand = new_stand(stands.peer("pacs", port, ["rtdose"]))
    honest = tiny.Tiny("a").cycle()
    stand.send(honest)
    stand.wait("RELEASED")
    cycle = stand.cycles()[0]["id"]
    forged = copy.deepcopy(honest[0])
    forged.SeriesDescription = "tampered"
    assert stand.send([forged]) == [0]
    facts = stand.wait("HELD")
    assert "came again under their SOP Instance UIDs and differ in" in facts["cycle"]["reasons"][0]
    pacs = new_pacs(port=port)
    time.sleep(2.0)
    assert pacs.got() == [], "nothing of a doubted cycle leaves"

    released = stand.decide("release", cycle, "the first is right")
    assert released.returncode == 0, released.stderr
    facts = stand.wait("DELIVERED")
    assert len(facts["revisions"]) == 1
    assert len(pacs.kept()) == 1

    other = copy.deepcopy(honest[1])
    other.SeriesDescription = "tampered"
    assert stand.send([other]) == [0]
    wait_until(lambda: any("after the delivery" in f["sentence"] for f in stand.facts()["findings"]))
    assert stand.cycles()[0]["state"] == "DELIVERED"
