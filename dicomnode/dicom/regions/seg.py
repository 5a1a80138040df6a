"""Segments of a SEG object as slabs (PS3.3 A.51, A.105 and C.8.20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.regions.slabs import Pixels, Slabs, slab_faces
from dicomnode.dicom.volumes.enhanced import Frame, frames_of
from dicomnode.dicom.volumes.pixels import frame_count, matrix, pixel_bytes, stored_frames
from dicomnode.dicom.volumes.stack import Plane, axes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding, Severity

SAME_PLANE_MM = 0.02
"""Frames nearer to each other lie in one plane."""
MANY_GAPS = 3
"""From so many equal gaps on nobody left out every other plane: they are the distance."""
APART = 0.02
"""Relative difference of two statements of one distance that is rounding."""
HALF_FRACTION = 0.5
"""A pixel of a FRACTIONAL segment belongs to it from this probability on; occupancy is what it says."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment: slabs are None where it has no pixels or contradicts itself."""

    number: int
    label: str
    slabs: Slabs | None
    contradiction: str = ""


def segments_of(obj: Attributes) -> tuple[tuple[Segment, ...], tuple[Finding, ...]]:
    """Every segment but a label map's background, and what is to be said of the object.

    Segments may overlap; planes of a segment that were left out because they are empty stay empty. Raises
    Refused for compressed pixels, for pixels without a place in the patient (microscopy, projection), and
    for frames that are not parallel.
    """
    frames = list(frames_of(obj))
    planes = _planes(frames, obj)
    values = _values(obj)
    labelled = obj.text("SOPClassUID") == sop.LABELMAP_SEGMENTATION
    owner = [] if labelled else [_owner(frame, obj) for frame in frames]
    thickness, about = _distance(frames, planes, obj)
    numbers = Counter(item.integer("SegmentNumber") for item in obj.items("SegmentSequence"))
    present = {int(n) for n in np.unique(values)} - {0} if labelled else set(owner)
    strangers = sorted(present - set(numbers))
    found = _segments(obj, planes, values, owner if not labelled else None, numbers, thickness)
    return tuple(found), (*about, *_undescribed(strangers, obj.uid))


def _segments(
    obj: Attributes,
    planes: list[Plane],
    values: Pixels,
    owner: list[int] | None,
    numbers: Counter[int | None],
    thickness_mm: float,
) -> Iterator[Segment]:
    """Segments, of a label map where frames have no ``owner``."""
    for item in obj.items("SegmentSequence"):
        stated = item.integer("SegmentNumber")
        number, label = stated or 0, item.text("SegmentLabel")
        if owner is None and stated == 0:
            continue  # the background
        if stated is None or numbers[stated] > 1:
            why = f"{numbers[stated]} segments have the Segment Number {stated}; their pixels are one"
            yield Segment(number, label, None, why if stated is not None else "it states no Segment Number")
            continue
        mine = range(len(planes)) if owner is None else [k for k, n in enumerate(owner) if n == number]
        masks = [(planes[k], values[k] == number if owner is None else values[k]) for k in mine]
        masks = [(plane, mask) for plane, mask in masks if mask.any()]
        try:
            yield Segment(number, label, _slabs(masks, thickness_mm, obj))
        except Inconsistent as fault:
            yield Segment(number, label, None, fault.reason)


def _undescribed(numbers: list[int], uid: str) -> Iterator[Finding]:
    if numbers:
        sentence = (
            f"the segmentation has pixels of the segments {', '.join(map(str, numbers))}, which it does not "
            "describe: send it with every segment described"
        )
        yield Finding("segment-not-described", Severity.HOLD, sentence, float(len(numbers)), 0.0, "", uid)


def _planes(frames: list[Frame], obj: Attributes) -> list[Plane]:
    try:
        planes = [frame.plane() for frame in frames]
    except MissingAttribute as missing:
        raise Unsupported(
            "the segmentation has no place in the patient (it is of a projection or of microscopy)",
            attribute=missing.attribute, uid=obj.uid,
        ) from None  # fmt: skip
    if not planes:
        raise MissingAttribute("the segmentation has no frames", attribute="NumberOfFrames", uid=obj.uid)
    for plane in planes:
        if not np.allclose(plane.orientation, planes[0].orientation, atol=1e-3):
            raise Inconsistent("frames are not parallel", attribute="ImageOrientationPatient", uid=obj.uid)
    return planes


def _values(obj: Attributes) -> Pixels:
    """Pixels (frame, row, column): 0 or 1, the part that the segment occupies, or a label map's number.

    BINARY frames are packed bit by bit, lowest bit first, across the borders of bytes (PS3.5 8.1.1).
    """
    shape = (frame_count(obj), *matrix(obj))
    kind = obj.text("SegmentationType").upper()
    if kind == "BINARY" and obj.integer("BitsAllocated") == 1:
        packed = np.frombuffer(pixel_bytes(obj, 1), dtype=np.uint8)
        count = shape[0] * shape[1] * shape[2]
        return np.unpackbits(packed, count=count, bitorder="little").reshape(shape).astype(np.int32)
    stored = stored_frames(obj)
    if kind == "FRACTIONAL":
        part = stored / (obj.number("MaximumFractionalValue") or 255.0)
        if obj.text("SegmentationFractionalType").upper() == "OCCUPANCY":
            return np.clip(part, 0.0, 1.0)
        return part >= HALF_FRACTION
    if kind in ("LABELMAP", "BINARY"):
        return stored
    raise Unsupported("unknown kind of segmentation", attribute="SegmentationType", value=kind, uid=obj.uid)


def _owner(frame: Frame, obj: Attributes) -> int:
    number = frame.group("SegmentIdentificationSequence").integer("ReferencedSegmentNumber")
    if number is None:
        raise MissingAttribute(
            "a frame does not say to which segment it belongs",
            attribute="ReferencedSegmentNumber",
            uid=obj.uid,
        )
    return number


def _distance(frames: list[Frame], planes: list[Plane], obj: Attributes) -> tuple[float, tuple[Finding, ...]]:
    """Distance of neighbouring planes, mm, by their positions; what is stated counts for a single plane.

    Planes that are empty may have been left out (PS3.3 C.8.20.2): where gaps differ, or are too few to tell,
    the stated distance counts if it divides them all. A distance that contradicts the positions holds; a
    slice may be thicker or thinner than planes are apart, so a thickness that differs is a warning.
    """
    normal = axes(planes[0].orientation, obj.uid)[2]
    along = np.sort([float(np.array(p.position) @ normal) for p in planes])
    measures = frames[0].group("PixelMeasuresSequence")
    between = abs(measures.number("SpacingBetweenSlices") or 0.0)
    thick = abs(measures.number("SliceThickness") or 0.0)
    gaps = np.diff(along)
    gaps = gaps[gaps > SAME_PLANE_MM]
    if not len(gaps):
        if not (between or thick):
            raise MissingAttribute(
                "a single frame states no thickness", attribute="SliceThickness", uid=obj.uid
            )
        return between or thick, ()
    smallest = float(gaps[gaps < 1.5 * gaps.min()].mean())
    if between and len(gaps) < MANY_GAPS and _divides(between, gaps):
        return between, ()
    if _divides(smallest, gaps):
        return smallest, _about_distance(smallest, between, thick, obj.uid)
    stated = next((d for d in (between, thick) if d and _divides(d, gaps)), 0.0)
    return (stated, ()) if stated else (smallest, _about_distance(smallest, between, thick, obj.uid))


def _divides(distance_mm: float, gaps: npt.NDArray[np.float64]) -> bool:
    steps = gaps / distance_mm
    return bool(np.abs(steps - np.rint(steps)).max() < APART)


def _about_distance(found_mm: float, between_mm: float, thick_mm: float, uid: str) -> tuple[Finding, ...]:
    """What to say where the positions' distance is not what the frames state."""
    if between_mm and abs(between_mm - found_mm) > APART * found_mm:
        said, severity = f"Spacing Between Slices (0018,0088) says {between_mm:g} mm", Severity.HOLD
    elif not between_mm and thick_mm and abs(thick_mm - found_mm) > APART * found_mm:
        said, severity = f"Slice Thickness (0018,0050) says {thick_mm:g} mm", Severity.WARNING
    else:
        return ()
    sentence = (
        f"the segmentation's planes are {found_mm:g} mm apart by their positions, {said}: the positions "
        "count; look at the volumes of its regions"
    )
    return (Finding("segmentation-spacing", severity, sentence, found_mm, between_mm or thick_mm, "mm", uid),)


def _slabs(masks: list[tuple[Plane, Pixels]], thickness_mm: float, obj: Attributes) -> Slabs | None:
    """Slabs of one segment's frames, ascending along the normal."""
    if not masks:
        return None
    row, column, normal = axes(masks[0][0].orientation, obj.uid)
    masks = sorted(masks, key=lambda entry: float(np.array(entry[0].position) @ normal))
    along = np.array([float(np.array(plane.position) @ normal) for plane, _ in masks])
    if len(along) > 1 and float(np.diff(along).min()) < 0.1 * thickness_mm:
        raise Inconsistent(
            "two frames of one segment lie in one plane", attribute="ImagePositionPatient", uid=obj.uid
        )
    origins = np.array([plane.position for plane, _ in masks]) @ np.column_stack([row, column])
    if float(np.ptp(origins, axis=0).max()) > 0.05:
        raise Inconsistent("frames of one segment are shifted", attribute="ImagePositionPatient", uid=obj.uid)
    lower, upper = slab_faces(along, thickness_mm)
    spacing = masks[0][0].spacing
    origin = np.array(masks[0][0].position)
    return Slabs(
        np.column_stack([row, column, normal]), origin, (spacing[1], spacing[0]), lower, upper,
        np.stack([mask for _, mask in masks]),
    )  # fmt: skip
