"""A calculation with raw projections: what holds it, before anything is reconstructed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomnode.archive.store import Store
from dicomnode.calculation.cycle_dose import compute
from dicomnode.calculation.job import AdministrationJob, Job, Outcome, SeriesFiles, TimePointJob
from dicomnode.config import Config
from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.modules import ObjectIdentity
from dicomnode.dicom.write.nm_tomo import write_projections
from dicomnode.dicom.write.scans import Acquisition, Subject, ct_series
from dicomnode.model import HuMap
from dicomnode.model.projections import EnergyWindow, Projections
from tests.recon.acquired import GRID, acquired, lopsided_body

AT = datetime(2026, 1, 1, tzinfo=UTC)
FRAME, STUDY = named_uid("frame"), named_uid("study")
BODY = lopsided_body()
PEAK, LOWER, UPPER = (187.56, 229.24), (166.0, 187.0), (230.0, 251.0)


def stored(store: Store, folder: Path, projections: Projections, frame: str = FRAME) -> TimePointJob:
    patient = PatientStudy("T^T", "T", STUDY, frame_of_reference_uid=frame)
    made_at = max(AT, projections.started_at + timedelta(hours=1))
    identity = ObjectIdentity(named_uid("nm"), named_uid("nm series"), 1, "TOMO", made_at)
    tomo = store.put(write_projections(projections, patient, identity, 574_300.0))
    ct = HuMap(GRID, np.where(BODY, 0.0, -1000.0).astype(np.float32))
    acquisition = Acquisition(STUDY, named_uid("ct series"), FRAME, AT, 20.0)
    slices = ct_series(
        ct, subject=Subject("T", "T^T"), acquisition=acquisition, uid_of=lambda k: named_uid("ct", str(k))
    )
    digests = {}
    for ds in slices:
        path = folder / "slice.dcm"
        ds.save_as(path, enforce_file_format=True)
        digests[str(ds.SOPInstanceUID)] = store.put(path.read_bytes())
    return TimePointJob(
        label="T1",
        emission=SeriesFiles(uid=identity.series_uid, instances={identity.sop_instance_uid: tomo}),
        emission_frame=frame,
        ct=SeriesFiles(uid=named_uid("ct series"), instances=digests),
        ct_frame=FRAME,
    )


def configured(**recon: Any) -> Config:
    camera = {"manufacturer": "sim", "collimator": "siemens-me"}
    return Config.model_validate({"recon": {"reconstruct": True, "camera": [camera], **recon}})


def computed(folder: Path, projections: Projections, frame: str = FRAME, **recon: Any) -> Outcome:
    config, store = configured(**recon), Store(folder / "store")
    job = Job(
        cycle_id="c", revision_id="r", number=1, created_at=AT,
        administration=AdministrationJob(
            nuclide="Lu-177", activity_mbq=7400, at=datetime(2025, 12, 31, tzinfo=UTC)
        ),
        time_points=(stored(store, folder, projections, frame),),
    )  # fmt: skip
    return compute(job, config, store)


@pytest.fixture(scope="module")
def still() -> Projections:
    facts = {"detectors": "2", "manufacturer": "SIMULATED"}
    return acquired(BODY * 1.0, 0.135 * BODY, facts=facts)


def holds(outcome: Outcome) -> list[str]:
    assert outcome.products == ()
    return [f.rule for f in outcome.verdict.holds]


def test_a_patient_who_moved_holds_before_the_reconstruction(still: Projections, tmp_path: Path) -> None:
    counts = still.counts.copy()
    late = still.started_s >= 7 * 20.0
    counts[:, late] = np.roll(counts[:, late], 3, axis=2)
    outcome = computed(tmp_path, replace(still, counts=counts))
    assert "patient-motion" in holds(outcome)
    assert [s.name for s in outcome.steps] == []


def test_a_ct_of_another_frame_of_reference_holds(still: Projections, tmp_path: Path) -> None:
    assert "ct-frame-of-reference" in holds(computed(tmp_path, still, named_uid("another frame")))


def test_without_a_calibration_record_it_is_said_how_to_make_one(still: Projections, tmp_path: Path) -> None:
    outcome = computed(tmp_path, still)
    assert holds(outcome) == ["refused-Refused"]
    assert "dicomnode recon calibrate" in outcome.verdict.holds[0].sentence


def test_a_camera_that_nobody_described_is_refused(still: Projections, tmp_path: Path) -> None:
    outcome = computed(tmp_path, still, camera=[{"manufacturer": "other", "collimator": "siemens-me"}])
    assert "[[recon.camera]]" in outcome.verdict.holds[0].sentence


def record_of(protocol: dict[str, Any], *windows: tuple[float, float]) -> dict[str, Any]:
    from dicomnode.recon.protocol import Protocol

    return {
        "name": f"sim {len(windows)}", "manufacturer": "SIMULATED", "model": "dicomnode",
        "collimator": "siemens-me", "nuclide": "Lu-177", "windows_kev": [[w] for w in windows],
        "cps_per_mbq": 9.4, "measured_on": "2026-01-01", "radius_mm": 250.0,
        "protocol": Protocol.model_validate(protocol).digest(GRID),
    }  # fmt: skip


def test_a_sound_acquisition_with_its_record_becomes_a_time_point(still: Projections, tmp_path: Path) -> None:
    protocol = {"iterations": 2, "subsets": 4, "bootstraps": 0, "scatter": {"method": "none"}}
    record = record_of(protocol, PEAK)
    outcome = computed(tmp_path, still, protocol=protocol, calibration=[record])
    # without scatter correction the image is no activity: that holds, once the image is there
    assert holds(outcome) == ["recon-not-quantitative"]
    assert [s.name for s in outcome.steps] == ["read", "reconstruction T1"]
    assert outcome.steps[1].parameters["measured"]["total_mbq"] > 0


def test_scans_that_are_reconstructed_by_different_methods_hold(still: Projections, tmp_path: Path) -> None:
    """The first scan has no windows beside the peak, so that its image is corrected for attenuation only."""
    protocol = {"iterations": 2, "subsets": 4, "bootstraps": 0}
    beside = np.full_like(still.counts, 1)
    windows = tuple(EnergyWindow(n, (w,)) for n, w in (("peak", PEAK), ("low", LOWER), ("up", UPPER)))
    second = replace(
        still, counts=np.concatenate([still.counts, beside, beside]), windows=windows,
        started_at=still.started_at + timedelta(days=1),
    )  # fmt: skip
    records = [record_of(protocol, PEAK), record_of(protocol, PEAK, LOWER, UPPER)]
    config, store = configured(protocol=protocol, calibration=records), Store(tmp_path / "store")
    points = []
    for label, scan in (("T1", still), ("T2", second)):
        folder = tmp_path / label
        folder.mkdir()
        points.append(stored(store, folder, scan).model_copy(update={"label": label}))
    job = Job(
        cycle_id="c", revision_id="r", number=1, created_at=AT, time_points=tuple(points),
        administration=AdministrationJob(
            nuclide="Lu-177", activity_mbq=7400, at=datetime(2025, 12, 31, tzinfo=UTC)
        ),
        accepted=(("recon-not-quantitative", ""),),
    )  # fmt: skip
    assert "recon-methods-differ" in holds(compute(job, config, store))
