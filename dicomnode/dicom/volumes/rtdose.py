"""Reading absorbed dose from RT Dose (PS3.3 A.18.3, C.8.8.3), both forms of its frame offsets."""

from __future__ import annotations

from dataclasses import dataclass
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
from dicomnode.model.statements import Fact, Statement, within

FIRST_OFFSET = "the first GridFrameOffsetVector (3004,000C)"
POSITION_Z = "z of ImagePositionPatient (0020,0032)"
FIRST_PLANE = Fact(
    name="the place of the first dose plane",
    rule="dose-plane-contradicts",
    places=(FIRST_OFFSET, POSITION_Z),
    agree=within(absolute=0.01),
    tolerance="0.01 mm; a first offset of 0 makes all of them relative to the position",
    absent="refused without either",
    remedy="Have it exported again with offsets that begin at 0 or at the z of its position",
    show=lambda mm: f"{mm:.6g} mm",
    refused=True,
    standard="PS3.3 C.8.8.3.2",
)
DOSE_TYPE = Fact(
    name="the kind of the doses to compare",
    rule="dose-type-contradicts",
    places=("DoseType (3004,0004) of the evaluated dose", "DoseType (3004,0004) of the reference"),
    agree=str.__eq__,
    tolerance="none; a file of Gy counts as PHYSICAL",
    absent="counts as PHYSICAL",
    remedy="Compare absorbed dose (PHYSICAL) with absorbed dose, or two biologically effective doses",
    refused=True,
    standard="PS3.3 C.8.8.3",
)
DOSE_SUM = Fact(
    name="what the doses to compare sum up",
    rule="dose-summation-contradicts",
    places=(
        "DoseSummationType (3004,000A) of the evaluated dose",
        "DoseSummationType (3004,000A) of the reference",
    ),
    agree=str.__eq__,
    tolerance="none",
    absent="a file of Gy states none and is not compared in this",
    remedy="Compare two doses of one scope: a beam or a fraction is a part of a plan",
    refused=True,
    standard="PS3.3 C.8.8.3",
)
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
    along = np.array(offsets) - offsets[0]
    _, _, normal = axes(first.orientation, obj.uid)
    if offsets[0] != 0.0:
        if not np.allclose(first.orientation, AXIAL, atol=1e-4):
            raise Inconsistent(
                "absolute frame offsets are defined for axial doses only", attribute="GridFrameOffsetVector",
                value=f"{offsets[0]:g}", uid=obj.uid,
                remedy="Export it with offsets relative to the first frame",
            )  # fmt: skip
        stated = [Statement(FIRST_OFFSET, offsets[0]), Statement(POSITION_Z, first.position[2])]
        FIRST_PLANE.settle(stated, obj.uid)
    position = np.array(first.position)
    return [Plane(tuple(position + d * normal), first.orientation, first.spacing) for d in along]


@dataclass(frozen=True)
class DoseKind:
    """What a dose map holds: DoseType, and DoseSummationType or None where a plain file states none."""

    dose_type: str = "PHYSICAL"
    summation: str | None = None


@quiet()
def kind_of_dose(path: Path) -> DoseKind:
    """DoseType and DoseSummationType of an RT Dose object. Raises Unsupported for DoseType ERROR."""
    obj = open_object(path, pixels=False)
    kind = obj.text("DoseType").upper() or "PHYSICAL"
    if kind == "ERROR":
        raise Unsupported("the object holds differences of doses, no dose", attribute="DoseType", value=kind,
                          uid=obj.uid, remedy="Give the dose itself")  # fmt: skip
    return DoseKind(kind, obj.text("DoseSummationType").upper() or None)


def refuse_other_kind(evaluated: DoseKind, reference: DoseKind) -> None:
    """Raises Inconsistent where two doses are not of one kind and scope."""
    types, sums = DOSE_TYPE.places, DOSE_SUM.places
    DOSE_TYPE.settle(
        [Statement(types[0], evaluated.dose_type), Statement(types[1], reference.dose_type)], "these two"
    )
    DOSE_SUM.settle(
        [Statement(sums[0], evaluated.summation), Statement(sums[1], reference.summation)], "these two"
    )


def frame_of_reference(path: Path) -> str:
    """Frame of reference UID that an RTSTRUCT, SEG or RT Dose object lies in. Raises Refused where none."""
    obj = open_object(path, pixels=False)
    uid = obj.text("FrameOfReferenceUID")
    if obj.text("SOPClassUID") == sop.RTSTRUCT:
        uid = obj.first("ReferencedFrameOfReferenceSequence").text("FrameOfReferenceUID") or uid
    if not uid:
        raise Refused("the object names no frame of reference", attribute="FrameOfReferenceUID", uid=obj.uid)
    return uid
