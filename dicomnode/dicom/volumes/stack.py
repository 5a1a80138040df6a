"""Slices in the patient, and the grid that they make.

The rule, for every image: the slice's place is ImagePositionPatient along row x column. SliceLocation,
SliceThickness and InstanceNumber are never used for geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding, Grid, Severity
from dicomnode.model.statements import Fact, Statement, within

UNEVEN = 0.02
"""A slice may lie this fraction of the slice distance off the uniform grid from first to last slice. GE
whole-body PET has seams between beds of 3.19 and 3.29 mm in 3.27 mm (0.04 mm, 1.2 % off): taken as
uniform, since resampling would blur every slice to mend a shift that no scanner resolves."""
SHEAR = 0.005
"""Largest sideways shift per distance along the normal: more is gantry tilt."""
UNEVEN_NOTE = 0.001

BY_POSITIONS, BY_SPACING = "ImagePositionPatient (0020,0032)", "SpacingBetweenSlices (0018,0088)"
PLANE_DISTANCE = Fact(
    name="the distance of the slices",
    rule="plane-distance-contradicts",
    places=(BY_POSITIONS, BY_SPACING),
    agree=within(relative=0.02),
    tolerance="2 %",
    absent="the positions alone count; SliceThickness is not the distance of CT or PET slices",
    remedy="release the cycle only where the volume has that height in the pictures of the report; else have "
    "the sender correct the series",
    show=lambda mm: f"{mm:.5g} mm",
    standard="PS3.3 C.7.6.2.1 and C.7.6.16.2.1",
)

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """One image plane.

    Attributes
    ----------
    position : centre of the first voxel, mm
    orientation : direction of a row, then of a column (ImageOrientationPatient)
    spacing : PixelSpacing: between rows, then between columns, mm
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


def plane_of(position: Attributes, orientation: Attributes, measures: Attributes, uid: str) -> Plane:
    """A plane from the three items (or data sets) that hold its attributes. Raises MissingAttribute."""
    plane = Plane(
        position.numbers("ImagePositionPatient"),
        orientation.numbers("ImageOrientationPatient"),
        measures.numbers("PixelSpacing"),
    )
    for value, count, keyword in (
        (plane.position, 3, "ImagePositionPatient"),
        (plane.orientation, 6, "ImageOrientationPatient"),
        (plane.spacing, 2, "PixelSpacing"),
    ):
        if len(value) != count:
            raise MissingAttribute(
                "the image does not say where it lies in the patient", attribute=keyword, uid=uid,
                remedy="Export it with its geometry; a derived or reoriented copy may have lost it",
            )  # fmt: skip
    if min(plane.spacing) <= 0:
        raise Inconsistent("pixels have no size", attribute="PixelSpacing", value=str(plane.spacing), uid=uid)
    return plane


def axes(orientation: Sequence[float], uid: str) -> tuple[Vector, Vector, Vector]:
    """Unit vectors along a row, along a column, and row x column (PS3.3 C.7.6.2.1.1)."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if min(lengths) < 0.99 or max(lengths) > 1.01 or abs(float(row @ column)) > 1e-3:
        raise Inconsistent(
            "rows and columns are not orthogonal unit vectors", attribute="ImageOrientationPatient",
            value=str(tuple(orientation)), uid=uid,
        )  # fmt: skip
    row = row / lengths[0]
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return row + 0.0, column + 0.0, np.cross(row, column) + 0.0  # + 0.0: no negative zeros


def stack(
    planes: Sequence[Plane], matrix: tuple[int, int], uid: str
) -> tuple[Grid, npt.NDArray[np.intp], tuple[Finding, ...]]:
    """The right-handed grid of parallel planes, and their order along the normal.

    Raises Inconsistent for planes that are not parallel, lie in one place or leave gaps; Unsupported for
    gantry tilt, which is not resampled here.
    """
    first = planes[0]
    row, column, normal = axes(first.orientation, uid)
    for plane in planes:
        if not np.allclose(plane.orientation, first.orientation, atol=1e-3):
            raise Inconsistent(
                "slices of one series are not parallel", attribute="ImageOrientationPatient", uid=uid
            )
        if not np.allclose(plane.spacing, first.spacing, rtol=1e-3):
            raise Inconsistent("slices of one series differ in pixel size", attribute="PixelSpacing", uid=uid)
    positions = np.array([plane.position for plane in planes])
    order = np.argsort(positions @ normal, kind="stable")
    along = (positions @ normal)[order]
    step, findings = _step(along, uid)
    _refuse_tilt(positions[order], along, normal, uid)
    grid = Grid(
        (len(planes), *matrix),
        (first.spacing[1], first.spacing[0], step),
        tuple(positions[order[0]]),
        tuple(np.column_stack([row, column, normal]).ravel()),
    )
    return grid, order, findings


def about_distance(measures: Attributes, grid: Grid, uid: str) -> tuple[Finding, ...]:
    """Whether SpacingBetweenSlices agrees with the positions of the slices, from which the grid was made."""
    stated = measures.number("SpacingBetweenSlices")
    two = [
        Statement(BY_POSITIONS, grid.spacing_mm[2]),
        Statement(BY_SPACING, abs(stated) if stated else None),
    ]
    return PLANE_DISTANCE.settle(two, uid).findings


def _step(along: Vector, uid: str) -> tuple[float, tuple[Finding, ...]]:
    """Distance of slices at ``along`` (ascending, mm). Raises Inconsistent where it is not one distance."""
    if len(along) < 2:
        raise Inconsistent("one slice makes no volume", attribute="ImagePositionPatient", uid=uid)
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if float(gaps.min()) < 0.1 * usual or usual < 1e-3:
        where = float(along[int(gaps.argmin())])
        raise Inconsistent(
            f"two slices lie in one place ({where:.2f} mm along the normal)",
            attribute="ImagePositionPatient", uid=uid,
            remedy="Two reconstructions or phases share one series: send the wanted one on its own",
        )  # fmt: skip
    step = float(along[-1] - along[0]) / (len(along) - 1)
    off = float(np.abs(along - np.linspace(along[0], along[-1], len(along))).max())
    if off > UNEVEN * step:
        k = int(gaps.argmax())
        raise Inconsistent(
            f"slice distances run from {gaps.min():.3f} to {gaps.max():.3f} mm; the widest gap is between "
            f"{along[k]:.2f} and {along[k + 1]:.2f} mm: slices are missing or unevenly spaced",
            attribute="ImagePositionPatient", uid=uid, remedy="Send the series again, whole",
        )  # fmt: skip
    if off <= UNEVEN_NOTE * step:
        return step, ()
    sentence = (
        f"slices lie up to {off:.3f} mm off a uniform spacing of {step:.4f} mm and are taken as uniform, "
        f"not resampled"
    )
    return step, (Finding("uneven-slices", Severity.NOTE, sentence, off, UNEVEN * step, "mm", uid),)


def _refuse_tilt(positions: Vector, along: Vector, normal: Vector, uid: str) -> None:
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    shift, extent = float(np.linalg.norm(sideways, axis=1).max()), float(along[-1] - along[0])
    if shift > max(SHEAR * extent, 0.05):
        raise Unsupported(
            f"slices are shifted sideways by {shift:.1f} mm over {extent:.1f} mm: gantry tilt",
            attribute="ImagePositionPatient", uid=uid,
            remedy="Send a reconstruction without tilt, or one that was resampled to straight slices",
        )  # fmt: skip
