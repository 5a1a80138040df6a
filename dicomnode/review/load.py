"""The stored results of a revision as nouns: curves, histograms, and where its volumes lie."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from dicomnode.calculation.shown import CURVES, DVH, VIEW
from dicomnode.casebook.house import House
from dicomnode.database.tables import Result
from dicomnode.errors import Inconsistent

HEADER_BYTES = 8192
"""A header of a MetaImage is far shorter, with the names of 32 regions."""


@dataclass(frozen=True)
class Volume:
    """One volume in the store, gzipped MetaImage, its axes along the patient's x, y, z.

    Attributes
    ----------
    role : of its result, such as "view-dose"
    sha256 : of the stored file
    size_bytes : of the stored file, compressed
    quantity, unit : what its numbers are
    names : regions by bit, where it holds regions
    shape_xyz, spacing_mm, origin_mm : its grid; the origin is the centre of the first voxel
    """

    role: str
    sha256: str
    size_bytes: int
    quantity: str
    unit: str
    names: tuple[str, ...]
    shape_xyz: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]


@dataclass(frozen=True)
class Review:
    """What is kept of one revision to be looked at; empty where it was computed before this was kept.

    Attributes
    ----------
    half_life_h : physical half-life, h
    curves : time-activity curves as ``calculation.shown.curves`` wrote them, one mapping per region
    histograms : region -> cumulative histogram as ``calculation.shown.histograms`` wrote it
    volumes : by role
    """

    revision_id: str
    half_life_h: float
    curves: tuple[Mapping[str, Any], ...]
    histograms: Mapping[str, Mapping[str, Any]]
    volumes: Mapping[str, Volume]


def load(house: House, revision_id: str) -> Review:
    """Everything kept of a revision, from its products. Raises Refused where a file is not in the store."""
    with house.database.read() as session:
        rows = select(Result.role, Result.file_sha256).where(Result.revision_id == revision_id)
        digests = {role: digest for role, digest in session.execute(rows)}  # noqa: C416
    curves = json.loads(house.store.path(digests[CURVES]).read_bytes()) if CURVES in digests else {}
    histograms = json.loads(house.store.path(digests[DVH]).read_bytes()) if DVH in digests else {}
    return Review(
        revision_id,
        float(curves.get("half_life_h", 0.0)),
        tuple(curves.get("regions", ())),
        histograms,
        {role: _volume(house, role, digest) for role, digest in digests.items() if role.startswith(VIEW)},
    )


def _volume(house: House, role: str, digest: str) -> Volume:
    path = house.store.path(digest)
    with path.open("rb") as stream:
        head = zlib.decompressobj(31).decompress(stream.read(HEADER_BYTES), HEADER_BYTES)
    text, end, _ = head.partition(b"ElementDataFile = LOCAL\n")
    if not end:
        raise Inconsistent("the stored volume has no header", uid=digest, remedy="Compute the cycle again")
    fields = dict(line.split(" = ", 1) for line in text.decode("ascii").splitlines())
    return Volume(
        role,
        digest,
        path.stat().st_size,
        fields["quantity"],
        fields.get("unit", ""),
        tuple(json.loads(fields["names"])),
        tuple(int(n) for n in fields["DimSize"].split()),
        tuple(float(s) for s in fields["ElementSpacing"].split()),
        tuple(float(o) for o in fields["Offset"].split()),
    )
