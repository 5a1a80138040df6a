"""The Parametric Maps that leave the house say what they hold, and are read back value by value."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.volumes.parametric_map import read_map
from dicomnode.dicom.write.modules import ObjectIdentity
from dicomnode.dicom.write.parametric_map import DOSE_SIGMA, TIA, write_dose_sigma, write_tia_map
from dicomnode.errors import Refused
from dicomnode.model import Grid, TiaMap

DOWN = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
GRID = Grid((4, 5, 6), (4.42, 4.1, 3.0), (-12.5, 3.25, 40.0), DOWN)
VALUES = np.random.default_rng(1).uniform(0.0, 30.0, GRID.shape_zyx).astype("f4")
PATIENT = PatientStudy(patient_id="P", patient_name="X^Y", study_uid="1.1", frame_of_reference_uid="1.5")
IDENTITY = ObjectIdentity("1.2.3", "1.2.4", 9100, "map", datetime(2026, 3, 2, 12, tzinfo=UTC))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_map_comes_back_value_by_value_at_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "s.dcm", write_dose_sigma(GRID, VALUES, PATIENT, IDENTITY))
    grid, values = read_map(path, DOSE_SIGMA)
    for k, j, i in np.ndindex(*GRID.shape_zyx):
        at = np.rint(grid.to_index(GRID.to_patient_mm((i, j, k)))).astype(int)
        assert values[at[2], at[1], at[0]] == VALUES[k, j, i]


def test_a_map_of_another_quantity_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "t.dcm", write_tia_map(TiaMap(GRID, VALUES), PATIENT, IDENTITY))
    with pytest.raises(Refused, match=r"holds MBq\.s/mL"):
        read_map(path, DOSE_SIGMA)
    assert read_map(path, TIA)[1].shape == GRID.shape_zyx
