"""Stored pixel values of an object that is not trusted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import NATIVE, Attributes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported

MAX_FRAMES = 20_000
MAX_VOXELS = 2**29
"""512 x 512 x 2048: no emission or CT volume is larger."""


def frame_count(obj: Attributes) -> int:
    """NumberOfFrames, 1 where absent. Raises Inconsistent for a number that no object has."""
    stated = obj.integer("NumberOfFrames")
    frames = 1 if stated is None else stated
    if not 1 <= frames <= MAX_FRAMES:
        raise Inconsistent(
            "the number of frames is absurd", attribute="NumberOfFrames", value=str(frames), uid=obj.uid
        )
    return frames


def matrix(obj: Attributes) -> tuple[int, int]:
    """Rows and Columns."""
    rows, columns = obj.integer("Rows") or 0, obj.integer("Columns") or 0
    if rows < 1 or columns < 1:
        raise MissingAttribute("the object has no image matrix", attribute="Rows", uid=obj.uid)
    return rows, columns


def pixel_bytes(obj: Attributes, bits: int) -> bytes:
    """PixelData, after its length was found to be that of the stated matrix with ``bits`` per pixel.

    Raises Unsupported for a compressed or big-endian object, MissingAttribute and Inconsistent where there
    are no pixels, or more or fewer than stated (PS3.5 8.1.1; one byte of padding is allowed).
    """
    if obj.transfer_syntax not in NATIVE:
        raise Unsupported(
            "its pixels are compressed or big endian", attribute="TransferSyntaxUID",
            value=obj.transfer_syntax, uid=obj.uid, remedy="Send it as explicit or implicit VR little endian",
        )  # fmt: skip
    rows, columns = matrix(obj)
    voxels = rows * columns * frame_count(obj)
    if voxels > MAX_VOXELS:
        raise Unsupported(
            "the image is larger than any volume", attribute="Rows", value=str(voxels), uid=obj.uid
        )
    data = obj.value("PixelData")
    if not isinstance(data, bytes) or not data:
        raise MissingAttribute(
            "the object holds no pixels", attribute="PixelData", uid=obj.uid,
            remedy="The pixels were removed on the way: send it again from its source",
        )  # fmt: skip
    expected = (voxels * bits + 7) // 8
    if len(data) not in (expected, expected + expected % 2):
        raise Inconsistent(
            f"the object holds {len(data)} bytes of pixels where its matrix needs {expected}",
            attribute="PixelData", uid=obj.uid,
            remedy="It is truncated or its header is wrong: send it again",
        )  # fmt: skip
    return data[:expected]


def stored_frames(obj: Attributes) -> npt.NDArray[np.signedinteger]:
    """Stored values, shape (frames, rows, columns), as signed integers; bits above BitsStored are cleared.

    Raises Unsupported for colour or unusual bit layouts, and as :func:`pixel_bytes`.
    """
    allocated = obj.integer("BitsAllocated") or 0
    stored = obj.integer("BitsStored") or allocated
    high = obj.integer("HighBit")
    signed = obj.integer("PixelRepresentation") == 1
    if (obj.integer("SamplesPerPixel") or 1) != 1 or allocated not in (8, 16, 32):
        raise Unsupported(
            "only one sample of 8, 16 or 32 bits per pixel is read", attribute="BitsAllocated",
            value=str(allocated), uid=obj.uid,
        )  # fmt: skip
    if not 1 <= stored <= allocated or (high is not None and high != stored - 1):
        raise Unsupported("unusual bit layout", attribute="HighBit", value=str(high), uid=obj.uid)
    data = pixel_bytes(obj, allocated)
    kind = f"<{'i' if signed else 'u'}{allocated // 8}"
    values = np.frombuffer(data, dtype=kind).reshape(frame_count(obj), *matrix(obj))
    spare = allocated - stored
    if spare:  # overlays of old objects live above BitsStored; a shift back carries the sign
        values = np.right_shift(np.left_shift(values, spare), spare)
    return values.astype(np.int32 if allocated <= 16 else np.int64)
