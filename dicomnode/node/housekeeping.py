"""What has to be done now and then: checkpoints, export of the trail, sweeping, retention."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from dicomnode.archive.retention import PurgedStudy, purge
from dicomnode.audit import codes, events, syslog, trail
from dicomnode.audit.about import About
from dicomnode.audit.checkpoints import checkpoint
from dicomnode.casebook.house import House
from dicomnode.errors import DeliveryFailed

log = logging.getLogger(__name__)

DAY_S = 86400.0


class Housekeeping:
    """Duties with their intervals; ``tend(now)`` does those that are due."""

    def __init__(self, house: House) -> None:
        audit = house.config.audit
        self.house = house
        duties: list[tuple[float, Callable[[datetime], None]]] = [
            (audit.checkpoint_every_s, self._checkpoint),
            (3600.0, self._sweep),
        ]
        if audit.syslog_host:
            duties.append((audit.syslog_every_s, self._export))
        if house.config.archive.keep_received_days:
            duties.append((DAY_S, self._purge))
        self._duties = duties
        self._due: dict[int, datetime] = {}

    def tend(self, now: datetime) -> None:
        """Do what is due. A folder or repository that is away is tried again at the next interval."""
        for index, (every_s, duty) in enumerate(self._duties):
            if now >= self._due.get(index, now):
                self._due[index] = now + timedelta(seconds=every_s)
                duty(now)

    def _checkpoint(self, now: datetime) -> None:
        folder, key = self.house.config.checkpoint_folder, self.house.checkpoint_key
        try:
            with self.house.database.write() as session:
                checkpoint(session, folder, key=key, at=now)
        except OSError as fault:
            self._alert(f"no checkpoint of the audit trail could be written to {folder}: {fault.strerror}")

    def _alert(self, sentence: str) -> None:
        log.warning("%s", sentence)
        told = events.security_alert(
            self.house.config.node.name, sentence=sentence, alert=codes.SOFTWARE_CONFIGURATION
        )
        with self.house.database.write() as session:
            trail.append(session, told)

    def _sweep(self, now: datetime) -> None:
        self.house.store.sweep_incoming(self.house.config.archive.sweep_incoming_after_s)

    def _export(self, now: datetime) -> None:
        try:
            syslog.export(self.house.database, self.house.config.audit)
        except DeliveryFailed as failure:
            log.warning("the audit record repository: %s", failure)

    def _purge(self, now: datetime) -> None:
        days = self.house.config.archive.keep_received_days

        def record(session: Session, study: PurgedStudy) -> None:
            which = About(patient_id=study.patient_id, study_instance_uid=study.study_instance_uid)
            deleted = events.study_deleted(
                self.house.config.node.name,
                which,
                instances=study.instances,
                because=f"older than {days} days and delivered",
            )
            trail.append(session, deleted)

        before = now - timedelta(days=days)
        purge(self.house.database, self.house.store, received_before=before, now=now, record=record)
