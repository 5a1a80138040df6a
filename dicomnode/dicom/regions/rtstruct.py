"""Contours of an RTSTRUCT as slabs (PS3.3 C.8.8.5 and C.8.8.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.regions.outlines import Remarks, enclosed
from dicomnode.dicom.regions.slabs import GAP, Float, Slabs, slab_faces
from dicomnode.errors import Inconsistent, Refused
from dicomnode.model import Finding, Severity

XOR = "CLOSEDPLANAR_XOR"
CLOSED = frozenset({"CLOSED_PLANAR", XOR})
MAX_POINTS = 5_000_000
MAX_PLANES = 3_000
WIDEST_MM = 2_500.0
FLAT_MM = 0.5
"""Largest distance of a contour's points from its plane."""
FINEST_MM, COARSEST_MM, PIXELS_ACROSS = 0.2, 1.0, 400
"""Pixels of the 2-D masks: a 400th of the region's width, but no finer and no coarser than this."""
AMBIGUOUS = 0.05
"""Part of a region's area that may depend on how its outlines are read, before a person has to look."""
JUDGE = (
    "release the cycle where its volume is right; else send the structures corrected, or leave the region "
    "out with `dicomnode leave-out`"
)


NO_ORGANS = frozenset({
    "EXTERNAL", "SUPPORT", "FIXATION", "BOLUS", "MARKER", "REGISTRATION", "ISOCENTER", "CONTROL",
    "DOSE_MEASUREMENT", "DOSE_REGION", "TREATED_VOLUME", "IRRAD_VOLUME", "DEVICE", "BRACHY_CHANNEL",
    "BRACHY_ACCESSORY", "BRACHY_SRC_APP", "BRACHY_CHNL_SHLD",
})  # fmt: skip
"""RT ROI Interpreted Types (3006,00A4) of what is no organ and no lesion (PS3.3 C.8.8.8.1)."""


@dataclass(frozen=True, eq=False)
class Roi:
    """One region of interest.

    Attributes
    ----------
    number, name, frame_of_reference_uid : as stated
    contours : closed contours (points, 3), mm
    skipped : kinds of contours that enclose no area
    xor : the contours are CLOSEDPLANAR_XOR
    interpreted_as : RT ROI Interpreted Type; empty where not stated
    contradiction : why the region cannot be believed; empty where it can
    """

    number: int
    name: str
    frame_of_reference_uid: str
    contours: tuple[Float, ...]
    skipped: tuple[str, ...]
    xor: bool = False
    interpreted_as: str = ""
    contradiction: str = ""


def rois_of(obj: Attributes) -> Iterator[Roi]:
    """Every ROI of a structure set. Raises Refused for more points than any real object has."""
    numbers = Counter(item.integer("ROINumber") for item in obj.items("StructureSetROISequence"))
    drawn = _by_number(obj, "ROIContourSequence")
    kinds = {
        number: {item.text("RTROIInterpretedType").upper() for item in items} - {""}
        for number, items in _by_number(obj, "RTROIObservationsSequence").items()
    }
    budget = MAX_POINTS
    for item in obj.items("StructureSetROISequence"):
        number = item.integer("ROINumber")
        contours = [c for part in drawn.get(number, ()) for c in part.items("ContourSequence")]
        closed, skipped, faulty = _contours(contours)
        if any(p.holds("ContourSequence") and not p.items("ContourSequence") for p in drawn.get(number, ())):
            faulty.append("a Contour Sequence that cannot be read")
        budget -= sum(len(points) for points in closed)
        if budget < 0:
            raise Refused("the structure set holds more points than any real one", uid=obj.uid)
        types = kinds.get(number, set())
        yield Roi(
            number or 0, item.text("ROIName"), item.text("ReferencedFrameOfReferenceUID"), tuple(closed),
            tuple(skipped), any(c.text("ContourGeometricType").upper() == XOR for c in contours),
            "/".join(sorted(types)),
            _contradiction(number, numbers[number], len(drawn.get(number, ())), types, faulty),
        )  # fmt: skip


def undescribed(obj: Attributes) -> tuple[int | None, ...]:
    """Numbers of contours that belong to no ROI of the structure set."""
    known = {item.integer("ROINumber") for item in obj.items("StructureSetROISequence")}
    return tuple(n for n in _by_number(obj, "ROIContourSequence") if n not in known)


def _by_number(obj: Attributes, sequence: str) -> dict[int | None, list[Attributes]]:
    found: dict[int | None, list[Attributes]] = {}
    for item in obj.items(sequence):
        found.setdefault(item.integer("ReferencedROINumber"), []).append(item)
    return found


def _contours(contours: Sequence[Attributes]) -> tuple[list[Float], list[str], list[str]]:
    """Closed contours; kinds of those that enclose no area; and what is wrong with those that contradict
    themselves."""
    closed, skipped, faulty = [], [], []
    for contour in contours:
        kind = contour.text("ContourGeometricType").upper()
        values = contour.numbers("ContourData")
        stated = contour.integer("NumberOfContourPoints")
        if contour.holds("ContourData") and not values:
            faulty.append("Contour Data that cannot be read")
        elif len(values) % 3 or (stated is not None and stated * 3 != len(values)):
            faulty.append(f"a contour with {len(values)} numbers for {stated} points")
        elif kind in CLOSED and len(values) >= 9:
            closed.append(np.array(values).reshape(-1, 3))
        else:
            skipped.append(kind or "untyped")
    return closed, skipped, faulty


def _contradiction(number: int | None, same: int, parts: int, types: set[str], faulty: Sequence[str]) -> str:
    """Why a ROI cannot be believed; empty where it can."""
    if number is None:
        return "it states no ROI Number, so its contours cannot be found"
    if same > 1:
        return f"{same} regions have the ROI Number {number}, so their contours cannot be told apart"
    if parts > 1:
        return f"its ROI Number {number} stands in {parts} items of contours"
    if types & NO_ORGANS and types - NO_ORGANS:
        return f"it is interpreted as {' and as '.join(sorted(types))}"
    if faulty:
        return f"{len(faulty)} of its contours cannot be used ({faulty[0]})"
    return ""


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

    In each plane ``outlines.enclosed`` says what is inside: contours within contours are holes, keyholes
    work, a contour drawn twice counts once. A slab reaches half-way to the neighbouring planes.

    ``fallback_mm``: thickness for a ROI with a single plane. Raises Inconsistent for contours that are not
    flat or not parallel, or that lie within each other nearer than any wall is thick.
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
    remarks = Remarks()
    masks = np.stack([
        enclosed([(flat[i][:, :2] - low) / pitch for i in np.flatnonzero(plane == k)], (nv, nu), pitch,
                 roi.xor, remarks)
        for k in range(len(along))
    ])  # fmt: skip
    if remarks.thinnest_mm:
        raise Inconsistent(
            f"in {len(remarks.thinnest_mm)} planes two of its outlines lie within each other "
            f"{min(remarks.thinnest_mm):.2f} mm apart: a hole, or one outline drawn twice",
            attribute="ContourData",
        )
    origin = axes @ np.array([low[0], low[1], 0.0])
    about = (*_about_outlines(roi, remarks, len(along), int(masks.sum())), *_about_gaps(roi, gaps, usual))
    return Slabs(axes, origin, (pitch, pitch), lower, upper, masks), about


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


def _about_outlines(roi: Roi, remarks: Remarks, planes: int, pixels: int) -> Iterator[Finding]:
    """What the outlines of a region's planes did to each other; ``pixels``: of the region in all planes."""
    name = roi.name or f"ROI {roi.number}"
    if remarks.twice:
        yield _twice(name, remarks.twice, planes)
    if remarks.overlapping:
        yield _overlap(name, remarks.overlapping, planes, remarks.overlapping_pixels / max(pixels, 1))
    if remarks.self_crossing:
        yield _crossing(name, remarks.self_crossing, planes, remarks.self_crossing_pixels / max(pixels, 1))


def _twice(name: str, found: int, planes: int) -> Finding:
    sentence = (
        f"region {name}: in {found} of {planes} planes an outline is there twice; it was counted once: look "
        "at how it is drawn"
    )
    return Finding("contour-twice", Severity.WARNING, sentence, float(found), subject=name)


def _overlap(name: str, found: int, planes: int, part: float) -> Finding:
    """A hold where the region would be clearly smaller if the overlap were a hole."""
    weight = Severity.HOLD if part > AMBIGUOUS else Severity.WARNING
    sentence = (
        f"region {name}: in {found} of {planes} planes outlines overlap, over {part:.1%} of its area; they "
        f"were taken together: {JUDGE}"
    )
    return Finding("contours-overlap", weight, sentence, part, AMBIGUOUS, subject=name)


def _crossing(name: str, found: int, planes: int, part: float) -> Finding:
    """A hold where the region is clearly not the area of its points."""
    weight = Severity.HOLD if part > AMBIGUOUS else Severity.WARNING
    sentence = (
        f"region {name}: in {found} of {planes} planes an outline crosses itself, and what it encloses "
        f"differs from the area of its points by {part:.1%} of the region: {JUDGE}"
    )
    return Finding("contour-crosses-itself", weight, sentence, part, AMBIGUOUS, subject=name)


def _about_gaps(roi: Roi, gaps: Float, usual: float) -> tuple[Finding, ...]:
    wide = int(np.count_nonzero(gaps > GAP * usual)) if len(gaps) else 0
    if not wide:
        return ()
    sentence = (
        f"ROI {roi.number} has {wide} gap{'s' if wide > 1 else ''} of up to {gaps.max():.1f} mm between "
        f"contour planes {usual:.1f} mm apart; they were left open: check whether a slice lacks its contour"
    )
    return (Finding("contour-gap", Severity.WARNING, sentence, float(gaps.max()), usual, "mm"),)
