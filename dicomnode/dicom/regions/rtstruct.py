"""Contours of an RTSTRUCT as slabs (PS3.3 C.8.8.5 and C.8.8.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.regions.slabs import GAP, Float, Mask, Slabs, slab_faces
from dicomnode.errors import Inconsistent, Refused
from dicomnode.model import Finding, Severity

CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
MAX_POINTS = 5_000_000
MAX_PLANES = 3_000
WIDEST_MM = 2_500.0
FLAT_MM = 0.5
"""Largest distance of a contour's points from its plane."""
FINEST_MM, COARSEST_MM, PIXELS_ACROSS = 0.2, 1.0, 400
"""Pixels of the 2-D masks: a 400th of the region's width, but no finer and no coarser than this."""


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest: its number, name, frame of reference and closed contours (points, 3), mm."""

    number: int
    name: str
    frame_of_reference_uid: str
    contours: tuple[Float, ...]
    skipped: tuple[str, ...]


def rois_of(obj: Attributes) -> Iterator[Roi]:
    """Every ROI of a structure set. Raises Refused for more points than any real object has."""
    contours: dict[int | None, Attributes] = {
        item.integer("ReferencedROINumber"): item for item in obj.items("ROIContourSequence")
    }
    budget = MAX_POINTS
    for item in obj.items("StructureSetROISequence"):
        number = item.integer("ROINumber")
        closed, skipped = [], []
        for contour in contours[number].items("ContourSequence") if number in contours else ():
            kind = contour.text("ContourGeometricType").upper()
            points = contour.numbers("ContourData")
            budget -= len(points) // 3
            if budget < 0:
                raise Refused("the structure set holds more points than any real one", uid=obj.uid)
            if kind in CLOSED and len(points) >= 9 and len(points) % 3 == 0:
                closed.append(np.array(points).reshape(-1, 3))
            else:
                skipped.append(kind or "untyped")
        uid = item.text("ReferencedFrameOfReferenceUID")
        yield Roi(number or 0, item.text("ROIName"), uid, tuple(closed), tuple(skipped))


def usual_distance(rois: Sequence[Roi]) -> float:
    """Median distance of neighbouring contour planes over all ROIs, mm; 0 where no ROI has two planes."""
    gaps: list[float] = []
    for roi in rois:
        if roi.contours:
            normal = _normal(roi.contours)
            along = _plane_positions([float((c @ normal).mean()) for c in roi.contours])
            gaps.extend(np.diff(along))
    return float(np.median(gaps)) if gaps else 0.0


def slabs_of(roi: Roi, fallback_mm: float) -> tuple[Slabs, tuple[Finding, ...]]:
    """Slabs of a ROI's contours.

    In each plane a pixel is inside where a ray crosses the contours an odd number of times: contours
    within contours are holes, and keyholes work. A slab reaches half-way to the neighbouring planes.

    ``fallback_mm``: thickness for a ROI with a single plane. Raises Inconsistent for contours that are not
    flat or not parallel.
    """
    normal = _normal(roi.contours)
    axes = _axes(normal)
    flat = [contour @ axes for contour in roi.contours]
    for points in flat:
        if float(np.ptp(points[:, 2])) > 2 * FLAT_MM:
            raise Inconsistent(
                f"contours of ROI {roi.number} are not in parallel planes", attribute="ContourData",
                remedy="Export axial contours",
            )  # fmt: skip
    heights = np.array([float(points[:, 2].mean()) for points in flat])
    along = _plane_positions(heights)
    gaps = np.diff(along)
    usual = float(np.median(gaps)) if len(gaps) else fallback_mm
    lower, upper = slab_faces(along, usual)
    everything = np.concatenate(flat)
    low, high = everything[:, :2].min(axis=0), everything[:, :2].max(axis=0)
    if float((high - low).max()) > WIDEST_MM or len(along) > MAX_PLANES:
        raise Inconsistent(f"ROI {roi.number} is larger than any patient", attribute="ContourData")
    pitch = float(np.clip((high - low).max() / PIXELS_ACROSS, FINEST_MM, COARSEST_MM))
    nu, nv = (np.ceil((high - low) / pitch).astype(int) + 1).tolist()
    plane = np.abs(along[:, None] - heights[None, :]).argmin(axis=0)
    masks = np.stack([
        even_odd([(flat[i][:, :2] - low) / pitch for i in np.flatnonzero(plane == k)], (nv, nu))
        for k in range(len(along))
    ])  # fmt: skip
    origin = axes @ np.array([low[0], low[1], 0.0])
    return Slabs(axes, origin, (pitch, pitch), lower, upper, masks), _about_gaps(roi, gaps, usual)


def even_odd(polygons: Sequence[npt.NDArray[np.float64]], shape: tuple[int, int]) -> Mask:
    """Pixels whose centre lies inside an odd number of closed polygons.

    ``polygons``: (points, 2) as (u, v) in pixels, where pixel (v, u) has its centre at (u, v); ``shape``:
    (v, u). An edge counts for rows from its lower end up to, not including, its upper end.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.int32)
    for polygon in polygons:
        a, b = polygon, np.roll(polygon, -1, axis=0)
        for (u0, v0), (u1, v1) in zip(a, b, strict=True):
            if v0 > v1:
                u0, v0, u1, v1 = u1, v1, u0, v0
            first, last = max(0, int(np.ceil(v0))), min(rows, int(np.ceil(v1)))
            if first >= last:
                continue
            v = np.arange(first, last)
            crossing = np.ceil(u0 + (v - v0) * (u1 - u0) / (v1 - v0))
            toggles[v, np.clip(crossing, 0, columns).astype(int)] += 1
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def _normal(contours: Sequence[Float]) -> Float:
    """Common normal of the planes: the z axis where contours are axial, else that of the largest contour."""
    if all(float(np.ptp(c[:, 2])) <= 2 * FLAT_MM for c in contours):
        return np.array([0.0, 0.0, 1.0])
    largest = max(contours, key=lambda c: float(np.ptp(c, axis=0).sum()))
    return np.asarray(np.linalg.svd(largest - largest.mean(axis=0))[2][2])


def _axes(normal: Float) -> Float:
    """Columns u, v, n with n along ``normal``; the patient's axes where it is axial."""
    if abs(normal[2]) > 1 - 1e-9:
        return np.eye(3)
    across = np.eye(3)[int(np.abs(normal).argmin())]
    u = np.cross(across, normal)
    u /= np.linalg.norm(u)
    return np.column_stack([u, np.cross(normal, u), normal])


def _plane_positions(heights: Sequence[float] | Float) -> Float:
    """Distinct heights, ascending; those closer than 0.1 mm are one plane."""
    ordered = np.sort(np.asarray(heights, dtype=np.float64))
    first = np.concatenate([[True], np.diff(ordered) > 0.1])
    return np.asarray(ordered[first])


def _about_gaps(roi: Roi, gaps: Float, usual: float) -> tuple[Finding, ...]:
    wide = int(np.count_nonzero(gaps > GAP * usual)) if len(gaps) else 0
    if not wide:
        return ()
    sentence = (
        f"ROI {roi.number} has {wide} gap{'s' if wide > 1 else ''} of up to {gaps.max():.1f} mm between "
        f"contour planes {usual:.1f} mm apart; they were left open: check whether a slice lacks its contour"
    )
    return (Finding("contour-gap", Severity.WARNING, sentence, float(gaps.max()), usual, "mm"),)
