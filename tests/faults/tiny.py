"""A tiny patient, quick to make and send: SPECT of 32 x 32 x 16 voxels, CT of 16 slices per time point."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pydicom import Dataset
from pynetdicom.dsutils import encode

from dicomnode.dicom.write.scans import Acquisition, Subject, ct_series, nm_recon_tomo
from dicomnode.model import Administration, Grid, HuMap

ADMINISTERED = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
ADMINISTERED_MBQ = 7400.0
EFFECTIVE_H = 60.0
SPECT = Grid((16, 32, 32), (12.0, 12.0, 12.0), (-186.0, -186.0, -90.0))
CT = Grid((16, 64, 64), (6.0, 6.0, 12.0), (-189.0, -189.0, -90.0))


def uid(*parts: object) -> str:
    """A UID that the same words always give."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _inside(grid: Grid, center: Sequence[float], half: Sequence[float]) -> Any:
    z, y, x = (
        o + s * np.arange(n)
        for o, s, n in zip(reversed(grid.origin_mm), reversed(grid.spacing_mm), grid.shape_zyx, strict=True)
    )
    zz, yy, xx = np.meshgrid(z, y, x, indexing="ij")
    return sum(((v - c) / h) ** 2 for v, c, h in zip((xx, yy, zz), center, half, strict=True)) <= 1.0


def hu() -> HuMap:
    """An elliptic trunk of 300 x 220 mm with a spine, two lungs and fat; air around it."""
    values = np.full(CT.shape_zyx, -1000.0, dtype=np.float32)
    values[_inside(CT, (0, 0, 0), (150, 110, 1e6))] = 40.0
    values[_inside(CT, (0, 70, 0), (22, 20, 1e6))] = 400.0
    for side in (-70, 70):
        values[_inside(CT, (side, -20, 80), (45, 60, 70))] = -750.0
    return HuMap(CT, values)


def activity(hours: float) -> Any:
    """Bq/mL: a liver and two kidneys over a faint body, falling with 60 h."""
    values = np.zeros(SPECT.shape_zyx, dtype=np.float32)
    values[_inside(SPECT, (0, 0, 0), (150, 110, 1e6))] = 2.0e4
    values[_inside(SPECT, (-60, -20, 10), (60, 50, 45))] = 3.0e5
    for side in (-60, 60):
        values[_inside(SPECT, (side, 50, -40), (25, 22, 40))] = 8.0e5
    return (values * 2.0 ** (-hours / EFFECTIVE_H)).astype(np.float32)


@dataclass(frozen=True)
class Tiny:
    """One patient, by name; ``administered`` and scan starts may be anything."""

    name: str
    administered: datetime = ADMINISTERED
    mbq: float = ADMINISTERED_MBQ

    def time_point(self, hours: float, *, at: datetime | None = None) -> list[Dataset]:
        """NM object and CT slices, started ``hours`` after the administration (or at ``at``)."""
        start = at or self.administered + timedelta(hours=hours)
        study, frame = uid(self.name, hours, "study"), uid(self.name, hours, "frame")
        who = Subject(f"T-{self.name}", f"TINY^{self.name.upper()}", "19600101", "O")
        given = Administration("Lu-177", self.mbq, self.administered, "177Lu-DOTATATE")
        nm = Acquisition(study, uid(study, "nm"), frame, start, 1200.0, series_description="SPECT")
        ct = replace(nm, series_uid=uid(study, "ct"), series_description="CT", series_number=2)
        emission = nm_recon_tomo(
            SPECT, activity(hours), "Bq/ml", subject=who, acquisition=nm, administration=given,
            sop_instance_uid=uid(study, "nm", 0),
        )  # fmt: skip
        slices = ct_series(hu(), subject=who, acquisition=ct, uid_of=lambda k: uid(study, "ct", k))
        return [emission, *slices]

    def cycle(self) -> list[Dataset]:
        """Two time points, 24 h and 96 h: 34 objects."""
        return [*self.time_point(24.0), *self.time_point(96.0)]


def digest_of(ds: Dataset) -> str:
    """SHA-256 of the data set as it goes over the wire in Explicit VR Little Endian."""
    whole = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert whole is not None
    return hashlib.sha256(whole).hexdigest()
