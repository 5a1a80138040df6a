"""What a revision is told of the cycles and revisions before it, and how its objects pass it on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO

from pydicom import Dataset, dcmread
from pypdf import PdfReader

from dicomnode.calculation.cycle_dose import compute
from dicomnode.calculation.job import Job, Outcome
from dicomnode.casebook import decisions, revisions
from dicomnode.casebook.course import COURSE_OUTDATED, changes_sums
from dicomnode.casebook.state import current_revision
from dicomnode.database.tables import CycleRow, FindingRow
from dicomnode.dicom.uids import revision_uid
from dicomnode.dicom.write.encapsulated_pdf import ENCAPSULATED_PDF_STORAGE
from dicomnode.model import Severity
from tests.faults.tiny import ADMINISTERED, Tiny
from tests.helpers.decided import AB, shown
from tests.helpers.node_in_one_process import Desk

PATIENT = "T-one"
PEERS = """
[[delivery.peers]]
name = "planning"
ae_title = "TPS"
host = "127.0.0.1"
rtdose_bits = 16
[[delivery.peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
objects = ["rtdose", "sr", "pdf"]
plan_reference = "companion"
"""


def made(desk: Desk, outcome: Outcome) -> dict[str, Dataset]:
    return {
        p.role: dcmread(desk.house.store.path(p.file_sha256)) for p in outcome.products if p.sop_class_uid
    }


def text_of(pdf: Dataset) -> str:
    assert pdf.SOPClassUID == ENCAPSULATED_PDF_STORAGE
    pages = PdfReader(BytesIO(pdf.EncapsulatedDocument)).pages
    return " ".join(" ".join(p.extract_text() for p in pages).split())


def evidence(sr: Dataset) -> set[str]:
    return {
        str(one.ReferencedSOPInstanceUID)
        for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in sr.get(name, [])
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


def test_objects_refer_to_what_their_peer_gets_and_supersede_what_it_got(
    new_desk: Callable[..., Desk],
) -> None:
    desk = new_desk(expected=2, more=PEERS)
    desk.arrive([*Tiny("one").time_point(4.0), *Tiny("one").time_point(24.0)])
    cycle = desk.rows()[0]["cycle"]["id"]
    _, outcome = desk.compute(cycle)
    assert outcome.verdict.release, outcome.verdict.holds
    first = made(desk, outcome)
    assert {"rtdose", "rtdose-16", "rtdose-companion", "sr", "sr-16", "sr-companion"} <= set(first)
    for suffix in ("", "-16", "-companion"):
        doses = {str(first[f"rtdose{s}"].SOPInstanceUID) for s in ("", "-16", "-companion")}
        own = str(first[f"rtdose{suffix}"].SOPInstanceUID)
        assert evidence(first[f"sr{suffix}"]) & doses == {own}
    facts = desk.rows()[0]
    roles = {r["id"]: r["role"] for r in facts["results"]}
    sent = {peer: {roles[d["result_id"]] for d in facts["deliveries"] if d["peer"] == peer}
            for peer in ("planning", "pacs")}  # fmt: skip
    assert sent == {
        "planning": {"rtdose-16", "sr-16"},
        "pacs": {"rtplan", "rtdose-companion", "sr-companion", "pdf"},
    }

    # revision 2 is never released: it is overtaken; revision 3 supersedes what the peers have
    desk.arrive(Tiny("one").time_point(48.0))
    never_sent = desk.start(cycle)
    desk.arrive(Tiny("one").time_point(96.0))
    job, outcome = desk.compute(cycle)
    assert (never_sent.number, job.number) == (2, 3)
    third = made(desk, outcome)
    for suffix in ("-16", "-companion"):
        before = first[f"rtdose{suffix}"]
        named = [str(i.ReferencedSOPInstanceUID) for i in third[f"rtdose{suffix}"].ReferencedInstanceSequence]
        assert str(before.SOPInstanceUID) in named
        assert revision_uid(never_sent.revision_id, f"rtdose{suffix}") not in named
        assert str(first["rtdose"].SOPInstanceUID) not in named
        series = third[f"rtdose{suffix}"].ReferencedSeriesSequence
        assert str(before.SeriesInstanceUID) in {str(s.SeriesInstanceUID) for s in series}
        (document,) = third[f"sr{suffix}"].PredecessorDocumentsSequence
        (of_series,) = document.ReferencedSeriesSequence
        (one,) = of_series.ReferencedSOPSequence
        assert one.ReferencedSOPInstanceUID == first[f"sr{suffix}"].SOPInstanceUID


def test_the_report_says_which_earlier_cycles_its_sums_leave_out(new_desk: Callable[..., Desk]) -> None:
    desk = new_desk(expected=1, more='[tia]\nmethod = "stp-physical"')
    day = timedelta(days=1)
    for weeks in (6, 12):
        desk.arrive(Tiny("one", ADMINISTERED + 7 * weeks * day, 7000.0).time_point(24.0 + weeks))
    desk.administer(PATIENT, "2026-03-02T08:30+00:00", 7400.0)
    second, third = (c["cycle"]["id"] for c in desk.rows())
    job, outcome = desk.compute(second)
    assert [a.activity_mbq for a in job.earlier.without_dose] == [7400.0], "told, and no image of it came"
    assert "no dose counts here (none released, or held) of 7400 MBq Lu-177 of 2026-03-02." in text_of(
        made(desk, outcome)["pdf"]
    )
    job, outcome = desk.compute(third)
    assert [len(job.earlier.organs), len(job.earlier.without_dose)] == [1, 1]
    report = text_of(made(desk, outcome)["pdf"])
    assert "2 of 3" in report
    assert "of 7400 MBq Lu-177 of 2026-03-02." in report


def test_the_report_shows_what_a_person_accepted_before_the_computation(desk: Desk) -> None:
    for hours in (24.0, 25.0):
        desk.arrive(Tiny("one").time_point(hours))
    (held,) = desk.rows()
    assert (held["cycle"]["state"], desk.rules(held["cycle"]["id"])) == ("HELD", ["time-points-too-close"])
    desk.release(held["cycle"]["id"])
    job, outcome = desk.compute(held["cycle"]["id"])
    (found,) = [f for f in outcome.verdict.findings if f.rule == "time-points-too-close"]
    assert found.severity is Severity.WARNING
    assert outcome.verdict.findings[0] == found
    assert "60 min apart and may be one acquisition" in text_of(made(desk, outcome)["pdf"])
    assert "(accepted by a person)" in text_of(made(desk, outcome)["pdf"])
    assert Job.model_validate_json(job.model_dump_json()) == job, "as a replay reads it"


def test_a_cycle_whose_sums_hold_an_earlier_cycles_old_answer_says_so_and_can_be_computed_anew(
    new_desk: Callable[..., Desk],
) -> None:
    """Cycle 1 gets a late image after cycle 2 was sent: the report of cycle 2 adds up what is superseded."""
    desk = new_desk(expected=1, more='[tia]\nmethod = "stp-physical"')
    again = ADMINISTERED + timedelta(weeks=8)
    desk.arrive(Tiny("one").time_point(24.0))
    desk.arrive(Tiny("one", again, 7000.0).time_point(25.0))
    first, second = (c["cycle"]["id"] for c in desk.rows())
    for cycle in (first, second):
        _, outcome = desk.compute(cycle)
        assert outcome.verdict.release, outcome.verdict.holds
    assert desk.rules(second, "warning").count("course-outdated") == 0
    desk.arrive(Tiny("one").time_point(72.0))
    job, outcome = desk.compute(first)
    assert (job.number, outcome.verdict.release) == (2, True), outcome.verdict.holds
    assert desk.rules(second, "warning").count("course-outdated") == 1
    assert desk.rules(first, "warning").count("course-outdated") == 0
    decisions.hold(desk.house, second, AB, "sums", desk.now, seen=shown(desk.house, second))
    desk.release(second)
    job = desk.start(second)
    assert (job.number, job.earlier.without_dose) == (2, ())
    new = {o.region: o.mean_gy for o in outcome.organs}
    assert {o.region: o.mean_gy for o in job.earlier.organs[0]} == new
    desk.finish(job, compute(job, desk.house.config, desk.house.store))
    assert desk.rows()[1]["cycle"]["state"] == "RELEASED"


def test_an_answer_that_was_computed_again_with_the_same_doses_changes_no_sums(
    new_desk: Callable[..., Desk],
) -> None:
    """As where only its own sums were computed anew: later cycles would be told for nothing."""
    desk = new_desk(expected=1, more='[tia]\nmethod = "stp-physical"')
    desk.arrive(Tiny("one").time_point(24.0))
    cycle = desk.rows()[0]["cycle"]["id"]
    _, outcome = desk.compute(cycle)
    with desk.house.database.write() as session:
        row, first = session.get_one(CycleRow, cycle), current_revision(session, cycle)
        assert first is not None
        session.add(
            FindingRow(
                cycle_id=cycle, revision_id=first.id, rule=COURSE_OUTDATED, severity="warning", sentence="x",
                found_at=desk.now,
            )
        )  # fmt: skip
        assert changes_sums(session, first), "nothing was there before"
        assert row.state == "RELEASED"
    decisions.hold(desk.house, cycle, AB, "sums", desk.now, seen=shown(desk.house, cycle))
    desk.release(cycle)
    job = desk.start(cycle)
    desk.finish(job, outcome)
    with desk.house.database.read() as session:
        second = current_revision(session, cycle)
        assert second is not None
        assert (second.number, changes_sums(session, second)) == (2, False)


def test_what_a_person_holds_is_in_no_later_sum(new_desk: Callable[..., Desk]) -> None:
    """Cycle 1 was delivered; then somebody saw that it is another patient's."""
    desk = new_desk(expected=1, more='[tia]\nmethod = "stp-physical"')
    desk.arrive(Tiny("one").time_point(24.0))
    first = desk.rows()[0]["cycle"]["id"]
    desk.compute(first)
    with desk.house.database.write() as session:
        revisions.settle_deliveries(session, desk.house.config, desk.now)  # no peer wants anything
    assert desk.rows()[0]["cycle"]["state"] == "DELIVERED"
    decisions.hold(desk.house, first, AB, "wrong patient", desk.now, seen=shown(desk.house, first))
    desk.arrive(Tiny("one", ADMINISTERED + timedelta(weeks=8), 7000.0).time_point(25.0))
    job = desk.start(desk.rows()[1]["cycle"]["id"])
    assert job.earlier.organs == ()
    assert [a.activity_mbq for a in job.earlier.without_dose] == [7400.0]
