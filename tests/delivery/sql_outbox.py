"""The outbox as node wires it: archive.outbox behind delivery's protocol, one transaction per call.

Used by the tests and, as a program, as a sender process of its own:
    sql_outbox.py DATABASE_URL FOLDER HOST PORT [hang]
"hang": never records, so that the process can be killed between sending and recording.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from dicomnode.archive import commitments
from dicomnode.archive import outbox as sql
from dicomnode.delivery.dispatcher import serve
from dicomnode.delivery.outbox import Item, OutboxUnavailable, Unconfirmed
from dicomnode.delivery.settings import DeliverySettings, PeerSettings


def engine_of(url):
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def pragmas(connection, record):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA busy_timeout=10000")

    return engine


class SqlOutbox:
    def __init__(self, engine, folder, owner="deliver-1", lease_s=60.0):
        self.engine, self.folder, self.owner, self.lease_s = engine, Path(folder), owner, lease_s
        self.changes, self.alerts, self._held, self.troubles = [], [], {}, {}

    def _do(self, work):
        try:
            with Session(self.engine) as session, session.begin():
                return work(session)
        except OperationalError as fault:
            raise OutboxUnavailable(str(fault.orig)) from fault

    def _item(self, claim):
        self._held[claim.delivery_id] = claim
        return Item(
            delivery_id=claim.delivery_id,
            attempt=claim.attempts,
            revision_id=claim.revision_id,
            role=claim.role,
            position=claim.position,
            sop_class_uid=claim.sop_class_uid,
            sop_instance_uid=claim.sop_instance_uid,
            file_sha256=claim.file_sha256,
            path=self.folder / claim.file_sha256,
            queued_at=claim.created_at,
        )

    def claim(self, peer, now, limit):
        claims = self._do(lambda s: sql.claim(s, peer, self.owner, now, self.lease_s, limit))
        return [self._item(claim) for claim in claims]

    def renew(self, items, now):
        held = [self._held[item.delivery_id] for item in items]
        return self._do(lambda s: sql.renew(s, held, now, self.lease_s))

    def record(self, item, decision, now):
        change = self._do(lambda s: sql.record(s, self._held[item.delivery_id], decision, now))
        self.changes.append(change)
        if decision.alert:
            self.alerts.append(decision.alert)
        return change is not None

    def release_expired(self, now, owner=""):
        changes = self._do(lambda s: sql.release_expired(s, now, owner))
        self.changes += changes
        return len(changes)

    def unconfirmed(self, peer, now, timeout_h, tries):
        groups = self._do(lambda s: commitments.unconfirmed(s, peer, now, timeout_h, tries))
        return [Unconfirmed(g.revision_id, g.asked, tuple(map(self._item, g.claims))) for g in groups]

    def _claims(self, group):
        return [self._held[item.delivery_id] for item in group.items]

    def commitment_asked(self, asked, transaction_uid, now):
        self._do(lambda s: commitments.record_asked(s, self._claims(asked), transaction_uid, now))

    def commitment_reported(self, report, now):
        committed = {reference.sop_instance_uid for reference in report.committed}
        failed = {f.reference.sop_instance_uid: (f.remedy.value, f.sentence) for f in report.failed}
        self.changes += self._do(
            lambda s: commitments.record_report(s, report.transaction_uid, committed, failed, now)
        )

    def commitment_checked(self, asked, found, now):
        self.changes += self._do(lambda s: commitments.record_checked(s, self._claims(asked), found, now))

    def alert(self, peer, sentence, now):
        self.alerts.append(sentence)

    def went_wrong(self, name, sentence, now):
        self.troubles[name] = sentence

    def went_well(self, name):
        self.troubles.pop(name, None)


def main():
    url, folder, host, port, *mode = sys.argv[1:]
    outbox = SqlOutbox(engine_of(url), folder, owner="killed" if mode else "second", lease_s=1.0)
    if mode:

        def hang(item, decision, now):
            sys.stdout.write("sent\n")
            sys.stdout.flush()
            time.sleep(3600)

        outbox.record = hang
    peer = PeerSettings(name="pacs", ae_title="PACS", host=host, port=int(port))
    serve(outbox, DeliverySettings(peers=(peer,), poll_s=0.1), threading.Event())


if __name__ == "__main__":
    main()
