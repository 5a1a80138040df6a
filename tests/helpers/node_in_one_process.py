"""A node without processes: its rooms and rows in one place, moved on step by step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom import Dataset
from sqlalchemy import select

from dicomnode.calculation.cycle_dose import compute
from dicomnode.calculation.job import Job, Outcome
from dicomnode.casebook import (
    administrations,
    contradictions,
    corrections,
    decisions,
    intake,
    review,
    revisions,
)
from dicomnode.casebook.house import open_house
from dicomnode.casebook.views import cycle_facts
from dicomnode.config import load
from dicomnode.database.tables import CycleRow, FindingRow
from dicomnode.model import Administration
from dicomnode.node.receipts import ReceiptLedger
from dicomnode.receive.arrivals import Arrival
from tests.helpers.decided import AB, shown

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
CONFIG = """
[node]
name = "DESK"
[archive]
data_folder = "data"
[cycle]
expected_time_points = {expected}
[registration]
samples = 5000
iterations = 30
residual_max_mm = 100.0
{more}
"""


class Desk:
    """One house in a folder, and the clock: every step is an hour after the one before."""

    def __init__(self, folder: Path, *, expected: int = 2, more: str = "") -> None:
        self.folder, self.now = folder, NOW
        self.settings = CONFIG.format(expected=expected, more=more)
        self._open()

    def _open(self) -> None:
        (self.folder / "config.toml").write_text(self.settings, encoding="utf-8")
        self.house = open_house(load(self.folder / "config.toml"))

    def configure(self, table: str, line: str) -> None:
        """The site writes a line into a table of its configuration and starts the node anew."""
        self.house.database.close()
        if f"{table}\n" not in self.settings:
            self.settings += f"{table}\n"
        self.settings = self.settings.replace(f"{table}\n", f"{table}\n{line}\n", 1)
        self._open()

    def close(self) -> None:
        self.house.database.close()

    def _later(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now

    def arrive(self, objects: Sequence[Dataset]) -> None:
        """Receive, index and review them."""
        self.receive(objects)
        self.index()

    def receive(self, objects: Sequence[Dataset]) -> None:
        """Receive them."""
        ledger, now = ReceiptLedger(self.house), self._later()
        for ds in objects:
            path = self.house.store.incoming / "one.part"
            ds.save_as(path, enforce_file_format=True)
            ledger.record(
                Arrival(
                    str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID),
                    self.house.store.adopt(path), "CT1", "DICOMNODE", "127.0.0.1", "", "a", now,
                )
            )  # fmt: skip

    def index(self) -> None:
        """Read what has not been read yet, and review the patients concerned."""
        now = self.now
        with self.house.database.read() as session:
            unparsed = intake.unparsed(session, 1000, [])
            before = corrections.came_before(session, [i for i, _ in unparsed])
        path = self.house.store.path
        beside = {i: path(digest) for i, digest in before.items()}
        parsed = intake.parse([(i, path(digest)) for i, digest in unparsed], "UTC", beside)
        with self.house.database.write() as session:
            patients = intake.record(session, parsed, "DESK", now)
        for patient in patients:
            self.review(patient)

    def report(self, patient: str, told: Administration) -> None:
        """As an SR would tell it; ``told.source`` is its SOP Instance UID."""
        with self.house.database.write() as session:
            administrations.record(session, patient, told, "DESK", self._later())
        self.review(patient)

    def administer(self, patient: str, at: str, mbq: float = 7400.0, **more: Any) -> int:
        """A person tells it."""
        number = decisions.administer(
            self.house, patient, "Lu-177", mbq, at, "", 0.0, AB, self._later(), **more
        )
        self.review(patient)
        return number

    def review(self, patient: str) -> None:
        with self.house.database.write() as session:
            review.review(session, patient, self.house.config, self._later())
            contradictions.stop_contradicted(session, patient, self.house.config, self.now)

    def release(self, cycle_id: str) -> None:
        decisions.release(
            self.house, cycle_id, AB, "looked at", self._later(), seen=shown(self.house, cycle_id)
        )

    def start(self, cycle_id: str) -> Job:
        """The job of a cycle that is ready."""
        with self.house.database.write() as session:
            row = session.get(CycleRow, cycle_id)
            assert row is not None
            assert row.state == "READY", (row.state, row.reasons)
            job = revisions.start(session, row, self.house.config, self._later())
        assert job is not None
        return job

    def finish(self, job: Job, outcome: Outcome) -> None:
        with self.house.database.write() as session:
            revisions.finish(session, job, outcome, self.house.config, self._later())

    def compute(self, cycle_id: str) -> tuple[Job, Outcome]:
        """Start it, compute it here, and write what came of it."""
        job = self.start(cycle_id)
        outcome = compute(job, self.house.config, self.house.store)
        self.finish(job, outcome)
        return job, outcome

    def rows(self) -> list[dict[str, Any]]:
        """Cycles in order of their administration."""
        with self.house.database.read() as session:
            ids = session.scalars(select(CycleRow.id)).all()
        facts = [cycle_facts(self.house, i) for i in ids]
        return sorted(facts, key=lambda f: str(f["administration"].get("administered_at", "")))

    def rules(self, cycle_id: str, severity: str = "hold") -> list[str]:
        with self.house.database.read() as session:
            found = select(FindingRow.rule).where(
                FindingRow.cycle_id == cycle_id, FindingRow.severity == severity
            )
            return sorted(session.scalars(found))
