"""Method, one-scan rule and tail by agent: a permanent implant beside an agent that clears."""

from __future__ import annotations

from datetime import UTC, datetime
from math import log

import numpy as np
import pytest

from dicomnode.check import rules
from dicomnode.errors import ConfigError
from dicomnode.model import (
    ActivityMap,
    Administration,
    Grid,
    RegisteredTimePoint,
    RegistrationQuality,
    TiaFit,
)
from dicomnode.model.findings import apart
from dicomnode.physics.nuclides import nuclide
from dicomnode.tia import integrate_points
from dicomnode.tia.settings import AgentTia, TiaSettings

SPHERES = AgentTia(agent="microsphere", permanent=True)
Y90 = nuclide("Y-90")


def implant(hours: float, mbq: float) -> TiaFit:
    """One scan of a lump of 90Y microspheres, integrated as the settings say of that agent."""
    grid = Grid((4, 4, 4), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0))
    values = np.zeros(grid.shape_zyx, np.float32)
    left = mbq * 2 ** (-hours * 3600 / Y90.half_life_s)
    values[1:3, 1:3, 1:3] = left * 1e6 / (8 * grid.voxel_ml)
    point = RegisteredTimePoint(
        "T1",
        hours,
        ActivityMap(grid, values),
        RegistrationQuality("identity", (0.0,) * 6, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0),
    )
    settings = TiaSettings(by_agent=(SPHERES,)).of_agent("Y-90", "90Y-SIR microspheres")
    return integrate_points([point], None, Y90, settings)


def test_one_scan_of_a_permanent_implant_is_exact_physical_decay_and_holds_nothing() -> None:
    """A_0 / lambda: 2000 MBq of 90Y (64.1 h) are 6.658e8 MBq s, from a scan at 20 h as from one at 100 h."""
    for hours in (20.0, 100.0):
        fit = implant(hours, 2000.0)
        (whole,) = fit.regions
        assert whole.tia_mbq_s == pytest.approx(2000.0 * Y90.half_life_s / log(2), rel=1e-5)
        assert whole.tia_mbq_s == pytest.approx(6.658e8, rel=1e-3)
        assert [f for f in fit.findings if f.severity != "note"] == []


def test_an_implant_that_holds_all_that_was_administered_is_within_the_tolerance_of_its_measurement() -> None:
    given = 2000.0
    for share, holds in ((1.0002, False), (1.09, False), (1.11, True)):
        fit = implant(20.0, given * share)
        administration = Administration("Y-90", given, datetime(2026, 6, 1, tzinfo=UTC))
        found = list(rules.tia_below_administered(fit, administration, Y90))
        assert bool(found) is holds
    assert "more than all decays of the administered activity and 10%" in found[0].sentence


def test_the_record_that_says_most_counts_and_two_that_differ_are_refused() -> None:
    of_nuclide = AgentTia(nuclide="Y-90", method="mono-exponential")
    settings = TiaSettings(by_agent=(of_nuclide, AgentTia(nuclide="Y-90", agent="sphere", permanent=True)))
    assert settings.of_agent("Y-90", "microspheres").method == "stp-physical"
    assert settings.of_agent("Y-90", "DOTATATE").method == "mono-exponential"
    assert settings.of_agent("Lu-177", "DOTATATE") is settings
    with pytest.raises(ConfigError, match="2 records fit microspheres and differ"):
        TiaSettings(by_agent=(SPHERES, of_nuclide)).of_agent("Y-90", "microspheres")


def test_a_record_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="name the agent or the nuclide"):
        AgentTia(permanent=True)


@pytest.mark.parametrize(
    ("measured", "limit", "texts"),
    [
        (1.0002, 1.0, ("1.0002", "1")), (6.648e8, 6.647e8, ("6.648e+08", "6.647e+08")),
        (0.89996, 0.9, ("0.89996", "0.9")), (3.0, 2.0, ("3", "2")),
    ],
)  # fmt: skip
def test_two_numbers_that_differ_are_printed_so_that_they_do(
    measured: float, limit: float, texts: tuple[str, str]
) -> None:
    assert apart(measured, limit) == texts
