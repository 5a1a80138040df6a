"""From decoded values to activity at the start of the acquisition."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import exp, log

import numpy as np
import pytest

from dicomnode.cycle.calibration import calibrate
from dicomnode.cycle.settings import CalibrationRecord
from dicomnode.errors import Refused
from dicomnode.model import Finding, Grid, Severity
from dicomnode.model.series import EmissionVolume

HALF_LIFE_S = 6.647 * 86400
START = datetime(2026, 3, 3, 10, 0, tzinfo=UTC)
GRID = Grid((2, 2, 2), (10.0, 10.0, 10.0))
VOLUME = EmissionVolume(
    grid=GRID,
    values=np.full((2, 2, 2), 600.0, np.float32),
    unit="counts",
    started_at=START,
    duration_s=1200.0,
    decay_reference="START",
    decay_reference_at=None,
    nuclide="Lu-177",
    half_life_s=HALF_LIFE_S,
    series_uid="1.2.3",
    frame_of_reference_uid="1.2.4",
    facts={"manufacturer": "SIEMENS NM", "model": "Symbia Intevo", "collimator": "MELP"},
)
RECORD = CalibrationRecord(
    name="intevo", manufacturer="siemens", collimator="MELP", sensitivity_cps_per_mbq=10.0
)


def bq_per_ml(volume: EmissionVolume, *records: CalibrationRecord, at: datetime | None = None) -> float:
    done = calibrate(volume, nuclide="Lu-177", half_life_s=HALF_LIFE_S, administered_at=at, records=records)
    return float(done.activity.bq_per_ml[0, 0, 0])


def test_counts_become_activity_by_sensitivity_and_duration() -> None:
    # 600 counts / 1200 s / 10 cps per MBq = 0.05 MBq in 1 mL
    assert bq_per_ml(VOLUME, RECORD) == pytest.approx(50_000.0, rel=1e-6)


def test_counts_without_a_record_are_refused_with_the_key_that_is_missing() -> None:
    with pytest.raises(Refused, match=r"\[\[cycle.calibration\]\].*Symbia Intevo"):
        bq_per_ml(VOLUME)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "Discovery"},
        {"nuclide": "I-131"},
        {"valid_from": date(2026, 4, 1)},
        {"valid_to": date(2026, 1, 1)},
    ],
)
def test_a_record_of_another_camera_nuclide_or_time_does_not_apply(other: dict[str, object]) -> None:
    record = CalibrationRecord.model_validate({**RECORD.model_dump(), **other})
    with pytest.raises(Refused, match="no calibration record fits"):
        bq_per_ml(VOLUME, record)


def test_values_not_decay_corrected_are_brought_from_their_mean_to_the_start() -> None:
    x = log(2) * 1200 / HALF_LIFE_S
    none = replace(VOLUME, decay_reference="NONE")
    assert bq_per_ml(none, RECORD) == pytest.approx(50_000 * x / (1 - exp(-x)), rel=1e-6)


def test_values_corrected_to_the_administration_decay_to_the_start() -> None:
    admin = replace(VOLUME, decay_reference="ADMIN", unit="Bq/mL")
    at = START - timedelta(hours=27.73)
    # 27.73 h of 6.647 d: factor 1.128 (README of the Michigan set)
    assert 600 / bq_per_ml(admin, at=at) == pytest.approx(1.128, abs=5e-4)


@pytest.mark.parametrize("told_later_h", [0.0, 6.0, 11.0])
def test_what_the_camera_corrected_to_its_own_header_is_undone_with_that(told_later_h: float) -> None:
    """With the instant that was told instead, 177Lu would read 2.6 % high at 6 h and 4.9 % at 11 h."""
    stated_at = START - timedelta(hours=24)
    admin = replace(VOLUME, decay_reference="ADMIN", decay_reference_at=stated_at, unit="Bq/mL")
    decayed = 600.0 * exp(-log(2) * 24 * 3600 / HALF_LIFE_S)
    assert bq_per_ml(admin, at=stated_at + timedelta(hours=told_later_h)) == pytest.approx(decayed, rel=1e-6)


def test_a_record_that_says_administration_uses_the_one_that_is_known() -> None:
    stated = replace(VOLUME, decay_reference_at=START, unit="Bq/mL")
    record = CalibrationRecord(name="service", decay_reference="ADMIN")
    decayed = 600.0 * exp(-log(2) * 24 * 3600 / HALF_LIFE_S)
    assert bq_per_ml(stated, record, at=START - timedelta(hours=24)) == pytest.approx(decayed, rel=1e-6)


def test_values_corrected_to_the_administration_need_its_time() -> None:
    with pytest.raises(Refused, match="dicomnode administer"):
        bq_per_ml(replace(VOLUME, decay_reference="ADMIN", unit="Bq/mL"))


def test_a_record_settles_a_contradicted_decay_reference() -> None:
    doubt = Finding("decay-reference-contradicts", Severity.HOLD, "…")
    volume = replace(VOLUME, decay_reference="ADMIN", unit="Bq/mL", findings=(doubt,))
    record = CalibrationRecord(name="xSPECT", decay_reference="START")
    done = calibrate(
        volume, nuclide="Lu-177", half_life_s=HALF_LIFE_S, administered_at=None, records=[record]
    )
    assert done.findings == ()
    assert float(done.activity.bq_per_ml[0, 0, 0]) == 600.0


def test_an_nm_that_does_not_say_gets_the_start_and_a_note() -> None:
    done = calibrate(
        replace(VOLUME, decay_reference=""),
        nuclide="Lu-177",
        half_life_s=HALF_LIFE_S,
        administered_at=None,
        records=[RECORD],
    )
    assert [(f.rule, f.severity) for f in done.findings] == [("decay-reference-unstated", Severity.NOTE)]


def test_a_record_that_says_start_overrules_the_instant_of_an_administration_too() -> None:
    """DecayCorrection ADMIN names the administration as the instant; the values must not decay from there."""
    stated = replace(
        VOLUME, unit="Bq/mL", decay_reference="ADMIN", decay_reference_at=START - timedelta(hours=24)
    )
    record = CalibrationRecord(name="service", decay_reference="START")
    assert bq_per_ml(stated, record, at=START - timedelta(hours=24)) == pytest.approx(600.0, rel=1e-6)


def test_what_the_reader_brought_to_the_start_is_not_corrected_again() -> None:
    corrected = Finding("decay-corrected-here", Severity.NOTE, "slices were corrected to the start")
    volume = replace(
        VOLUME, unit="Bq/mL", decay_reference="START", decay_reference_at=START, findings=(corrected,)
    )
    record = CalibrationRecord(name="service", decay_reference="NONE")
    assert bq_per_ml(volume, record) == pytest.approx(600.0, rel=1e-6)
