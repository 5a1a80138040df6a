"""Whole courses with contours, from arrival to the dose: each released right, or held with a remedy that
leads to the right dose.

The right dose of the kidney: 8e5 Bq/mL at administration, falling with 60 h, seen at 24 and 96 h. The
trapezoid from zero, with the physical tail (159.5 h), makes 3.576e11 decays per mL; times 147.9 keV
(electrons of Lu-177, ICRP 107), over 1.05 g/cm3 (HU 40): 8.07 Gy. Photons add about 1 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from click.testing import CliRunner
from pydicom import Dataset

from dicomnode.calculation.job import Outcome
from dicomnode.cli import cli
from dicomnode.model import Severity
from tests.faults.tiny import Tiny, uid
from tests.helpers.drawn import Contours, box, drawn_on
from tests.helpers.node_in_one_process import Desk

PATIENT = "T-one"
KIDNEY = box((-60, 50, -42), (12, 12, 12))
SPINE = box((0, 70, 0), (12, 12, 12))
KIDNEY_GY = 8.07
KIDNEY_ML = 24 * 24 * 36 / 1000  # three planes 12 mm apart


def visits() -> tuple[list[Dataset], list[Dataset]]:
    return Tiny("one").time_point(24.0), Tiny("one").time_point(96.0)


def arrived(desk: Desk, structures: Callable[[Sequence[Dataset]], Sequence[Dataset]]) -> str:
    """Two visits, structures drawn on the CT of the first; the cycle."""
    first, second = visits()
    desk.arrive([*first, *structures(first[1:]), *second])
    return only(desk)


def only(desk: Desk) -> str:
    (cycle,) = desk.rows()
    return str(cycle["cycle"]["id"])


def state(desk: Desk) -> str:
    (cycle,) = desk.rows()
    return str(cycle["cycle"]["state"])


def reasons(desk: Desk) -> str:
    (cycle,) = desk.rows()
    return " / ".join(cycle["cycle"]["reasons"])


def leave_out(desk: Desk, what: str) -> None:
    config = ["--config", str(desk.folder / "config.toml"), "--by", "AB", "--because", "as it says"]
    ran = CliRunner().invoke(cli, ["leave-out", what, "--cycle", only(desk), *config])
    assert ran.exit_code == 0, ran.output
    desk.review(PATIENT)


def doses(outcome: Outcome) -> dict[str, float]:
    assert outcome.verdict.release, outcome.verdict.holds
    assert len({o.region for o in outcome.organs}) == len(outcome.organs)
    return {o.region: o.mean_gy for o in outcome.organs}


def weights(outcome: Outcome) -> dict[str, Severity]:
    return {f.rule: f.severity for f in outcome.verdict.findings}


def in_another_frame(objects: Sequence[Dataset]) -> list[Dataset]:
    """The CT slices of a visit moved to a frame of reference of their own."""
    for ds in objects[1:]:
        ds.FrameOfReferenceUID = uid(objects[0].StudyInstanceUID, "frame of the CT")
    return list(objects)


def test_contours_on_a_ct_in_a_frame_of_its_own_count_once_the_site_says_they_are_aligned(desk: Desk) -> None:
    first, second = (in_another_frame(v) for v in visits())
    desk.arrive([*first, drawn_on(first[1:], {"kidney": KIDNEY}), *second])
    assert (state(desk), desk.rules(only(desk))) == ("HELD", ["no-ct", "no-ct"])
    assert "set same_study_ct = true in [cycle]" in reasons(desk)
    desk.configure("[cycle]", "same_study_ct = true")
    desk.review(PATIENT)
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)
    assert weights(outcome)["frame-of-reference-differs"] is Severity.WARNING


@pytest.mark.parametrize(
    ("drawn", "held"),
    [(SPINE, ["organ-dose-implausible"]), (box((-36, 50, -42), (12, 12, 12)), [])],
    ids=["held before", "released before"],
)
def test_a_corrected_structure_set_takes_the_place_of_the_one_that_was_computed(
    desk: Desk, drawn: Contours, held: list[str]
) -> None:
    """The first kidney lies beside the kidney; the later set has it right, and each organ is there once."""
    liver = box((-60, -20, -6), (12, 12, 12))
    cycle = arrived(desk, lambda ct: [drawn_on(ct, {"kidney": drawn, "liver": liver})])
    _, outcome = desk.compute(cycle)
    assert desk.rules(cycle) == held
    (wrong,) = [o.mean_gy for o in outcome.organs if o.region == "kidney"]
    assert wrong < 0.7 * KIDNEY_GY
    again = {"kidney": KIDNEY, "liver": liver}
    desk.arrive([drawn_on(visits()[0][1:], again, name="corrected", at="20260304 090000")])
    job, outcome = desk.compute(cycle)
    assert job.number == 2
    assert set(doses(outcome)) == {"kidney", "liver", "body"}
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)
    (replaced,) = [f for f in outcome.verdict.findings if f.rule == "structure-set-replaced"]
    assert "T1: the structures 'structures' of 20260303 120000 is replaced by" in replaced.sentence
    assert "'corrected' of 20260304 090000, which is later" in replaced.sentence


def test_two_structure_sets_of_one_time_are_held_until_one_is_left_out(desk: Desk) -> None:
    wrong, right = (
        lambda ct: drawn_on(ct, {"kidney": SPINE}, name="wrong"),
        lambda ct: drawn_on(ct, {"kidney": KIDNEY}, name="right"),
    )
    cycle = arrived(desk, lambda ct: [wrong(ct), right(ct)])
    _, outcome = desk.compute(cycle)
    assert not outcome.verdict.release
    assert "both hold kidney, and neither is later" in reasons(desk)
    assert uid("wrong", "20260303 120000", "series") in reasons(desk)
    leave_out(desk, uid("wrong", "20260303 120000", "series"))
    _, outcome = desk.compute(cycle)
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def test_regions_with_one_number_are_held_and_may_be_left_out_by_name(desk: Desk) -> None:
    """Of three regions two have the number 1: neither may get the other's contours; the third is right."""
    drawn: list[tuple[str, Contours]] = [("spine", SPINE), ("liver", KIDNEY), ("kidney", KIDNEY)]
    cycle = arrived(desk, lambda ct: [drawn_on(ct, drawn, numbers=(1, 1, 2))])
    _, outcome = desk.compute(cycle)
    assert desk.rules(cycle) == ["region-contradiction"] * 2
    assert "2 regions have the ROI Number 1" in reasons(desk)
    for name in ("spine", "liver"):
        leave_out(desk, name)
    _, outcome = desk.compute(cycle)
    assert set(doses(outcome)) == {"kidney", "body"}
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def test_a_contour_that_is_stored_twice_changes_neither_volume_nor_dose(desk: Desk) -> None:
    cycle = arrived(desk, lambda ct: [drawn_on(ct, {"kidney": [*KIDNEY, *KIDNEY]})])
    _, outcome = desk.compute(cycle)
    (kidney,) = [o for o in outcome.organs if o.region == "kidney"]
    assert kidney.volume_ml == pytest.approx(KIDNEY_ML, rel=0.01)
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)
    assert weights(outcome)["contour-twice"] is Severity.WARNING


def test_outlines_that_overlap_widely_are_held_until_a_person_has_looked(desk: Desk) -> None:
    """Two boxes of 18 mm side by side, 12 mm over each other: 24 mm together, half of it in both."""
    parts = [box((-63, 50, -42), (9, 12, 12)), box((-57, 50, -42), (9, 12, 12))]
    cycle = arrived(desk, lambda ct: [drawn_on(ct, {"kidney": [*parts[0], *parts[1]]})])
    _, outcome = desk.compute(cycle)
    assert desk.rules(cycle) == ["contours-overlap"]
    assert "over 50.0% of its area" in reasons(desk)
    desk.release(cycle)
    _, outcome = desk.compute(cycle)
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)
