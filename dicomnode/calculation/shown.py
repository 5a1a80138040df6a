"""What a revision keeps to be looked at: volumes, curves and histograms, beside the objects for the PACS.

Volumes are MetaImage files, gzipped whole (``view-dose.mha.gz`` once named): any program opens them, and a
browser gets the stored bytes as they are. Their axes are turned so that index directions are the patient's
x, y, z; no voxel is moved or resampled, but the CT is cut to the body and averaged to about 2 mm.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent
from dicomnode.model import DoseMap, Grid, HuMap, LabelMap, Nuclide, RegisteredTimePoint, TiaFit
from dicomnode.results.dvh import cumulative_dvh

Array = npt.NDArray[np.generic]

CURVES, DVH = "curves", "dvh"
VIEW = "view-"
CT_STEP_MM = 2.0
"""The CT is averaged to voxels of about this size."""
MARGIN_MM = 15.0
BITS = 32
"""Regions in one volume; regions overlap, so each is one bit of a voxel."""
DVH_BINS = 200

ELEMENT_TYPES = {"<f4": "MET_FLOAT", "<i2": "MET_SHORT", "<u4": "MET_UINT"}


def volumes(
    dose: DoseMap,
    sigma_gy: npt.NDArray[np.float32],
    fit: TiaFit,
    points: Sequence[RegisteredTimePoint],
    regions: LabelMap,
    ct: HuMap | None,
) -> Iterator[tuple[str, bytes]]:
    """(role, bytes) of every volume to look at."""
    yield f"{VIEW}dose", packed(dose.grid, dose.gy, "Absorbed dose", "Gy")
    yield f"{VIEW}sigma", packed(dose.grid, sigma_gy, "Standard uncertainty of absorbed dose", "Gy")
    tia = "Time-integrated activity concentration"
    yield f"{VIEW}tia", packed(fit.tia.grid, fit.tia.mbq_s_per_ml, tia, "MBq s/mL")
    for point in points:
        activity = f"Activity concentration {point.hours:.2f} h after administration, registered"
        values = shortened(point.activity.bq_per_ml)
        yield f"{VIEW}{point.label}", packed(point.activity.grid, values, activity, "Bq/mL")
    names = regions.names
    for first in range(0, len(names), BITS):
        some = names[first : first + BITS]
        yield f"{VIEW}regions-{first // BITS + 1}", packed(regions.grid, bits(regions, some), "Regions", "",
                                                           some)  # fmt: skip
    if ct is not None and not is_oblique(ct.grid):
        body = regions.masks.get("body")
        shown = coarse(ct, _box(regions.grid, body))
        yield f"{VIEW}ct", packed(shown.grid, np.rint(shown.hu).astype("<i2"), "CT number", "HU")


def packed(grid: Grid, values: Array, quantity: str, unit: str, names: Sequence[str] = ()) -> bytes:
    """A MetaImage file with the fields ``quantity``, ``unit`` and ``names`` (JSON), gzipped.

    Raises Inconsistent for a grid that is oblique to the patient.
    """
    grid, values = along_patient(grid, values)
    kind = np.dtype(values.dtype).newbyteorder("<").str
    nz, ny, nx = grid.shape_zyx
    head = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": False,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": " ".join(repr(float(o)) for o in grid.origin_mm),
        "ElementSpacing": " ".join(repr(float(s)) for s in grid.spacing_mm),
        "DimSize": f"{nx} {ny} {nz}",
        "quantity": quantity,
        "unit": unit,
        "names": json.dumps(list(names)),
        "ElementType": ELEMENT_TYPES[kind],
        "ElementDataFile": "LOCAL",
    }
    text = "".join(f"{key} = {value}\n" for key, value in head.items())
    return gzip.compress(text.encode("ascii") + np.ascontiguousarray(values, kind).tobytes(), 6, mtime=0)


def is_oblique(grid: Grid) -> bool:
    """Whether its index axes are other than the patient's x, y, z in some order."""
    return not np.allclose(np.abs(grid.axes).max(axis=0), 1.0, atol=1e-6)


def along_patient(grid: Grid, values: Array) -> tuple[Grid, Array]:
    """The same voxels with index axes along +x, +y, +z of the patient. Raises Inconsistent for an oblique
    grid."""
    if is_oblique(grid):
        raise Inconsistent("the grid lies oblique to the patient", remedy="Resample it onto an upright one")
    axes = grid.axes
    order = [int(np.abs(axes[row]).argmax()) for row in range(3)]  # of x, y, z: which index axis
    values = values.transpose([2 - order[2 - k] for k in range(3)])
    signs = axes[range(3), order]
    values = values[tuple(slice(None, None, int(np.sign(signs[2 - k]))) for k in range(3))]
    last = [n - 1 for n in grid.shape_zyx[::-1]]
    corner = grid.to_patient_mm([last[j] if axes[:, j].sum() < 0 else 0 for j in range(3)])
    spacing = [grid.spacing_mm[j] for j in order]
    return Grid(values.shape, tuple(spacing), tuple(float(c) for c in corner)), values  # type: ignore[arg-type]


def shortened(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rounded to 11 bits of mantissa (0.05 %): half the bytes once compressed."""
    bits_of = np.ascontiguousarray(values, "<f4").view("<u4")
    return ((bits_of + np.uint32(0x800)) & np.uint32(0xFFFFF000)).view("<f4")


def bits(regions: LabelMap, names: Sequence[str]) -> npt.NDArray[np.uint32]:
    """Bit n of a voxel is set within region n of ``names``."""
    found = np.zeros(regions.grid.shape_zyx, "<u4")
    for n, name in enumerate(names):
        found[regions.masks[name]] |= np.uint32(1 << n)
    return found


def _box(grid: Grid, body: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64] | None:
    """Lowest and highest x, y, z of the body with a margin, mm."""
    if body is None or not body.any():
        return None
    index = np.argwhere(body)[:, ::-1]
    low, high = index.min(axis=0), index.max(axis=0)
    corners = [(i, j, k) for i in (low[0], high[0]) for j in (low[1], high[1]) for k in (low[2], high[2])]
    points = grid.to_patient_mm(corners)
    return np.stack([points.min(axis=0) - MARGIN_MM, points.max(axis=0) + MARGIN_MM])


def coarse(ct: HuMap, box_mm: npt.NDArray[np.float64] | None) -> HuMap:
    """The CT within a box, averaged over whole voxels to about ``CT_STEP_MM``."""
    grid, hu = along_patient(ct.grid, ct.hu)
    low, high = np.zeros(3, int), np.array(grid.shape_zyx[::-1])
    if box_mm is not None:
        within = np.sort(grid.to_index(box_mm), axis=0)
        low = np.maximum(np.floor(within[0]).astype(int), 0)
        high = np.minimum(np.ceil(within[1]).astype(int) + 1, high)
    by = np.maximum(np.rint(CT_STEP_MM / np.array(grid.spacing_mm)).astype(int), 1)
    n = np.maximum((high - low) // by, 1)
    by = np.minimum(by, high - low)
    (x0, y0, z0), (x1, y1, z1) = low, low + n * by
    cut = hu[z0:z1, y0:y1, x0:x1].astype(np.float32)
    mean = cut.reshape(n[2], by[2], n[1], by[1], n[0], by[0]).mean(axis=(1, 3, 5))
    origin = grid.to_patient_mm(low + (by - 1) / 2)
    spacing = tuple(float(s) for s in np.array(grid.spacing_mm) * by)
    return HuMap(Grid(mean.shape, spacing, tuple(float(o) for o in origin)), mean)  # type: ignore[arg-type]


def curves(fit: TiaFit, nuclide: Nuclide) -> bytes:
    """Time-activity curves: points with sigma, parameters with covariance, budget and model weights."""
    facts = {
        "method": fit.method,
        "half_life_h": nuclide.half_life_s / 3600.0,
        "regions": [asdict(curve) for curve in fit.regions],
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), default=dict).encode("ascii")


def histograms(dose: DoseMap, regions: LabelMap) -> bytes:
    """Cumulative dose-volume histograms of every region: equal steps of dose from 0, volume in %."""
    found = {
        dvh.region: {
            "step_gy": float(dvh.dose_gy[1]),
            "volume_ml": dvh.volume_ml,
            "volume_percent": [round(float(v), 3) for v in dvh.volume_percent],
        }
        for dvh in cumulative_dvh(dose, regions, bins=DVH_BINS)
    }
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode("ascii")
