"""Which frame of a raw TOMO object is which view: by Frame Increment Pointer and its vectors (C.8.4.8)."""

from __future__ import annotations

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.volumes.pixels import frame_count
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported

Key = tuple[int, int, int]
"""(detector, rotation, view), each from 1."""

_VECTORS = {
    0x00540010: "EnergyWindowVector",
    0x00540020: "DetectorVector",
    0x00540050: "RotationVector",
    0x00540090: "AngularViewVector",
}


def frame_index(
    obj: Attributes, windows: int, detectors: int, rotations: int
) -> dict[tuple[int, int, int, int], int]:
    """Frame number (from 0) of (window, detector, rotation, view).

    Raises Unsupported for frames that vary in anything else (gates, time), MissingAttribute for a vector
    that is pointed to but not there, Inconsistent for one that does not fit or names a view twice.
    """
    frames = frame_count(obj)
    pointed = _pointers(obj)
    counts = {"EnergyWindowVector": windows, "DetectorVector": detectors, "RotationVector": rotations}
    columns = []
    for tag, keyword in _VECTORS.items():
        most = counts.get(keyword, frames)
        if tag in pointed:
            columns.append(_vector(obj, keyword, frames, most))
        elif most > 1:
            raise MissingAttribute(
                f"frames are not numbered by {keyword}, of which there are several",
                attribute="FrameIncrementPointer", value=obj.text("FrameIncrementPointer"), uid=obj.uid,
                remedy="The order of frames is never guessed: export it with its vectors",
            )  # fmt: skip
        else:
            columns.append([1] * frames)
    index: dict[tuple[int, int, int, int], int] = {}
    for number, (w, d, r, v) in enumerate(zip(*columns, strict=True)):
        if (w, d, r, v) in index:
            raise Inconsistent(
                f"frames {index[w, d, r, v] + 1} and {number + 1} are both view {v} of detector {d}, "
                f"rotation {r}, energy window {w}", attribute="AngularViewVector", uid=obj.uid,
                remedy="One of them is wrong: send the acquisition again from the camera",
            )  # fmt: skip
        index[w, d, r, v] = number
    return index


def _pointers(obj: Attributes) -> set[int]:
    value = obj.value("FrameIncrementPointer")
    tags = {int(p) for p in value} if hasattr(value, "__iter__") else {int(value or 0)}
    others = tags - set(_VECTORS) - {0}
    if others:
        named = ", ".join(f"({t >> 16:04x},{t & 0xFFFF:04x})" for t in sorted(others))
        raise Unsupported(
            "frames vary in more than window, detector, rotation and view (gates or time)",
            attribute="FrameIncrementPointer", value=named, uid=obj.uid,
            remedy="Send the ungated, summed acquisition",
        )  # fmt: skip
    return tags


def _vector(obj: Attributes, keyword: str, frames: int, most: int) -> list[int]:
    values = obj.numbers(keyword)
    if not values:
        raise MissingAttribute(
            "a vector that numbers the frames is not there", attribute=keyword, uid=obj.uid
        )
    if len(values) != frames:
        raise Inconsistent(
            f"{keyword} numbers {len(values)} frames of {frames}", attribute=keyword, uid=obj.uid,
            remedy="It is truncated or its header is wrong: send it again",
        )  # fmt: skip
    whole = [int(v) for v in values]
    if min(whole) < 1 or max(whole) > most:
        raise Inconsistent(
            f"{keyword} runs from {min(whole)} to {max(whole)} where 1 to {most} is described",
            attribute=keyword, uid=obj.uid,
        )  # fmt: skip
    return whole
