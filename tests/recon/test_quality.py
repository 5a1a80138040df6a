"""Motion, views cut short, a wrong axis, a CT too short: each is found, and noise is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dicomnode.dicom.projections.projections import read_projections
from dicomnode.model import Severity
from dicomnode.model.projections import Projections
from dicomnode.recon.examination.acquisition import (
    acquisition_findings,
    centre_of_rotation_pixels,
    coverage_findings,
    pairing_findings,
)
from tests.recon.acquired import acquired, attenuation, lopsided_body

BODY = lopsided_body()
HOT = BODY * 1.0
HOT[12:18, 26:31, 40:46] = 12.0


@pytest.fixture(scope="module")
def still() -> Projections:
    return acquired(HOT, 0.135 * BODY)


@pytest.mark.parametrize("counts", [2e4, 2e6, 2e7])
def test_a_still_patient_gives_no_finding_at_any_count_level(counts: float) -> None:
    for seed in range(3):
        assert acquisition_findings(acquired(HOT, 0.135 * BODY, counts, seed)) == ()


def test_the_synthetic_nema_set_gives_no_finding(shared: Path) -> None:
    path = shared / "real" / "spect_raw" / "synthetic_nema_lu177" / "nm_tomo.dcm"
    assert acquisition_findings(read_projections([path], ZoneInfo("UTC"))) == ()


def moved(still: Projections, rows: int, bins: int) -> Projections:
    """Views from the 8th on of both heads show a patient who has moved."""
    counts = still.counts.copy()
    late = still.started_s >= 7 * 20.0
    counts[:, late] = np.roll(counts[:, late], (rows, bins), axis=(2, 3))
    return replace(still, counts=counts)


@pytest.mark.parametrize(("rows", "bins", "way"), [(1, 0, "along the axis"), (0, 2, "across the axis")])
def test_a_patient_who_jumps_is_found(still: Projections, rows: int, bins: int, way: str) -> None:
    found = [f for f in acquisition_findings(moved(still, rows, bins)) if f.rule == "patient-motion"]
    assert len(found) == 1
    assert way in found[0].sentence
    assert found[0].measured == pytest.approx(rows or bins, abs=0.35)
    assert "views 7 and 8" in found[0].sentence or "views 23 and 24" in found[0].sentence


@pytest.mark.parametrize("back", [True, False], ids=["there and back", "a whole turn, twice"])
def test_two_rotations_of_two_heads_are_no_motion(still: Projections, back: bool) -> None:
    """Rotation 2 begins with head 1 where head 2 was not: 168.75 degrees, or 0 degrees after 168.75."""
    first = np.arange(32) if back else np.concatenate([np.arange(32), np.roll(np.arange(32), 16)])
    second = np.concatenate([np.arange(16)[::-1], np.arange(16, 32)[::-1]]) if back else first
    views = np.concatenate([first, second])
    each = len(first) // 2
    times = np.concatenate([rotation * each + np.tile(np.arange(each), 2) for rotation in (0, 1)]) * 20.0
    rng = np.random.default_rng(3)
    parts = rng.binomial(still.counts[:, first], 0.5)
    counts = np.concatenate([parts, rng.binomial(still.counts[:, second], 0.5)], axis=1).astype(np.int32)
    two = replace(still, counts=counts, angle_deg=still.angle_deg[views], started_s=times,
                  radius_mm=still.radius_mm[views], seconds=still.seconds[views])  # fmt: skip
    assert acquisition_findings(two) == ()


def test_a_jump_beside_a_missing_view_is_found_in_the_rest(still: Projections) -> None:
    """View 5 is missing: the step there is twice as wide and no jump; the patient's at view 12 is."""
    keep = np.delete(np.arange(32), 4)
    whole = moved(still, 3, 0)
    less = {name: getattr(whole, name)[keep] for name in ("angle_deg", "radius_mm", "seconds", "started_s")}
    assert [f.rule for f in acquisition_findings(replace(whole, counts=whole.counts[:, keep], **less))] == [
        "patient-motion"
    ]
    plain = {name: getattr(still, name)[keep] for name in less}
    assert acquisition_findings(replace(still, counts=still.counts[:, keep], **plain)) == ()


@pytest.mark.parametrize(("left", "severity"), [(0.9, Severity.WARNING), (0.5, Severity.HOLD)])
def test_a_view_cut_short_is_found(still: Projections, left: float, severity: Severity) -> None:
    counts = still.counts.copy()
    counts[:, 20] = np.random.default_rng(2).binomial(counts[:, 20], left)
    found = [f for f in acquisition_findings(replace(still, counts=counts)) if f.rule == "view-counts"]
    assert [(f.severity, f.measured) for f in found] == [(severity, pytest.approx(1 - left, abs=0.03))]
    assert "view 21 " in found[0].sentence


@pytest.mark.parametrize("offset", [-2, 1])
def test_an_axis_off_the_middle_is_measured(still: Projections, offset: int) -> None:
    shifted = replace(still, counts=np.roll(still.counts, offset, axis=3))
    measured = centre_of_rotation_pixels(shifted.angle_deg, shifted.counts[0].sum(axis=1).astype(float))
    assert measured == pytest.approx(offset, abs=0.15)
    found = acquisition_findings(shifted)
    assert [f.rule for f in found] == ["centre-of-rotation"]
    assert found[0].severity is (Severity.HOLD if abs(offset) > 1 else found[0].severity)


def test_a_stated_offset_is_told_with_what_remains_of_it(still: Projections) -> None:
    stated = replace(still, facts={"centre_of_rotation_mm": "0\\3.2"})
    found = acquisition_findings(stated)
    assert [(f.rule, f.severity, f.measured) for f in found] == [("centre-of-rotation", Severity.NOTE, 3.2)]


def test_an_empty_photopeak_holds(still: Projections) -> None:
    found = acquisition_findings(replace(still, counts=still.counts * 0))
    assert [(f.rule, f.severity) for f in found] == [("no-counts", Severity.HOLD)]


def test_counts_beyond_the_ct_hold(still: Projections) -> None:
    assert coverage_findings(still, attenuation(BODY)) == ()
    assert [f.severity for f in coverage_findings(still, attenuation(BODY, slice(10, None)))] == [
        Severity.HOLD
    ]
    hardly = coverage_findings(still, attenuation(BODY, slice(2, None)))
    assert [f.severity for f in hardly] in ([], [Severity.NOTE])


def test_a_ct_of_another_frame_of_reference_holds(still: Projections) -> None:
    later: Callable[[float], object] = lambda h: still.started_at + timedelta(hours=h)  # noqa: E731
    assert pairing_findings(still, "1.2.9", later(0.2)) == ()
    for other in ("1.2.10", ""):
        (found,) = pairing_findings(still, other, None)
        assert (found.rule, found.severity) == ("ct-frame-of-reference", Severity.HOLD)
    (found,) = pairing_findings(still, None, None)  # a plain file cannot state one
    assert (found.rule, found.severity) == ("ct-frame-of-reference", Severity.WARNING)
    assert [f.rule for f in pairing_findings(still, "1.2.9", later(20))] == ["ct-time"]
