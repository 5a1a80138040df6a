"""Holding, quarantine and restarts as rows: the functions of the node on a house of its own, no processes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from dicomnode.archive import outbox
from dicomnode.audit import queries
from dicomnode.casebook import decisions, intake, quarantine, revisions, state
from dicomnode.casebook.house import House, open_house
from dicomnode.casebook.lifecycle import Happening, State
from dicomnode.casebook.revisions import is_unfinished
from dicomnode.casebook.status import status
from dicomnode.config import load
from dicomnode.database.tables import CycleRow, Delivery, Instance, Result, Revision
from dicomnode.delivery.commitment import CommitmentReport, NotCommitted, Reference, Remedy
from dicomnode.delivery.outbox import Decision
from dicomnode.delivery.policy import classify
from dicomnode.errors import Refused
from dicomnode.node.deliver import Outbox
from dicomnode.node.housekeeping import Housekeeping
from dicomnode.node.receipts import ReceiptLedger
from dicomnode.node.work import MOST_READS, Rounds
from dicomnode.node.workers import Ended, Workers
from dicomnode.receive.arrivals import Arrival, Disposition
from tests.helpers.decided import AB, shown

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
CONFIG = """
[archive]
data_folder = "{0}/data"
[audit]
checkpoint_folder = "{0}/checkpoints"
[[delivery.peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
objects = ["rtdose"]
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "config.toml").write_text(CONFIG.format(tmp_path), encoding="utf-8")
    made = open_house(load(tmp_path / "config.toml"))
    yield made
    made.database.close()


@pytest.fixture
def queued(house: House) -> str:
    """A released cycle whose one result waits for the peer; the digest of its file."""
    digest = house.store.put(b"dose of revision 1")
    with house.database.write() as session:
        session.add(
            CycleRow(
                id="c1", patient_id="P", nuclide="Lu-177", state=State.RELEASED, state_since=NOW,
                opened_at=NOW, inputs_digest="a", reasons="[]", accepted="[]",
            )
        )  # fmt: skip
        session.flush()
        session.add(
            Revision(
                id="r1", cycle_id="c1", number=1, state="RELEASED", inputs_digest="a",
                created_at=NOW, released_at=NOW, attempts=1,
            )
        )  # fmt: skip
        session.flush()
        result = Result(
            revision_id="r1", role="rtdose", sop_class_uid="1.2", sop_instance_uid="1.2.3",
            file_sha256=digest, created_at=NOW,
        )  # fmt: skip
        session.add(result)
        session.flush()
        outbox.enqueue(session, "r1", [result], {"pacs": [("rtdose", 0)]}, NOW)
    return digest


def _take(house: House, happening: Happening) -> None:
    with house.database.write() as session:
        row = session.get(CycleRow, "c1")
        assert row is not None
        state.change(session, row, happening, [], "here", NOW)


def _sent(house: House) -> list[str]:
    return [item.sop_instance_uid for item in Outbox(house).claim("pacs", LATER, 10)]


def test_a_dose_whose_inputs_changed_does_not_leave(house: House, queued: str) -> None:
    _take(house, Happening.DATA_CHANGED)
    assert _sent(house) == []
    with house.database.read() as session:
        revision = session.get(Revision, "r1")
        assert revision is not None
        assert revision.state == "HELD"


@pytest.mark.parametrize("state", list(State))
def test_what_a_person_holds_does_not_leave_whatever_state_the_cycle_is_in(
    house: House, queued: str, state: State
) -> None:
    with house.database.write() as session:
        row = session.get(CycleRow, "c1")
        assert row is not None
        row.state = state
        session.add(
            Revision(
                id="r2", cycle_id="c1", number=2, state="HELD", inputs_digest="b", created_at=NOW, attempts=1
            )
        )
    decisions.hold(house, "c1", AB, "wrong patient", NOW, seen=shown(house, "c1"))
    assert _sent(house) == []


def test_a_revision_that_was_queued_once_is_not_computed_again_under_its_number(
    house: House, queued: str
) -> None:
    """Deliveries refer to its results, and an object may be at a peer: the same inputs get a new revision."""
    _take(house, Happening.PERSON_HOLDS)
    with house.database.read() as session:
        revision = session.get(Revision, "r1")
        assert revision is not None
        assert revision.state == "HELD"
        assert not is_unfinished(revision, "a")
        revision.released_at = None
        assert is_unfinished(revision, "a")
        assert not is_unfinished(revision, "b")


def test_a_revision_that_was_stopped_for_newer_images_has_nothing_that_waits_for_a_person(
    house: House, queued: str
) -> None:
    assert status(house).deliveries == {"pacs": {"QUEUED": 1}}
    _take(house, Happening.DATA_CHANGED)
    assert status(house).deliveries == {}
    assert not status(house).waits_for_a_person


def test_what_a_peer_lost_of_a_held_revision_does_not_leave_again(house: House, queued: str) -> None:
    """Sent; then a person holds it; then the peer reports that it does not have the object."""
    box = Outbox(house)
    (item,) = box.claim("pacs", LATER, 10)
    assert box.record(item, Decision("SENT", "0000", "", None, True, classify(0)), LATER)
    assert list(box.claim("pacs", LATER, 10)) == []
    (asked,) = box.unconfirmed("pacs", LATER, 1.0, 3)
    box.commitment_asked(asked, "1.2.9", LATER)
    decisions.hold(house, "c1", AB, "wrong patient", LATER, seen=shown(house, "c1"))
    lost = NotCommitted(Reference("1.2", "1.2.3"), 0x0112, Remedy.SEND_AGAIN, "it is not there")
    box.commitment_reported(CommitmentReport("1.2.9", (), (lost,)), LATER)
    assert list(box.claim("pacs", LATER, 10)) == []
    with house.database.read() as session:
        assert session.scalars(select(Delivery.state)).all() == ["PARKED"]


def _park(house: House) -> None:
    with house.database.write() as session:
        (delivery,) = session.scalars(select(Delivery))
        delivery.state = "PARKED"


def test_what_waits_for_a_peer_that_is_configured_no_more_is_parked_and_told(
    house: House, queued: str
) -> None:
    delivery = house.config.delivery.model_copy(update={"peers": ()})
    other = replace(house, config=house.config.model_copy(update={"delivery": delivery}))
    Outbox(other).park_for_unknown_peers(LATER)
    assert status(house).deliveries == {"pacs": {"PARKED": 1}}
    (alert,) = _events(house, "security-alert")
    assert "1 objects wait for pacs" in alert.body["sentence"]
    with pytest.raises(Refused, match="no peer pacs"):
        decisions.send(other, "c1", AB, "again", "", LATER, seen=shown(house, "c1"))
    assert (
        decisions.send(house, "c1", AB, "it is back", "", LATER, seen=shown(house, "c1"))
        == "1 objects are queued again"
    )


def test_what_a_person_gives_up_waits_for_nobody_and_takes_what_waits_behind_it_along(
    house: House, queued: str
) -> None:
    """The dose refers to a companion plan that the peer refuses: without the plan it would wait for ever."""
    with house.database.write() as session:
        plan = Result(
            revision_id="r1", role="rtplan", sop_class_uid="1.3", sop_instance_uid="1.2.2",
            file_sha256=queued, created_at=NOW,
        )  # fmt: skip
        session.add(plan)
        session.flush()
        (dose,) = session.scalars(select(Delivery))
        dose.position = 1
        (row,) = outbox.enqueue(session, "r1", [plan], {"pacs": [("rtplan", 0)]}, NOW).new
        row.state = "PARKED"
    assert _sent(house) == []
    assert status(house).waits_for_a_person
    said = decisions.send(
        house, "c1", AB, "it takes no plans", "pacs", LATER, seen=shown(house, "c1"), give_up=True
    )
    assert said == "2 objects are given up"
    assert status(house).deliveries == {"pacs": {"GIVEN_UP": 2}}
    assert not status(house).waits_for_a_person
    (told,) = _events(house, "cycle-given-up")
    assert told.body["detail"]["objects"] == 2


def test_the_rest_of_a_revision_is_delivered_when_one_object_was_given_up(house: House, queued: str) -> None:
    with house.database.write() as session:
        more = Result(
            revision_id="r1", role="sr", sop_class_uid="1.3", sop_instance_uid="1.2.2", file_sha256=queued,
            created_at=NOW,
        )  # fmt: skip
        session.add(more)
        session.flush()
        (row,) = outbox.enqueue(session, "r1", [more], {"pacs": [("sr", 2)]}, NOW).new
        row.state = "PARKED"
    box = Outbox(house)
    (item,) = box.claim("pacs", LATER, 10)
    box.record(item, Decision("SENT", "0000", "", None, True, classify(0)), LATER)
    decisions.send(house, "c1", AB, "it takes no SR", "", LATER, seen=shown(house, "c1"), give_up=True)
    with house.database.write() as session:
        revisions.settle_deliveries(session, house.config, LATER)
    with house.database.read() as session:
        assert session.scalars(select(CycleRow.state)).all() == ["DELIVERED"]


def test_a_result_whose_file_is_gone_is_claimed_so_that_the_sender_can_say_so(
    house: House, queued: str
) -> None:
    house.store.path(queued).unlink()
    assert _sent(house) == ["1.2.3"]
    with house.database.read() as session:
        assert session.scalars(select(Delivery.state)).all() == ["SENDING"]


def _arrive(house: House, uid: str, patient: str, series: str = "1.9") -> Disposition:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.20"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = patient, "1.8", series, "NM"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.AcquisitionDateTime = "20260302120000"
    part = house.store.incoming / "x.part"
    ds.save_as(part, enforce_file_format=True)
    kept = house.store.adopt(part)
    arrival = Arrival(
        uid, str(ds.SOPClassUID), ExplicitVRLittleEndian, kept, "CAM", "DICOMNODE", "127.0.0.1", "", "a", NOW
    )
    return ReceiptLedger(house).record(arrival)


def _parse(house: House) -> None:
    with house.database.read() as session:
        files = [(i, house.store.path(digest)) for i, digest in intake.unparsed(session, 10, [])]
    parsed = intake.parse(files, "UTC")
    with house.database.write() as session:
        intake.record(session, parsed, "here", NOW)


def _states(house: House) -> list[str]:
    with house.database.read() as session:
        return list(session.scalars(select(Instance.state).order_by(Instance.id)))


def test_a_corrected_object_takes_the_place_of_a_quarantined_one(house: House) -> None:
    assert _arrive(house, "1.2.7", "") is Disposition.NEW
    _parse(house)
    assert _states(house) == ["QUARANTINED"]
    assert _arrive(house, "1.2.7", "P7") is Disposition.NEW
    _parse(house)
    assert _states(house) == ["QUARANTINED", "INDEXED"]
    assert _arrive(house, "1.2.7", "P8") is Disposition.CONFLICT  # now one of them is in use


def test_a_correction_that_came_before_the_faulty_object_was_read_takes_its_place_too(house: House) -> None:
    assert _arrive(house, "1.2.7", "") is Disposition.NEW
    assert _arrive(house, "1.2.7", "P7") is Disposition.CONFLICT
    _parse(house)
    _parse(house)
    assert _states(house) == ["QUARANTINED", "INDEXED"]


def test_what_is_quarantined_waits_for_a_person_until_it_is_replaced_or_dismissed(house: House) -> None:
    _arrive(house, "1.2.7", "")
    _arrive(house, "1.2.8", "")
    _parse(house)
    assert (status(house).quarantined, status(house).waits_for_a_person) == (2, True)
    _arrive(house, "1.2.7", "P7")
    assert [q.sop_instance_uid for q in quarantine.listed(house)] == ["1.2.8"]
    with pytest.raises(Refused, match=r"1\.2\.7"):
        quarantine.dismiss(house, ["1.2.7"], AB, "a phantom")
    assert quarantine.dismiss(house, [], AB, "a phantom") == "1 objects need no more attention"
    assert not status(house).waits_for_a_person
    assert _arrive(house, "1.2.8", "P8") is Disposition.NEW, "what was dismissed contradicts nothing"


def test_a_person_has_a_quarantined_object_read_again(house: House) -> None:
    """After the disk was mended, say. What is wrong with it still is found again."""
    _arrive(house, "1.2.7", "")
    _parse(house)
    assert quarantine.read_again(house, ["1.2.7"], AB, "disk mended") == "1 objects are read again"
    assert _states(house) == ["RECEIVED"]
    _parse(house)
    assert _states(house) == ["QUARANTINED"]
    kinds = [e.body["detail"].get("decision") for e in _events(house, "quarantine-decided")]
    assert kinds == ["read again"]


def test_what_the_disk_does_not_give_is_not_quarantined_before_it_was_tried_for_minutes(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An NFS server that was away would otherwise have cost every image that came meanwhile."""
    caplog.set_level("CRITICAL", logger="dicomnode.node.work")
    _arrive(house, "1.2.7", "P7")
    with house.database.read() as session:
        batch = tuple(intake.unparsed(session, 10, []))
    rounds = Rounds(house, _Idle())
    fault = OSError(errno.ESTALE, "Stale file handle")
    for _ in range(MOST_READS - 1):
        rounds._take_parsed(Ended(batch, "parse", error="OSError: ...", fault=fault), NOW)
        assert _states(house) == ["RECEIVED"]
        rounds._parse()  # waits: nothing is submitted to the worker that is not there
    rounds._take_parsed(Ended(batch, "parse", error="OSError: ...", fault=fault), NOW)
    (found,) = quarantine.listed(house)
    assert "dicomnode quarantine read-again" in found.reason


def test_a_quarantined_object_that_is_sent_again_is_read_again(house: House) -> None:
    _arrive(house, "1.2.7", "")
    _parse(house)
    assert _arrive(house, "1.2.7", "") is Disposition.DUPLICATE
    assert _states(house) == ["RECEIVED"]


def _events(house: House, kind: str) -> list[queries.Entry]:
    with house.database.read() as session:
        return list(queries.entries(session, queries.Filter(kind=kind), limit=99))


class _Idle(Workers):
    """No worker, nothing under way."""

    def __init__(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_after_a_restart_every_patient_with_images_is_looked_at_not_only_those_with_cycles(
    house: House,
) -> None:
    _arrive(house, "1.2.6", "P6")
    _parse(house)  # committed; the process dies before it looks at the patient
    rounds = Rounds(house, _Idle())
    rounds._resume()
    assert list(rounds.look_again) == ["P6"]


def test_a_checkpoint_that_cannot_be_written_raises_an_alert_and_stops_nothing(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    folder = house.config.checkpoint_folder
    assert folder is not None
    folder.write_bytes(b"")  # a file where the folder should be
    caplog.set_level("CRITICAL", logger="dicomnode.node.housekeeping")
    Housekeeping(house).tend(NOW)
    from dicomnode.database.tables import EventRow

    with house.database.read() as session:
        alerts = session.scalars(select(EventRow.body).where(EventRow.kind == "security-alert")).all()
    assert len(alerts) == 1
    assert "no checkpoint of the audit trail" in alerts[0]
