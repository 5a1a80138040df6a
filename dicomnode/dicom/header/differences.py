"""In what two objects under one SOP Instance UID differ."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from dicomnode.dicom.header.dataset import PARSE_FAULTS, quiet
from dicomnode.errors import Refused
from dicomnode.model.series import Differences

PIXELS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})


@quiet()
def differences(first: Path, second: Path) -> Differences:
    """Compare two stored objects by the bytes of their elements. Raises Refused where one cannot be read."""
    try:
        a, b = dcmread(first), dcmread(second)
        tags = sorted({*a.keys(), *b.keys()})
        differing = [tag for tag in tags if not _same(a, b, tag)]
    except PARSE_FAULTS as fault:
        raise Refused("it cannot be compared with the object before it", value=repr(fault)[:60]) from fault
    keywords = tuple(keyword_for_tag(t) or f"{t:08X}" for t in differing if t not in PIXELS)
    return Differences(keywords, not PIXELS & set(differing))


def _same(a: Dataset, b: Dataset, tag: BaseTag) -> bool:
    if tag not in a or tag not in b:
        return False
    one, other = a.get_item(tag), b.get_item(tag)
    if isinstance(one, RawDataElement) and isinstance(other, RawDataElement):
        return bytes(one.value or b"") == bytes(other.value or b"")
    same: bool = a[tag] == b[tag]
    return same
