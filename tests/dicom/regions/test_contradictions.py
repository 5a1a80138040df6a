"""Structures that contradict themselves or each other: the right volume, or a finding by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.dicom.regions.structures import read_structures
from dicomnode.errors import Inconsistent, MissingAttribute
from dicomnode.model import Finding, Grid, LabelMap, Severity

from ..conftest import item

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]
Contours = list[np.ndarray]
GRID = Grid((30, 30, 30), (4.0, 4.0, 4.0))
FOR = "1.2.9"
PLANES = np.arange(20.0, 60.0, 2.0)  # 20 planes: a square of 40 mm has 64 mL


def box(x0: float, x1: float, y0: float, y1: float, z: float) -> np.ndarray:
    return np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])


def circle(radius: float, z: float, points: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([60 + radius * np.cos(angle), 60 + radius * np.sin(angle), np.full(points, z)])


def cube() -> Contours:
    return [box(30, 70, 30, 70, z) for z in PLANES]


def loud(findings: tuple[Finding, ...]) -> dict[str, Severity]:
    return {f.rule: f.severity for f in findings if f.severity is not Severity.NOTE}


@pytest.fixture
def read(make_rtstruct: Build, save: Save) -> Callable[..., tuple[LabelMap, tuple[Finding, ...]]]:
    """Read one structure set of (name, contours); ``change`` works on it before."""

    def reading(
        *rois: tuple[str, Contours],
        change: Callable[[Dataset], None] = lambda ds: None,
        kind: str = "CLOSED_PLANAR",
    ) -> tuple[LabelMap, tuple[Finding, ...]]:
        ds = make_rtstruct([(name, contours, kind) for name, contours in rois])
        change(ds)
        return read_structures([save(ds)], GRID, FOR)

    return reading


@pytest.mark.parametrize(
    "again",
    [
        lambda c: c,
        lambda c: c[::-1],
        lambda c: np.roll(c, 2, axis=0),
        lambda c: c + np.random.default_rng(1).normal(0, 1e-3, c.shape),
        lambda c: np.insert(c, 1, c[:2].mean(axis=0), axis=0),
    ],
    ids=["as it is", "other direction", "other start", "1 um off", "a point more"],
)
def test_an_outline_stored_twice_counts_once(read, again) -> None:
    contours = cube()
    regions, findings = read(("k", contours + [again(c) for c in contours[5:11]]))
    assert regions.volume_ml["k"] == pytest.approx(64.0, rel=0.006)
    assert regions.voxel_volume_ml("k") == pytest.approx(64.0, rel=0.006)
    (twice,) = (f for f in findings if f.rule == "contour-twice")
    assert (twice.severity, twice.measured, twice.subject) == (Severity.WARNING, 6.0, "k")


def test_a_hole_stays_a_hole_where_its_outlines_are_stored_twice(read) -> None:
    ring = [c for z in PLANES for c in (circle(20, z, 200), circle(10, z, 100))]
    regions, _ = read(("ring", ring + ring[::-1]))
    assert regions.volume_ml["ring"] == pytest.approx(np.pi * 300 * 40 / 1000, rel=0.005)


def test_an_outline_that_goes_round_twice_counts_once(read) -> None:
    regions, findings = read(("k", [np.concatenate([c, c]) for c in cube()]))
    assert regions.volume_ml["k"] == pytest.approx(64.0, rel=0.006)
    assert loud(findings) == {"contour-twice": Severity.WARNING}


def test_overlapping_outlines_are_taken_together_and_held_where_that_changes_the_region(read) -> None:
    """30 x 30 and 30 x 30 mm with 10 x 30 in common: 50 x 30 x 40 mm, and 20 % of it may be a hole."""
    two = [box(a, a + 30, 30, 60, z) for z in PLANES for a in (30, 50)]
    regions, findings = read(("k", two))
    assert regions.volume_ml["k"] == pytest.approx(60.0, rel=0.006)
    (overlap,) = (f for f in findings if f.rule == "contours-overlap")
    assert (overlap.severity, overlap.subject, overlap.limit) == (Severity.HOLD, "k", 0.05)
    assert overlap.measured == pytest.approx(0.2, abs=0.005)
    assert "in 20 of 20 planes outlines overlap, over 20" in overlap.sentence
    regions, findings = read(("k", two), kind="CLOSEDPLANAR_XOR")  # there the overlap is a hole by definition
    assert regions.volume_ml["k"] == pytest.approx(48.0, rel=0.006)
    assert loud(findings) == {}


def test_a_small_overlap_is_a_warning(read) -> None:
    """2 of 58 mm, 3.4 %."""
    regions, findings = read(("k", [box(a, a + 30, 30, 60, z) for z in PLANES for a in (30, 58)]))
    assert regions.volume_ml["k"] == pytest.approx(58 * 30 * 40 / 1000, rel=0.006)
    (overlap,) = (f for f in findings if f.rule == "contours-overlap")
    assert overlap.severity is Severity.WARNING
    assert overlap.measured == pytest.approx(2 / 58, abs=0.002)


@pytest.mark.parametrize(("planes", "weight"), [(20, Severity.HOLD), (1, Severity.WARNING)])
def test_an_outline_that_crosses_itself_is_held_where_that_changes_the_region(
    read, planes: int, weight: Severity
) -> None:
    """A square with two corners exchanged is two triangles, half of it; the area of its points is 0."""
    crossed = [c[[0, 1, 3, 2]] if k < planes else c for k, c in enumerate(cube())]
    regions, findings = read(("k", crossed))
    whole = 64.0 - 1.6 * planes
    assert regions.volume_ml["k"] == pytest.approx(whole, rel=0.01)
    (crossing,) = (f for f in findings if f.rule == "contour-crosses-itself")
    assert (crossing.severity, crossing.subject) == (weight, "k")
    assert crossing.measured == pytest.approx(1.6 * planes / whole, abs=0.01)


def test_outlines_side_by_side_and_islands_in_holes_are_no_findings(read) -> None:
    side = [box(a, a + 20, 30, 70, z) for z in PLANES for a in (30, 50)]
    nested = [c for z in PLANES for c in (circle(r, z, 200) for r in (20, 12, 6))]
    regions, findings = read(("side", side), ("nested", nested))
    assert regions.volume_ml["side"] == pytest.approx(64.0, rel=0.006)
    assert regions.volume_ml["nested"] == pytest.approx(np.pi * (400 - 144 + 36) * 40 / 1000, rel=0.005)
    assert loud(findings) == {}


def test_a_wall_thinner_than_any_is_held_as_a_contour_drawn_twice(read) -> None:
    regions, findings = read(("k", [c for z in PLANES for c in (circle(20, z, 200), circle(19.5, z, 200))]))
    assert regions.names == ()
    (finding,) = (f for f in findings if f.severity is Severity.HOLD)
    assert finding.subject == "k"
    assert "mm apart: a hole, or one outline drawn twice" in finding.sentence


def test_two_regions_with_one_number_are_refused_by_name(read) -> None:
    def same(ds: Dataset) -> None:
        for k in (0, 1):
            ds.StructureSetROISequence[k].ROINumber = 9
            ds.ROIContourSequence[k].ReferencedROINumber = 9

    small = [box(80, 110, 80, 110, z) for z in PLANES]
    regions, findings = read(("kidney", cube()), ("tumour", small), ("liver", small), change=same)
    assert regions.names == ("liver",)
    held = [f for f in findings if f.severity is Severity.HOLD]
    assert [f.subject for f in held] == ["kidney", "tumour"]
    assert "2 regions have the ROI Number 9" in held[0].sentence


def test_contours_of_a_region_that_is_not_described_hold(read) -> None:
    def other(ds: Dataset) -> None:
        ds.ROIContourSequence[1].ReferencedROINumber = 7

    regions, findings = read(("kidney", cube()), ("tumour", cube()), change=other)
    assert regions.names == ("kidney",)
    assert loud(findings) == {"contours-not-described": Severity.HOLD, "region-left-out": Severity.WARNING}


def test_long_contour_data_that_came_as_un_is_read(read) -> None:
    """3000 points take more than 64 KB, written as UN in explicit VR (CP-1066): the ring became its hole."""
    ring = [c for z in PLANES for c in (circle(20, z, 3000), circle(10, z, 100))]
    with pytest.warns(UserWarning, match="64 kByte"):
        regions, findings = read(("ring", ring))
    assert regions.volume_ml["ring"] == pytest.approx(np.pi * 300 * 40 / 1000, rel=0.003)
    assert [f.rule for f in findings] == ["region-volume"]


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("ContourData", ["1.0"] * 8, "8 numbers for 4 points"),
        ("NumberOfContourPoints", 5, "12 numbers for 5"),
    ],
)
def test_a_contour_that_is_not_whole_holds_its_region(read, attribute, value, said) -> None:
    def spoil(ds: Dataset) -> None:
        setattr(ds.ROIContourSequence[0].ContourSequence[3], attribute, value)

    regions, findings = read(("kidney", cube()), ("liver", cube()), change=spoil)
    assert regions.names == ("liver",)
    (finding,) = (f for f in findings if f.severity is Severity.HOLD)
    assert finding.subject == "kidney"
    assert said in finding.sentence


def test_a_contour_that_cannot_be_read_is_called_that(make_rtstruct: Build, save: Save) -> None:
    path = save(make_rtstruct([("kidney", cube(), "CLOSED_PLANAR")]))
    path.write_bytes(path.read_bytes().replace(b"30.000000", b"30.00x000", 1))
    regions, findings = read_structures([path], GRID, FOR)
    assert regions.names == ()
    (finding,) = (f for f in findings if f.severity is Severity.HOLD)
    assert "1 of its contours cannot be used (Contour Data that cannot be read)" in finding.sentence


def test_what_is_no_organ_is_left_out_with_a_note(read) -> None:
    def interpret(ds: Dataset) -> None:
        kinds = ("EXTERNAL", "SUPPORT", "ORGAN", "")
        ds.RTROIObservationsSequence = Sequence(
            item(ObservationNumber=n, ReferencedROINumber=n, RTROIInterpretedType=kind)
            for n, kind in enumerate(kinds, 1)
        )

    names = ("skin", "couch", "kidney", "lesion")
    regions, findings = read(*((n, cube()) for n in names), change=interpret)
    assert regions.names == ("kidney", "lesion")
    notes = [f for f in findings if f.rule == "region-no-organ"]
    assert [(f.subject, f.severity) for f in notes] == [("skin", Severity.NOTE), ("couch", Severity.NOTE)]
    assert "skin is no organ but EXTERNAL" in notes[0].sentence
    only, _ = read(("skin", cube()), change=interpret)  # structures without an organ are no fault
    assert only.names == ()


def test_a_region_that_is_an_organ_and_none_is_held(read) -> None:
    def interpret(ds: Dataset) -> None:
        ds.RTROIObservationsSequence = Sequence(
            item(ObservationNumber=n, ReferencedROINumber=1, RTROIInterpretedType=kind)
            for n, kind in enumerate(("ORGAN", "EXTERNAL"))
        )

    assert loud(read(("kidney", cube()), change=interpret)[1]) == {"region-contradiction": Severity.HOLD}


# --- Several sets ----------------------------------------------------------------------------------------


def _set(make_rtstruct: Build, names: str, half: float, time: str = "", before: str = "") -> Dataset:
    contours = [box(60 - half, 60 + half, 60 - half, 60 + half, z) for z in PLANES]
    ds = make_rtstruct([(name, contours, "CLOSED_PLANAR") for name in names.split()])
    ds.StructureSetLabel = f"of {time}"
    if time:
        ds.StructureSetDate, ds.StructureSetTime = "20260302", time
    if before:
        ds.PredecessorStructureSetSequence = Sequence([item(ReferencedSOPInstanceUID=before)])
    return ds


@pytest.mark.parametrize("turned", [False, True])
def test_a_later_set_replaces_the_one_with_the_same_regions(
    make_rtstruct: Build, save: Save, turned: bool
) -> None:
    old, new = _set(make_rtstruct, "kidney", 20, "0930"), _set(make_rtstruct, "Kidney liver", 15, "143000.5")
    paths = [save(old), save(new)]
    regions, findings = read_structures(paths[::-1] if turned else paths, GRID, FOR)
    assert regions.names == ("Kidney", "liver")
    assert regions.volume_ml["Kidney"] == pytest.approx(36.0, rel=0.01)
    (replaced,) = (f for f in findings if f.rule == "structure-set-replaced")
    assert (replaced.severity, replaced.subject) == (Severity.WARNING, str(old.SOPInstanceUID))
    assert "'of 0930' of 20260302 093000 is replaced by the structures 'of 143000.5'" in replaced.sentence


def test_a_set_that_is_named_as_predecessor_is_replaced_whole(make_rtstruct: Build, save: Save) -> None:
    old = _set(make_rtstruct, "kidney lesion", 20, "0930")
    new = _set(make_rtstruct, "kidney", 15, "0930", before=str(old.SOPInstanceUID))
    regions, findings = read_structures([save(old), save(new)], GRID, FOR)
    assert regions.names == ("kidney",)
    assert loud(findings) == {"structure-set-replaced": Severity.WARNING}
    assert "only the older one has lesion" in findings[0].sentence


def test_a_later_set_that_lacks_a_region_is_held(make_rtstruct: Build, save: Save) -> None:
    old, new = _set(make_rtstruct, "kidney lesion", 20, "0930"), _set(make_rtstruct, "kidney", 15, "1430")
    _, findings = read_structures([save(old), save(new)], GRID, FOR)
    assert loud(findings) == {"structure-set-replaced": Severity.HOLD}


@pytest.mark.parametrize("time", ["0930", ""])
def test_sets_of_one_time_with_the_same_region_are_refused(
    make_rtstruct: Build, save: Save, time: str
) -> None:
    old, new = _set(make_rtstruct, "kidney", 20, time), _set(make_rtstruct, "kidney", 15, time)
    with pytest.raises(Inconsistent, match="both hold kidney, and neither is later"):
        read_structures([save(old), save(new)], GRID, FOR)


def test_sets_without_a_common_region_are_used_together(make_rtstruct: Build, save: Save) -> None:
    one, other = _set(make_rtstruct, "kidney", 20, "0930"), _set(make_rtstruct, "lesion", 5, "0930")
    assert read_structures([save(one), save(other)], GRID, FOR)[0].names == ("kidney", "lesion")


def test_structures_on_an_aligned_ct_lie_where_they_are_drawn(make_rtstruct: Build, save: Save) -> None:
    ds = make_rtstruct([("k", cube(), "CLOSED_PLANAR")], frame_of_reference="1.2.8")
    with pytest.raises(Inconsistent, match="another frame of reference"):
        read_structures([save(ds)], GRID, FOR)
    regions, _ = read_structures([save(ds)], GRID, FOR, aligned_frame="1.2.8")
    assert regions.voxel_volume_ml("k") == pytest.approx(64.0, rel=0.006)
    share = regions.shares["k"]
    centre = np.average(GRID.to_patient_mm(np.argwhere(share)[:, ::-1]), axis=0, weights=share[share > 0])
    assert centre == pytest.approx([50.0, 50.0, 39.0], abs=0.1)


def test_a_frame_is_only_called_missing_where_it_is(make_rtstruct: Build, save: Save) -> None:
    ds = make_rtstruct([("k", [cube()[0][:2]], "POINT")], frame_of_reference=FOR)
    with pytest.raises(Exception, match="has no closed contour"):
        read_structures([save(ds)], GRID, FOR)
    nameless = make_rtstruct([("k", cube(), "CLOSED_PLANAR")], frame_of_reference="")
    with pytest.raises(MissingAttribute, match="do not name their frame of reference"):
        read_structures([save(nameless)], GRID, FOR)


# --- SEG -------------------------------------------------------------------------------------------------


def _seg(save: Save, masks: list[np.ndarray], step_mm: float, between: float | None, thick: float) -> Dataset:
    """Segments (z, y, x) of 2 x 2 mm pixels; every plane is there where one segment fills it."""
    frames, owners, heights = [], [], []
    for number, mask in enumerate(masks, 1):
        for k in np.flatnonzero(mask.any(axis=(1, 2))):
            frames.append(mask[k]), owners.append(number), heights.append(step_mm * float(k))
    ds = item(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", SOPInstanceUID="1.2.66", SeriesInstanceUID="1.2.6",
        StudyInstanceUID="1.2", FrameOfReferenceUID=FOR, Modality="SEG", PatientID="T",
        SegmentationType="BINARY", NumberOfFrames=len(frames), SamplesPerPixel=1, PixelRepresentation=0,
        BitsAllocated=1, BitsStored=1, HighBit=0, Rows=masks[0].shape[1], Columns=masks[0].shape[2],
    )  # fmt: skip
    ds.PixelData = np.packbits(np.array(frames).ravel(), bitorder="little").tobytes()
    ds["PixelData"].VR = "OB"
    measures = item(PixelSpacing=[2.0, 2.0], SliceThickness=thick)
    if between is not None:
        measures.SpacingBetweenSlices = between
    facing = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[facing])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0.0, z])],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=n)],
        )
        for n, z in zip(owners, heights, strict=True)
    )
    ds.SegmentSequence = Sequence(item(SegmentNumber=n, SegmentLabel=f"s{n}") for n in sorted(set(owners)))
    return ds


@pytest.fixture
def cubes() -> list[np.ndarray]:
    """40 x 40 mm in 8 planes: 64 mL at 5 mm; and 20 x 20 mm in 4 planes: 8 mL."""
    one, two = np.zeros((20, 40, 40), bool), np.zeros((20, 40, 40), bool)
    one[4:12, 10:30, 10:30], two[14:18, 5:15, 5:15] = True, True
    return [one, two]


@pytest.mark.parametrize(
    ("between", "thick", "said"),
    [
        (None, 5.0, {}),
        (5.0, 3.0, {}),
        (None, 3.0, {"segmentation-spacing": Severity.WARNING}),
        (None, 2.0, {"segmentation-spacing": Severity.WARNING}),
        (2.5, 5.0, {"segmentation-spacing": Severity.HOLD}),
        (8.0, 5.0, {"segmentation-spacing": Severity.HOLD}),
    ],
)
def test_planes_of_a_segmentation_are_as_far_apart_as_their_positions(
    save: Save, cubes: list[np.ndarray], between: float | None, thick: float, said: dict[str, Severity]
) -> None:
    regions, findings = read_structures([save(_seg(save, cubes, 5.0, between, thick))], GRID, FOR)
    assert regions.volume_ml == pytest.approx({"s1": 64.0, "s2": 8.0})
    assert loud(findings) == said


def test_segments_with_one_number_and_pixels_of_unknown_segments_hold(
    save: Save, cubes: list[np.ndarray]
) -> None:
    ds = _seg(save, cubes, 5.0, 5.0, 5.0)
    ds.SegmentSequence.append(item(SegmentNumber=1, SegmentLabel="other"))
    regions, findings = read_structures([save(ds)], GRID, FOR)
    assert regions.names == ("s2",)
    assert [f.subject for f in findings if f.rule == "region-contradiction"] == ["s1", "other"]
    ds = _seg(save, cubes, 5.0, 5.0, 5.0)
    del ds.SegmentSequence[1]
    regions, findings = read_structures([save(ds)], GRID, FOR)
    assert regions.names == ("s1",)
    (finding,) = (f for f in findings if f.severity is Severity.HOLD)
    assert "pixels of the segments 2, which it does not describe" in finding.sentence
