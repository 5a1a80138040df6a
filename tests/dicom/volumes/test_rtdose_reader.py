"""RT Dose read back: ours by writing it, others by their known contents."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest

from dicomnode.dicom.reference import PatientStudy
from dicomnode.dicom.uids import named_uid
from dicomnode.dicom.volumes.rtdose import DoseKind, kind_of_dose, read_rtdose, refuse_other_kind
from dicomnode.dicom.write.modules import ObjectIdentity
from dicomnode.dicom.write.rtdose import write_rtdose
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import DoseMap, EnergyBalance, Grid

PATIENT = PatientStudy("A^B", "1", named_uid("study"), frame_of_reference_uid=named_uid("frame"))
IDENTITY = ObjectIdentity(named_uid("i"), named_uid("series"), 1, "Dose", datetime(2026, 3, 9, tzinfo=UTC))
OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("direction", [(1.0, 0, 0, 0, 1, 0, 0, 0, 1), OBLIQUE])
def test_a_dose_is_read_back_in_its_place(direction, tmp_path) -> None:
    grid = Grid((4, 5, 6), (2.0, 3.0, 4.5), (10.0, -20.0, 30.0), direction)
    gy = np.random.default_rng(0).random(grid.shape_zyx)
    path = tmp_path / "d.dcm"
    path.write_bytes(write_rtdose(DoseMap(grid, gy, 0 * gy, EnergyBalance(1, 1, 0)), PATIENT, IDENTITY))
    found, values, frame = read_rtdose(path)
    assert found.matches(grid, 1e-3)
    assert np.allclose(values, gy, atol=1e-8)
    assert frame == named_uid("frame")


@pytest.fixture
def written(tmp_path):
    grid = Grid((4, 5, 6), (2.0, 3.0, 4.5), (10.0, -20.0, 30.0))
    gy = np.random.default_rng(0).random(grid.shape_zyx)
    path = tmp_path / "d.dcm"
    path.write_bytes(write_rtdose(DoseMap(grid, gy, 0 * gy, EnergyBalance(1, 1, 0)), PATIENT, IDENTITY))
    return path, grid


def changed(path, **values) -> None:
    ds = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    ds.save_as(path)


def test_absolute_frame_offsets_give_the_same_place(written) -> None:
    path, grid = written
    changed(path, GridFrameOffsetVector=[30.0, 34.5, 39.0, 43.5])
    assert read_rtdose(path)[0].matches(grid)


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ({"DoseUnits": "RELATIVE"}, Unsupported, "only absolute dose"),
        ({"DoseGridScaling": None}, MissingAttribute, "no positive scaling"),
        ({"GridFrameOffsetVector": [0.0, 4.5]}, Inconsistent, "2 frame offsets for 4 frames"),
        ({"GridFrameOffsetVector": [0.0, 4.5, 9.0, 20.0]}, Inconsistent, "slice distances run"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Unsupported, "no RT Dose"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1], "GridFrameOffsetVector": [5.0, 6, 7, 8]},
         Inconsistent, "axial doses only"),
        # C1: the position says 30 mm, the first plane 10 mm (PS3.3 C.8.8.3.2 b: they must be equal)
        ({"GridFrameOffsetVector": [10.0, 14.5, 19.0, 23.5]}, Inconsistent,
         "10 mm by the first .* 30 mm by z"),
    ],
)  # fmt: skip
def test_a_dose_that_contradicts_itself_is_refused(written, values, error, said) -> None:
    changed(written[0], **values)
    with pytest.raises(error, match=said):
        read_rtdose(written[0])


def test_the_dose_of_a_planning_system_is_read(shared) -> None:
    """Largest dose by pydicom's own pixels times the scaling, and the spacing of the header."""
    path = shared / "real/rt_objects/pymedphys/RD.TBB_feet_in_supine.dcm"
    ds = pydicom.dcmread(path)
    grid, gy, _ = read_rtdose(path)
    assert gy.max() == pytest.approx(float(ds.pixel_array.max()) * float(ds.DoseGridScaling), rel=1e-6)
    assert grid.spacing_mm[:2] == pytest.approx((ds.PixelSpacing[1], ds.PixelSpacing[0]))
    with pytest.raises(Unsupported, match="DoseUnits=RELATIVE"):
        read_rtdose(shared / "real/rt_objects/pydicom/rtdose.dcm")


@pytest.mark.parametrize(
    ("of_one", "of_other", "error", "said"),
    [
        ({"DoseType": "EFFECTIVE"}, {}, Inconsistent, "EFFECTIVE by DoseType .* PHYSICAL by DoseType"),
        ({"DoseSummationType": "BEAM"}, {}, Inconsistent, "BEAM by .* PLAN by"),
        ({"DoseType": "ERROR"}, {"DoseType": "ERROR"}, Unsupported, "differences of doses"),
    ],
)
def test_doses_of_two_kinds_are_not_compared(written, tmp_path, of_one, of_other, error, said) -> None:
    one, other = written[0], tmp_path / "other.dcm"
    other.write_bytes(one.read_bytes())
    refuse_other_kind(kind_of_dose(one), kind_of_dose(other))
    refuse_other_kind(kind_of_dose(one), DoseKind())
    changed(one, **of_one)
    changed(other, **of_other)
    with pytest.raises(error, match=said):
        refuse_other_kind(kind_of_dose(one), kind_of_dose(other))
