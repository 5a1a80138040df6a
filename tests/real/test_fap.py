"""177Lu-FAP, four registered SPECTs (PyTIA's example, MIT licence) whose scale factors were lost: each volume
was stretched by itself to fill 16 bits, so that the "activity" rises to 168 h. A node must not make a dose of
it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dicomnode.model import ActivityMap, Administration, Grid
from tests.helpers.visits_as_dicom import write_visit

GIVEN = Administration("Lu-177", 7400.0, datetime(2026, 3, 2, 9, 0, tzinfo=ZoneInfo("Europe/Berlin")))
HOURS = (4, 24, 48, 168)


def write_set(shared: Path, folder: Path, patient: str, emission: Literal["NM", "NM counts"]) -> list[Path]:
    import SimpleITK as sitk  # noqa: N813

    files = []
    for hours in HOURS:
        image = sitk.ReadImage(str(shared / f"real/lu177_fap_multitime/input/SPECT-{hours:03d}H_reg.nii.gz"))
        grid = Grid(image.GetSize()[::-1], image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        volume = ActivityMap(grid, sitk.GetArrayFromImage(image).astype(np.float32))
        at = GIVEN.at + timedelta(hours=hours)
        files += write_visit(folder / f"{hours}h", patient, GIVEN, at, volume, emission=emission)
    return files


def test_it_is_held_as_counts_and_held_as_activity(run_node: Any, shared: Path, tmp_path: Path) -> None:
    node = run_node(expected=4, cycle='without_ct = "soft-tissue"')
    node.store(write_set(shared, tmp_path / "counts", "FAP-COUNTS", "NM counts"))
    counts = node.wait("HELD", number=0)
    node.store(write_set(shared, tmp_path / "activity", "FAP-BQML", "NM"))
    activity = node.wait("HELD", number=1)

    (why,) = counts["cycle"]["reasons"]
    assert why.startswith("the volume holds counts and no calibration record fits it [Units=counts]")
    assert "[[cycle.calibration]] record with sensitivity_cps_per_mbq for TEST ENCODER" in why
    # the set's README: 39.1, 151.1, 137.6 and 251.7 "MBq" at 4, 24, 48 and 168 h; lambda = ln 2 / 159.5 h
    rises = [151.1 / 39.1 * 2 ** (20 / 159.5), 251.7 / 137.6 * 2 ** (120 / 159.5)]
    assert [f["measured"] for f in activity["findings"] if f["rule"] == "activity-rises"] == pytest.approx(
        rises, rel=0.005
    )
    assert len(activity["cycle"]["reasons"]) == 2
    falls = "T3 (137.6 MBq) to T4 (251.7 MBq) by less than physical decay (3.08 x what can be left"
    assert falls in activity["cycle"]["reasons"][1]
    for facts in (counts, activity):
        assert not facts["organ_doses"]
        assert not facts["deliveries"]
    assert not node.pacs.received
