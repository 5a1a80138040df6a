"""The simulated patient as DICOM: valid, the same every time, and read back by others as it was meant."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from dicomnode.simulation import SimulatedPatient, SimulatedScan, scan
from dicomnode.simulation.objects import Emission, datasets, truth, write_dicom
from dicomnode.simulation.scanner import Pose, regions_on


@pytest.fixture(scope="session")
def written(
    patient: SimulatedPatient, day: SimulatedScan, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("dicom")
    kinds: tuple[Emission, ...] = ("Bq/ml", "counts", "pt")
    return {kind: write_dicom(patient, [day], folder / kind[:2], emission=kind) for kind in kinds}


def _only(paths: list[Path], start: str) -> list[Path]:
    return [path for path in paths if path.name.startswith(start)]


# NM has no half-life and no start date and time in its isotope module (PS3.3 C.8.4.10), so the tool calls
# the object a "Standard Extended SOP Class" (PS3.2 3.11.3), which is allowed: warnings, no error.
@pytest.mark.parametrize(
    ("kind", "start"), [("Bq/ml", "NM"), ("counts", "NM"), ("pt", "PT"), ("pt", "CT"), ("pt", "SEG")]
)
def test_dciodvfy_finds_no_error(
    dciodvfy: str, written: dict[str, list[Path]], kind: str, start: str
) -> None:
    path = _only(written[kind], start)[-1]
    told = subprocess.run([dciodvfy, path], capture_output=True, text=True, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    assert [line for line in lines if line.startswith("Error")] == []
    other = [line for line in lines if line.startswith("Warning")]
    if start == "NM":
        known = (
            "Radionuclide Half Life",
            "Radiopharmaceutical Start DateTime",
            "Standard Extended SOP Class",
        )
        other = [line for line in other if not any(words in line for words in known)]
    assert other == []


def test_nm_maps_stored_values_to_becquerel_per_millilitre(
    written: dict[str, list[Path]], day: SimulatedScan
) -> None:
    nm = pydicom.dcmread(_only(written["Bq/ml"], "NM")[0])
    mapping = nm.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "Bq/ml"
    values = nm.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert np.abs(values - day.activity.bq_per_ml).max() <= 0.51 * mapping.RealWorldValueSlope
    assert list(nm.SliceVector) == list(range(1, nm.NumberOfFrames + 1))


def test_nm_holds_its_geometry_in_the_detector(written: dict[str, list[Path]], day: SimulatedScan) -> None:
    nm = pydicom.dcmread(_only(written["Bq/ml"], "NM")[0])
    grid, detector = day.activity.grid, nm.DetectorInformationSequence[0]
    assert "ImagePositionPatient" not in nm
    assert list(detector.ImagePositionPatient) == pytest.approx(grid.origin_mm)
    assert float(nm.SpacingBetweenSlices) == pytest.approx(grid.spacing_mm[2])


def test_nm_says_what_was_given_and_when(written: dict[str, list[Path]], patient: SimulatedPatient) -> None:
    nm = pydicom.dcmread(_only(written["Bq/ml"], "NM")[0])
    given = nm.RadiopharmaceuticalInformationSequence[0]
    assert float(given.RadionuclideTotalDose) == 7400.0  # MBq in the NM isotope module
    assert given.RadionuclideCodeSequence[0].CodeMeaning == "^177^Lutetium"
    assert given.RadiopharmaceuticalStartDateTime.startswith("20260302093000")
    assert nm.TimezoneOffsetFromUTC == "+0100"
    assert nm.AcquisitionDateTime.startswith("20260303093000")
    # 60 projections by 2 heads: 30 stops of 60 s make the 1800 s.
    rotation = nm.RotationInformationSequence[0]
    assert rotation.ActualFrameDuration * rotation.NumberOfFramesInRotation / 1000 == 1800


def test_counts_keep_their_sum_though_written_whole(
    written: dict[str, list[Path]], day: SimulatedScan
) -> None:
    nm = pydicom.dcmread(_only(written["counts"], "NM")[0])
    assert "RealWorldValueMappingSequence" not in nm
    assert float(nm.pixel_array.sum()) == pytest.approx(float(day.counts.sum(dtype=np.float64)), rel=1e-3)


def test_pt_scales_each_slice_by_itself(written: dict[str, list[Path]], day: SimulatedScan) -> None:
    slices = [pydicom.dcmread(path) for path in _only(written["pt"], "PT")]
    assert len({float(ds.RescaleSlope) for ds in slices}) > 10
    assert float(slices[0].RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose) == 7.4e9  # Bq
    values = np.stack([ds.pixel_array * float(ds.RescaleSlope) for ds in slices])
    assert values == pytest.approx(day.activity.bq_per_ml, abs=float(day.activity.bq_per_ml.max()) / 32767)


def test_simpleitk_reads_the_ct_where_it_lies(written: dict[str, list[Path]], day: SimulatedScan) -> None:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage([str(path) for path in _only(written["Bq/ml"], "CT")])
    assert image.GetOrigin() == pytest.approx(day.ct.grid.origin_mm)
    assert image.GetSpacing() == pytest.approx(day.ct.grid.spacing_mm)
    assert np.array_equal(sitk.GetArrayFromImage(image), day.ct.hu)


def test_plastimatch_reads_the_ct_where_it_lies(
    written: dict[str, list[Path]], day: SimulatedScan, tmp_path: Path
) -> None:
    import SimpleITK as sitk  # noqa: N813

    program = shutil.which("plastimatch")
    if program is None:
        pytest.skip("needs the program plastimatch: run deploy/test-peers.sh")
    source = tmp_path / "ct"
    source.mkdir()
    for path in _only(written["Bq/ml"], "CT"):
        shutil.copy(path, source)
    out = tmp_path / "ct.mha"
    subprocess.run(
        [program, "convert", "--input", source, "--output-img", out], check=True, capture_output=True
    )
    image = sitk.ReadImage(str(out))
    assert image.GetOrigin() == pytest.approx(day.ct.grid.origin_mm, abs=1e-3)
    assert np.array_equal(sitk.GetArrayFromImage(image), day.ct.hu)


def test_the_seg_holds_every_organ(
    written: dict[str, list[Path]], patient: SimulatedPatient, day: SimulatedScan
) -> None:
    seg = pydicom.dcmread(_only(written["Bq/ml"], "SEG")[0])
    meant = regions_on(patient, day.ct.grid)
    names = [item.SegmentLabel for item in seg.SegmentSequence]
    assert names == list(meant.names)
    z = day.ct.grid.origin_mm[2] + day.ct.grid.spacing_mm[2] * np.arange(day.ct.grid.shape_zyx[0])
    found = {name: np.zeros(day.ct.grid.shape_zyx, dtype=bool) for name in names}
    frames = zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True)
    for item, frame in frames:
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        height = float(item.PlanePositionSequence[0].ImagePositionPatient[2])
        found[names[number - 1]][int(np.abs(z - height).argmin())] = frame
    for name in names:
        assert np.array_equal(found[name], meant.masks[name]), name


def test_a_scan_has_one_study_and_one_frame_of_reference(
    patient: SimulatedPatient, day: SimulatedScan
) -> None:
    late = scan(patient, 72.0)
    headers = [
        (name, ds) for name, ds in datasets(patient, [day, late]) if name.endswith(("0000.dcm", "SEG.dcm"))
    ]
    frames = {name: str(ds.FrameOfReferenceUID) for name, ds in headers}
    by_visit = {
        visit: {uid for name, uid in frames.items() if name.startswith(visit)} for visit in ("T1", "T2")
    }
    assert len(by_visit["T1"]) == len(by_visit["T2"]) == 1
    assert by_visit["T1"] != by_visit["T2"]
    assert len({str(ds.PatientID) for _name, ds in headers}) == 1
    assert all(str(ds.SOPInstanceUID).startswith("2.25.") for _name, ds in headers)


def test_the_same_patient_gives_the_same_bytes(
    patient: SimulatedPatient, day: SimulatedScan, written: dict[str, list[Path]], tmp_path: Path
) -> None:
    again = write_dicom(patient, [day], tmp_path)
    first = written["Bq/ml"]
    assert [p.name for p in again] == [p.name for p in first]
    assert [p.name for p, q in zip(again, first, strict=True) if p.read_bytes() != q.read_bytes()] == []


def test_other_images_under_the_same_seeds_have_uids_of_their_own(
    patient: SimulatedPatient, day: SimulatedScan
) -> None:
    scans = [day, scan(patient, 24.0, noise=False), scan(patient, 24.0, pose=Pose(shift_mm=(5.0, 0.0, 0.0)))]
    found = [{str(ds.SOPInstanceUID) for _, ds in datasets(patient, [made])} for made in scans]
    assert len(set().union(*found)) == sum(map(len, found))


def test_the_truth_is_told_in_json(patient: SimulatedPatient) -> None:
    told = json.loads(json.dumps(truth(patient)))
    assert told["regions"]["liver"]["label"] == 1
    assert told["regions"]["liver"]["half_lives_h"][0] == 79.0
    assert told["administered_at"] == "2026-03-02T09:30:00+01:00"


def test_the_command_writes_dicom_and_truth(tmp_path: Path) -> None:
    from dicomnode.cli.simulate import simulate

    result = CliRunner().invoke(
        simulate, ["patient", "--seed", "2", "--out", str(tmp_path), "--size", "small", "--hours", "24"]
    )
    assert result.exit_code == 0, result.output
    assert "86 DICOM objects" in result.output  # 84 CT slices, one NM, one SEG
    assert {p.name for p in (tmp_path / "truth").iterdir()} == {
        "tia.mha", "density.mha", "ct.mha", "labels.mha", "truth.json",
    }  # fmt: skip
