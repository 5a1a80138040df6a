"""Senders that insist, processes that are killed, and what must hold afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from dicomnode.audit import checkpoints, trail
from dicomnode.database.database import ArchiveUnavailable
from dicomnode.database.tables import CycleRow, Delivery, Instance, Result, Revision

VICTIMS = {"receive": 6, "deliver": 5, "worker": 4, "work": 3, "node": 3, "supervisor": 2}
"""Who is killed, with its weight."""


class Senders:
    """Modalities that send one tiny patient after the other and insist until each object is acknowledged."""

    def __init__(self, stand: Any, tiny: Any, count: int = 2, backlog: int = 3) -> None:
        self.stand, self.tiny, self.backlog = stand, tiny, backlog
        self.acknowledged: dict[str, str] = {}
        self.patients = 0
        self.resent = 0
        self.storing = 0
        """How many have an association and objects to send."""
        self.faults: list[BaseException] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Send what was begun to its end."""
        self._stop.set()
        for thread in self._threads:
            thread.join(900)
            assert not thread.is_alive(), "a sender could not finish"
        if self.faults:
            raise self.faults[0]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._unfinished() >= self.backlog:
                    time.sleep(0.2)
                    continue
                with self._lock:
                    self.patients += 1
                    name = f"p{self.patients}"
                self._send(self.tiny.Tiny(name).cycle())
        except BaseException as fault:
            self.faults.append(fault)

    def _unfinished(self) -> int:
        ended = CycleRow.state.in_(("DELIVERED", "HELD"))
        try:
            with self.stand.house.database.read() as session:
                done = session.scalar(select(func.count()).select_from(CycleRow).where(ended))
        except ArchiveUnavailable:
            return self.backlog
        return self.patients - int(done or 0)

    def _send(self, objects: list[Any]) -> None:
        waiting = list(objects)
        deadline = time.monotonic() + 900
        while waiting:
            assert time.monotonic() < deadline, "the node takes no objects any more"
            association = self.stand.try_associate()
            if not association.is_established:
                time.sleep(0.2)
                continue
            self.storing += 1
            while waiting and association.is_established:
                time.sleep(0.03)  # a scanner writes as it reconstructs
                try:
                    status = association.send_c_store(waiting[0])
                except (RuntimeError, ValueError):  # the association went away before the request left
                    break
                if status.get("Status") == 0:
                    one = waiting.pop(0)
                    self.acknowledged[str(one.SOPInstanceUID)] = self.tiny.digest_of(one)
                else:
                    self.resent += 1
                    break
            self.storing -= 1
            if association.is_established:
                association.release()


@dataclass(frozen=True)
class Moment:
    """What the node is at."""

    sending: bool
    computing: bool
    delivering: bool

    def concerns(self, victim: str) -> bool:
        """Whether this is a moment at which that process has something to lose."""
        if victim == "receive":
            return self.sending
        if victim in ("work", "worker"):
            return self.computing
        return self.delivering if victim == "deliver" else self.sending or self.computing or self.delivering


def moment(stand: Any, senders: Senders) -> Moment:
    """What the node is at just now."""
    with stand.house.database.read() as session:
        computing = session.scalar(select(func.count()).where(CycleRow.state == "COMPUTING"))
        delivering = session.scalar(select(func.count()).where(Delivery.state == "SENDING"))
    return Moment(senders.storing > 0, bool(computing), bool(delivering))


def storm(stand: Any, senders: Senders, seed: int, rounds: int, longest_s: float) -> Counter[str]:
    """``rounds`` times kill a random process. What was hit, and in what.

    Three times of four within a second of a moment at which it has something to lose, as far as one comes;
    else at any instant, in the middle of a start too.
    """
    chance, hits = random.Random(seed), Counter[str]()
    while hits["rounds"] < rounds:
        (victim,) = chance.choices(list(VICTIMS), list(VICTIMS.values()))
        aimed, short_s, long_s = chance.random() < 0.75, chance.uniform(0, 1.0), chance.uniform(0, longest_s)
        deadline = time.monotonic() + 180
        while not stand.victims(victim):
            assert time.monotonic() < deadline, f"{victim} does not come back; {stand.log()[-3000:]}"
            time.sleep(0.05)
        patience = time.monotonic() + 40
        while aimed and time.monotonic() < patience and not moment(stand, senders).concerns(victim):
            time.sleep(0.02)
        time.sleep(short_s if aimed else long_s)
        now = moment(stand, senders)
        if not stand.kill(victim):
            continue  # it ended by itself just now
        hits.update(["rounds", victim, *(f"while {k}" for k, v in vars(now).items() if v)])
        if victim in ("node", "supervisor"):
            stand.start(wait=False)
    return hits


def settle(stand: Any, cycles: int, timeout_s: float = 400.0) -> int:
    """Until every cycle is delivered. A person releases what two deaths of workers held; how many."""
    released = 0
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        rows = stand.cycles()
        for row in rows:
            if row["state"] == "HELD":
                assert "worker died" in row["reasons"][0], row
                done = stand.decide("release", row["id"], "the test killed it")
                assert done.returncode == 0, done.stderr
                released += 1
        if len(rows) == cycles and all(r["state"] == "DELIVERED" for r in rows):
            return released
        time.sleep(0.5)
    raise AssertionError(f"not delivered: {[r for r in stand.cycles() if r['state'] != 'DELIVERED']}")


def assert_nothing_was_lost(stand: Any, acknowledged: dict[str, str]) -> None:
    """Success seen by the sender (UID -> digest): row and file with the right digest."""
    with stand.house.database.read() as session:
        rows = {
            uid: (state, sha256, file_sha256, reason)
            for uid, state, sha256, file_sha256, reason in session.execute(
                select(
                    Instance.sop_instance_uid,
                    Instance.state,
                    Instance.sha256,
                    Instance.file_sha256,
                    Instance.reason,
                )
            )
        }
    for uid, digest in acknowledged.items():
        state, sha256, file_sha256, reason = rows[uid]
        assert (state, sha256) == ("INDEXED", digest), (uid, state, reason)
        assert stand.house.store.verify(file_sha256), uid
    assert len(rows) == len(acknowledged)


def assert_one_object_per_result(stand: Any, pacs: Any) -> int:
    """Each revision and role is one SOP Instance UID with one content at the PACS; how many revisions."""
    with stand.house.database.read() as session:
        known = {
            uid: (revision, role, state)
            for uid, revision, role, state in session.execute(
                select(Result.sop_instance_uid, Result.revision_id, Result.role, Revision.state)
                .join(Revision, Revision.id == Result.revision_id)
                .where(Result.role.in_(("rtdose", "sr")))
            )
        }
    kept = pacs.kept()
    assert set(kept) <= set(known), "the PACS holds an object that is no result on record"
    pairs = Counter(known[uid][:2] for uid in kept)
    assert set(pairs.values()) == {1}
    assert all(len(contents) == 1 for contents in kept.values()), "one UID came with two contents"
    missing = [k for uid, k in known.items() if k[2] == "DELIVERED" and uid not in kept]
    assert not missing
    return len({revision for revision, _, _ in known.values()})


def assert_the_trail_is_whole(stand: Any) -> None:
    """Every row of the chain, and the heads that were kept outside the database."""
    marks = checkpoints.read_checkpoints(stand.house.config.archive.data_folder / "checkpoints")
    with stand.house.database.read() as session:
        verified = trail.verify(session, marks)
    verified.raise_if_broken()
    assert verified.rows > 30
