"""Volumes in files: geometry against nibabel and SimpleITK, units by role."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicomnode.errors import Inconsistent, Refused, Unsupported
from dicomnode.files.volumes import read_activity, read_hu, read_labels, read_tia, read_volume, write_volume
from dicomnode.model import Grid

# A left-handed, oblique grid: slices stacked against the normal.
C, S = np.cos(0.3), np.sin(0.3)
GRID = Grid((3, 4, 5), (1.0, 2.0, 3.0), (-10.0, 20.0, 30.0), (C, -S, 0, S, C, 0, 0, 0, -1))


def assumed(_path, _unit):
    """A caller who says that the unit is the one needed."""
    return True


VALUES = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize("name", ["a.mha", "a.nii", "a.nii.gz", "a.nrrd"])
def test_a_volume_comes_back_with_its_geometry(tmp_path, name):
    write_volume(tmp_path / name, GRID, VALUES, "Bq/mL")
    back = read_activity(tmp_path / name)
    assert back.grid.matches(GRID)
    assert np.array_equal(back.bq_per_ml, VALUES)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_nibabel_sees_the_same_voxel_at_the_same_place(tmp_path):
    """NIfTI is RAS, ours LPS: nibabel's x and y are the negatives of ours; index order (x, y, z)."""
    write_volume(tmp_path / "a.nii.gz", GRID, VALUES, "Bq/mL")
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.shape == (5, 4, 3)
    assert image.get_fdata()[4, 1, 2] == VALUES[2, 1, 4]
    ras = (image.affine @ [4, 1, 2, 1])[:3]
    assert ras * [-1, -1, 1] == pytest.approx(GRID.to_patient_mm([4, 1, 2]), abs=1e-4)


def test_a_file_of_another_unit_is_refused(tmp_path):
    write_volume(tmp_path / "tia.mha", GRID, VALUES, "MBq s/mL")
    assert read_tia(tmp_path / "tia.mha").mbq_s_per_ml[2, 3, 4] == 59
    with pytest.raises(
        Refused, match=r"the file is in MBq s/mL, here Bq/mL is needed \[unit\] in .*tia\.mha"
    ):
        read_activity(tmp_path / "tia.mha")


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nii.gz", ".nrrd"])
def test_the_unit_survives_every_format_that_we_write(tmp_path, suffix):
    """TIA taken for activity made 60 Gy: NIfTI kept no unit."""
    write_volume(tmp_path / f"tia{suffix}", GRID, VALUES, "MBq s/mL")
    with pytest.raises(Refused, match="the file is in MBq s/mL, here Bq/mL is needed"):
        read_activity(tmp_path / f"tia{suffix}", assumed)


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_a_file_without_unit_is_read_only_where_one_is_assumed(tmp_path, suffix):
    path = tmp_path / f"foreign{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path))
    with pytest.raises(Refused, match=r"states no unit, here Bq/mL is needed .*--assume-unit 'Bq/mL'"):
        read_activity(path)
    assert np.array_equal(read_activity(path, assumed).bq_per_ml, VALUES)


def test_a_unit_that_another_tool_kept_in_descrip_counts(tmp_path):
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.header["descrip"] = b"MBq*s/mL"
    nibabel.save(image, tmp_path / "a.nii")
    assert read_tia(tmp_path / "a.nii").mbq_s_per_ml.shape == (5, 4, 3)
    with pytest.raises(Refused, match="the file is in MBq s/mL"):
        read_activity(tmp_path / "a.nii")


@pytest.mark.parametrize(("unit", "descrip"), [("Bq/mL", "MBq s/mL"), ("Gy", "HU")])
def test_two_units_in_one_file_are_refused(tmp_path, unit, descrip):
    image = sitk.GetImageFromArray(VALUES)
    image.SetMetaData("unit", unit)
    image.SetMetaData("ITK_FileNotes", descrip)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(Inconsistent, match=f"{unit} by the field unit .* and {descrip} by descrip"):
        read_volume(tmp_path / "a.mha", unit)


@pytest.mark.parametrize(
    "moved", [[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 7], [0, 0, 0, 1]], np.diag([1, 1, -1, 1])]
)
def test_a_nifti_whose_two_transforms_differ_is_refused(tmp_path, moved):
    image = nibabel.Nifti1Image(VALUES, np.eye(4))
    image.set_qform(np.array(moved, dtype=float), code=1)
    image.set_sform(np.eye(4), code=1)
    nibabel.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(Inconsistent, match=r"sform .* and its last voxel at .* by qform"):
        read_activity(tmp_path / "a.nii.gz", assumed)
    image.set_qform(np.array(moved, dtype=float), code=0)
    nibabel.save(image, tmp_path / "b.nii.gz")
    assert read_activity(tmp_path / "b.nii.gz", assumed).grid.shape_zyx == (5, 4, 3)


def test_labels_become_named_regions(tmp_path):
    write_volume(tmp_path / "l.mha", GRID, VALUES % 3, "label")
    labels = read_labels(tmp_path / "l.mha", {1: "liver"})
    assert labels.names == ("liver", "label-2")
    assert labels.masks["liver"].sum() == 20


@pytest.mark.parametrize(
    ("values", "names", "error", "message"),
    [
        (VALUES + 0.5, None, Refused, "values that are not whole numbers"),
        (VALUES % 2, {7: "liver"}, Refused, r"no voxel of the named labels \[7\]"),
        (VALUES % 3, {1: "a", 2: "a"}, Inconsistent, "two labels bear one name"),
    ],
)
def test_faulty_labels_are_refused(tmp_path, values, names, error, message):
    write_volume(tmp_path / "l.mha", GRID, values, "label")
    with pytest.raises(error, match=message):
        read_labels(tmp_path / "l.mha", names)


def test_what_is_no_volume_is_refused(tmp_path):
    (tmp_path / "text.mha").write_text("no image")
    (tmp_path / "a.png").write_bytes(b"x")
    vector = sitk.Image([2, 2, 2], sitk.sitkVectorFloat32, 3)
    sitk.WriteImage(vector, str(tmp_path / "v.mha"))
    sitk.WriteImage(sitk.Image([2, 2], sitk.sitkFloat32), str(tmp_path / "flat.mha"))
    with pytest.raises(Refused, match=r"there is no such file in .*gone\.mha"):
        read_activity(tmp_path / "gone.mha")
    with pytest.raises(Refused, match="cannot be read as an image"):
        read_activity(tmp_path / "text.mha")
    with pytest.raises(Unsupported, match=r"read from \.mha, \.mhd, \.nii, \.nii\.gz, \.nrrd or a folder"):
        read_activity(tmp_path / "a.png")
    with pytest.raises(Unsupported, match="this has 3 dimensions and 3 values"):
        read_activity(tmp_path / "v.mha", assumed)
    with pytest.raises(Unsupported, match="this has 2 dimensions"):
        read_activity(tmp_path / "flat.mha", assumed)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(Unsupported, match=r"written as \.mha, \.nii, \.nii\.gz or \.nrrd"):
        write_volume(tmp_path / "a.npz", GRID, VALUES, "Gy")
    with pytest.raises(Inconsistent, match=r"shape \(4, 5\), their grid \(3, 4, 5\)"):
        write_volume(tmp_path / "a.mha", GRID, VALUES[0], "Gy")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_holds_ct_or_activity(tmp_path):
    with pytest.raises(Unsupported, match="a folder of DICOM is read for CT"):
        read_tia(tmp_path)
    with pytest.raises(Refused, match="the folder holds 0 DICOM series, one is needed"):
        read_hu(tmp_path)


def test_uncalibrated_nifti_is_read_with_its_numbers(shared):
    """lu177_fap_multitime: 64 x 64 x 87, 8.833544 mm; sum x mL = 39.136 \"MBq\" at 4 h (its README)."""
    grid, values = read_volume(
        shared / "real/lu177_fap_multitime/input/SPECT-004H_reg.nii.gz", "Bq/mL", assumed
    )
    assert grid.shape_zyx == (87, 64, 64)
    assert grid.spacing_mm == pytest.approx((8.833544,) * 3, abs=1e-5)
    assert values.sum(dtype=float) * grid.voxel_ml / 1e6 == pytest.approx(39.136, abs=0.001)


def test_the_command_line_loads_no_heavy_package():
    code = (
        "import sys, json, dicomnode.cli, dicomnode.files.volumes as f;"
        "heavy = ('SimpleITK', 'matplotlib', 'highdicom', 'distributed', 'torch', 'numba');"
        "print(json.dumps([h for h in heavy if h in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ([(0, 0, 0), (0, 1, 4), (0, 2, 8), (0, 3, 12)], "gantry tilt"),
        ([(0, 0, 0), (0, 0, 4), (0, 0, 12), (0, 0, 16)], "slice distances run from 4.000 to 8.000 mm"),
        ([(0, 0, 0), (0, 0, 4), (0, 0, 4), (0, 0, 8)], "two slices lie in one place"),
    ],
)
def test_a_folder_of_ct_is_refused_as_the_node_refuses_it(tmp_path, positions, said):
    """A second, careless reader took tilt, gaps and doubles: attenuation maps off by 8 % of the voxels."""
    for k, position in enumerate(positions):
        ct_slice(position).save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    (tmp_path / "LICENSE").write_text("no image")
    with pytest.raises(Refused, match=said):
        read_hu(tmp_path)


def test_a_good_folder_of_ct_is_read_and_a_foreign_series_in_it_refused(tmp_path):
    for k in range(4):
        ct_slice((0, 0, 4.0 * k)).save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    ct = read_hu(tmp_path)
    assert (ct.grid.shape_zyx, ct.grid.spacing_mm[2]) == ((4, 3, 4), 4.0)
    other = ct_slice((0, 0, 20.0))
    other.SeriesInstanceUID, other.SeriesDescription = "1.2.3.5", "Lung"
    other.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    with pytest.raises(Refused, match=r"2 DICOM series, one is needed: Lung \(CT\); no description \(CT\)"):
        read_hu(tmp_path)


def ct_slice(position) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.Modality = "1.2.3.4", "1.2.3", "CT"
    ds.ImageType, ds.ImagePositionPatient = ["ORIGINAL", "PRIMARY", "AXIAL"], list(position)
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [1, 1]
    ds.RescaleSlope, ds.RescaleIntercept, ds.Rows, ds.Columns = 1, -1024, 3, 4
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 1, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.add_new("PixelData", "OW", np.full((3, 4), 1064, np.int16).tobytes())
    return ds
