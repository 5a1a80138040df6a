"""Pictures and the report: geometry by known points, bytes that repeat, nothing left out."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from math import log
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pypdf import PdfReader

from dicomnode.model import (
    Administration,
    EnergyPerDecay,
    Finding,
    Grid,
    LabelMap,
    Nuclide,
    Severity,
    Verdict,
)
from dicomnode.results.course import course_doses
from dicomnode.results.organs import organ_doses
from dicomnode.results.page import printable
from dicomnode.results.pictures import Scene, focus_mm, png, round_ticks, sampled, three_planes
from dicomnode.results.report import DISCLAIMER, ReportContent, write_report
from dicomnode.results.settings import Radiobiology, ResultsSettings
from dicomnode.results.wording import readable_name, significant, with_sigma

if TYPE_CHECKING:
    from conftest import Torso

LU177 = Nuclide("Lu-177", 6.647 * 86400, EnergyPerDecay(0.147, 0.035), "ICRP 107")
KIDNEY = Radiobiology(alpha_beta_gy=2.5, repair_half_time_h=2.8)
SETTINGS = ResultsSettings(radiobiology={"left kidney": KIDNEY, "right kidney": KIDNEY})


def scene(torso: Torso) -> Scene:
    return Scene(torso.fit.tia, torso.dose, torso.regions, torso.ct, focus_mm(torso.dose, torso.regions))


def content(torso: Torso) -> ReportContent:
    organs = organ_doses(torso.dose, torso.density, torso.regions, torso.fit, SETTINGS)
    return ReportContent(
        torso.patient, torso.cycle, LU177, torso.fit, torso.dose, torso.regions, organs, torso.verdict,
        torso.provenance, "3f1c9a52", 2, torso.provenance.ended_at, course_doses([organs, organs]), torso.ct,
    )  # fmt: skip


def text_of(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(BytesIO(pdf)).pages]


def test_the_focus_is_the_highest_dose_of_a_region_or_the_centre_of_one(torso: Torso) -> None:
    x, y, z = focus_mm(torso.dose, torso.regions)
    assert abs(np.array([x, y, z]) - (-80, -20, 45)).max() < 12  # within the lesion of radius 16 mm
    kidney = focus_mm(torso.dose, torso.regions, "left kidney")
    assert kidney == pytest.approx((65, 50, -40), abs=2.4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_planes_show_the_patients_right_at_the_left_and_the_head_up(torso: Torso, sign: float) -> None:
    """The x, y and z coordinate itself as the image, on a right- and a left-handed grid."""
    origin = (-189.6, -141.6, -150.0 if sign > 0 else -150.0 + 71 * 4.8)
    grid = Grid((72, 60, 80), (4.8, 4.8, 4.8), origin, (1, 0, 0, 0, 1, 0, 0, 0, sign))
    k, j, i = np.indices(grid.shape_zyx)
    place = grid.to_patient_mm(np.stack([i, j, k], axis=-1))
    axial, coronal, sagittal = three_planes(scene(torso))
    for plane, across, down, sense in ((axial, 0, 1, 1), (coronal, 0, 2, -1), (sagittal, 1, 2, -1)):
        shown = [sampled(grid, place[..., n], plane)[5:-5, 5:-5] for n in (across, down)]
        assert (np.diff(shown[0], axis=1) > 0).all()
        assert (np.sign(np.diff(shown[1], axis=0)) == sense).all()
        inner = plane.points_mm[5:-5, 5:-5]
        np.testing.assert_allclose(shown[0], inner[..., across], atol=1e-3)
        np.testing.assert_allclose(shown[1], inner[..., down], atol=1e-3)
    assert (axial.letters[0], coronal.letters[2], sagittal.letters[0]) == ("R", "H", "A")


def test_the_png_repeats_byte_for_byte_and_needs_neither_ct_nor_regions(torso: Torso) -> None:
    first = png(scene(torso), title="177Lu", dots_per_inch=50)
    assert first == png(scene(torso), title="177Lu", dots_per_inch=50)
    assert first.startswith(b"\x89PNG")
    bare = replace(scene(torso), ct=None, regions=None)
    assert png(bare, dots_per_inch=50) != first


def test_the_report_has_two_pages_that_name_patient_and_dose_and_repeat(torso: Torso) -> None:
    pdf = write_report(content(torso), SETTINGS)
    assert pdf == write_report(content(torso), SETTINGS)
    pages = text_of(pdf)
    assert len(pages) == 2
    kidney = next(o for o in content(torso).organs if o.region == "left kidney")
    for wanted in (
        "Müster, Erika", "0815-4711", "7385 MBq Lu-177", "vsv 1.0", "mono-exponential",
        "PASSED WITH WARNINGS",
        "half-life 1.4 %", with_sigma(kidney.mean_gy, kidney.sigma_gy), "T2 (reference)", "α/β 2.5 Gy",
    ):  # fmt: skip
        assert wanted in pages[0]
    for page in pages:
        assert DISCLAIMER in page
        assert "Patient 0815-4711, revision 2" in page


def test_sums_that_leave_out_an_administration_say_so(torso: Torso) -> None:
    whole = content(torso)
    assert "too low" not in "".join(text_of(write_report(whole, SETTINGS)))
    earlier = Administration("Lu-177", 7300.0, datetime(2026, 1, 5, 23, 30, tzinfo=UTC))
    pages = text_of(write_report(replace(whole, not_in_course=(earlier,) * 20), SETTINGS))
    everything = " ".join(" ".join(pages).split())
    assert everything.count("7300 MBq Lu-177 of 2026-01-05") == 20
    assert "These sums are too low" in everything


def test_a_long_report_goes_on_and_leaves_nothing_out(torso: Torso) -> None:
    whole = content(torso)
    many = [replace(whole.organs[1], region=f"lesion {n}") for n in range(60)]
    holds = [Finding("r", Severity.HOLD, f"Sentence {n} says what to do. " * 6) for n in range(20)]
    pages = text_of(write_report(replace(whole, organs=many, verdict=Verdict.of(holds)), SETTINGS))
    everything = "\n".join(pages)
    assert len(pages) > 3
    assert "HELD" in pages[0]
    assert all(f"lesion {n}\n" in everything or f"lesion {n} " in everything for n in range(60))
    assert all(f"Sentence {n} says" in everything for n in range(20))


def test_a_name_the_font_cannot_show_makes_squares_and_no_warning(torso: Torso) -> None:
    patient = replace(torso.patient, patient_name="Yamada^Tarou=山田^太郎", referring_physician="")
    assert "Yamada, Tarou" in text_of(write_report(replace(content(torso), patient=patient), SETTINGS))[0]
    assert printable("Ω山$") == "Ω□$"
    odd = LabelMap(torso.regions.grid, {"$x^{2": torso.regions.masks["spleen"]})
    assert write_report(replace(content(torso), regions=odd), SETTINGS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e-6, "<0.001"), (0.03581, "0.0358"), (0.9996, "1.00"), (2.516, "2.52"), (117.4, "117"),
     (59405.1, "59400")],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_value_and_uncertainty_end_at_the_same_decimal() -> None:
    assert with_sigma(10.5177, 0.9888) == "10.52 ± 0.99"
    assert with_sigma(14.96, 1.42) == "15.0 ± 1.4"
    assert with_sigma(123.4, 12.6) == "123 ± 13"


def test_ticks_are_round_and_within_the_scale() -> None:
    assert round_ticks(21.3) == pytest.approx([0, 0.5, 2.5, 5, 10, 15, 20])
    assert all(0 <= t <= 7.0 for t in round_ticks(7.0))


def test_a_name_is_readable_without_carets() -> None:
    assert readable_name("Müster^Erika^^^") == "Müster, Erika"


def test_curves_that_were_not_fitted_are_joined_and_go_on_by_physical_decay(torso: Torso) -> None:
    from matplotlib.figure import Figure

    from dicomnode.results.charts import draw_curves

    axes = Figure().add_subplot()
    bare = replace(torso.fit.regions[0], parameters={}, method="trapezoid")
    draw_curves(axes, [bare], {}, LU177.half_life_s / 3600.0)
    tail = axes.lines[-1]
    hours, activity = tail.get_xdata(), tail.get_ydata()
    assert log(activity[0] / activity[-1]) / (hours[-1] - hours[0]) == pytest.approx(
        log(2) / 159.53, rel=1e-4
    )


def test_reading_the_room_loads_no_drawing_library() -> None:
    code = "import dicomnode.results.report, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
