"""The CT's body against the projections: shifts are measured, mirror images found, uptake tolerated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dicomnode.dicom.projections.projections import read_projections
from dicomnode.dicom.volumes import read_ct
from dicomnode.model import Severity
from dicomnode.recon.camera.attenuation import attenuation_map
from dicomnode.recon.examination.outline import outline_findings, outline_score
from tests.recon.acquired import acquired, attenuation, lopsided_body

BODY = lopsided_body()
ORGANS = BODY * 1.0
ORGANS[14:22, 24:34, 16:28] = 8.0  # a liver
ORGANS[10:16, 34:39, 40:44] = 25.0  # a kidney


@pytest.mark.parametrize("activity", [BODY * 1.0, ORGANS], ids=["even", "organs"])
def test_a_body_in_its_place_is_not_doubted(activity: np.ndarray) -> None:
    score = outline_score(acquired(activity, 0.135 * BODY), attenuation(BODY))
    assert outline_findings(score) == ()
    assert np.linalg.norm(score.shift_mm) < 15
    assert score.best > 0.8


@pytest.mark.parametrize(("axis", "name"), [(2, "x"), (1, "y"), (0, "z")])
def test_a_mirrored_body_holds(axis: int, name: str) -> None:
    """A body written the wrong way round, by angles or by rows."""
    score = outline_score(acquired(ORGANS, 0.135 * BODY), attenuation(np.flip(BODY, axis)))
    found = outline_findings(score)
    assert [(f.rule, f.severity) for f in found] == [("outline-mirrored", Severity.HOLD)]
    assert max(score.mirrored, key=score.mirrored.__getitem__) == name


@pytest.mark.parametrize(
    ("rolled", "severity"),
    [((0, 0, 6), Severity.WARNING), ((0, 5, 0), Severity.WARNING), ((0, -10, 0), Severity.HOLD)],
)
def test_a_body_elsewhere_is_measured(rolled: tuple[int, int, int], severity: Severity) -> None:
    elsewhere = np.roll(BODY, rolled, axis=(0, 1, 2))
    score = outline_score(acquired(ORGANS, 0.135 * BODY), attenuation(elsewhere))
    assert score.shift_mm == pytest.approx([-6.0 * n for n in reversed(rolled)], abs=12)
    assert [(f.rule, f.severity) for f in outline_findings(score)] == [("outline-shift", severity)]


def test_the_synthetic_nema_set_lies_where_its_ct_is(shared: Path) -> None:
    folder = shared / "real" / "spect_raw" / "synthetic_nema_lu177"
    read = read_projections([folder / "nm_tomo.dcm"], ZoneInfo("UTC"))
    ct, _ = read_ct(sorted((folder / "CT").iterdir()))
    made = attenuation_map(ct, read.grid, 208.4, 130.0)
    score = outline_score(read, made)
    assert outline_findings(score) == ()
    assert np.linalg.norm(score.shift_mm) < 5
    moved = outline_score(read, replace(made, per_cm=np.roll(made.per_cm, 8, axis=1)))
    assert moved.shift_mm[1] == pytest.approx(-8 * 4.8, abs=5)
