"""Written projections are read back as they were, and conform."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dicomnode.dicom.projections.projections import read_projections
from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.modules import ObjectIdentity
from dicomnode.dicom.write.nm_tomo import write_projections
from dicomnode.errors import OutOfDomain, Unsupported
from dicomnode.model import Grid
from dicomnode.model.projections import EnergyWindow, Projections

START = datetime(2026, 3, 3, 10, 15, 7, 250000, tzinfo=timezone(timedelta(hours=1)))
PATIENT = PatientStudy("T^T", "T", named_uid("study"), frame_of_reference_uid=named_uid("frame"))
IDENTITY = ObjectIdentity(named_uid("p"), named_uid("p", "series"), 1, "TOMO", START)
LU177_S = 574_300.0


def projections(axis: tuple[float, float] = (0.0, -150.0), direction: int = 1) -> Projections:
    """Two heads of six views, three windows, 5 by 4 mm pixels, a non-circular orbit."""
    rng = np.random.default_rng(3)
    arc = direction * 30.0 * np.arange(6)
    return Projections(
        counts=rng.poisson(40, (3, 12, 8, 10)).astype(np.int32),
        windows=(
            EnergyWindow("low", ((176.54, 187.46),)),
            EnergyWindow("peak", ((101.0, 125.0), (187.56, 229.24))),
            EnergyWindow("high", ((229.31, 243.49),)),
        ),
        peak=1,
        angle_deg=np.concatenate([80.0 + arc, 260.0 + arc]) % 360.0,
        radius_mm=np.linspace(200.0, 260.0, 12),
        seconds=np.full(12, 20.0),
        started_s=np.tile(20.0 * np.arange(6), 2),
        pixel_mm=(5.0, 4.0),
        grid=Grid((8, 10, 10), (5.0, 5.0, 4.0), (axis[0] - 22.5, axis[1] - 22.5, 100.0)),
        started_at=START,
        nuclide="Lu-177",
        collimator="ME",
        series_uid=IDENTITY.series_uid,
        frame_of_reference_uid=PATIENT.frame_of_reference_uid,
        facts={"detectors": "2", "manufacturer": "Maker", "model": "Model"},
    )


def written(made: Projections, folder: Path) -> Path:
    path = folder / "tomo.dcm"
    path.write_bytes(write_projections(made, PATIENT, IDENTITY, LU177_S))
    return path


@pytest.mark.parametrize("axis", [(0.0, -150.0), (12.0, -80.0)])
@pytest.mark.parametrize("direction", [1, -1])
def test_what_is_written_is_read_back(tmp_path: Path, axis: tuple[float, float], direction: int) -> None:
    made = projections(axis, direction)
    back = read_projections([written(made, tmp_path)], ZoneInfo("America/New_York"))
    assert np.array_equal(back.counts, made.counts)
    for name in ("angle_deg", "radius_mm", "seconds", "started_s"):
        assert getattr(back, name) == pytest.approx(getattr(made, name), abs=1e-6), name
    assert back.windows == made.windows
    assert back.grid.matches(made.grid)
    for name in ("peak", "pixel_mm", "started_at", "nuclide", "collimator", "raw", "frame_of_reference_uid"):
        assert getattr(back, name) == getattr(made, name), name
    assert back.facts["manufacturer"] == "Maker"
    assert back.findings == ()


def test_what_is_written_conforms(tmp_path: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("needs the program dciodvfy: run deploy/test-peers.sh")
    found = subprocess.run(
        [program, written(projections(), tmp_path)], capture_output=True, text=True, check=False
    )
    assert [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")] == []


def test_the_same_projections_make_the_same_bytes() -> None:
    one, two = (write_projections(projections(), PATIENT, IDENTITY, LU177_S) for _ in range(2))
    assert one == two


def test_what_an_object_cannot_hold_is_refused() -> None:
    made = projections()
    uneven = made.angle_deg.copy()
    uneven[3] += 2.0
    for wrong, kind, reason in (
        (replace(made, angle_deg=uneven), Unsupported, "evenly stepped"),
        (replace(made, seconds=np.linspace(10, 20, 12)), Unsupported, "different durations"),
        (replace(made, facts={"detectors": "5"}), Unsupported, "equal arcs"),
        (replace(made, counts=made.counts * 5000), OutOfDomain, "fullest pixel"),
    ):
        with pytest.raises(kind, match=reason):
            write_projections(wrong, PATIENT, IDENTITY, LU177_S)
