"""Where projections lie in the patient: the axis of rotation, the direction of rows, the grid.

Image Position (Patient) of a raw TOMO object is written in three ways, told apart here: the height of the
first row alone (x = y = 0: Siemens, Table Height gives the axis), the detector's own corner, or the corner
of the volume to come. Whichever it was is named in the origin; the outline of the patient's CT against the
projections (recon.outline) has the last word on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.volumes.pixels import matrix
from dicomnode.errors import Inconsistent, MissingAttribute
from dicomnode.model import Finding, Grid, Severity

SAME = 0.98
"""Cosine of 11 degrees: directions of rows that differ by more are different."""


@dataclass(frozen=True)
class Placement:
    """The grid, whether its rows run from head to feet, and how that was found."""

    grid: Grid
    head_on_top: bool
    origin: str
    findings: tuple[Finding, ...] = ()


def pixel_mm(obj: Attributes) -> tuple[float, float]:
    """Pixel size (transaxial, axial), mm: Pixel Spacing is rows first. Raises MissingAttribute."""
    spacing = obj.numbers("PixelSpacing")
    if len(spacing) != 2 or min(spacing) <= 0:
        raise MissingAttribute(
            "the size of a pixel is not stated",
            attribute="PixelSpacing",
            value=obj.text("PixelSpacing"),
            uid=obj.uid,
        )
    return spacing[1], spacing[0]


def place(
    obj: Attributes, angles_deg: tuple[float, ...], radii_mm: tuple[float, ...], position: str, turned: bool
) -> Placement:
    """Grid of the reconstruction in patient coordinates.

    Parameters
    ----------
    angles_deg, radii_mm : first view of each detector (angle about the patient)
    position : HFS, HFP, FFS or FFP
    turned : raw frames are stored as the gantry sees them, with the feet on top

    Raises Inconsistent where rows are stated to run in a direction in which views at that angle cannot.
    """
    rows, columns = matrix(obj)
    across, along = pixel_mm(obj)
    planes = _planes(obj)
    head_on_top, tracked, about_rows = _orientation(planes, angles_deg, turned, obj.uid)
    centre_xy, how, about_axis = _axis(obj, planes, tracked, radii_mm, position)
    half_x, half_z = (columns - 1) / 2 * across, (rows - 1) * along
    tops = [p[0][2] for p in planes]
    if tops:
        if max(tops) - min(tops) > along / 2:
            raise Inconsistent(
                f"detectors lie {max(tops) - min(tops):.1f} mm apart along the patient",
                attribute="ImagePositionPatient", uid=obj.uid,
            )  # fmt: skip
        z = tops[0] - half_z if head_on_top else tops[0]
    else:
        z = -half_z / 2
    grid = Grid(
        (rows, columns, columns),
        (across, across, along),
        (centre_xy[0] - half_x, centre_xy[1] - half_x, z),
    )
    return Placement(grid, head_on_top, how, about_rows + about_axis)


Plane = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]


def _planes(obj: Attributes) -> list[Plane]:
    """Position and orientation (2 x 3, None where not stated) of each detector that states a position."""
    planes: list[Plane] = []
    for source in (*obj.items("DetectorInformationSequence"), obj):
        position, direction = (
            source.numbers("ImagePositionPatient"),
            source.numbers("ImageOrientationPatient"),
        )
        if len(position) == 3 and not (planes and source is obj):
            planes.append(
                (np.array(position), np.array(direction).reshape(2, 3) if len(direction) == 6 else None)
            )
    return planes


def _orientation(
    planes: list[Plane], angles_deg: tuple[float, ...], turned: bool, uid: str
) -> tuple[bool, bool, tuple[Finding, ...]]:
    """Whether the head is on top, and whether rows are stated view by view (and agree with the angles).

    Seen from the detector at angle t with the head on top, rows run along (-cos t, sin t, 0). A direction
    that is the same for all detectors although they stand elsewhere is no statement about the views.
    """
    stated = [p[1] for p in planes]
    if not stated or any(s is None for s in stated):
        return not turned, False, ()
    directions = [s for s in stated if s is not None]
    upright = [float(d[1][2]) for d in directions]
    if min(abs(u) for u in upright) < SAME:
        return not turned, False, ()
    if max(upright) > 0 > min(upright):
        raise Inconsistent(
            "one detector has the head on top and another the feet",
            attribute="ImageOrientationPatient", uid=uid,
        )  # fmt: skip
    head_on_top = upright[0] < 0
    if len(directions) != len(angles_deg) or (len(directions) > 1 and _one(directions)):
        return head_on_top, False, ()
    t = np.deg2rad(angles_deg)
    expected = np.stack([-np.cos(t), np.sin(t)], axis=1) * (1.0 if head_on_top else -1.0)
    agreement = [float(d[0][:2] @ e) for d, e in zip(directions, expected, strict=True)]
    if min(agreement) > SAME:
        return head_on_top, True, ()
    if len(directions) == 1 and abs(float(directions[0][0][0])) > SAME:
        return head_on_top, False, ()  # the customary (1, 0, 0) of writers who do not turn it
    implied = [float(np.rad2deg(np.arctan2(d[0][1], -d[0][0])) % 360) for d in directions]
    raise Inconsistent(
        f"rows are stated as seen from {', '.join(f'{a:.0f}' for a in implied)} degrees, but the detectors "
        f"start at {', '.join(f'{a:.0f}' for a in angles_deg)} degrees about the patient",
        attribute="ImageOrientationPatient", uid=uid,
        remedy="If this camera counts angles by the gantry and not by the patient, say so for it",
    )  # fmt: skip


def _one(directions: list[npt.NDArray[np.float64]]) -> bool:
    return all(float(d[0] @ directions[0][0]) > SAME for d in directions)


def _axis(
    obj: Attributes, planes: list[Plane], tracked: bool, radii_mm: tuple[float, ...], position: str
) -> tuple[tuple[float, float], str, tuple[Finding, ...]]:
    """The axis of rotation (x, y) in patient coordinates, mm, and how it was found."""
    uid, (_, columns), (across, _) = obj.uid, matrix(obj), pixel_mm(obj)
    if not planes:
        return (0.0, 0.0), "not stated", (_unplaced("states no position", uid),)
    corners = np.array([p[0][:2] for p in planes])
    if np.abs(corners).max() < 1e-3:
        height = obj.first("RotationInformationSequence").number("TableHeight")
        if height is None:
            return (0.0, 0.0), "position of the first row; axis at x = y = 0", (
                _unplaced("states neither the axis nor the height of the table", uid),
            )  # fmt: skip
        y = height if position.endswith("P") else -height
        return (0.0, y), "position of the first row; axis above the table by Table Height", ()
    if tracked and len(planes) == len(radii_mm):
        axes = np.array([_from_corner(p, r, columns, across) for p, r in zip(planes, radii_mm, strict=True)])
        middle = axes.mean(axis=0)
        if float(np.abs(axes - middle).max()) < across:
            return (float(middle[0]), float(middle[1])), "position of the detectors' first rows", ()
    if np.abs(corners - corners[0]).max() < 1e-3:
        x, y = corners[0] + (columns - 1) / 2 * across
        return (float(x), float(y)), "position taken as the corner of the volume to reconstruct", ()
    return (0.0, 0.0), "not understood", (_unplaced("states positions that fit no known convention", uid),)


def _from_corner(plane: Plane, radius_mm: float, columns: int, across: float) -> npt.NDArray[np.float64]:
    corner, direction = plane
    if direction is None:
        raise Inconsistent("a detector without orientation was taken for one with it")
    inwards = np.cross(direction[0], direction[1])
    return np.asarray((corner + direction[0] * (columns - 1) / 2 * across + inwards * radius_mm)[:2])


def _unplaced(what: str, uid: str) -> Finding:
    sentence = (
        f"the acquisition {what}: where the CT lies in it is not known from the headers. Register the CT by "
        f"hand or send the acquisition with its position"
    )
    return Finding("projections-unplaced", Severity.HOLD, sentence, subject=uid)
