"""The work role: one round after another, each looking at the archive and doing what is next.

All state is in SQL. A round that is interrupted at any instant is repaired by the next one: instances
not indexed are parsed again, computations without a worker are started again, rows are brought up to
date by comparing, never by remembering.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.audit import queries
from dicomnode.audit.pseudonym import pseudonym
from dicomnode.calculation.job import Job
from dicomnode.casebook import (
    administrations,
    contradictions,
    corrections,
    intake,
    left_out,
    revisions,
    troubles,
)
from dicomnode.casebook.house import House
from dicomnode.casebook.lifecycle import Happening, State
from dicomnode.casebook.review import review
from dicomnode.casebook.state import change, hold_for_fault, is_held_by_person
from dicomnode.config import Config
from dicomnode.database.database import ArchiveUnavailable
from dicomnode.database.items import apart
from dicomnode.database.tables import CycleRow, Series, TimePointRow
from dicomnode.errors import ItemFault
from dicomnode.node.bookmark import Bookmark, bookmark_path
from dicomnode.node.housekeeping import Housekeeping
from dicomnode.node.workers import SUSPECT, Batch, Ended, Workers

log = logging.getLogger(__name__)

BATCH = 64
"""Instances parsed in one task: large enough that Dask's overhead does not matter."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_PAUSE_S = 30.0
"""How long computations wait after one found the disk full, and parsing after a file was not given."""
MOST_READS = 10
"""So often a received file is asked of the disk, before it is for a person: five minutes."""
QUICK_S = 5.0
"""Objects of a batch that was not parsed are first tried alone for so long: the good ones among them do not
wait for the slow ones."""
GROWN_MUCH = 1.25
"""A series that still arrives is summed up again when it has grown by a quarter: the work of all its
objects stays in proportion to their number."""


def compute_in_worker(job: Job, config: Config, store_root: Path) -> object:
    """Entry point of a computation in a worker."""
    from dicomnode.archive.store import Store
    from dicomnode.calculation.cycle_dose import compute

    return compute(job, config, Store(store_root))


class Rounds:
    """What the work role does, again and again."""

    def __init__(self, house: House, workers: Workers) -> None:
        # Silence counts only while objects could be stored: see cycle.readiness.
        self.open_since = datetime.now(UTC)
        self.compute_from = time.monotonic()
        self.parse_from = time.monotonic()
        self.parsed_alone: set[int] = set()
        self.unread: Counter[int] = Counter()
        self.house, self.workers = house, workers
        self.bookmark = Bookmark(bookmark_path(house.config.archive.data_folder, "work"))
        self.arriving: set[str] = set()
        self.grown: set[str] = set()
        self.look_again: dict[str, datetime] = {}
        self.told = administrations.Told()
        self.left_out = left_out.Seen()
        self.skipped: frozenset[str] = frozenset()
        self.last_conflict = -1
        self.housekeeping = Housekeeping(house)

    def serve(self, stop: threading.Event) -> None:
        """Rounds until ``stop``; a database that is away or a disk that is full is waited for."""
        self._resume()
        while not stop.wait(self.house.config.node.poll_s):
            try:
                self.once(datetime.now(UTC))
            except (ArchiveUnavailable, OSError) as outage:
                log.warning("waiting for database or disk: %s", outage)
                self.bookmark.beat()
                self.open_since = datetime.now(UTC)

    def once(self, now: datetime) -> None:
        """One round."""
        self.workers.check()
        if self.house.store.free_bytes() < max(1.0, self.house.config.receive.free_space_reserve_mb) * 1e6:
            self.open_since = now  # the receiver answers 0xA700
        self.arriving = set()
        for ended in self.workers.ended():
            self._take(ended, now)
        self._bring_up_to_date(now)
        self._take_up_abandoned(now)
        self._parse()
        self._review(now)
        self._stop_what_met_a_conflict(now)
        self._start_computations(now)
        self._settle_deliveries(now)
        self.housekeeping.tend(now)
        self.bookmark.beat()

    def _resume(self) -> None:
        """After a start: every patient is looked at."""
        now = datetime.now(UTC)
        with self.house.database.read() as session:
            for patient in session.scalars(select(Series.patient_id).distinct()):
                self.look_again[patient] = now
            self.grown = set(intake.grown(session))
            self.skipped = troubles.skipped(session)
        if self._configuration_is_another():
            self._collect_held_again(now)

    def _configuration_is_another(self) -> bool:
        """Whether this start's configuration differs from that of the work role's start before."""
        with self.house.database.read() as session:
            starts = list(queries.entries(session, queries.Filter(kind="application-started"), limit=20))
        digests = [
            e.body["detail"]["config_digest"] for e in starts if e.body["detail"].get("role") == "work"
        ]
        return len(digests) > 1 and digests[-1] != digests[-2]

    def _collect_held_again(self, now: datetime) -> None:
        """A changed configuration may settle what held a cycle; what a person held stays held, and so does a
        cycle without images, which nothing but a person can end."""
        has_images = select(TimePointRow.id).where(TimePointRow.cycle_id == CycleRow.id).exists()
        with self.house.database.write() as session:
            held = select(CycleRow).where(CycleRow.state == State.HELD, has_images)
            for row in session.scalars(held):
                if not is_held_by_person(row):
                    change(session, row, Happening.DATA_CHANGED, [], self.house.config.node.name, now)

    def _take_up_abandoned(self, now: datetime) -> None:
        """Cycles that SQL calls computing and that no worker computes: the node stopped, or the database
        went away just then. No fault of theirs, so they are computed again without being counted."""
        mine = {job.cycle_id for job in self.workers.under_way("compute") if isinstance(job, Job)}
        with self.house.database.read() as session:
            computing = session.scalars(select(CycleRow.id).where(CycleRow.state == State.COMPUTING)).all()
        for cycle_id in set(computing) - mine:
            with self.house.database.write() as session:
                row = session.get(CycleRow, cycle_id)
                if row is not None and row.state == State.COMPUTING:
                    why = "the node stopped during the computation"
                    revisions.interrupted(session, row, why, self.house.config, now, counted=False)

    def _parse(self) -> None:
        if time.monotonic() < self.parse_from:
            return
        batches = [b for b in self.workers.under_way("parse") if not isinstance(b, Job)]
        suspects = [b for b in self.workers.under_way(SUSPECT) if not isinstance(b, Job)]
        busy = [i for batch in (*batches, *suspects) for i, _ in batch]
        room = 2 * self.house.config.work.workers - len(batches)
        if room <= 0:
            return
        with self.house.database.read() as session:
            found = intake.unparsed(session, BATCH * room, busy)
        for start in range(0, len(found), BATCH):
            self._submit_parse(tuple(found[start : start + BATCH]))

    def _submit_parse(self, batch: Batch, kind: str = "parse", limit_s: float = inf) -> None:
        config, path = self.house.config, self.house.store.path
        with self.house.database.read() as session:
            before = corrections.came_before(session, [i for i, _ in batch])
        files = [(i, path(digest)) for i, digest in batch]
        beside = {i: path(digest) for i, digest in before.items()}
        limit_s = min(limit_s, config.work.parse_timeout_s)
        self.workers.submit(kind, batch, limit_s, intake.parse, files, config.node.zone, beside)

    def _take(self, ended: Ended, now: datetime) -> None:
        if ended.kind in ("parse", SUSPECT):
            self._take_parsed(ended, now)
        else:
            self._take_computed(ended, now)

    def _take_parsed(self, ended: Ended, now: datetime) -> None:
        batch = ended.what
        assert not isinstance(batch, Job)
        if not ended.error:
            with self.house.database.write() as session:
                for one in ended.value:
                    with self.bookmark.at(f"object:{one.instance_id}"):
                        self.arriving |= intake.enter(session, [one], self.house.config.node.name, now)
        elif len(batch) > 1:  # find the one that does it
            for one in batch:
                self._submit_parse((one,), limit_s=QUICK_S)
        elif ended.died and batch[0][0] not in self.parsed_alone:  # its worker may have been killed
            self.parsed_alone.add(batch[0][0])
            self._submit_parse(batch, SUSPECT)
        elif self._is_of_the_disk(ended, batch[0][0]):
            log.error("a received file cannot be read: %s; trying again", ended.error)
            self.parse_from = time.monotonic() + DISK_PAUSE_S
        else:
            remedy = "have its sender look at it"
            if isinstance(ended.fault, OSError) and ended.fault.errno is not None:
                remedy = "mend the disk, then `dicomnode quarantine read-again`"
            refusal = f"it could not be parsed: {ended.error}; {remedy}"
            with self.house.database.write() as session:
                failed = intake.Parsed(batch[0][0], None, refusal=refusal)
                intake.enter(session, [failed], self.house.config.node.name, now)

    def _is_of_the_disk(self, ended: Ended, instance_id: int) -> bool:
        """Whether the disk, and not the object, is to blame: then the object stays to be read."""
        if not isinstance(ended.fault, OSError) or ended.fault.errno is None:
            return False
        self.unread[instance_id] += 1
        return self.unread[instance_id] < MOST_READS

    def _bring_up_to_date(self, now: datetime) -> None:
        """Sum up series that have grown: at once where much came, else when no more comes just now. They are
        read before the write transaction, which peers wait for."""
        self.grown |= self.arriving
        if not self.grown:
            return
        with self.house.database.read() as session:
            ratios = intake.grown(session, self.grown)
        for uid in sorted(self.grown):
            if uid in self.arriving and ratios.get(uid, 1.0) < GROWN_MUCH:
                continue
            with self.house.database.read() as session:
                found = intake.sum_up(session, uid)
            with self.house.database.write() as session:
                patients = intake.keep(session, found, self.house.config.node.name)
            self.grown.discard(uid)
            log.info("series %s has %d objects", uid, found.objects)
            self.look_again |= dict.fromkeys(patients, now)

    def _take_computed(self, ended: Ended, now: datetime) -> None:
        job = ended.what
        assert isinstance(job, Job)
        with self.bookmark.at(f"cycle:{job.cycle_id}"), self.house.database.write() as session:
            row = session.get(CycleRow, job.cycle_id)
            if row is None:
                return
            try:
                with apart(session):
                    self._take_into(session, row, job, ended, now)
            except ItemFault as fault:
                why = f"what was computed cannot be recorded: {fault}"
                revisions.failed(session, row, why, self.house.config, now)

    def _take_into(self, session: Session, row: CycleRow, job: Job, ended: Ended, now: datetime) -> None:
        if not ended.error:
            revisions.finish(session, job, ended.value, self.house.config, now)
        elif ended.died:
            revisions.interrupted(session, row, ended.error, self.house.config, now)
        elif isinstance(ended.fault, OSError) and ended.fault.errno in DISK_FULL:
            log.error("cycle %s: the disk is full; waiting for space", job.cycle_id)
            self.compute_from = time.monotonic() + DISK_PAUSE_S
            why = "the disk is full: free some space"
            revisions.interrupted(session, row, why, self.house.config, now, counted=False)
        else:
            log.error("cycle %s: %s", job.cycle_id, ended.error)
            why = f"the computation failed: {ended.error}"
            revisions.failed(session, row, why, self.house.config, now)

    def _review(self, now: datetime) -> None:
        with self.house.database.read() as session:
            told = administrations.changed_since(session, self.told)
            out = left_out.changed_since(session, self.left_out)
            for patient in (*told.patients, *out.patients):
                self.look_again[patient] = now
            self.told, self.left_out = told, out
            known_until = intake.oldest_unparsed(session) or now
        for patient in [p for p, at in self.look_again.items() if at <= now]:
            del self.look_again[patient]
            if patient in self.skipped:
                continue
            again = self._review_one(patient, now, known_until)
            if self.house.pseudonym_key:
                log.debug("reviewed %s", pseudonym(patient, self.house.pseudonym_key))
            if again is not None:
                self.look_again[patient] = again

    def _review_one(self, patient: str, now: datetime, known_until: datetime) -> datetime | None:
        """Where it fails, everything of this patient is held: what came last may contradict what is there."""
        config, again = self.house.config, None
        with self.bookmark.at(f"patient:{patient}"), self.house.database.write() as session:
            try:
                with apart(session):
                    again = review(session, patient, config, now, self.open_since, known_until)
                    contradictions.stop_contradicted(session, patient, config, now)
                troubles.over(session, f"patient:{patient}")
            except ItemFault as fault:
                troubles.hold_patient(session, patient, str(fault), config.node.name, now)
        return again

    def _stop_what_met_a_conflict(self, now: datetime) -> None:
        with self.house.database.read() as session:
            newest = contradictions.newest(session)
        if newest != self.last_conflict:
            with self.house.database.write() as session:
                try:
                    with apart(session):
                        contradictions.stop_cycles(session, self.last_conflict, self.house.config, now)
                    troubles.over(session, "conflicts")
                except ItemFault as fault:
                    why = f"cycles whose objects met different ones cannot be held: {fault}; hold them"
                    troubles.note(session, "conflicts", why, self.house.config.node.name, now)
            self.last_conflict = newest

    def _settle_deliveries(self, now: datetime) -> None:
        with self.house.database.read() as session:  # no write lock where there is nothing to do
            released = session.scalars(select(CycleRow.id).where(CycleRow.state == State.RELEASED)).all()
        for cycle_id in released:
            with self.bookmark.at(f"cycle:{cycle_id}"), self.house.database.write() as session:
                row = session.get(CycleRow, cycle_id)
                if row is None:
                    continue
                try:
                    with apart(session):
                        revisions.settle(session, row, self.house.config, now)
                except ItemFault as fault:
                    hold_for_fault(session, row, str(fault), self.house.config.node.name, now)

    def _start_computations(self, now: datetime) -> None:
        if time.monotonic() < self.compute_from:
            return
        # One worker stays free for parsing, so that images that come meanwhile are seen.
        most = max(1, self.house.config.work.workers - 1)
        computing = {job.cycle_id for job in self.workers.under_way("compute") if isinstance(job, Job)}
        with self.house.database.read() as session:
            ready = session.scalars(select(CycleRow.id).where(CycleRow.state == State.READY)).all()
        for cycle_id in ready:
            if cycle_id in computing or len(computing) >= most:
                continue
            job = self._start(cycle_id, now)
            if job is not None:
                computing.add(cycle_id)
                self.workers.submit(
                    "compute",
                    job,
                    self.house.config.work.compute_timeout_s,
                    compute_in_worker,
                    job,
                    self.house.config,
                    self.house.store.root,
                )

    def _start(self, cycle_id: str, now: datetime) -> Job | None:
        with self.bookmark.at(f"cycle:{cycle_id}"), self.house.database.write() as session:
            row = session.get(CycleRow, cycle_id)
            if row is None:
                return None
            try:
                with apart(session):
                    return revisions.start(session, row, self.house.config, now)
            except ItemFault as fault:
                hold_for_fault(session, row, str(fault), self.house.config.node.name, now)
                return None
