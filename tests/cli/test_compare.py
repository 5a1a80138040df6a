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
from dicomnode.dicom.files import write_volume
from dicomnode.dicom.modules import ObjectIdentity
from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.rtdose import write_rtdose
from dicomnode.dicom.uids import named_uid
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
