"""The rules that hold a cycle, each at both sides of its limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp, log
from pathlib import Path

import numpy as np
import pytest

from dicomnode.check import rules
from dicomnode.check.limits import DOSE_RANGES, dose_range
from dicomnode.check.settings import CheckSettings
from dicomnode.model import (
    ActivityMap,
    Administration,
    Cycle,
    Finding,
    Grid,
    OrganDose,
    RegionTia,
    Severity,
    TiaFit,
    TiaMap,
    TimePoint,
)
from dicomnode.model.series import EmissionVolume
from dicomnode.physics.nuclides import nuclide

LU = nuclide("Lu-177")
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
GIVEN = Administration("Lu-177", 7400.0, AT, source="person:AB")
GRID = Grid((2, 2, 2), (10.0, 10.0, 10.0))
SETTINGS = CheckSettings()


def point(hours: float, total_mbq: float) -> TimePoint:
    values = np.full((2, 2, 2), total_mbq * 1e6 / 8.0, np.float32)
    return TimePoint(
        label=f"T{hours:g}",
        acquired_at=AT + timedelta(hours=hours),
        duration_s=1200.0,
        activity=ActivityMap(GRID, values),
        ct=None,
        regions=None,
        spect_uid=f"1.{hours:g}",
        ct_uid="",
        frame_of_reference_uid="2.1",
    )


def volume(**facts: object) -> EmissionVolume:
    base = EmissionVolume(
        grid=GRID,
        values=np.ones((2, 2, 2), np.float32),
        unit="Bq/mL",
        started_at=AT,
        duration_s=1200.0,
        decay_reference="START",
        decay_reference_at=None,
        nuclide="Lu-177",
        half_life_s=LU.half_life_s,
        series_uid="1.2",
        frame_of_reference_uid="2.1",
    )
    return replace(base, **facts)


def held(found: Iterable[Finding]) -> list[str]:
    return [f.rule for f in found if f.severity is Severity.HOLD]


def test_nobody_told_the_administration() -> None:
    (finding,) = rules.administration_is_known(None)
    assert "dicomnode administer" in finding.sentence
    assert list(rules.administration_is_known(GIVEN)) == []


@pytest.mark.parametrize(("mbq", "holds"), [(7400.0, False), (0.0074, True), (7.4e9, True)])
def test_an_activity_that_lost_a_factor_of_a_million(mbq: float, holds: bool) -> None:
    found = rules.administered_activity_is_plausible(replace(GIVEN, activity_mbq=mbq), SETTINGS)
    assert (held(found) == ["administered-activity-implausible"]) is holds


@pytest.mark.parametrize(
    ("half_life_s", "holds"),
    # 177Lu by ICRP 107: 6.647 d = 574 301 s; the same in hours, minutes, and that of 131I
    [(574_300, False), (574_067.52, False), (159.5, True), (9571.7, True), (693_377, True), (None, False)],
)
def test_the_header_half_life(half_life_s: float | None, holds: bool) -> None:
    found = rules.half_life_agrees(volume(half_life_s=half_life_s), LU, SETTINGS)
    assert (held(found) == ["half-life-disagrees"]) is holds


def test_an_image_of_another_nuclide() -> None:
    assert held(rules.nuclide_agrees(volume(nuclide="I-131"), LU)) == ["nuclide-disagrees"]
    assert held(rules.nuclide_agrees(volume(nuclide=""), LU)) == []


def test_without_ct_holds_unless_soft_tissue_is_configured() -> None:
    assert held(rules.ct_is_there(False, "hold", "1.2")) == ["no-ct"]
    (finding,) = rules.ct_is_there(False, "soft-tissue", "1.2")
    assert finding.severity is Severity.WARNING
    assert list(rules.ct_is_there(True, "hold", "1.2")) == []


def test_more_activity_in_the_image_than_can_be_left() -> None:
    left = 7400 * exp(-LU.decay_per_s * 24 * 3600)
    for factor, expected in ((1.09, []), (1.11, ["activity-above-administered"])):
        cycle = Cycle(GIVEN, (point(24.0, factor * left),))
        assert held(rules.image_total_below_administered(cycle, LU, SETTINGS)) == expected
    empty = Cycle(GIVEN, (point(24.0, 0.0),))
    assert held(rules.image_total_below_administered(empty, LU, SETTINGS)) == ["image-empty"]


def test_activity_that_rises_after_distribution() -> None:
    """Volumes scaled apart from each other (the FAP set: 151 -> 138 -> 252 MBq at 24, 48, 168 h)."""
    fap = Cycle(GIVEN, tuple(point(h, a) for h, a in ((24, 151.1), (48, 137.6), (168, 251.7))))
    assert held(rules.activity_falls_as_physics_demands(fap, LU, SETTINGS)) == ["activity-rises"]
    real = Cycle(GIVEN, (point(3.74, 1350.5), point(27.73, 996.05)))  # Michigan patient, whole field
    assert held(rules.activity_falls_as_physics_demands(real, LU, SETTINGS)) == []


@pytest.mark.parametrize("hours", [-1.0, 600.0])
def test_an_acquisition_before_or_long_after_the_administration(hours: float) -> None:
    cycle = Cycle(GIVEN, (point(hours, 10.0),))
    found = rules.times_are_plausible(cycle, SETTINGS, AT + timedelta(days=60))
    assert held(found) == ["acquisition-time-implausible"]


def test_an_acquisition_in_the_future() -> None:
    cycle = Cycle(GIVEN, (point(24.0, 10.0),))
    assert held(rules.times_are_plausible(cycle, SETTINGS, AT)) == ["acquisition-in-the-future"]


def organ(region: str, gy: float) -> OrganDose:
    return OrganDose(region, gy, 0.0, gy, gy, gy, gy, 100.0, 104.0, 1.0)


def test_organ_doses_against_published_ranges() -> None:
    # kidney 0.43 Gy/GBq (Santoro 2018) x 7.4 GBq; a slip of ten holds; lesions and parts have no range
    good = [organ("kidney left", 0.43 * 7.4), organ("liver", 0.3 * 7.4), organ("kidney cortex", 99.0)]
    assert held(rules.organ_doses_are_plausible(good, GIVEN, LU)) == []
    for factor in (0.1, 10.0):
        slipped = [organ("kidney left", 0.43 * 7.4 * factor)]
        assert held(rules.organ_doses_are_plausible(slipped, GIVEN, LU)) == ["organ-dose-implausible"]


@pytest.mark.parametrize(
    ("region", "known"),
    [
        ("Kidney_Left", "kidney"), ("LeftKidney", "kidney"), ("kidneys", "kidney"), ("Niere li", "kidney"),
        ("LIVER", "liver"), ("Leber", "liver"), ("foie", "liver"), ("Milz", "spleen"),
        ("Parotis re.", "parotid"), ("bone marrow L2-L4", "marrow"), ("Normal Liver", "liver"),
        ("Liver Mets", None), ("Liver GTV", None), ("liverGTV1", None), ("Liver HCC", None),
        ("GTV_liver", None), ("Liver target", None), ("Kidney cyst", None), ("Leber Läsion 2", None),
        ("liver met 3", None),
        ("Lésion du foie", None), ("kidney cortex", None), ("Tumeur foie", None), ("deliverable", None),
        ("kidney pelvis", None), ("PTV2 liver", None), ("Lebermetastase", None), ("pancreas", None),
    ],
)  # fmt: skip
def test_only_the_organ_itself_is_compared_with_the_organs_range(region: str, known: str | None) -> None:
    found = dose_range("Lu-177", region)
    assert (found.organ if found else None) == known


def test_what_was_compared_with_nothing_is_named() -> None:
    doses = [organ("kidney left", 0.43 * 7.4), organ("Liver Mets", 99.0), organ("body", 0.1)]
    (note,) = rules.organ_doses_are_plausible(doses, GIVEN, LU)
    assert note.severity is Severity.NOTE
    assert "of Lu-177 is known here for Liver Mets, body:" in note.sentence
    (other,) = rules.organ_doses_are_plausible([organ("liver", 40.0)], GIVEN, nuclide("Y-90"))
    assert (other.rule, other.severity) == ("organ-dose-not-compared", Severity.NOTE)
    assert list(rules.organ_doses_are_plausible(doses[:1], GIVEN, LU)) == []


@pytest.mark.parametrize(("fraction", "warned"), [(0.49, 0), (0.51, 1), (None, 0)])
def test_a_tail_that_is_most_of_the_answer(fraction: float | None, warned: int) -> None:
    empty = TiaMap(GRID, np.zeros((2, 2, 2), np.float32))
    curve = RegionTia("liver", (24.0,), (1.0,), (0.1,), "trapezoid", 1.0, 0.1, extrapolated_fraction=fraction)
    found = list(rules.tail_is_measured(TiaFit(empty, empty, "trapezoid", (curve,)), SETTINGS))
    assert [(f.rule, f.severity, f.subject) for f in found] == [
        ("tail-large", Severity.WARNING, "liver")
    ] * warned


def test_long_tails_are_one_finding_that_names_them_and_what_helps() -> None:
    """177Lu, 60 h effective, scans at 24, 48 and 120 h: 0.51 of the trapezoid is its tail, 30 % too much."""
    hours, decay, physical = (24.0, 48.0, 120.0), log(2) / 60, LU.decay_per_s * 3600
    a1, a2, a3 = (exp(-decay * t) for t in hours)
    measured = a1 * 12 + (a1 + a2) * 12 + (a2 + a3) * 36
    whole = measured + a3 / physical
    assert (whole * decay, a3 / physical / whole) == pytest.approx((1.30, 0.51), abs=0.01)
    empty = TiaMap(GRID, np.zeros((2, 2, 2), np.float32))
    tails = {"liver": 1 - measured / whole, "spleen": 0.4, "left kidney": 0.63}
    curves = tuple(
        RegionTia(name, hours, (1.0,) * 3, (0.1,) * 3, "trapezoid", 1.0, 0.1, extrapolated_fraction=tail)
        for name, tail in tails.items()
    )
    (found,) = rules.tail_is_measured(TiaFit(empty, empty, "trapezoid", curves), SETTINGS)
    assert (found.subject, found.measured) == ("left kidney", 0.63)
    assert "in liver, left kidney (at most 63%, in left kidney)" in found.sentence
    assert "a fitted method is nearer" in found.sentence
    fitted = tuple(replace(c, method="mono-exponential") for c in curves)
    (found,) = rules.tail_is_measured(TiaFit(empty, empty, "mono-exponential", fitted), SETTINGS)
    assert "a fitted method" not in found.sentence


def test_every_limit_is_read_by_a_rule_and_every_rule_is_called() -> None:
    package = Path(rules.__file__).parents[1]
    source = Path(rules.__file__).read_text(encoding="utf-8")
    assert [n for n in CheckSettings.model_fields if f"settings.{n}" not in source] == []
    rooms = ("calculation", "casebook", "node")
    callers = "".join(p.read_text(encoding="utf-8") for r in rooms for p in (package / r).glob("*.py"))
    functions = [n for n, f in vars(rules).items() if getattr(f, "__module__", "") == rules.__name__]
    assert len(functions) > 10
    assert [n for n in functions if f"rules.{n}(" not in callers] == []


def test_every_range_names_its_source() -> None:
    for known in DOSE_RANGES:
        assert known.source
        assert known.low_gy_per_gbq < known.high_gy_per_gbq
    assert dose_range("Lu-177", "lesion in liver") is None
    assert dose_range("Y-90", "liver") is None


def test_scans_of_one_cycle_that_were_reconstructed_differently_hold():
    """A learned image was released at 24 h and refused at 96 h in the study of docs/reconstruction.md."""
    (found,) = rules.reconstructions_agree({"T1": "split-likelihood", "T2": "MAP"})
    assert (found.rule, found.severity) == ("recon-methods-differ", Severity.HOLD)
    assert "T1: split-likelihood; T2: MAP" in found.sentence
    assert list(rules.reconstructions_agree({"T1": "OSEM 10i10s", "T2": "OSEM 10i10s"})) == []
    assert list(rules.reconstructions_agree({})) == []
