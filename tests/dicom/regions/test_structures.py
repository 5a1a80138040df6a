"""Rasterisation of contours and segments: holes, rotated planes, volume, refusals."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomnode.dicom.regions.outlines import even_odd
from dicomnode.dicom.regions.structures import read_structures
from dicomnode.errors import Inconsistent, MissingAttribute, Refused
from dicomnode.model import Grid, Severity

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]
SPECT = Grid((40, 40, 40), (4.42, 4.42, 4.42), (-86.0, -86.0, -86.0))
FOR = "1.2.9"


def square(half: float, z: float, centre: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    x, y = centre
    return np.array(
        [(x - half, y - half, z), (x + half, y - half, z), (x + half, y + half, z), (x - half, y + half, z)]
    )


def circle(radius: float, z: float, points: int = 90) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.full(points, z)])


def sphere(radius: float, step: float = 3.0) -> list[np.ndarray]:
    heights = np.arange(-radius + step / 2, radius, step)
    return [circle(float(np.sqrt(radius**2 - z**2)), float(z)) for z in heights]


def test_a_box_has_its_volume_before_and_on_a_coarse_grid(make_rtstruct: Build, save: Save) -> None:
    path = save(make_rtstruct([("box", [square(22.1, z) for z in np.arange(-20, 21, 2.0)], "CLOSED_PLANAR")]))
    regions, findings = read_structures([path], SPECT, FOR)
    assert regions.volume_ml["box"] == pytest.approx(44.2 * 44.2 * 42 / 1000, rel=0.01)  # 21 planes of 2 mm
    assert regions.voxel_volume_ml("box") == pytest.approx(82.05, rel=0.005)
    assert [f.rule for f in findings] == ["region-volume"]
    assert "mL as drawn" in findings[0].sentence


@pytest.mark.parametrize("radius", [15.0, 25.0, 40.0])
def test_a_sphere_keeps_its_volume_and_centre_on_a_spect_grid(
    make_rtstruct: Build, save: Save, radius: float
) -> None:
    path = save(make_rtstruct([("sphere", sphere(radius), "CLOSED_PLANAR")]))
    regions, _ = read_structures([path], SPECT, FOR)
    exact = 4 / 3 * np.pi * radius**3 / 1000
    assert regions.volume_ml["sphere"] == pytest.approx(exact, rel=0.01)
    assert regions.voxel_volume_ml("sphere") == pytest.approx(exact, rel=0.01)
    inside = np.argwhere(regions.masks["sphere"])[:, ::-1]
    np.testing.assert_allclose(SPECT.to_patient_mm(inside).mean(axis=0), 0.0, atol=0.3)


def test_contours_within_contours_are_holes_and_keyholes_work(make_rtstruct: Build, save: Save) -> None:
    planes = np.arange(-9.0, 10.0, 3.0)
    nested = [c for z in planes for c in (square(30, z), square(15, z))]
    outer, inner = square(30, 0)[:, :2], square(15, 0)[::-1, :2]
    loop = np.concatenate([outer, outer[:1], inner, inner[:1]])
    keyhole = [np.column_stack([loop, np.full(len(loop), z)]) for z in planes]
    path = save(make_rtstruct([("nested", nested, "CLOSED_PLANAR"), ("keyhole", keyhole, "CLOSED_PLANAR")]))
    regions, _ = read_structures([path], SPECT, FOR)
    for name in ("nested", "keyhole"):
        assert regions.volume_ml[name] == pytest.approx((60**2 - 30**2) * 21 / 1000, rel=0.01)
        assert not regions.masks[name][20, 20, 20]  # near the centre
        assert regions.masks[name][20, 20, 24]  # 20 mm off it
    np.testing.assert_array_equal(regions.masks["nested"], regions.masks["keyhole"])


@given(
    x=st.lists(st.floats(-5, 25), min_size=3, max_size=9),
    y=st.lists(st.floats(-5, 25), min_size=9, max_size=9),
)
@settings(deadline=None, max_examples=60)
def test_the_scanline_equals_counting_crossings_point_by_point(x: list[float], y: list[float]) -> None:
    polygon = np.column_stack([x, y[: len(x)]])
    mask = even_odd([polygon], (20, 20))
    for v, u in ((0, 0), (3, 17), (10, 10), (19, 5), (7, 12)):
        odd = False
        for (u0, v0), (u1, v1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if (v0 > v) != (v1 > v) and v0 != v1:
                at = u0 + (v - v0) * (u1 - u0) / (v1 - v0)
                if abs(at - u) < 1e-9 or min(abs(v0 - v), abs(v1 - v)) < 1e-9:
                    return  # on an edge either answer is right
                odd ^= at < u
        assert mask[v, u] == odd


@pytest.mark.parametrize("degrees", [20.0, 45.0, 90.0])
def test_rotated_contour_planes_give_the_same_sphere(
    make_rtstruct: Build, save: Save, degrees: float
) -> None:
    angle = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    path = save(make_rtstruct([("turned", [c @ turn.T for c in sphere(30)], "CLOSED_PLANAR")]))
    regions, _ = read_structures([path], SPECT, FOR)
    straight, _ = read_structures([save(make_rtstruct([("s", sphere(30), "CLOSED_PLANAR")]))], SPECT, FOR)
    assert regions.volume_ml["turned"] == pytest.approx(113.1, rel=0.01)
    one, other = regions.masks["turned"], straight.masks["s"]
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.97


def test_an_oblique_grid_receives_the_same_volume(make_rtstruct: Build, save: Save) -> None:
    c, s = np.cos(0.4), np.sin(0.4)
    direction = (c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0)
    grid = Grid((40, 60, 60), (3.0, 3.0, 4.0), (-50.0, -120.0, -80.0), direction)
    regions, _ = read_structures([save(make_rtstruct([("s", sphere(30), "CLOSED_PLANAR")]))], grid, FOR)
    assert regions.voxel_volume_ml("s") == pytest.approx(113.1, rel=0.005)


def test_a_left_handed_grid_receives_the_region_in_its_place(make_rtstruct: Build, save: Save) -> None:
    path = save(make_rtstruct([("s", [c + np.array([0, 0, 30]) for c in sphere(20)], "CLOSED_PLANAR")]))
    down = Grid((40, 40, 40), (4.42, 4.42, 4.42), (-86.0, -86.0, 86.38), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    one, _ = read_structures([path], SPECT, FOR)
    other, _ = read_structures([path], down, FOR)
    np.testing.assert_array_equal(one.masks["s"], other.masks["s"][::-1])


def test_points_are_skipped_names_disambiguated_and_gaps_reported(make_rtstruct: Build, save: Save) -> None:
    gap = [square(20, z) for z in (-9.0, -6.0, -3.0, 3.0, 6.0, 9.0)]
    rois = [
        ("kidney", sphere(20), "CLOSED_PLANAR"),
        ("isocentre", [np.zeros((1, 3))], "POINT"),
        ("kidney", gap, "CLOSED_PLANAR"),
        ("speck", [square(0.5, z) for z in (0.0, 3.0)], "CLOSED_PLANAR"),
    ]
    regions, findings = read_structures([save(make_rtstruct(rois))], SPECT, FOR)
    assert regions.names == ("kidney", "kidney (ROI 3)", "speck")
    rules = [f.rule for f in findings]
    assert rules.count("region-left-out") == 1  # the isocentre
    assert {"contour-skipped", "contour-gap"} <= set(rules)
    assert regions.voxel_volume_ml("speck") == pytest.approx(0.006, rel=0.05)  # fills no voxel by half
    assert regions.volume_ml["kidney (ROI 3)"] == pytest.approx(40 * 40 * 18 / 1000, rel=0.02)


def test_a_region_beyond_the_grid_is_a_warning_with_both_volumes(make_rtstruct: Build, save: Save) -> None:
    path = save(make_rtstruct([("liver", [c + np.array([85, 0, 0]) for c in sphere(40)], "CLOSED_PLANAR")]))
    _, (finding,) = read_structures([path], SPECT, FOR)
    assert finding.severity is Severity.WARNING
    assert finding.limit == pytest.approx(268, rel=0.01)
    assert finding.measured is not None
    assert finding.measured < 170


def test_another_frame_of_reference_is_refused_with_what_to_do(make_rtstruct: Build, save: Save) -> None:
    path = save(make_rtstruct([("s", sphere(20), "CLOSED_PLANAR")], frame_of_reference="1.2.8"))
    with pytest.raises(
        Inconsistent, match=r"another frame of reference.*1\.2\.9.*draw them on the SPECT or on the CT"
    ):
        read_structures([path], SPECT, FOR)
    nameless = save(make_rtstruct([("s", sphere(20), "CLOSED_PLANAR")], frame_of_reference=""))
    with pytest.raises(MissingAttribute, match="do not name their frame of reference"):
        read_structures([nameless], SPECT, FOR)


def test_a_contour_larger_than_any_patient_is_left_out(make_rtstruct: Build, save: Save) -> None:
    path = save(make_rtstruct([("bomb", [square(1e7, z) for z in (0.0, 3.0)], "CLOSED_PLANAR")]))
    regions, (finding,) = read_structures([path], SPECT, FOR)
    assert regions.names == ()
    assert (finding.rule, finding.severity, finding.subject) == (
        "region-contradiction",
        Severity.HOLD,
        "bomb",
    )
    assert "larger than any patient" in finding.sentence


def test_plastimatch_draws_the_same_volume(unpacked: Callable[[str], list[Path]], tmp_path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    from dicomnode.dicom.header.headers import read_header
    from dicomnode.dicom.volumes import read_ct

    if shutil.which("plastimatch") is None:
        pytest.skip("needs the program plastimatch: run deploy/test-peers.sh")
    images = unpacked("ct_lung_ibsi_NONCOMMERCIAL/image.tar.xz!*")
    (drawn,) = (p for p in unpacked("ct_lung_ibsi_NONCOMMERCIAL/mask") if p.suffix == ".dcm")
    folder = tmp_path / "all"
    folder.mkdir()
    for path in (*images, drawn):
        (folder / path.name).symlink_to(path)
    command = ["plastimatch", "convert", "--input", folder, "--output-img", tmp_path / "ct.mha"]
    subprocess.run([*command, "--output-prefix", tmp_path / "rois"], check=True, capture_output=True)
    ct, _ = read_ct(images)
    peer = sitk.ReadImage(str(tmp_path / "ct.mha"))
    np.testing.assert_allclose(peer.GetOrigin(), ct.grid.origin_mm, atol=1e-3)
    np.testing.assert_allclose(peer.GetSpacing(), ct.grid.spacing_mm, atol=1e-4)
    np.testing.assert_allclose(sitk.GetArrayFromImage(peer), ct.hu, atol=0.5)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "rois" / "GTV-1.mha"))) > 0
    frame = read_header(drawn, ZoneInfo("UTC")).frame_of_reference_uid
    regions, _ = read_structures([drawn], ct.grid, frame)
    ours = regions.masks["GTV-1"]
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.005)
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.985


# --- SEG -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def make_seg(sq: Build) -> Build:
    """SEG of (frames, rows, columns); ``owners``: segment of each frame, ``heights``: its z."""

    def make(frames: np.ndarray, owners: list[int], heights: list[float], kind: str = "BINARY") -> Dataset:
        ds = sq(
            SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4",
            SOPInstanceUID="1.2.66",
            SeriesInstanceUID="1.2.6",
            StudyInstanceUID="1.2",
            FrameOfReferenceUID=FOR,
            Modality="SEG",
            PatientID="T",
            SegmentationType=kind,
            NumberOfFrames=len(frames),
            SamplesPerPixel=1,
            PixelRepresentation=0,
            MaximumFractionalValue=200,
        )
        ds.Rows, ds.Columns = frames.shape[1:]
        ds.BitsAllocated = ds.BitsStored = 1 if kind == "BINARY" else 8
        ds.HighBit = ds.BitsStored - 1
        data = np.packbits(frames.ravel().astype(bool), bitorder="little") if kind == "BINARY" else frames
        blob = data.astype(np.uint8).tobytes()
        ds.PixelData = blob + b"\0" * (len(blob) % 2)
        ds["PixelData"].VR = "OB"
        measures = sq(PixelSpacing=[4.42, 4.42], SliceThickness=4.42, SpacingBetweenSlices=4.42)
        facing = sq(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
        shared = sq(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[facing])
        ds.SharedFunctionalGroupsSequence = Sequence([shared])
        ds.PerFrameFunctionalGroupsSequence = Sequence(
            sq(
                PlanePositionSequence=[sq(ImagePositionPatient=[-86.0, -86.0, z])],
                SegmentIdentificationSequence=[sq(ReferencedSegmentNumber=n)],
            )
            for n, z in zip(owners, heights, strict=True)
        )
        ds.SegmentSequence = Sequence(sq(SegmentNumber=n, SegmentLabel=f"s{n}") for n in sorted(set(owners)))
        return ds

    return make


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=10)
def test_bits_packed_across_bytes_come_back_voxel_by_voxel(
    make_seg: Build, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((2, 6, 13, 11)) > 0.5  # 143 bits a frame: no frame but the first begins on a byte
    truth[:, :, 0, 0] = True
    heights = [-86.0 + 4.42 * k for k in range(6)]
    order = rng.permutation(12)
    frames = truth.reshape(12, 13, 11)[order]
    owners = [int(n) for n in np.repeat([1, 2], 6)[order]]
    ds = make_seg(frames, owners, [heights[k % 6] for k in order])
    from pydicom.dataset import FileMetaDataset

    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "1.2.66"
    path = tmp_path_factory.mktemp("seg") / "s.dcm"
    ds.save_as(path, enforce_file_format=True)
    grid = Grid((6, 13, 11), (4.42, 4.42, 4.42), (-86.0, -86.0, -86.0))
    regions, _ = read_structures([path], grid, FOR)
    np.testing.assert_array_equal(regions.masks["s1"], truth[0])
    np.testing.assert_array_equal(regions.masks["s2"], truth[1])


def test_fractional_pixels_belong_from_half_on(make_seg: Build, save: Save) -> None:
    frames = np.zeros((2, 8, 8), dtype=np.uint8)
    frames[:, 2:6, 2:6], frames[:, 6, 6] = 100, 99  # of 200
    path = save(make_seg(frames, [1, 1], [-86.0, -81.58], kind="FRACTIONAL"))
    regions, _ = read_structures([path], SPECT, FOR)
    assert regions.masks["s1"].sum() == 2 * 16
    assert regions.volume_ml["s1"] == pytest.approx(2 * 16 * 4.42**3 / 1000)


def test_occupied_parts_of_pixels_are_shares(make_seg: Build, save: Save) -> None:
    frames = np.zeros((2, 8, 8), dtype=np.uint8)
    frames[:, 2:6, 2:6], frames[:, 6, 2:6] = 200, 50  # of 200
    ds = make_seg(frames, [1, 1], [-86.0, -81.58], kind="FRACTIONAL")
    ds.SegmentationFractionalType = "OCCUPANCY"
    regions, _ = read_structures([save(ds)], SPECT, FOR)
    assert regions.volume_ml["s1"] == pytest.approx(2 * 17 * 4.42**3 / 1000)
    assert regions.shares["s1"][0, 6, 3] == pytest.approx(0.25)


def test_a_fine_segment_is_resampled_by_the_part_it_fills(make_seg: Build, save: Save) -> None:
    frames = np.zeros((8, 40, 40), dtype=bool)
    frames[:, 10:30, 10:30] = True
    ds = make_seg(frames, [1] * 8, [-40.0 + k for k in range(8)])
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.PixelSpacing, measures.SpacingBetweenSlices = [1.0, 1.0], 1.0
    for group in ds.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0].ImagePositionPatient
        group.PlanePositionSequence[0].ImagePositionPatient = [-30.0, -30.0, place[2]]
    regions, _ = read_structures([save(ds)], SPECT, FOR)
    assert regions.volume_ml["s1"] == pytest.approx(20 * 20 * 8 / 1000)
    assert regions.voxel_volume_ml("s1") == pytest.approx(3.2, rel=1e-4)


def test_a_segmentation_in_another_frame_or_without_groups_is_refused(make_seg: Build, save: Save) -> None:
    ds = make_seg(np.ones((2, 8, 8), dtype=bool), [1, 1], [0.0, 4.42])
    with pytest.raises(Inconsistent, match="draw them on the SPECT or on the CT"):
        read_structures([save(ds)], SPECT, "1.2.8")
    ds.NumberOfFrames = 3
    with pytest.raises(Refused, match="3 frames have 2 functional groups"):
        read_structures([save(ds)], SPECT, FOR)
