"""A calculation with one scan: it waits for a person, and leaves once a person accepts it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydicom import dcmread

from dicomnode.archive.store import Store
from dicomnode.calculation.cycle_dose import compute
from dicomnode.calculation.job import AdministrationJob, Job, SeriesFiles, TimePointJob
from dicomnode.config import Config
from dicomnode.model import Severity
from tests.helpers.small_patient import write_small_patient


def series(store: Store, paths: list[Path]) -> SeriesFiles:
    read = [(dcmread(path, stop_before_pixels=True), path) for path in paths]
    digests = {str(data.SOPInstanceUID): store.put(path.read_bytes()) for data, path in read}
    return SeriesFiles(uid=str(read[0][0].SeriesInstanceUID), instances=digests)


def test_one_scan_holds_until_a_person_accepts_it(tmp_path: Path) -> None:
    store, files = Store(tmp_path / "store"), write_small_patient(tmp_path / "patient", (24.0,))[24.0]
    of = {m: [p for p in files if dcmread(p, stop_before_pixels=True).Modality == m] for m in ("NM", "CT")}
    frame = str(dcmread(of["NM"][0], stop_before_pixels=True).FrameOfReferenceUID)
    job = Job(
        cycle_id="c", revision_id="r", number=1, created_at=datetime(2026, 4, 1, tzinfo=UTC),
        administration=AdministrationJob(
            nuclide="Lu-177", activity_mbq=7400, at=datetime.fromisoformat("2026-03-02T09:30:00+01:00")
        ),
        time_points=(TimePointJob(
            label="T1", emission=series(store, of["NM"]), emission_frame=frame, ct=series(store, of["CT"]),
            ct_frame=frame,
        ),),
    )  # fmt: skip
    outcome = compute(job, Config(), store)
    assert [f.rule for f in outcome.verdict.holds] == ["tia-one-scan"]
    # of 12 + 230.14 h times the activity at 24 h, 230.14 h come after the scan: 95 %
    tails = [f for f in outcome.verdict.findings if f.rule == "tail-large"]
    assert {f.severity for f in tails} == {Severity.WARNING}
    assert {round(f.measured or 0.0, 3) for f in tails} == {0.950}
    accepted = compute(job.model_copy(update={"accepted": (("tia-one-scan", ""),)}), Config(), store)
    assert accepted.verdict.release
    assert {"rtdose", "sr", "pdf"} <= {p.role for p in accepted.products}
