"""Counts written as NM, read back and calibrated, are the activity that was simulated."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from dicomnode.cycle.calibration import calibrate
from dicomnode.cycle.settings import CalibrationRecord
from dicomnode.dicom.volumes import read_emission
from dicomnode.simulation import make_patient, scan
from dicomnode.simulation.objects import write_dicom


def test_counts_sensitivity_and_duration_give_the_simulated_activity(tmp_path: Path) -> None:
    patient = make_patient(3, size="small")
    one = scan(patient, 24.0, seed=3)
    files = write_dicom(patient, [one], tmp_path, emission="counts")
    volume = read_emission([f for f in files if f.name.startswith("NM")], ZoneInfo("Europe/Zurich"))
    assert volume.unit == "counts"
    assert volume.duration_s == pytest.approx(one.duration_s, rel=1e-3)
    record = CalibrationRecord(name="simulated", sensitivity_cps_per_mbq=one.sensitivity_cps_per_mbq)
    done = calibrate(volume, nuclide="Lu-177", half_life_s=574_300.0, administered_at=None, records=[record])
    assert done.activity.total_mbq == pytest.approx(one.activity.total_mbq, rel=2e-3)
