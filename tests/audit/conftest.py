"""An archive with something in every table that the views and queries read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.audit import events, trail
from dicomnode.audit.event import Event, Outcome, Party
from dicomnode.audit.events import About
from dicomnode.database.database import Database
from dicomnode.database.tables import (
    AdministrationRow,
    Calculation,
    CycleRow,
    Delivery,
    FindingRow,
    Instance,
    OrganDoseRow,
    Result,
    Revision,
    Series,
    TimePointRow,
)

CT, RTDOSE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.481.2"
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
SCANNER, PACS = Party("SPECT1", "10.0.0.5"), Party("PACS", "10.0.0.7")
DOSES_GY = {"c1": 2.5, "c2": 1.5}


def rows_of_cycle(name: str, number: int) -> list[list[object]]:
    """One delivered cycle of one time point with its CT; parents before children."""
    at = START + timedelta(days=56 * number)
    made, dose_uid = at + timedelta(seconds=40 + 10 * number), f"1.2.826.0.1.{number + 1}"
    administration = AdministrationRow(
        id=number + 1, patient_id="P1", nuclide="Lu-177", activity_mbq=7400.0, administered_at=at,
        source="config", recorded_at=at,
    )  # fmt: skip
    cycle = CycleRow(
        id=name, patient_id="P1", nuclide="Lu-177", administration_id=number + 1, state="DELIVERED",
        state_since=made, opened_at=at, released_by="eva", released_because="checked",
    )  # fmt: skip
    point = TimePointRow(
        cycle_id=name, label="T1", acquired_at=at, hours=24.0, emission_series_uid=f"1.5.{number}",
        ct_series_uid=f"1.6.{number}", structure_series_uids=f'["1.7.{number}"]',
    )  # fmt: skip
    revision = Revision(
        id=f"{name}-r1", cycle_id=name, number=1, state="DELIVERED", inputs_digest="d", created_at=made,
        released_at=made, last_input_at=at,
    )  # fmt: skip
    calculation = Calculation(
        revision_id=f"{name}-r1", step="dose", engine="vsv", version="0.1.0", config_digest="cfg", seed=2**40,
        started_at=at, ended_at=made, outcome="DONE",
    )  # fmt: skip
    result = Result(
        id=number + 1, revision_id=f"{name}-r1", role="dose", sop_class_uid=RTDOSE, sop_instance_uid=dose_uid,
        file_sha256="a" * 64, created_at=made,
    )  # fmt: skip
    organ = OrganDoseRow(
        revision_id=f"{name}-r1", region="kidneys", mean_gy=DOSES_GY[name], sigma_gy=0.2, d2_gy=4, d50_gy=2,
        d98_gy=1, max_gy=5, volume_ml=300, mass_g=310, tia_mbq_s=1e6, sigma_tia_mbq_s=1e5, alpha_gy=0.1,
    )  # fmt: skip
    delivery = Delivery(
        result_id=number + 1, revision_id=f"{name}-r1", peer="PACS", state="SENT_WITH_WARNING",
        last_status="B000", sent_at=made + timedelta(seconds=5), attempts=1,
    )  # fmt: skip
    return [[administration], [cycle], [point, revision], [calculation, result, organ], [delivery]]


def other_rows() -> list[object]:
    """What was not used, what waits, and a clock that disagrees."""
    unused = Series(
        series_instance_uid="1.8.1", study_instance_uid="1.8", patient_id="P1", patient_name="D^J",
        modality="CT", role="unused", first_received_at=START, last_received_at=START, state="UNUSED",
        reason_code="localizer", reason="a localizer",
    )  # fmt: skip
    held = CycleRow(
        id="c3", patient_id="P1", nuclide="Lu-177", state="HELD", state_since=START, opened_at=START,
        reasons='["no CT"]',
    )  # fmt: skip
    clock = FindingRow(
        rule="clock-offset", severity="warning", sentence="the scanner's clock is 130 s ahead",
        measured=130.0, limit=60.0, unit="s", found_at=START,
    )  # fmt: skip
    instances: list[object] = [
        Instance(
            sop_instance_uid=uid, sop_class_uid=CT, transfer_syntax_uid="1.2.840.10008.1.2.1", sha256=digest,
            file_sha256=digest, size_bytes=2**31, calling_ae="SPECT1", called_ae="NODE",
            peer_address="10.0.0.5", received_at=START, state=state, series_instance_uid=series,
        )
        for uid, digest, state, series in [
            ("1.6.0.1", "a", "INDEXED", "1.6.0"),
            ("1.6.0.1", "b", "CONFLICT", "1.6.0"),
            ("1.6.0.2", "c", "INDEXED", "1.6.0"),
        ]
    ]  # fmt: skip
    return [unused, held, clock, *instances]


def all_events() -> list[Event]:
    """The trail of it."""
    slice_ = About(sop_instance_uid="1.6.0.1", sop_class_uid=CT)
    dose = About("P1", "1.9", "1.9.1", "1.2.826.0.1.1", RTDOSE, "c1", "c1-r1")
    receipts: tuple[events.Receipt, ...] = ("NEW", "DUPLICATE", "CONFLICT")
    return [
        events.application_started("NODE", role="receive", version="0.1.0", config_digest="cfg"),
        events.configuration_changed("NODE", before="x", after="cfg", changes={"tia.method": ["a", "b"]}),
        events.association_refused("NODE", Party("EVIL", "10.6.6.6"), called_ae="NODE", reason="unknown"),
        *(
            events.instance_received(
                "NODE", SCANNER, slice_, receipt=kind, sha256=kind, size_bytes=9, association="x"
            )
            for kind in receipts
        ),
        events.series_used(
            "NODE", About(patient_id="P1", series_instance_uid="1.6.0", cycle_id="c1"), role="ct"
        ),
        events.transferred("NODE", PACS, dose, outcome=Outcome.MINOR, status="B000", comment="coerced"),
        events.instances_viewed("eva", dose, what="show"),
        events.trail_verified("NODE", rows=9, broken_seq=None),
    ]


@pytest.fixture
def filled(database: Database) -> Database:
    """Two delivered cycles of patient P1, a held one, and the trail of one of them."""
    with database.write() as session:
        for number, name in enumerate(DOSES_GY):
            for rows in rows_of_cycle(name, number):
                session.add_all(rows)
                session.flush()
        session.add_all(other_rows())
        session.flush()
        for minute, event in enumerate(all_events()):
            trail.append(session, event, at=START + timedelta(minutes=minute))
    return database
