"""The command compare, on files as people have them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset, FileMetaDataset

from dicomnode.cli.compare import compare
from dicomnode.cli.dose import dose
from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.write.modules import ObjectIdentity
from dicomnode.dicom.write.rtdose import write_rtdose
from dicomnode.files.volumes import write_volume
from dicomnode.model import DoseMap, EnergyBalance, Grid

GRID = Grid((20, 22, 24), (4.0, 4.0, 4.0), (-40.0, -30.0, 10.0))
NOISE = 0.05


def truth(shift_mm: float = 0.0, grid: Grid = GRID) -> np.ndarray:
    """A blurred ball at the same place in the patient on any grid."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape_zyx[::-1]], indexing="ij"), axis=-1)
    place = grid.to_patient_mm(index) - np.array([6.0 + shift_mm, 12.0, 48.0])
    return 0.1 + 5.0 / (1.0 + np.exp((np.linalg.norm(place, axis=-1) - 20.0) / 2.5)).transpose(2, 1, 0)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    gy = truth()
    sigma = NOISE * np.sqrt(gy)
    noisy = gy + sigma * np.random.default_rng(0).standard_normal(gy.shape)
    write_volume(tmp_path / "right.mha", GRID, gy, "Gy")
    write_volume(tmp_path / "shifted.mha", GRID, truth(3.0), "Gy")
    write_volume(tmp_path / "reference.mha", GRID, noisy, "Gy")
    write_volume(tmp_path / "reference.nii.gz", GRID, noisy, "Gy")
    write_volume(tmp_path / "sigma.mha", GRID, sigma, "Gy")
    write_volume(tmp_path / "labels.mha", GRID, (gy > 2.5).astype(float), "label")
    (tmp_path / "names.json").write_text('{"1": "<lesion>"}')
    return tmp_path


def run(files: Path, *arguments: object):
    given = [str(files / a) if isinstance(a, str) and (files / a).exists() else str(a) for a in arguments]
    return CliRunner().invoke(compare, given)


COMMON = ("--sigma", "sigma.mha", "--regions", "labels.mha", "--region-names", "names.json", "--draws", 2)


def test_a_right_map_ends_with_0_and_a_shifted_one_with_1(files: Path) -> None:
    right = run(files, "right.mha", "reference.mha", *COMMON)
    assert right.exit_code == 0, right.output
    assert "pass: no gate" in right.output
    wrong = run(files, "shifted.mha", "reference.mha", *COMMON)
    assert wrong.exit_code == 1, wrong.output
    assert "fail: " in wrong.output


def test_json_and_report_hold_everything_and_escape_names(files: Path) -> None:
    out, page = files / "out.json", files / "out.html"
    found = run(
        files, "shifted.mha", "reference.nii.gz", *COMMON, "--json", out, "--report", page, "--decays", 1e6
    )
    assert found.exit_code == 1, found.output
    data = json.loads(out.read_text())
    assert data["verdict"] == "fail"
    assert data["inputs"]["resampling"] == "none"
    assert data["regions"][0]["region"] == "<lesion>"
    shift = next(m for m in data["measures"] if m["name"] == "sliced-w1")
    assert (shift["unit"], shift["expected_under_noise"] < 0.3) == ("mm", True)
    assert next(m for m in data["measures"] if m["name"] == "bures")["detail"]["shift_x_mm"] > 1.0
    text = page.read_text()
    assert "&lt;lesion&gt;" in text
    assert "<lesion>" not in text
    assert "data:image/png;base64," in text


def test_the_evaluated_map_is_brought_to_the_reference_and_never_the_other_way(files: Path) -> None:
    fine = Grid((50, 52, 56), (2.0, 2.0, 2.0), (-46.0, -36.0, 4.0))
    write_volume(files / "fine.mha", fine, truth(grid=fine), "Gy")
    found = run(files, "fine.mha", "reference.mha", *COMMON, "--json", "-")
    data = json.loads(found.output)
    assert "reference as it is" in data["inputs"]["resampling"]
    # Averaging over the reference's voxels blurs a little more than sampling their centres did.
    assert data["regions"][0]["state"] == "pass"
    assert next(m for m in data["measures"] if m["name"] == "sliced-w1")["value"] < 0.2
    write_volume(files / "fine-sigma.mha", fine, 0.1 * truth(grid=fine), "Gy")
    refused = run(files, "fine.mha", "reference.mha", *COMMON, "--evaluated-sigma", "fine-sigma.mha")
    assert refused.exit_code == 2
    assert "noisy map is never resampled" in refused.output


def test_a_reference_larger_than_the_evaluated_map_is_refused(files: Path) -> None:
    small = Grid((10, 10, 10), (4.0,) * 3, (-20.0, -10.0, 20.0))
    write_volume(files / "small.mha", small, truth(grid=small), "Gy")
    found = run(files, "small.mha", "reference.mha", *COMMON)
    assert found.exit_code == 2
    assert "does not cover" in found.output


def test_rtdose_and_rtstruct_are_read(files: Path) -> None:
    patient = PatientStudy("A^B", "1", named_uid("study"), frame_of_reference_uid=named_uid("frame"))
    when = ObjectIdentity(named_uid("dose"), named_uid("series"), 1, "Dose", datetime(2026, 3, 9, tzinfo=UTC))
    dose = DoseMap(GRID, truth(), 0 * truth(), EnergyBalance(1.0, 1.0, 0.0))
    (files / "dose.dcm").write_bytes(write_rtdose(dose, patient, when))
    contoured(files / "struct.dcm", named_uid("frame"))
    found = run(files, "dose.dcm", "reference.mha", "--sigma", "sigma.mha", "--regions", "struct.dcm",
                "--draws", 0, "--json", "-")  # fmt: skip
    assert found.exit_code == 0, found.output
    (region,) = json.loads(found.output)["regions"]
    assert region["region"] == "box"
    assert region["volume_ml"] == pytest.approx(24.0 * 24.0 * 24.0 / 1000, rel=0.01)


def contoured(path: Path, frame: str) -> None:
    """A box of 24 mm around (6, 12, 48) as six square contours 4 mm apart."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = (
        "1.2.840.10008.5.1.4.1.1.481.3",
        named_uid("s"),
        "RTSTRUCT",
    )
    ds.SeriesInstanceUID, ds.StudyInstanceUID = named_uid("series 2"), named_uid("study")
    roi, frame_item, contours = Dataset(), Dataset(), Dataset()
    frame_item.FrameOfReferenceUID = frame
    ds.ReferencedFrameOfReferenceSequence = [frame_item]
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "box", frame
    ds.StructureSetROISequence = [roi]
    contours.ReferencedROINumber, contours.ContourSequence = 1, []
    for k in range(6):
        one = Dataset()
        one.ContourGeometricType, one.NumberOfContourPoints = "CLOSED_PLANAR", 4
        corners = [(-6, 0), (18, 0), (18, 24), (-6, 24)]
        one.ContourData = [f"{v:g}" for x, y in corners for v in (x, y, 38.0 + 4.0 * k)]
        contours.ContourSequence.append(one)
    ds.ROIContourSequence = [contours]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = (
        ds.SOPClassUID,
        ds.SOPInstanceUID,
    )
    ds.save_as(path, enforce_file_format=True)


def segmented(path: Path, frame: str, mask: np.ndarray, label: str) -> None:
    """A binary SEG of one segment on the grid, the frames from head to feet as some makers write them."""
    planes = [k for k in reversed(range(len(mask))) if mask[k].any()]
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.66.4", named_uid("g"), "SEG"
    ds.SeriesInstanceUID, ds.StudyInstanceUID = named_uid("series 3"), named_uid("study")
    ds.FrameOfReferenceUID, ds.SegmentationType = frame, "BINARY"
    ds.Rows, ds.Columns = mask.shape[1:]
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.PixelRepresentation = len(planes), 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
    bits = np.packbits(mask[planes].ravel(), bitorder="little").tobytes()
    ds.add_new("PixelData", "OB", bits + b"\0" * (len(bits) % 2))
    measures, facing, shared, segment = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [4.0, 4.0], 4.0
    facing.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [facing]
    ds.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for k in planes:
        group, place, which = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [GRID.origin_mm[0], GRID.origin_mm[1], GRID.origin_mm[2] + 4.0 * k]
        which.ReferencedSegmentNumber = 1
        group.PlanePositionSequence, group.SegmentIdentificationSequence = [place], [which]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    segment.SegmentNumber, segment.SegmentLabel = 1, label
    ds.SegmentSequence = [segment]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)


def test_seg_gives_the_same_region_as_the_label_map_of_the_same_voxels(files: Path) -> None:
    """Between two RT Doses, whose frame of reference the SEG has to share."""
    patient = PatientStudy("A^B", "1", named_uid("study"), frame_of_reference_uid=named_uid("frame"))
    for name, gy in (("right", truth()), ("shifted", truth(3.0))):
        when = ObjectIdentity(named_uid(name), named_uid("series"), 1, name, datetime(2026, 3, 9, tzinfo=UTC))
        dose = DoseMap(GRID, gy, 0 * gy, EnergyBalance(1.0, 1.0, 0.0))
        (files / f"{name}.dcm").write_bytes(write_rtdose(dose, patient, when))
    mask = truth() > 2.5
    segmented(files / "seg.dcm", named_uid("frame"), mask, "ball")
    dicom = run(files, "shifted.dcm", "right.dcm", "--regions", "seg.dcm", "--draws", 0, "--json", "-")
    plain = run(files, "shifted.mha", "right.mha", "--regions", "labels.mha", "--draws", 0, "--json", "-")
    (segment,), (label,) = (json.loads(r.stdout)["regions"] for r in (dicom, plain))
    assert segment["region"] == "ball"
    assert segment["volume_ml"] == pytest.approx(mask.sum() * 0.064)
    assert segment["volume_ml"] == label["volume_ml"]
    assert segment["error"] == pytest.approx(label["error"], abs=1e-4)  # RT Dose holds 32-bit integers
    segmented(files / "elsewhere.dcm", named_uid("another frame"), mask, "ball")
    refused = run(files, "shifted.dcm", "right.dcm", "--regions", "elsewhere.dcm", "--draws", 0)
    assert refused.exit_code == 2
    assert "frame of reference" in refused.output.lower()


def test_batches_of_the_reference_give_its_dispersion_and_must_be_its_own(
    files: Path, tmp_path: Path
) -> None:
    """From dose --batches-out to compare --batches, with the engine that keeps them."""
    water = np.where(truth() > 0.15, 1.0, 0.0012)
    write_volume(tmp_path / "tia.mha", GRID, np.where(truth() > 2.5, 1.0, 0.0), "MBq s/mL")
    write_volume(tmp_path / "rho.mha", GRID, water, "g/cm3")
    common = ["--tia", tmp_path / "tia.mha", "--density", tmp_path / "rho.mha", "--nuclide", "Lu-177"]
    for seed in (1, 2):
        out = ["--out", tmp_path / f"d{seed}.mha", "--sigma-out", tmp_path / f"s{seed}.mha"]
        kept = ["--batches-out", tmp_path / f"b{seed}.npz", "--decays", "5e4", "--seed", seed]
        made = CliRunner().invoke(
            dose, [str(a) for a in (*common, "--engine", "montecarlo", "--option", "threads=1", *out, *kept)]
        )
        assert made.exit_code == 0, made.output
    assert (tmp_path / "b1.npz").stat().st_size < 40_000
    noisy = ("--sigma", "s1.mha", "--evaluated-sigma", "s2.mha", "--batches", "b1.npz")
    data = json.loads(run(tmp_path, "d2.mha", "d1.mha", *noisy, "--draws", 0, "--json", "-").stdout)
    assert data["verdict"] != "fail", data["sentence"]
    assert float(data["inputs"]["noise"].rpartition("dispersion ")[2]) < 1.0
    (chi,) = (m for m in data["measures"] if m["name"] == "moment-chi2-4-tolerance")
    assert chi["null"] == "closed form, 20 batches"
    other = run(tmp_path, "d1.mha", "d2.mha", "--sigma", "s2.mha", "--batches", "s1.mha")
    assert (other.exit_code, "no file of Monte Carlo batches" in other.output) == (2, True)
    assert "give the voxel uncertainties" in run(tmp_path, "d2.mha", "d1.mha", "--batches", "b1.npz").output
    write_volume(tmp_path / "half.mha", GRID, 0.5 * truth(), "Gy")
    wrong = run(tmp_path, "d2.mha", "half.mha", "--sigma", "s1.mha", "--batches", "b1.npz")
    assert (wrong.exit_code, "belong to another run" in wrong.output) == (2, True)
    refused = CliRunner().invoke(
        dose, [str(a) for a in (*common, "--engine", "local", "--out", tmp_path / "x.mha", *kept[:2])]
    )
    assert (refused.exit_code, "keeps no batches" in refused.output) == (2, True)


def test_without_noise_it_is_undecided_and_says_so(files: Path) -> None:
    found = run(files, "right.mha", "right.mha", "--draws", 0)
    assert found.exit_code == 1, found.output
    assert "states no noise" in found.output


def test_regions_on_another_grid_are_refused(files: Path) -> None:
    other = Grid((5, 5, 5), (4.0,) * 3)
    write_volume(files / "other.mha", other, np.ones(other.shape_zyx), "label")
    found = run(files, "right.mha", "reference.mha", "--regions", "other.mha")
    assert found.exit_code == 2
    assert "another grid" in found.output


def test_the_command_loads_no_numba_or_matplotlib_to_show_its_help() -> None:
    code = (
        "import sys; from dicomnode.cli import cli\n"
        "try: cli(['compare', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('numba', 'matplotlib', 'scipy', 'SimpleITK') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith("[]")
