"""Where several series could serve, which one does, and what is said of each of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicomnode.cycle.gather import Gathering, gather, summarise
from dicomnode.cycle.left_out import Kind, LeftOut
from dicomnode.cycle.settings import CameraSeries, CycleSettings
from dicomnode.model import Severity
from dicomnode.model.series import Role, SeriesSummary
from tests.cycle.test_gather import LU, START, four_time_points, header, series

SPECT = series("1.1", Role.EMISSION, 24, "5.1", series_description="SPECT Tc")
LONG, SHORT = (-400.0, 0.0), (-300.0, -100.0)


def ct(uid: str, description: str, hours: float = 24, **facts: str) -> SeriesSummary:
    return series(uid, Role.CT, hours, "5.1", series_description=description, facts=facts)


def rtstruct(*referenced: str, frame: str = "5.1") -> SeriesSummary:
    return series(
        "3.1", Role.STRUCTURES, 24, frame, series_description="RTSS", referenced_series_uids=referenced
    )


def used(got: Gathering) -> tuple[str, list[str], list[str]]:
    """CT, structures and rules of the one time point."""
    (cycle,) = got.cycles
    (point,) = cycle.time_points
    assert point.ct is not None
    rules = [f.rule for f in cycle.findings]
    return point.ct.series_uid, [s.series_uid for s in point.structures], rules


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (ct("2.9", "AC CT"), ct("2.1", "Abdomen portal venous")),
        (ct("2.9", "CT"), ct("2.1", "CT", ContrastBolusAgent="Iomeprol 400")),
        (ct("2.9", "CT without contrast"), ct("2.1", "CT with contrast")),
        (ct("2.9", "CT low dose"), ct("2.1", "CT diagnostic")),
        (ct("2.9", "CT B30f", ConvolutionKernel="B30f"), ct("2.1", "CT B70f", ConvolutionKernel="B70f")),
        (ct("2.9", "CT soft"), ct("2.1", "CT lung")),
    ],
)
def test_what_a_ct_states_decides_and_neither_its_uid_nor_its_time(
    right: SeriesSummary, wrong: SeriesSummary
) -> None:
    """The wrong one has the lower UID, and begins with the emission; the right one 20 min before."""
    assert right.acquired_at is not None
    got = gather([SPECT, replace(right, acquired_at=SPECT.acquired_at), wrong], [LU], CycleSettings())
    assert used(got) == ("2.9", [], [])
    code, reason = got.unused["2.1"]
    assert code == "other-ct"
    assert right.description in reason
    (note,) = got.cycles[0].notes
    assert (note.severity, note.sentence) == (
        Severity.NOTE,
        f"not used: '{wrong.description}' (NM, 1 object): {reason}",
    )


def test_the_ct_that_structures_refer_to_comes_first_and_the_structures_are_kept() -> None:
    lung, soft = ct("2.1", "CT 1.5 B"), ct("2.2", "CT 1.5 A")
    got = gather([SPECT, lung, soft, rtstruct("2.2")], [LU], CycleSettings())
    assert used(got) == ("2.2", ["3.1"], [])


def test_equal_cts_hold_and_are_listed_by_description() -> None:
    got = gather([SPECT, ct("2.1", "CT 1.5 B"), ct("2.2", "CT 1.5 A")], [LU], CycleSettings())
    assert used(got)[2] == ["several-cts"]
    (found,) = got.cycles[0].findings
    assert found.sentence.startswith("T1 'SPECT Tc': 2 CTs of its visit could give density and outlines: ")
    assert "'CT 1.5 B', 'CT 1.5 A'" in found.sentence


def test_a_description_of_the_site_names_the_ct_and_of_one_camera_only_that_cameras() -> None:
    spect = replace(SPECT, facts={"Manufacturer": "SIEMENS", "ManufacturerModelName": "Symbia"})
    both = [ct("2.1", "CT 1.5 B"), ct("2.2", "CT 1.5 A")]
    named = CycleSettings(ct_description="A$")
    assert used(gather([spect, *both], [LU], named)) == ("2.2", [], [])
    of_camera = CycleSettings(
        ct_description="A$", camera=(CameraSeries(model="symbia", ct_description="B$"),)
    )
    assert used(gather([spect, *both], [LU], of_camera)) == ("2.1", [], [])
    of_another = CycleSettings(ct_description="A$", camera=(CameraSeries(model="nm", ct_description="B$"),))
    assert used(gather([spect, *both], [LU], of_another)) == ("2.2", [], [])
    two = CameraSeries(manufacturer="siemens", ct_description="A$")
    contradict = CycleSettings(camera=(*of_camera.camera, two))
    assert used(gather([spect, *both], [LU], contradict))[2] == ["several-cts"]


def test_structures_drawn_on_another_ct_of_the_frame_are_used_and_said_to_be() -> None:
    both = [ct("2.1", "CT contrast"), ct("2.2", "CT AC"), rtstruct("2.1")]
    got = gather([SPECT, *both], [LU], CycleSettings(ct_description="AC"))
    assert used(got) == ("2.2", ["3.1"], ["structures-on-another-image"])
    assert "'RTSS' is drawn on the CT 'CT contrast'" in got.cycles[0].findings[0].sentence


def test_structures_whose_image_has_not_come_lie_by_their_frame_of_reference() -> None:
    got = gather([SPECT, ct("2.2", "CT"), rtstruct("2.7")], [LU], CycleSettings())
    assert used(got) == ("2.2", ["3.1"], ["structures-on-another-image"])


def test_structures_of_another_frame_on_an_absent_image_wait_for_it_by_name() -> None:
    got = gather([SPECT, ct("2.2", "CT"), rtstruct("2.7", frame="5.7")], [LU], CycleSettings())
    assert got.unused["3.1"] == ("no-partner", "the series that it is drawn on, 2.7, has not arrived")
    assert "'RTSS'" in got.cycles[0].notes[0].sentence


def test_a_frame_of_reference_that_outlives_its_visit_gives_each_scan_the_ct_of_its_own() -> None:
    """Four visits registered to one frame by another program; structures on the second CT are of visit 2."""
    whole = [replace(s, frame_of_reference_uid="5.0") for s in four_time_points()]
    drawn = series("3.1", Role.STRUCTURES, 30, "5.0", referenced_series_uids=("2.2",))
    (cycle,) = gather([*whole, drawn], [LU], CycleSettings()).cycles
    assert [p.ct and p.ct.series_uid for p in cycle.time_points] == ["2.1", "2.2", "2.3", "2.4"]
    assert [len(p.structures) for p in cycle.time_points] == [0, 1, 0, 0]
    assert (cycle.findings, cycle.notes) == ((), ())


def test_a_ct_that_does_not_cover_the_emission_gives_way_to_one_that_does() -> None:
    spect = replace(SPECT, span_mm=LONG)
    short, whole = replace(ct("2.1", "CT AC"), span_mm=SHORT), replace(ct("2.2", "CT"), span_mm=LONG)
    assert used(gather([spect, short, whole], [LU], CycleSettings())) == ("2.2", [], [])


def test_the_span_of_a_series_is_read_from_its_slices_or_its_frames() -> None:
    slices = [
        header("2.1", Role.CT, 1, "5.1", sop_instance_uid=f"2.1.{k}", facts={"ImagePositionPatient": p})
        for k, p in enumerate(("0\\0\\-90", "0\\0\\60", "0\\0\\-30"))
    ]
    found = summarise(slices, {h.sop_instance_uid: "d" for h in slices}, START)
    assert found.span_mm == (-90.0, 60.0)
    frames = header(
        "1.1", Role.EMISSION, 1, "5.1", frames=11,
        facts={"ImagePositionPatient": "0\\0\\50", "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
               "SpacingBetweenSlices": "-4"},
    )  # fmt: skip
    assert summarise([frames], {"1.1.1": "d"}, START).span_mm == (10.0, 50.0)


def test_a_contrast_ct_without_an_alternative_is_used_with_a_warning() -> None:
    got = gather([SPECT, ct("2.1", "CT portal venous")], [LU], CycleSettings())
    assert used(got) == ("2.1", [], ["ct-with-contrast"])
    assert got.cycles[0].findings[0].severity is Severity.WARNING


def test_beds_of_one_acquisition_hold_by_name_and_can_be_left_out_one_by_one() -> None:
    beds = [
        replace(SPECT, series_uid=f"1.{i}", description=f"bed {i}", span_mm=(400.0 * i, 400.0 * i + 390.0))
        for i in (1, 2)
    ]
    got = gather(beds, [LU], CycleSettings())
    (found,) = got.cycles[0].findings
    assert (found.rule, found.severity) == ("several-beds", Severity.HOLD)
    assert "'bed 1' z 400 to 790 mm, 'bed 2' z 800 to 1190 mm" in found.sentence
    left = LeftOut(Kind.SERIES, "1.2", "AB", "head only")
    one = gather(beds, [LU], CycleSettings(), left_out=[left])
    assert one.cycles[0].findings == ()
    assert one.unused["1.2"] == ("left-out", "left out by AB: head only")


def test_of_several_reconstructions_all_but_one_can_be_left_out() -> None:
    both = [replace(SPECT, series_uid=f"1.{n}", description=n) for n in ("AC", "NAC")]
    got = gather(both, [LU], CycleSettings())
    assert [f.rule for f in got.cycles[0].findings] == ["several-reconstructions"]
    assert "'AC', 'NAC'" in got.cycles[0].findings[0].sentence
    left = [LeftOut(Kind.SERIES, "1.NAC", "AB", "not corrected")]
    one = gather(both, [LU], CycleSettings(), left_out=left)
    assert (one.cycles[0].findings, one.cycles[0].time_points[0].emission.description) == ((), "AC")


def test_a_time_point_is_left_out_with_every_series_of_its_acquisition() -> None:
    whole = [*four_time_points(), replace(SPECT, series_uid="1.8", frame_of_reference_uid="5.2")]
    left = [LeftOut(Kind.TIME_POINT, "1.2", "AB", "patient moved")]
    got = gather(whole, [LU], CycleSettings(), left_out=left)
    assert [p.emission.series_uid for p in got.cycles[0].time_points] == ["1.1", "1.3", "1.4"]
    assert got.unused["1.8"] == got.unused["1.2"] == ("left-out", "left out by AB: patient moved")
    assert got.unused["2.2"][0] == "emission-not-used"


@pytest.mark.parametrize("name", ["SPECT NAC", "SPECT no AC", "Recon without attenuation", "uncorrected"])
def test_a_spect_that_calls_itself_uncorrected_holds(name: str) -> None:
    got = gather([replace(SPECT, description=name), ct("2.1", "CT")], [LU], CycleSettings())
    assert used(got)[2] == ["not-attenuation-corrected"]


def test_nothing_that_has_arrived_is_said_to_be_missing() -> None:
    """The emission series is there, but it is gone as another reconstruction, without a time, or in another
    frame of reference: no reason says that it has not come."""
    no_time = replace(SPECT, acquired_at=None)
    got = gather([no_time, ct("2.1", "CT")], [LU], CycleSettings())
    assert got.unused["2.1"][1].startswith("its emission series 'SPECT Tc' is not used: AcquisitionDateTime")
    apart = replace(ct("2.1", "CT"), frame_of_reference_uid="5.9")
    got = gather([SPECT, apart], [LU], CycleSettings())
    assert got.unused["2.1"][0] == "other-frame"
    assert "same_study_ct = true" in got.unused["2.1"][1]
    alone = gather([apart], [LU], CycleSettings())
    assert alone.unused["2.1"] == (
        "no-partner", "no emission series of its frame of reference has arrived yet",
    )  # fmt: skip


def test_registrations_plans_and_captures_are_named_with_their_reasons() -> None:
    others = [
        series("4.1", Role.REGISTRATION, 24, "5.1", series_description="REG"),
        series("4.2", Role.UNUSED, 24, "", series_description="MIP", unused_because="a screen capture"),
        series("4.3", Role.UNUSED, 24, "", series_description="Topo", unused_because="a screen capture"),
    ]
    (cycle,) = gather([SPECT, ct("2.1", "CT"), *others], [LU], CycleSettings()).cycles
    assert [n.sentence for n in cycle.notes] == [
        "not used: 'REG' (NM, 1 object): registrations are not used: this node registers the scans itself",
        "not used: 'MIP' (NM, 1 object), 'Topo' (NM, 1 object): a screen capture",
    ]


def test_equal_findings_of_many_instances_are_one_of_their_series() -> None:
    from dicomnode.model import Finding

    found = Finding("x", Severity.HOLD, "the unit is missing")
    slices = [
        header(
            "2.1", Role.CT, 1, "5.1", sop_instance_uid=f"2.1.{k}", findings=(replace(found, subject=f"{k}"),)
        )
        for k in range(288)
    ]
    (one,) = summarise(slices, {h.sop_instance_uid: "d" for h in slices}, START).findings
    assert (one.sentence, one.subject) == ("the unit is missing (288 objects say the same)", "2.1")
