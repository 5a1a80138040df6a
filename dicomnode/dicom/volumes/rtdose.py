"""Reading absorbed dose from RT Dose (PS3.3 A.18.3, C.8.8.3), both forms of its frame offsets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes, open_object, quiet
from dicomnode.dicom.volumes.pixels import frame_count, matrix, stored_frames
from dicomnode.dicom.volumes.stack import Plane, axes, plane_of, stack
from dicomnode.dicom.write.rtdose import RT_DOSE_STORAGE
from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported
from dicomnode.model import Grid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@quiet()
def read_rtdose(path: Path) -> tuple[Grid, npt.NDArray[np.float32], str]:
    """Grid, dose in Gy (z, y, x), and frame of reference UID of one RT Dose object.

    Offsets that start at 0 are relative, along row x column; others are absolute z coordinates, which
    C.8.8.3.2 allows for axial doses only.

    Raises
    ------
    Unsupported : another kind of object, units other than GY, or a dose that is no volume
    Inconsistent, MissingAttribute : a geometry or scaling that contradicts itself or is missing
    """
    obj = open_object(path, pixels=True)
    if obj.text("SOPClassUID") != RT_DOSE_STORAGE:
        raise Unsupported("this is no RT Dose object", attribute="SOPClassUID",
                          value=obj.text("SOPClassUID"), uid=path.name)  # fmt: skip
    if obj.text("DoseUnits").upper() != "GY":
        raise Unsupported("only absolute dose is compared", attribute="DoseUnits",
                          value=obj.text("DoseUnits"), uid=obj.uid, remedy="Export it in Gy")  # fmt: skip
    scaling = obj.number("DoseGridScaling")
    if scaling is None or scaling <= 0:
        raise MissingAttribute("the dose has no positive scaling", attribute="DoseGridScaling", uid=obj.uid)
    grid, order, _ = stack(_planes(obj), matrix(obj), obj.uid)
    gy = stored_frames(obj)[order] * scaling
    return grid, gy.astype(np.float32), obj.text("FrameOfReferenceUID")


def _planes(obj: Attributes) -> list[Plane]:
    first = plane_of(obj, obj, obj, obj.uid)
    offsets = obj.numbers("GridFrameOffsetVector")
    frames = frame_count(obj)
    if len(offsets) != frames:
        raise Inconsistent(
            f"{len(offsets)} frame offsets for {frames} frames",
            attribute="GridFrameOffsetVector",
            uid=obj.uid,
        )
    if frames < 2:
        raise Unsupported("a dose of one plane is no volume", attribute="NumberOfFrames", uid=obj.uid)
    along = np.array(offsets)
    _, _, normal = axes(first.orientation, obj.uid)
    if offsets[0] != 0.0:
        if not np.allclose(first.orientation, AXIAL, atol=1e-4):
            raise Inconsistent(
                "absolute frame offsets are defined for axial doses only", attribute="GridFrameOffsetVector",
                value=f"{offsets[0]:g}", uid=obj.uid,
                remedy="Export it with offsets relative to the first frame",
            )  # fmt: skip
        along = along - first.position[2]
    position = np.array(first.position)
    return [Plane(tuple(position + d * normal), first.orientation, first.spacing) for d in along]


def frame_of_reference(path: Path) -> str:
    """Frame of reference UID that an RTSTRUCT, SEG or RT Dose object lies in. Raises Refused where none."""
    obj = open_object(path, pixels=False)
    uid = obj.text("FrameOfReferenceUID")
    if obj.text("SOPClassUID") == sop.RTSTRUCT:
        uid = obj.first("ReferencedFrameOfReferenceSequence").text("FrameOfReferenceUID") or uid
    if not uid:
        raise Refused("the object names no frame of reference", attribute="FrameOfReferenceUID", uid=obj.uid)
    return uid
