"""A reconstructed SPECT in the PACS: conformant, derived, and read back with the same Bq/mL."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.volumes import read_emission
from dicomnode.dicom.volumes.activity_noise import read_activity_noise
from dicomnode.dicom.write.modules import ObjectIdentity
from dicomnode.dicom.write.parametric_map import write_activity_noise, write_activity_sigma
from dicomnode.dicom.write.spect_image import Radiopharmaceutical, SpectImage, write_pt, write_recon_tomo
from dicomnode.errors import Inconsistent, OutOfDomain
from dicomnode.model import ActivityMap, CountingNoise, Grid
from dicomnode.model.projections import EnergyWindow
from dicomnode.model.series import EmissionVolume, Role

GRID = Grid((7, 8, 9), (4.8, 4.8, 4.0), (-10.5, -20.25, 30.125))
START = datetime(2026, 3, 3, 10, 15, 7, 250000, tzinfo=timezone(timedelta(hours=1)))
PATIENT = PatientStudy(
    "Müster^Erika", "0815", named_uid("study"), birth_date="19560304", sex="F", study_date="20260303",
    study_time="101500", study_id="1", frame_of_reference_uid=named_uid("frame"),
)  # fmt: skip
RAW = SourceImage("1.2.840.10008.5.1.4.1.1.20", named_uid("raw"), named_uid("raw series"), PATIENT.study_uid)
LU177 = Radiopharmaceutical(
    "Lu-177", 574_300.0, "177Lu-DOTATATE", 7400.0, datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
)


def identity(role: str) -> ObjectIdentity:
    created = datetime(2026, 3, 9, 16, 1, tzinfo=UTC)
    return ObjectIdentity(named_uid(role), named_uid(role, "series"), 801, "SPECT Bq/mL T1", created)


def image(position: str = "HFS", top: float = 3.2e6) -> SpectImage:
    rng = np.random.default_rng(5)
    values = (top * rng.random(GRID.shape_zyx) ** 4).astype(np.float32)
    return SpectImage(
        ActivityMap(GRID, values), START, 1234.5, LU177, position, "OSEM 10i10s AC SC TEW RR",
        "CT 130 kV to 208.4 keV", "TEW", EnergyWindow("208 keV", ((101, 125), (187.56, 229.24))), "ME",
    )  # fmt: skip


def read_back(files: list[bytes], folder: Path) -> EmissionVolume:
    paths = []
    for k, data in enumerate(files):
        paths.append(folder / f"{k}.dcm")
        paths[-1].write_bytes(data)
    assert {read_header(p, ZoneInfo("UTC")).role for p in paths} == {Role.EMISSION}
    return read_emission(paths, ZoneInfo("America/New_York"))  # the objects state their own offset


def both_forms(made: SpectImage) -> dict[str, list[bytes]]:
    return {
        "pt": write_pt(made, PATIENT, identity("a"), [RAW]),
        "nm": [write_recon_tomo(made, PATIENT, identity("a"), [RAW])],
    }


@pytest.mark.parametrize("form", ["pt", "nm"])
def test_it_is_read_back_with_the_same_activity_in_the_same_place(tmp_path: Path, form: str) -> None:
    made = image()
    files = both_forms(made)[form]
    back = read_back(files, tmp_path)
    assert back.unit == "Bq/mL"
    step = float(made.activity.bq_per_ml.max()) / 32767
    assert np.abs(back.values - made.activity.bq_per_ml).max() <= step / 2 * 1.001
    assert back.values.sum() == pytest.approx(made.activity.bq_per_ml.sum(), rel=1e-4)
    assert back.grid.matches(GRID)
    assert back.started_at == START
    assert (back.nuclide, back.half_life_s, back.frame_of_reference_uid) == (
        "Lu-177",
        574_300.0,
        named_uid("frame"),
    )
    assert [f for f in back.findings if f.severity != "note"] == []
    if form == "pt":
        assert back.duration_s == pytest.approx(1234.5)
        assert (back.decay_reference, back.decay_reference_at) == ("START", START)


def test_a_left_handed_grid_keeps_every_voxel_in_its_place(tmp_path: Path) -> None:
    upside_down = Grid(GRID.shape_zyx, GRID.spacing_mm, GRID.origin_mm, (1, 0, 0, 0, 1, 0, 0, 0, -1))
    made = image()
    turned = SpectImage(**{**made.__dict__, "activity": ActivityMap(upside_down, made.activity.bq_per_ml)})
    back = read_back(write_pt(turned, PATIENT, identity("a")), tmp_path)
    k = np.unravel_index(made.activity.bq_per_ml.argmax(), GRID.shape_zyx)
    here = back.grid.to_index(upside_down.to_patient_mm(k[::-1]))
    assert (
        tuple(np.rint(here).astype(int))
        == tuple(np.unravel_index(back.values.argmax(), GRID.shape_zyx))[::-1]
    )


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(data))


def test_it_says_that_it_is_derived_how_and_from_what() -> None:
    for files in both_forms(image("FFS")).values():
        ds = read(files[-1])
        assert ds.ImageType[:2] == ["DERIVED", "PRIMARY"]
        assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == named_uid("raw")
        assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == named_uid("raw series")
        assert "OSEM 10i10s" in ds.DerivationDescription
        assert set(ds.CorrectedImage) == {"DECY", "ATTN", "SCAT"}
        assert ds.PatientGantryRelationshipCodeSequence[0].CodeMeaning == "feet-first"
        assert (str(ds.PatientName), ds.PatientID, ds.StudyInstanceUID) == (
            "Müster^Erika",
            "0815",
            PATIENT.study_uid,
        )
        assert ds.FrameOfReferenceUID == named_uid("frame")


def test_slices_have_one_slope_and_uids_of_their_own() -> None:
    slices = [read(data) for data in write_pt(image(), PATIENT, identity("a"))]
    assert len({s.RescaleSlope for s in slices}) == 1
    assert len({s.SOPInstanceUID for s in slices}) == 7
    assert slices[0].SOPInstanceUID == named_uid("a")
    assert {s.SeriesInstanceUID for s in slices} == {named_uid("a", "series")}
    assert [s.InstanceNumber for s in slices] == list(range(1, 8))
    assert (slices[0].DecayCorrection, slices[0].Units, slices[0].DecayFactor) == ("START", "BQML", 1)


def test_the_same_arguments_make_the_same_bytes() -> None:
    assert write_pt(image(), PATIENT, identity("a"), [RAW]) == write_pt(
        image(), PATIENT, identity("a"), [RAW]
    )
    assert write_recon_tomo(image(), PATIENT, identity("a")) == write_recon_tomo(
        image(), PATIENT, identity("a")
    )


def test_negative_activity_is_refused() -> None:
    made = image()
    bad = SpectImage(**{**made.__dict__, "activity": ActivityMap(GRID, made.activity.bq_per_ml - 1e5)})
    with pytest.raises(OutOfDomain, match="smallest voxel"):
        write_pt(bad, PATIENT, identity("a"))


def test_the_uncertainty_is_no_image_that_is_taken_for_activity(tmp_path: Path) -> None:
    data = write_activity_sigma(
        GRID, image().activity.bq_per_ml * np.float32(0.1), PATIENT, identity("s"), sources=[RAW]
    )
    path = tmp_path / "sigma.dcm"
    path.write_bytes(data)
    assert read_header(path, ZoneInfo("UTC")).role is Role.UNUSED
    assert (
        read(data)
        .SharedFunctionalGroupsSequence[0]
        .RealWorldValueMappingSequence[0]
        .MeasurementUnitsCodeSequence[0]
        .CodeValue
        == "Bq/mL"
    )


def noise(grid: Grid = GRID) -> CountingNoise:
    """Six replicates of a box of 5 x 6 x 7 voxels."""
    values = np.zeros((6, *GRID.shape_zyx), np.float32)
    values[:, 1:6, 1:7, 1:8] = np.random.default_rng(8).normal(0, 1e5, (6, 5, 6, 7))
    return CountingNoise.of(grid, values)


def written(made: CountingNoise, folder: Path) -> list[Path]:
    paths = []
    numbered = [replace(identity("n"), sop_instance_uid=named_uid("n", str(k))) for k in range(6)]
    for k, data in enumerate(write_activity_noise(made, PATIENT, numbered, sources=[RAW])):
        paths.append(folder / f"{(k * 5) % 6}.dcm")
        paths[-1].write_bytes(data)
    return sorted(paths)


@pytest.mark.parametrize("slices", [1, -1])
def test_the_noise_comes_back_as_it_was(tmp_path: Path, slices: int) -> None:
    """On the grid of the PT that is written beside it, of a left-handed grid as well, in any order."""
    grid = Grid(GRID.shape_zyx, GRID.spacing_mm, GRID.origin_mm, (1, 0, 0, 0, 1, 0, 0, 0, slices))
    made = noise(grid)
    paths = written(made, tmp_path)
    header = read_header(paths[0], ZoneInfo("UTC"))
    assert (header.role, header.referenced_series_uids) == (Role.UNCERTAINTY, (named_uid("raw series"),))
    (tmp_path / "pt").mkdir()
    of = SpectImage(**{**image().__dict__, "activity": ActivityMap(grid, image().activity.bq_per_ml)})
    beside = read_back(write_pt(of, PATIENT, identity("a")), tmp_path / "pt")
    back = read_activity_noise(paths, beside.grid)
    np.testing.assert_allclose(back.sigma_bq_per_ml(), made.sigma_bq_per_ml()[::slices], rtol=2e-3, atol=1)
    mask = np.zeros(GRID.shape_zyx, bool)
    mask[2:4, 3:5, 2:6] = True
    assert back.region_mbq(mask[::slices]) == pytest.approx(made.region_mbq(mask), rel=2e-3)


def test_noise_that_is_cut_or_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    paths = written(noise(), tmp_path)
    with pytest.raises(Inconsistent, match="two at least"):
        read_activity_noise(paths[:1], GRID)
    elsewhere = Grid(GRID.shape_zyx, GRID.spacing_mm, (0.0, 0.0, 0.0))
    with pytest.raises(Inconsistent, match="does not lie on the voxels"):
        read_activity_noise(paths, elsewhere)


def complaints(data: bytes, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("needs the program dciodvfy: run deploy/test-peers.sh")
    (folder / "x.dcm").write_bytes(data)
    found = subprocess.run([program, folder / "x.dcm"], capture_output=True, text=True, check=False)
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("position", ["HFS", "FFP"])
def test_every_object_conforms(tmp_path: Path, position: str) -> None:
    made = image(position)
    assert complaints(write_pt(made, PATIENT, identity("a"), [RAW])[0], tmp_path) == []
    assert complaints(write_recon_tomo(made, PATIENT, identity("b"), [RAW]), tmp_path) == []
    sigma = write_activity_sigma(GRID, made.activity.bq_per_ml, PATIENT, identity("s"), sources=[RAW])
    assert complaints(sigma, tmp_path) == []
    assert complaints(write_activity_noise(noise(), PATIENT, [identity("n")] * 6)[0], tmp_path) == []


def test_what_is_not_known_of_the_administration_is_left_out(tmp_path: Path) -> None:
    made = image()
    bare = SpectImage(**{**made.__dict__, "isotope": Radiopharmaceutical("Tb-161", 595_000.0)})
    data = write_pt(bare, PATIENT, identity("a"))
    assert complaints(data[0], tmp_path) == []
    assert read_back(data, tmp_path).nuclide == "Tb-161"
    assert "RadionuclideTotalDose" not in read(data[0]).RadiopharmaceuticalInformationSequence[0]
