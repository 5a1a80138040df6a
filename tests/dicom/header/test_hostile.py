"""Whatever the bytes, the readers answer with a value or a refusal."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomnode.dicom.header.administration import read_administrations
from dicomnode.dicom.header.headers import read_header
from dicomnode.dicom.regions.structures import read_structures
from dicomnode.dicom.volumes import read_ct, read_emission
from dicomnode.errors import Refused
from dicomnode.model import Grid

Build = Callable[..., Dataset]
Save = Callable[[Dataset], Path]
GRID = Grid((6, 6, 6), (4.0, 4.0, 4.0))


def damaged(good: bytes, rng: random.Random) -> bytes:
    """``good`` with a few bytes changed, lost or added behind the preamble, or cut short."""
    data = bytearray(good)
    for _ in range(rng.choice([1, 2, 5, 20])):
        at, kind = rng.randrange(132, max(133, len(data))), rng.random()
        if kind < 0.5 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind < 0.7:
            del data[at : at + rng.randrange(1, 8)]
        elif kind < 0.9:
            data[at:at] = rng.randbytes(rng.randrange(1, 6))
        else:
            del data[at + 100 :]
    return bytes(data)


@pytest.mark.parametrize("kind", ["nm", "pt", "ct", "rtstruct"])
def test_damaged_objects_never_raise_anything_but_a_refusal(
    kind: str,
    make_nm: Build,
    make_pt: Build,
    make_ct: Build,
    make_rtstruct: Build,
    save: Save,
    tmp_path: Path,
    zone: ZoneInfo,
) -> None:
    triangles = [np.array([(0, 0, z), (20, 0, z), (0, 20, z)]) for z in (0, 4, 8)]
    ds = {
        "nm": lambda: make_nm(np.arange(60).reshape(5, 3, 4)),
        "pt": lambda: make_pt(0.0, count=1),
        "ct": lambda: make_ct((0, 0, 0)),
        "rtstruct": lambda: make_rtstruct([("r", triangles, "CLOSED_PLANAR")]),
    }[kind]()
    good, rng, path = save(ds).read_bytes(), random.Random(6), tmp_path / "damaged.dcm"
    refused = 0
    for _ in range(150):
        path.write_bytes(damaged(good, rng))
        try:
            read_header(path, zone)
        except Refused:
            refused += 1
        for read in (
            lambda: read_emission([path], zone),
            lambda: read_ct([path]),
            lambda: read_structures([path], GRID, "1.2.9"),
            lambda: read_administrations(path, zone),
        ):
            with contextlib.suppress(Refused):
                read()
    assert 0 < refused < 150  # some damage is beyond reading, most is not


def test_a_sequence_longer_than_any_real_one_is_refused(
    sq: Build, save: Save, zone: ZoneInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicomnode.dicom.header.administration.MAX_CONTENT_ITEMS", 5)
    ds = sq(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.68",
        SOPInstanceUID="1.2",
        ContentSequence=[sq(ValueType="TEXT") for _ in range(9)],
    )
    with pytest.raises(Refused, match="more content items than any real report"):
        read_administrations(save(ds), zone)
