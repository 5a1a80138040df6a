"""What a node made of projections and sent to the PACS, and gets back: the SPECT with its counting noise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dicomnode.archive.store import Store
from dicomnode.calculation.job import AdministrationJob, Job, SeriesFiles, TimePointJob
from dicomnode.calculation.record import Steps
from dicomnode.calculation.spect import MadeSpect, spect_objects
from dicomnode.calculation.time_points import read_cycle
from dicomnode.config import Config
from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.spect_image import Radiopharmaceutical, SpectImage
from dicomnode.errors import Inconsistent
from dicomnode.model import ActivityMap, CountingNoise, Cycle, Grid
from dicomnode.model.projections import EnergyWindow
from dicomnode.physics.nuclides import nuclide
from dicomnode.registration import register
from dicomnode.registration.settings import RegistrationSettings
from dicomnode.tia import TiaSettings, integrate

GRID = Grid((12, 16, 16), (8.0, 8.0, 8.0))
GIVEN = datetime(2026, 1, 1, 8, tzinfo=UTC)
STUDY, FRAME = named_uid("study"), named_uid("frame")
PATIENT = PatientStudy("T^T", "T", STUDY, frame_of_reference_uid=FRAME)
PEER = {
    "name": "pacs", "ae_title": "PACS", "host": "localhost",
    "objects": ["spect-pt", "spect-nm", "spect-noise"],
}  # fmt: skip


def made_at(hours: float, label: str, seed: int, grid: Grid = GRID) -> MadeSpect:
    ball = np.zeros(GRID.shape_zyx)
    ball[3:9, 4:12, 4:12] = 1e6 * 2 ** (-hours / 60)
    scatter = np.random.default_rng(seed).normal(0, 0.1, (20, *GRID.shape_zyx)) * ball
    activity = ActivityMap(grid, ball, CountingNoise.of(grid, scatter))
    image = SpectImage(
        activity, GIVEN + timedelta(hours=hours), 1200.0, Radiopharmaceutical("Lu-177", 574_300.0), "HFS",
        "OSEM", "CT", "TEW", EnergyWindow("208", ((187.56, 229.24),)),
    )  # fmt: skip
    raw = SourceImage("1.2.840.10008.5.1.4.1.1.20", named_uid(label), named_uid(label, "series"), STUDY)
    return MadeSpect(label, image, None, PATIENT, (raw,))


def job(points: tuple[TimePointJob, ...] = ()) -> Job:
    given = AdministrationJob(nuclide="Lu-177", activity_mbq=7400, at=GIVEN)
    return Job(cycle_id="c", revision_id="r", number=1, created_at=GIVEN + timedelta(days=9),
               administration=given, time_points=points)  # fmt: skip


def sent(made: MadeSpect, store: Store, config: Config) -> TimePointJob:
    """What leaves for the PACS, as the series of a time point."""
    found: dict[str, dict[str, str]] = {"spect-pt": {}, "spect-noise": {}, "spect-nm": {}, "spect-sigma": {}}
    for role, content, _, uid in spect_objects(made, job(), config):
        kind = next(k for k in found if role.startswith(k))
        found[kind][uid] = store.put(content)
    assert [len(found[k]) for k in found] == [12, 20, 1, 1]
    return TimePointJob(
        label=made.label,
        emission=SeriesFiles(uid=f"pt {made.label}", instances=found["spect-pt"]),
        emission_frame=FRAME,
        uncertainty=SeriesFiles(uid=f"noise {made.label}", instances=found["spect-noise"]),
    )


@pytest.fixture(scope="module")
def config() -> Config:
    return Config.model_validate({"delivery": {"peers": [PEER]}})


def test_its_noise_reaches_the_time_integrated_activity(tmp_path: Path, config: Config) -> None:
    """Two scans through the PACS, 20 replicates each: the noise of the total is that of the replicates."""
    store, lu = Store(tmp_path), nuclide("Lu-177")
    scans = [made_at(24, "T1", 1), made_at(96, "T2", 2)]
    again = job(tuple(sent(made, store, config) for made in scans))
    points = read_cycle(again, config, store, Steps()).cycle.time_points
    for made, point in zip(scans, points, strict=True):
        told, back = made.image.activity.counting, point.activity.counting
        assert told is not None
        assert back is not None
        assert back.region_mbq(None) == pytest.approx(told.region_mbq(None), rel=1e-3)
        assert back.grid.matches(point.activity.grid)
    cycle = register(Cycle(again.administration.noun(), points), RegistrationSettings())
    fit = integrate(cycle, lu, TiaSettings(method="mono-exponential"))
    assert "tia-counting" in {f.rule for f in fit.findings}
    whole, a = fit.regions[-1], fit.regions[-1].activity_mbq
    u = [one.image.activity.counting.region_mbq(None) for one in scans] / np.array(a)
    # through two points: ln TIA = ln A_1 + l t_1 - ln l with l = ln(A_1 / A_2) / (t_2 - t_1)
    (t1, t2) = whole.hours
    rate = np.log(a[0] / a[1]) / (t2 - t1)
    by_second = (1 / rate - t1) / (t2 - t1)
    assert whole.budget["counts"] == pytest.approx(
        np.hypot((1 - by_second) * u[0], by_second * u[1]), rel=0.01
    )


def test_a_job_without_noise_keeps_the_digest_that_it_had(config: Config, tmp_path: Path) -> None:
    plain = TimePointJob(
        label="T1", emission=SeriesFiles(uid="1", instances={"1.1": "a"}), emission_frame="f"
    )
    assert "uncertainty" not in job((plain,)).model_dump_json(exclude_none=True)
    noisy = plain.model_copy(update={"uncertainty": SeriesFiles(uid="2", instances={"2.1": "b"})})
    assert job((plain,)).inputs_digest() == "7b0359a523dce5e67c3a7986cb5d72b743f833b24f8790a8136e2128bf0b1f0a"
    assert job((noisy,)).inputs_digest() != job((plain,)).inputs_digest()
    assert job((noisy,)).input_digests() == {"1.1": "a", "2.1": "b"}


def test_noise_of_another_image_holds(tmp_path: Path, config: Config) -> None:
    store = Store(tmp_path)
    one = sent(made_at(24, "T1", 1), store, config)
    moved = Grid(GRID.shape_zyx, GRID.spacing_mm, (3.0, 0.0, 0.0))
    elsewhere = sent(made_at(24, "T2", 1, moved), store, config)
    other = one.model_copy(update={"emission": elsewhere.emission})
    with pytest.raises(Inconsistent, match="does not lie on the voxels of its activity map"):
        read_cycle(job((other,)), config, store, Steps())
