"""Values of more than 64 KB that came as UN in explicit VR are read by their dictionary VR (CP-1066)."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicomnode.dicom.header.dataset import Attributes, quiet


def as_un(tag: int, value: bytes) -> Attributes:
    ds = Dataset()
    ds[Tag(tag)] = RawDataElement(Tag(tag), "UN", len(value), value, 0, False, True)
    return Attributes(ds)


@pytest.mark.parametrize("count", [3, 30_000])
def test_long_numbers_are_numbers(count: int) -> None:
    contour = as_un(0x30060050, b"\\".join([b"1.25"] * count))
    assert contour.numbers("ContourData") == (1.25,) * count
    assert contour.faults == []


def test_a_long_text_is_text_in_its_character_set() -> None:
    comments = as_un(0x00204000, "Läsion ".encode("latin-1") * 10_000)
    comments.dataset.SpecificCharacterSet = "ISO_IR 100"
    with quiet():
        assert comments.text("ImageComments").startswith("Läsion Läsion")


def test_a_long_sequence_has_its_items() -> None:
    inner, ds = Dataset(), Dataset()
    inner.ROIName, inner.ROIDescription = "kidney", "x" * 1000
    ds.StructureSetROISequence = Sequence([inner] * 100)
    buffer = DicomFileLike(BytesIO())
    buffer.is_implicit_VR, buffer.is_little_endian = True, True
    write_dataset(buffer, ds)
    whole = buffer.parent.getvalue()
    value = whole[8:]  # without tag and length
    items = as_un(0x30060020, value).items("StructureSetROISequence")
    assert [i.text("ROIName") for i in items] == ["kidney"] * 100


def test_what_is_there_and_cannot_be_read_is_not_absent() -> None:
    broken = as_un(0x30060050, b"1\\x\\3" * 30_000)
    assert broken.numbers("ContourData") == ()
    assert broken.holds("ContourData")
    assert broken.faults == ["ContourData"]
    empty = Dataset()
    empty[Tag(0x30060050)] = DataElement(0x30060050, "DS", None)
    assert not Attributes(empty).holds("ContourData")
    assert not Attributes(Dataset()).holds("ContourData")
