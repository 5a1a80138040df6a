"""A cycle whose second scan lies elsewhere: contours go to the image, the image stays."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from math import log, nan

import numpy as np
import pytest

from dicomnode.calculation import planning
from dicomnode.calculation.job import Job
from dicomnode.calculation.recovery import recover_cycle
from dicomnode.cycle.gather import CyclePlan
from dicomnode.model import (
    ActivityMap,
    Administration,
    Cycle,
    Grid,
    LabelMap,
    RegisteredCycle,
    RegisteredTimePoint,
    RegistrationQuality,
    TimePoint,
)
from dicomnode.physics.nuclides import nuclide
from dicomnode.recovery import ImageWidth, RecoverySettings
from dicomnode.registration.images import resample_activity, rigid
from dicomnode.tia import TiaSettings
from tests.recovery.conftest import SHAPE, SPACING, make_toy

GRID = Grid(SHAPE, SPACING, (0.0, 0.0, 0.0))
HOURS = (24.0, 96.0)
MOVED_ZYX_MM = (2.0, 5.0, -3.0)
HALF_LIFE_H = 60.0
WIDTH = ImageWidth(
    nuclide="Lu-177", model="SPECT", protocol="Gaussian", measured_on=date(2026, 1, 1), fwhm_mm=(12.0,),
    relative_uncertainty=0.05,
)  # fmt: skip


@pytest.fixture(scope="module")
def cycle() -> tuple[Cycle, RegisteredCycle]:
    given = Administration("Lu-177", 7400.0, datetime(2026, 3, 2, 9, 0, tzinfo=UTC))
    still, moved = make_toy(), make_toy(moved_mm=MOVED_ZYX_MM)
    regions = LabelMap(GRID, still.shares)
    shift = (MOVED_ZYX_MM[2], MOVED_ZYX_MM[1], MOVED_ZYX_MM[0])
    qualities = (
        RegistrationQuality("identity", (0.0,) * 6, (0.0,) * 3, nan, nan, nan),
        RegistrationQuality("ct-ct", (0.0, 0.0, 0.0, *shift), (0.0,) * 3, nan, nan, nan),
    )
    taken, registered = [], []
    for i, (toy, hours, quality) in enumerate(zip((still, moved), HOURS, qualities, strict=True)):
        bq_per_ml = toy.image * np.float32(1e5 * 2 ** (-hours / HALF_LIFE_H))
        activity, label = ActivityMap(GRID, bq_per_ml), f"T{i + 1}"
        at = given.at + timedelta(hours=hours)
        taken.append(
            TimePoint(label, at, 1800.0, activity, None, regions if i == 0 else None, label, "", "F",
                      camera_model="SPECT")
        )  # fmt: skip
        onto = resample_activity(activity, GRID, rigid(quality.transform, quality.center_mm))
        registered.append(RegisteredTimePoint(label, hours, onto if i else activity, quality))
    return Cycle(given, tuple(taken)), RegisteredCycle(given, tuple(registered), "T1", None, regions, "F")


def test_both_scans_give_the_true_concentration(cycle: tuple[Cycle, RegisteredCycle]) -> None:
    taken, registered = cycle
    assert registered.regions is not None
    body, settings = np.ones(SHAPE, bool), RecoverySettings(widths=(WIDTH,))
    method = TiaSettings(method="mono-exponential")
    found = recover_cycle(taken, registered, registered.regions, body, nuclide("Lu-177"), method, settings)
    true, volume = make_toy().true, {r.region: r.volume_ml for r in found.regions}
    for region in found.regions:
        for hours, mbq in zip(HOURS, region.corrected_mbq, strict=True):
            expected = 0.1 * true[region.region] * 2 ** (-hours / HALF_LIFE_H) * volume[region.region]
            assert mbq == pytest.approx(expected, rel=0.05), (region.region, hours)
    lesion = next(r for r in found.fit.regions if r.region == "lesion")
    expected = 0.1 * true["lesion"] * volume["lesion"] * HALF_LIFE_H / log(2) * 3600
    assert lesion.tia_mbq_s == pytest.approx(expected, rel=0.08)
    for before, after in zip(registered.points, found.points, strict=True):
        assert after.activity.total_mbq == pytest.approx(before.activity.total_mbq, rel=0.02)
    assert str(found.widths[0]) == "12.0 mm ± 5% (site, SPECT, Gaussian, 2026-01-01)"


def test_a_camera_without_a_width_is_read_off_the_patient_or_assumed(
    cycle: tuple[Cycle, RegisteredCycle],
) -> None:
    taken, registered = cycle
    assert registered.regions is not None
    ask = (taken, registered, registered.regions, np.ones(SHAPE, bool), nuclide("Lu-177"))
    method = TiaSettings(method="mono-exponential")
    read = recover_cycle(*ask, method, RecoverySettings())
    assert read.widths[0].source == "patient"
    assert read.widths[0].fwhm_mm[0] == pytest.approx(12.0, abs=1.0)
    nothing = recover_cycle(*ask, method, RecoverySettings(from_patient=False))
    assert {r.withheld for r in nothing.regions} == {"the width of the image is not known"}
    assert "recovery-no-width" in {f.rule for f in nothing.findings}


def test_a_job_of_before_is_repeated_without_the_correction() -> None:
    """A cycle delivered before this existed replays to its own bytes: its job says nothing of recovery."""
    assert Job.model_fields["recovery"].default is False
    now = datetime(2026, 3, 9, tzinfo=UTC)
    plan = CyclePlan("P1", "Lu-177", None, ())
    assert planning.job_of(plan, "cycle", 1, now).recovery is True
