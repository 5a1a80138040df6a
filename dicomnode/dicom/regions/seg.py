"""Segments of a SEG object as slabs (PS3.3 A.51, A.105 and C.8.20)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.regions.slabs import Mask, Slabs, slab_faces
from dicomnode.dicom.volumes.enhanced import Frame, frames_of
from dicomnode.dicom.volumes.pixels import frame_count, matrix, pixel_bytes, stored_frames
from dicomnode.dicom.volumes.stack import Plane, axes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported

HALF_FRACTION = 0.5
"""A pixel of a FRACTIONAL segment belongs to it from this probability or occupancy on."""


def segments_of(obj: Attributes) -> Iterator[tuple[int, str, Slabs | None]]:
    """Number, label and slabs of every segment but a label map's background; None for one without pixels.

    Segments may overlap; planes of a segment that were left out because they are empty stay empty. Raises
    Refused for compressed pixels, for pixels without a place in the patient (microscopy, projection), and
    for frames that are not parallel.
    """
    frames = list(frames_of(obj))
    planes = _planes(frames, obj)
    values = _values(obj)
    labelled = obj.text("SOPClassUID") == sop.LABELMAP_SEGMENTATION
    owner = [] if labelled else [_owner(frame, obj) for frame in frames]
    for item in obj.items("SegmentSequence"):
        number = item.integer("SegmentNumber") or 0
        if labelled and number == 0:
            continue  # the background
        mine = range(len(frames)) if labelled else [k for k, n in enumerate(owner) if n == number]
        masks = [(planes[k], values[k] == number if labelled else values[k].astype(bool)) for k in mine]
        masks = [(plane, mask) for plane, mask in masks if mask.any()]
        yield number, item.text("SegmentLabel"), _slabs(masks, _thickness(frames, planes, obj), obj)


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


def _values(obj: Attributes) -> npt.NDArray[np.signedinteger]:
    """Pixels (frame, row, column): 0 or 1, or the segment number of a label map.

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
        largest = obj.number("MaximumFractionalValue") or 255.0
        return (stored >= HALF_FRACTION * largest).astype(np.int32)
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


def _thickness(frames: list[Frame], planes: list[Plane], obj: Attributes) -> float:
    """Distance of neighbouring planes, mm: the smallest between frames' positions; for a single plane
    SpacingBetweenSlices, else SliceThickness."""
    normal = axes(planes[0].orientation, obj.uid)[2]
    along = np.unique(np.round([float(np.array(p.position) @ normal) for p in planes], 2))
    measures = frames[0].group("PixelMeasuresSequence")
    stated = measures.number("SpacingBetweenSlices") or measures.number("SliceThickness")
    smallest = float(np.diff(along).min()) if len(along) > 1 else 0.0
    if smallest and stated and abs(stated) < smallest:  # frames between were left out as empty
        return abs(stated)
    if smallest or stated:
        return smallest or abs(stated or 0.0)
    raise MissingAttribute("a single frame states no thickness", attribute="SliceThickness", uid=obj.uid)


def _slabs(masks: list[tuple[Plane, Mask]], thickness_mm: float, obj: Attributes) -> Slabs | None:
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
