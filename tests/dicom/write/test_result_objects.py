"""RT Dose, companion plan, parametric map, organ dose SR and encapsulated PDF, read back by others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset

from dicomnode.dicom.reference import PatientStudy, SourceImage, patient_study, source_image
from dicomnode.dicom.uids import is_uid, named_uid, revision_uid
from dicomnode.dicom.write.encapsulated_pdf import write_encapsulated_pdf
from dicomnode.dicom.write.modules import ObjectIdentity, ds_text
from dicomnode.dicom.write.parametric_map import write_dose_sigma, write_tia_map
from dicomnode.dicom.write.rtdose import RT_DOSE_STORAGE, quantised, raised_share, write_rtdose
from dicomnode.dicom.write.rtplan import plan_reference, write_companion_plan
from dicomnode.dicom.write.structured_report import (
    COMPREHENSIVE_SR_STORAGE,
    read_findings,
    read_organ_doses,
    write_organ_dose_sr,
)
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import DoseMap, EnergyBalance, Finding, Grid, OrganDose, Severity, TiaMap, Verdict

PATIENT = PatientStudy(
    "Müster^Erika",
    "0815",
    named_uid("study"),
    birth_date="19560304",
    sex="F",
    study_date="20260303",
    study_time="101500",
    study_id="1",
    frame_of_reference_uid=named_uid("frame"),
)
CT = [
    SourceImage(
        "1.2.840.10008.5.1.4.1.1.2", named_uid("ct", str(k)), named_uid("ct series"), PATIENT.study_uid
    )
    for k in range(4)
]
SOURCES = [
    *CT,
    SourceImage("1.2.840.10008.5.1.4.1.1.20", named_uid("nm"), named_uid("nm series"), named_uid("study 2")),
]
ORGANS = [
    OrganDose("left kidney", 3.2, 0.4, 5.0, 3.1, 0.5, 6.123456789, 150.2, 157.0, 123456.7, 3.4, 2.9),
    OrganDose("Läsion 1", 30.2, 4.0, 40.0, 31.0, 20.0, 44.0, 1.2, 1.5, 12.0),
    OrganDose("liver tumour", 11.0, 1.4, 15.0, 11.1, 4.5, 16.0, 15.0, 15.4, 812.0),
]


def identity(role: str) -> ObjectIdentity:
    return ObjectIdentity(
        revision_uid("r1", role),
        revision_uid("r1", f"{role}-series"),
        901,
        "Absorbed dose, revision 1",
        datetime(2026, 3, 9, 16, 1, tzinfo=UTC),
    )


def dose_map(grid: Grid, seed: int = 1, top: float = 12.3) -> DoseMap:
    gy = top * np.random.default_rng(seed).random(grid.shape_zyx) ** 4
    return DoseMap(grid, gy, 0.05 * gy, EnergyBalance(1.0, 0.9, 0.1))


@pytest.fixture
def dose() -> DoseMap:
    return dose_map(Grid((7, 8, 9), (2.4, 3.1, 4.42), (-10.5, -20.25, 30.125)))


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(data))


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs the program {name}: run deploy/test-peers.sh")
    return path


# ---- identifiers and what is copied from a source -------------------------------------------------


def test_uids_repeat_for_a_revision_and_role_and_differ_otherwise() -> None:
    assert revision_uid("r1", "rtdose") == revision_uid("r1", "rtdose")
    assert len({revision_uid(r, k) for r in ("r1", "r2") for k in ("rtdose", "rtdose-16")}) == 4
    assert revision_uid("r1", "rtdose").startswith("2.25.")


@given(st.text(max_size=40), st.text(max_size=40))
def test_every_derived_uid_is_a_uid_of_at_most_44_characters(revision: str, role: str) -> None:
    uid = revision_uid(revision, role)
    assert is_uid(uid)
    assert len(uid) <= 44  # 2.25. and 39 digits of 128 bits


@pytest.mark.parametrize("text", ["", "1..2", "1.02", "1.2.", "../../etc/x", "1." + "2" * 64, "1.2\n"])
def test_what_is_no_uid_is_told_from_one(text: str) -> None:
    assert not is_uid(text)


def test_the_patient_is_copied_and_odd_values_of_type_2_are_dropped() -> None:
    header = Dataset()
    header.PatientName, header.PatientID = "Müster^Erika", "  0815 x"
    header.StudyInstanceUID, header.FrameOfReferenceUID = "1.2.3", "1.2.4"
    with pytest.warns(UserWarning, match="Invalid value for VR DA"):
        header.PatientBirthDate = "1956.3.4"
    header.PatientSex, header.StudyTime = "W", "101500"
    patient = patient_study(header)
    assert (patient.patient_name, patient.patient_id) == ("Müster^Erika", "  0815 x")
    assert (patient.birth_date, patient.sex, patient.study_time) == ("", "", "101500")


@pytest.mark.parametrize("date", ["00000000", "20260230", "2026.3.4", ""])
def test_a_day_that_does_not_exist_is_left_empty(date: str) -> None:
    header = Dataset()
    header.StudyInstanceUID = "1.2.3"
    header.add_new("StudyDate", "LO", date)
    header.add_new("StudyTime", "LO", "246000")
    assert (patient_study(header).study_date, patient_study(header).study_time) == ("", "")


def test_a_header_without_a_study_is_refused_and_so_is_a_path_for_a_uid() -> None:
    with pytest.raises(MissingAttribute, match="StudyInstanceUID"):
        patient_study(Dataset())
    header = Dataset()
    header.SOPClassUID = "1.2"
    header.add_new("SOPInstanceUID", "LO", "../../x")
    with pytest.raises(Unsupported, match="digits and dots"):
        source_image(header)


def test_a_study_uid_with_a_leading_zero_is_repeated_as_it_is(dose: DoseMap) -> None:
    header = Dataset()
    header.add_new("StudyInstanceUID", "LO", "1.2.03.4")
    header.FrameOfReferenceUID = "1.2.4"
    data = write_rtdose(dose, patient_study(header), identity("dose"))
    assert b"1.2.03.4" in data


# ---- RT Dose ----------------------------------------------------------------------------------------


@given(
    arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1e4, width=32, allow_subnormal=False)),
    st.sampled_from([16, 32]),
)
@settings(max_examples=150, deadline=None)
def test_quantisation_errs_by_half_a_step_at_most(gy: np.ndarray, bits: int) -> None:
    stored, scaling = quantised(gy, bits)
    assert len(scaling) <= 16
    error = np.abs(stored.astype(np.float64) * float(scaling) - gy)
    # half a step, and the rounding of the float64 product itself
    assert error.max() <= 0.5 * float(scaling) * (1 + 1e-9) + 1e-15 * gy.max()
    assert float(scaling) <= max(float(gy.max()) / (2**bits - 1) * (1 + 2e-8), 1e-6)


@given(st.floats(-1e8, 1e8, allow_nan=False))
def test_a_decimal_string_fits_and_keeps_nine_digits(value: float) -> None:
    text = ds_text(value)
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=5e-9, abs=0)


def test_dose_below_zero_by_more_than_rounding_is_a_fault(dose: DoseMap) -> None:
    gy = dose.gy.copy()
    gy[0, 0, 0] = -20 * dose.sigma_gy.max() - 1
    with pytest.raises(Inconsistent, match="holds negative dose"):
        write_rtdose(replace(dose, gy=gy), PATIENT, identity("dose"))
    gy[0, 0, 0] = -1e-6
    assert quantised(gy, 32)[0][0, 0, 0] == 0  # clipped, not wrapped to 2**32 - 1


def test_dose_that_noise_left_below_zero_is_written_as_zero_and_said(dose: DoseMap) -> None:
    gy, sigma = dose.gy.copy(), dose.sigma_gy.copy()
    gy[0, 0, 0], sigma[0, 0, 0] = -0.1, 0.05
    noisy = replace(dose, gy=gy, sigma_gy=sigma)
    assert read(write_rtdose(noisy, PATIENT, identity("dose"))).pixel_array[0, 0, 0] == 0
    assert raised_share(noisy) == pytest.approx(0.1 / gy.sum(dtype=np.float64))


def test_without_a_frame_of_reference_no_dose_is_written(dose: DoseMap) -> None:
    with pytest.raises(Inconsistent, match="no frame of reference"):
        write_rtdose(dose, PatientStudy("A", "1", "1.2.3"), identity("dose"))


def test_frames_lie_along_row_by_column_with_offsets_from_zero(dose: DoseMap) -> None:
    ds = read(write_rtdose(dose, PATIENT, identity("dose")))
    assert list(ds.GridFrameOffsetVector) == pytest.approx([k * 4.42 for k in range(7)], abs=1e-6)
    assert ds.FrameIncrementPointer == 0x3004000C
    assert list(ds.ImagePositionPatient) == [-10.5, -20.25, 30.125]
    assert list(ds.PixelSpacing) == [3.1, 2.4]  # row spacing (y) first
    assert (ds.Rows, ds.Columns, int(ds.NumberOfFrames)) == (8, 9, 7)
    assert (ds.BitsAllocated, ds.PixelRepresentation, ds.DoseUnits) == (32, 0, "GY")
    np.testing.assert_allclose(ds.pixel_array * float(ds.DoseGridScaling), dose.gy, atol=1e-8)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@given(st.integers(0, 6), st.integers(0, 7), st.integers(0, 8), st.floats(-3.1, 3.1))
@settings(max_examples=25, deadline=None)
def test_every_voxel_stays_where_it_is_in_the_patient(
    sign: float, k: int, j: int, i: int, angle: float
) -> None:
    """Right- and left-handed grids, rotated about z: value and place read back by PS3.3 C.7.6.2.1.1."""
    c, s = np.cos(angle), np.sin(angle)
    grid = Grid((7, 8, 9), (2.4, 3.1, 4.42), (-10.5, -20.25, 30.125), (c, -s, 0, s, c, 0, 0, 0, sign))
    dose = dose_map(grid)
    ds = read(write_rtdose(dose, PATIENT, identity("dose")))
    offsets = np.array(ds.GridFrameOffsetVector, dtype=float)
    assert offsets[0] == 0
    assert (np.diff(offsets) > 0).all()
    row, column = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
    wanted = grid.to_patient_mm((i, j, k))
    frame = k if sign > 0 else 6 - k
    place = np.array(ds.ImagePositionPatient, dtype=float) + offsets[frame] * np.cross(row, column)
    place = place + row * i * float(ds.PixelSpacing[1]) + column * j * float(ds.PixelSpacing[0])
    np.testing.assert_allclose(place, wanted, atol=1e-4)
    value = ds.pixel_array[frame, j, i] * float(ds.DoseGridScaling)
    assert value == pytest.approx(float(dose.gy[k, j, i]), abs=1e-8)


@given(st.tuples(*[st.floats(-500, 500)] * 3))
@settings(max_examples=25, deadline=None)
def test_a_shift_of_the_grid_is_a_shift_of_the_image_position(shift: tuple[float, float, float]) -> None:
    def position(origin: tuple[float, ...]) -> np.ndarray:
        grid = Grid((2, 2, 2), (2, 2, 2), (origin[0], origin[1], origin[2]))
        ds = read(write_rtdose(dose_map(grid), PATIENT, identity("dose")))
        return np.array(ds.ImagePositionPatient, dtype=float)

    np.testing.assert_allclose(position(shift) - position((0, 0, 0)), shift, atol=1e-6)


def test_the_same_dose_gives_the_same_bytes(dose: DoseMap) -> None:
    first = write_rtdose(dose, PATIENT, identity("dose"), sources=SOURCES)
    assert first == write_rtdose(dose, PATIENT, identity("dose"), sources=SOURCES)


def test_the_dose_says_what_it_is_made_of_and_what_it_replaces(dose: DoseMap) -> None:
    old = SourceImage(RT_DOSE_STORAGE, named_uid("old"), named_uid("old series"), PATIENT.study_uid)
    plan = plan_reference(PATIENT, identity("plan"))
    data = write_rtdose(
        dose, PATIENT, identity("dose"), plan=plan, sources=SOURCES, supersedes=old, comment="x" * 99,
        dose_type="EFFECTIVE", spatial_transform="RIGID", heterogeneity="IMAGE",
    )  # fmt: skip
    ds = read(data)
    purposes = [r.PurposeOfReferenceCodeSequence[0].CodeValue for r in ds.ReferencedInstanceSequence]
    assert purposes == ["121324"] * 5 + ["SUPERSEDED"]
    assert ds.ReferencedInstanceSequence[-1].ReferencedSOPInstanceUID == old.sop_instance_uid
    assert ds.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID == identity("plan").sop_instance_uid
    assert (ds.DoseType, ds.TissueHeterogeneityCorrection, ds.DoseSummationType) == (
        "EFFECTIVE",
        "IMAGE",
        "PLAN",
    )
    assert len(ds.DoseComment) == 64
    assert ds.PatientName == "Müster^Erika"


# ---- the other objects --------------------------------------------------------------------------------


def test_the_tia_map_reads_back_by_position_in_ucum_units() -> None:
    """Read by position, not by frame number; a left-handed grid as NM with negative spacing makes."""
    grid = Grid((5, 6, 7), (2, 3, 4), (-10, -20, 30), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    values = np.random.default_rng(3).random(grid.shape_zyx).astype(np.float32)
    data = write_tia_map(TiaMap(grid, values), PATIENT, identity("tia"), sources=SOURCES)
    assert data == write_tia_map(TiaMap(grid, values), PATIENT, identity("tia"), sources=SOURCES)
    ds = read(data)
    shared = ds.SharedFunctionalGroupsSequence[0]
    unit = shared.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0]
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("MBq.s/mL", "UCUM")
    assert ds.FrameOfReferenceUID == PATIENT.frame_of_reference_uid
    frames = np.frombuffer(ds.FloatPixelData, "<f4").reshape(5, 6, 7)
    for frame, group in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        z = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
        np.testing.assert_array_equal(frame, values[round((30 - z) / 4)])


def test_the_organ_report_reads_back_with_absolute_uncertainties() -> None:
    arguments = {"sources": SOURCES, "tia_sigma_mbq_s": {"left kidney": 999.0}}
    data = write_organ_dose_sr(ORGANS, PATIENT, identity("sr"), **arguments)
    assert data == write_organ_dose_sr(ORGANS, PATIENT, identity("sr"), **arguments)
    found = read_organ_doses(read(data))
    for organ in ORGANS:
        assert found[organ.region]["mean_gy"] == pytest.approx(organ.mean_gy, rel=1e-6)
        assert found[organ.region]["sigma_gy"] == pytest.approx(organ.sigma_gy, rel=1e-6)
        assert found[organ.region]["max_gy"] == pytest.approx(organ.max_gy, rel=1e-6)
    assert "bed_gy" not in found["Läsion 1"]
    units = re.findall(r"Measured Value Sequence", str(read(data)))
    assert units
    assert "no units" not in str(read(data))


def test_the_organ_report_states_the_verdict_and_every_finding_once() -> None:
    said = Finding("time-points-missing", Severity.WARNING, "2 of 3 time points")
    note = Finding("x", Severity.NOTE, "not used: 'MIP'")
    verdict = Verdict.of([note, said, replace(note, subject="1.2"), replace(note, subject="1.3")])
    data = write_organ_dose_sr(ORGANS, PATIENT, identity("sr"), sources=SOURCES, verdict=verdict)
    assert read_findings(read(data)) == [
        "PASSED WITH WARNINGS", "WARNING: 2 of 3 time points", "NOTE: not used: 'MIP' (3 times)",
    ]  # fmt: skip
    assert set(read_organ_doses(read(data))) == {o.region for o in ORGANS}


@pytest.mark.parametrize("length", [10, 11])
def test_the_encapsulated_pdf_gives_back_its_bytes(length: int) -> None:
    pdf = b"%PDF-1.4 " + b"x" * length
    ds = read(write_encapsulated_pdf(pdf, PATIENT, identity("pdf"), title="Dosimetry", sources=CT))
    assert ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength] == pdf


def test_what_is_no_pdf_is_not_sent_as_one() -> None:
    with pytest.raises(Inconsistent, match="not a PDF"):
        write_encapsulated_pdf(b"<html>", PATIENT, identity("pdf"), title="x")


# ---- independent programs -----------------------------------------------------------------------------


def all_objects(dose: DoseMap) -> dict[str, Callable[[], bytes]]:
    """Every object; doses in 16 bits, for the header is the same and dciodvfy of 2022 dies of 32."""
    plan = plan_reference(PATIENT, identity("plan"))
    old = SourceImage(RT_DOSE_STORAGE, named_uid("old"), named_uid("old series"), PATIENT.study_uid)
    old_report = replace(old, sop_class_uid=COMPREHENSIVE_SR_STORAGE)
    return {
        "dose": lambda: write_rtdose(
            dose, PATIENT, identity("d"), bits=16, plan=plan, sources=SOURCES, supersedes=old,
            heterogeneity="WATER", spatial_transform="RIGID", comment="vsv 1.0, Lu-177, dicomnode 0.1.0",
        ),
        "bed": lambda: write_rtdose(
            dose, PATIENT, identity("b"), bits=16, plan=plan, dose_type="EFFECTIVE"
        ),
        "plan": lambda: write_companion_plan(PATIENT, identity("plan"), label="Lu-177 cycle 1"),
        "tia": lambda: write_tia_map(TiaMap(dose.grid, dose.gy), PATIENT, identity("t"), sources=SOURCES),
        "sigma": lambda: write_dose_sigma(
            dose.grid, dose.sigma_gy, PATIENT, identity("s"), sources=CT
        ),
        "report": lambda: write_organ_dose_sr(
            ORGANS, PATIENT, identity("sr"), sources=SOURCES, supersedes=old_report
        ),
        "pdf": lambda: write_encapsulated_pdf(b"%PDF-1.4", PATIENT, identity("p"), title="x", sources=CT),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["dose", "bed", "plan", "tia", "sigma", "report", "pdf"])
def test_dciodvfy_finds_no_error(name: str, dose: DoseMap, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.dcm"
    path.write_bytes(all_objects(dose)[name]())
    done = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
    assert done.returncode == 0


def test_a_dose_without_plan_deviates_in_that_one_point_only(dose: DoseMap, tmp_path: Path) -> None:
    path = tmp_path / "dose.dcm"
    path.write_bytes(write_rtdose(dose, PATIENT, identity("d"), bits=16, sources=SOURCES))
    done = subprocess.run([program("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1
    assert "ReferencedRTPlanSequence" in errors[0]


def test_16_and_32_bits_differ_in_nothing_but_pixels(dose: DoseMap) -> None:
    wide, narrow = (read(write_rtdose(dose, PATIENT, identity("d"), bits=b)) for b in (32, 16))
    differing = {e.keyword for e in wide if narrow[e.tag] != e}
    assert differing == {"BitsAllocated", "BitsStored", "HighBit", "DoseGridScaling", "PixelData"}


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_plastimatch_reads_the_same_dose_in_the_same_place(bits: int, sign: float, tmp_path: Path) -> None:
    grid = Grid((7, 8, 9), (2.4, 3.1, 4.42), (-10.5, -20.25, 30.125), (1, 0, 0, 0, 1, 0, 0, 0, sign))
    dose = dose_map(grid)
    path, image = tmp_path / "dose.dcm", tmp_path / "dose.mha"
    path.write_bytes(write_rtdose(dose, PATIENT, identity("d"), bits=bits))
    command = [program("plastimatch"), "convert", "--input", str(path), "--output-dose-img", str(image)]
    subprocess.run(command, capture_output=True, check=True, timeout=60)
    header, values = read_mha(image, (7, 8, 9))
    expected = dose.gy if sign > 0 else dose.gy[::-1]
    first = 30.125 if sign > 0 else 30.125 - 6 * 4.42
    assert header["ElementSpacing"] == pytest.approx([2.4, 3.1, 4.42], rel=1e-5)
    assert header["Offset"] == pytest.approx([-10.5, -20.25, first], abs=1e-3)
    step = float(dose.gy.max()) / (2**bits - 1)
    np.testing.assert_allclose(values, expected, atol=0.5 * step + 2e-6)  # and its float32


def read_mha(path: Path, shape: tuple[int, ...]) -> tuple[dict[str, list[float]], np.ndarray]:
    text, _, data = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    pairs = dict(line.split(" = ") for line in text.decode().splitlines())
    assert pairs["ElementType"] == "MET_FLOAT"
    numbers = {k: [float(v) for v in pairs[k].split()] for k in ("ElementSpacing", "Offset")}
    return numbers, np.frombuffer(data, "<f4").reshape(shape)


@pytest.fixture(scope="session")
def dicompyler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Python of an environment with dicompyler-core, which needs pydicom < 3: it cannot be ours."""
    folder = os.environ.get("DICOMNODE_DICOMPYLER_VENV")
    place = Path(folder) if folder else tmp_path_factory.mktemp("dicompyler") / "venv"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        packages = ["dicompyler-core==0.5.6", "pydicom<3", "numpy<2", "setuptools<81"]
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            pytest.skip(f"needs a package index, or DICOMNODE_DICOMPYLER_VENV: {done.stderr[-200:]}")
    return str(python)


ASK_DICOMPYLER = """
import json, sys
from dicompylercore import dicomparser
dose = dicomparser.DicomParser(sys.argv[1])
data = dose.GetDoseData()
z = float(sys.argv[2])
print(json.dumps({"max": float(dose.ds.pixel_array.max()) * float(data["dosegridscaling"]),
    "units": data["doseunits"], "lut": [float(data["lut"][0][0]), float(data["lut"][1][0])],
    "plane": (dose.GetDoseGrid(z) * float(data["dosegridscaling"])).tolist()}))
"""


@pytest.mark.long
@pytest.mark.parametrize("bits", [16, 32])
def test_dicompyler_reads_the_same_dose_plane(
    dicompyler: str, bits: int, dose: DoseMap, tmp_path: Path
) -> None:
    import json

    path = tmp_path / "dose.dcm"
    path.write_bytes(write_rtdose(dose, PATIENT, identity("d"), bits=bits))
    z = 30.125 + 3 * 4.42
    command = [dicompyler, "-W", "ignore", "-c", ASK_DICOMPYLER, str(path), str(z)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout.splitlines()[-1])
    step = float(dose.gy.max()) / (2**bits - 1)
    assert found["units"] == "GY"
    assert found["lut"] == pytest.approx([-10.5, -20.25])
    np.testing.assert_allclose(np.array(found["plane"]), dose.gy[3], atol=0.5 * step + 1e-6)
