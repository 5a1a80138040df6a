"""Whole courses with something wrong in one scan: held, and led to the right dose by what the sentence names.

The right dose of the kidney is derived in ``test_courses_with_contours``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydicom import Dataset

from tests.casebook.test_courses_with_contours import (
    KIDNEY,
    KIDNEY_GY,
    doses,
    leave_out,
    only,
    reasons,
    state,
    visits,
)
from tests.casebook.test_left_out import again
from tests.faults.tiny import uid
from tests.helpers.drawn import drawn_on
from tests.helpers.node_in_one_process import Desk

PATIENT = "T-one"
Change = Callable[[Dataset], None]


def in_another_unit(nm: Dataset) -> None:
    (mapping,) = nm.RealWorldValueMappingSequence
    mapping.RealWorldValueSlope = float(mapping.RealWorldValueSlope) * 1000


def emptied(nm: Dataset) -> None:
    nm.PixelData = bytes(len(nm.PixelData))


def a_day_later(nm: Dataset) -> None:
    nm.AcquisitionDateTime = "20260304083000+0000"


def two_scales(nm: Dataset) -> None:
    nm.Units, nm.RescaleSlope, nm.RescaleIntercept = "BQML", 2.0, 0.0


def other_half_life(nm: Dataset) -> None:
    nm.RadiopharmaceuticalInformationSequence[0].RadionuclideHalfLife = 6 * 3600.0


def half_as_far(nm: Dataset) -> None:
    nm.SpacingBetweenSlices = "6"


WRONG: dict[str, Change] = {
    "acquisition-times-differ": a_day_later,
    "scale-contradicts": two_scales,
    "half-life-disagrees": other_half_life,
    "slice-distance-contradicts": half_as_far,
    "activity-above-administered": in_another_unit,
    "image-empty": emptied,
}


@pytest.mark.parametrize("rule", WRONG)
def test_a_scan_that_is_wrong_is_held_until_the_corrected_one_has_come_and_it_is_left_out(
    desk: Desk, rule: str
) -> None:
    first, second = visits()
    WRONG[rule](first[0])
    wrong = str(first[0].SeriesInstanceUID)
    desk.arrive([*first, drawn_on(first[1:], {"kidney": KIDNEY}), *second])
    if state(desk) == "READY":
        desk.compute(only(desk))
    assert state(desk) == "HELD"
    assert rule in desk.rules(only(desk))
    desk.arrive(again(visits()[0], "corrected"))
    leave_out(desk, wrong)
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def test_a_date_that_differs_is_named_and_released_where_the_time_in_use_is_right(desk: Desk) -> None:
    """AcquisitionDateTime, which is used, is right; AcquisitionDate is a day off."""
    first, second = visits()
    first[0].AcquisitionDate = "20260304"
    desk.arrive([*first, drawn_on(first[1:], {"kidney": KIDNEY}), *second])
    assert (state(desk), desk.rules(only(desk))) == ("HELD", ["acquisition-times-differ"])
    for said in (
        "T1 ",
        "2026-03-03 08:30:00 by AcquisitionDateTime",
        "2026-03-04 08:30:00 by AcquisitionDate",
    ):
        assert said in reasons(desk)
    desk.release(only(desk))
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def test_two_scales_are_named_and_released_where_the_one_in_use_is_right(desk: Desk) -> None:
    first, second = visits()
    two_scales(first[0])
    desk.arrive([*first, drawn_on(first[1:], {"kidney": KIDNEY}), *second])
    desk.compute(only(desk))
    assert (state(desk), desk.rules(only(desk))) == ("HELD", ["scale-contradicts"])
    for said in ("T1: ", "6.0629e+05 Bq/mL", "1.3107e+05 Bq/mL"):
        assert said in reasons(desk)
    desk.release(only(desk))
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def of_nobody(nm: Dataset) -> None:
    for keyword in (
        "RadiopharmaceuticalStartDateTime",
        "RadiopharmaceuticalStartTime",
        "RadionuclideTotalDose",
    ):
        del nm.RadiopharmaceuticalInformationSequence[0][keyword]


def in_gbq(nm: Dataset) -> None:
    nm.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = 7.4


@pytest.mark.parametrize(
    ("rule", "change"), [("no-administration", of_nobody), ("administered-activity-implausible", in_gbq)]
)
def test_what_is_told_of_the_administration_leads_to_the_dose(desk: Desk, rule: str, change: Change) -> None:
    first, second = visits()
    for scan in (first, second):
        change(scan[0])
    desk.arrive([*first, drawn_on(first[1:], {"kidney": KIDNEY}), *second])
    if state(desk) == "READY":
        desk.compute(only(desk))
    assert state(desk) == "HELD"
    assert rule in desk.rules(only(desk))
    assert "dicomnode administer" in reasons(desk)
    desk.administer(PATIENT, "2026-03-02T08:30+00:00")
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


@pytest.mark.parametrize("way", ["ct_description", "leave-out"])
def test_of_two_equal_cts_the_one_that_is_named_leads_to_the_dose(desk: Desk, way: str) -> None:
    """The other CT shows air alone."""
    first, second = visits()
    other = visits()[0][1:]
    for number, ds in enumerate(other):
        ds.SeriesInstanceUID, ds.SOPInstanceUID = uid("air", "series"), uid("air", number)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.SeriesDescription, ds.PixelData = "AIR", bytes(len(ds.PixelData))
    regions = drawn_on(first[1:], {"kidney": KIDNEY})
    del regions.ReferencedFrameOfReferenceSequence
    regions.FrameOfReferenceUID = first[0].FrameOfReferenceUID
    desk.arrive([*first, *other, regions, *second])
    assert (state(desk), desk.rules(only(desk))) == ("HELD", ["several-cts"])
    if way == "leave-out":
        leave_out(desk, uid("air", "series"))
    else:
        desk.configure("[cycle]", 'ct_description = "^CT$"')
        desk.review(PATIENT)
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def test_contours_of_regions_that_are_not_described_are_replaced_by_a_set_that_describes_them(
    desk: Desk,
) -> None:
    first, second = visits()
    lacking = drawn_on(first[1:], {"kidney": KIDNEY, "spine": KIDNEY})
    del lacking.StructureSetROISequence[1]
    desk.arrive([*first, lacking, *second])
    desk.compute(only(desk))
    assert (state(desk), desk.rules(only(desk))) == ("HELD", ["contours-not-described"])
    desk.arrive([drawn_on(first[1:], {"kidney": KIDNEY}, name="whole", at="20260304 090000")])
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)


def test_a_later_set_that_lacks_a_region_is_held_until_one_set_with_all_has_come(desk: Desk) -> None:
    first, second = visits()
    both = {"kidney": KIDNEY, "liver": KIDNEY}
    short = drawn_on(first[1:], {"kidney": KIDNEY}, name="short", at="20260304 090000")
    desk.arrive([*first, drawn_on(first[1:], both), short, *second])
    desk.compute(only(desk))
    assert (state(desk), desk.rules(only(desk))) == ("HELD", ["structure-set-replaced"])
    desk.arrive([drawn_on(first[1:], both, name="all", at="20260305 090000")])
    _, outcome = desk.compute(only(desk))
    assert doses(outcome)["kidney"] == pytest.approx(KIDNEY_GY, rel=0.03)
