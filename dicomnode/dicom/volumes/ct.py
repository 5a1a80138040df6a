"""CT: single-frame series, Enhanced CT and Legacy Converted Enhanced CT, as CT numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes, one_value, open_object, quiet
from dicomnode.dicom.header.headers import role_of
from dicomnode.dicom.volumes.enhanced import frames_of
from dicomnode.dicom.volumes.pixels import matrix, stored_frames
from dicomnode.dicom.volumes.stack import Plane, about_distance, plane_of, stack
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding, HuMap, Severity
from dicomnode.model.series import Role

AIR_HU = -1000.0
LOWEST_HU = -1024.0
"""The bottom of the CT scale; what lies below is a mark for "not scanned" (GE: -2000, -3024)."""
MIN_SLICES = 3

Slice = tuple[Plane, npt.NDArray[np.float32]]


@quiet()
def read_ct(paths: Sequence[Path]) -> tuple[HuMap, tuple[Finding, ...]]:
    """CT numbers (HU) of one series.

    Localisers among the slices are dropped. Slices are sorted along the normal and scaled one by one;
    padding and values below -1024 HU become air. Raises Refused for fewer than three slices, duplicates,
    gaps, unequal distances, gantry tilt, compressed pixels and images that are no CT numbers.
    """
    objects, findings = _images([open_object(path, pixels=True) for path in paths])
    uid = one_value(objects, "SeriesInstanceUID")
    for keyword in ("FrameOfReferenceUID", "Rows", "Columns"):
        one_value(objects, keyword)
    slices = [s for obj in objects for s in _slices(obj)]
    if len(slices) < MIN_SLICES:
        raise Inconsistent(
            f"{len(slices)} slices make no volume (at least {MIN_SLICES})",
            attribute="NumberOfFrames", uid=uid, remedy="Send the series again, whole",
        )  # fmt: skip
    grid, order, about_grid = stack([plane for plane, _ in slices], matrix(objects[0]), uid)
    about = findings + about_grid + about_distance(objects[0], grid, uid)
    return HuMap(grid, np.stack([slices[i][1] for i in order])), about


def _images(objects: list[Attributes]) -> tuple[list[Attributes], tuple[Finding, ...]]:
    """The slices of the volume: CT objects without localisers. Raises Unsupported for anything else."""
    images, dropped = [], 0
    for obj in objects:
        role, because = role_of(obj)
        if role is Role.CT:
            images.append(obj)
        elif "localiser" in because:
            dropped += 1
        else:
            raise Unsupported(because or f"an object of role {role} is no CT image", uid=obj.uid)
    if not images:
        raise Inconsistent("the series holds no CT slice")
    if not dropped:
        return images, ()
    sentence = f"{dropped} localiser image{'s were' if dropped > 1 else ' was'} left out of the CT series"
    return images, (
        Finding("localiser", Severity.NOTE, sentence, subject=images[0].text("SeriesInstanceUID")),
    )


def _slices(obj: Attributes) -> list[Slice]:
    stored = stored_frames(obj)
    if obj.text("SOPClassUID") not in sop.ENHANCED:
        if len(stored) != 1:
            raise Inconsistent("a CT image holds one frame", attribute="NumberOfFrames", uid=obj.uid)
        return [(plane_of(obj, obj, obj, obj.uid), hounsfield(obj, stored[0], obj))]
    return [
        (frame.plane(), hounsfield(obj, stored[k], frame.group("PixelValueTransformationSequence")))
        for k, frame in enumerate(frames_of(obj))
    ]


def hounsfield(
    obj: Attributes, stored: npt.NDArray[np.signedinteger], transformation: Attributes
) -> npt.NDArray[np.float32]:
    """CT numbers of one slice; padding (0028,0120 to 0121) and what is below -1024 HU as air.

    Raises MissingAttribute without a slope, Unsupported for a rescale type other than HU (or US, which
    legacy conversion writes for want of one).
    """
    slope, intercept = transformation.number("RescaleSlope"), transformation.number("RescaleIntercept")
    if not slope or intercept is None:
        raise MissingAttribute(
            "the CT image has no rescale slope and intercept", attribute="RescaleSlope", uid=obj.uid,
            remedy="CT numbers are not guessed: export it with its modality LUT",
        )  # fmt: skip
    kind = transformation.text("RescaleType").upper()
    if kind not in ("", "HU", "US"):
        raise Unsupported(
            "its values are no Hounsfield units", attribute="RescaleType", value=kind, uid=obj.uid
        )
    hu = stored * slope + intercept
    padding = obj.number("PixelPaddingValue")
    if padding is not None:
        limit = obj.number("PixelPaddingRangeLimit")
        low, high = sorted((padding, padding if limit is None else limit))
        hu[(stored >= low) & (stored <= high)] = AIR_HU
    hu[hu < LOWEST_HU] = AIR_HU
    return np.asarray(hu, dtype=np.float32)
