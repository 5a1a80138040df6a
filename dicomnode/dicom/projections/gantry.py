"""Where the detectors of a SPECT camera stood about the patient.

PS3.3 C.8.4.12 counts Start Angle about the *patient*: 0 at the back, growing towards the patient's left,
CW = decreasing. So at angle t the detector stands at (sin t, cos t) in patient coordinates (x left,
y posterior), however the patient lies. The one real header with a feet-first patient that we hold
(Symbia Intevo, cardiac) agrees: its arcs, 239 to 135 and 135 to 31 degrees, lie about the heart only when
read so, and its Image Orientation (Patient) turns with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.orientation import stated_position
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding, Severity

AnglesCounted = Literal["patient", "gantry"]
"""Whom Start Angle refers to: the patient, as the standard has it, or the gantry seen from its front."""

RADIUS_MM = (60.0, 600.0)
"""No detector comes nearer to the axis, and none goes farther."""

# Gantry angle g to patient angle: sign * g + offset; and whether head is at the bottom of the raw frame.
# Seen from the gantry's front, 0 below the patient, counter-clockwise; the row on top is the one deepest
# in the gantry. Follows from turning the patient; identical to the standard for HFS.
_TURNED = {
    "HFS": (1, 0.0, False),
    "HFP": (1, 180.0, False),
    "FFS": (-1, 0.0, True),
    "FFP": (-1, 180.0, True),
}

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rotation:
    """One item of the Rotation Information Sequence."""

    start_deg: float
    step_deg: float
    """Signed: negative for CW."""
    views: int | None
    frame_s: float
    arc_deg: float | None
    traverse_mm: float | None
    radii_mm: tuple[float, ...]


def patient_position(obj: Attributes) -> tuple[str, tuple[Finding, ...]]:
    """HFS, HFP, FFS or FFP, from Patient Position (0018,5100) and the code sequences of C.8.4.6.

    Raises Inconsistent where they contradict each other, Unsupported for a patient who lies on the side.
    """
    position = stated_position(obj, refused=True).value or ""
    if position and position not in _TURNED:
        raise Unsupported(
            "only HFS, HFP, FFS and FFP are reconstructed", attribute="PatientPosition", value=position,
            uid=obj.uid,
        )  # fmt: skip
    if position:
        return position, ()
    sentence = "the object does not say how the patient lay; head first supine was assumed"
    return "HFS", (Finding("patient-position", Severity.WARNING, sentence, subject=obj.uid),)


def rotations(obj: Attributes) -> tuple[Rotation, ...]:
    """Rotations in the order that the Rotation Vector counts. Raises MissingAttribute, Inconsistent."""
    items = obj.items("RotationInformationSequence")
    stated = obj.integer("NumberOfRotations") or len(items)
    if not items or stated != len(items):
        raise MissingAttribute(
            f"{stated} rotations are stated and {len(items)} described",
            attribute="RotationInformationSequence", uid=obj.uid,
            remedy="Without them no view has an angle: export it with its rotation information",
        )  # fmt: skip
    return tuple(_rotation(item, obj.uid) for item in items)


def _rotation(item: Attributes, uid: str) -> Rotation:
    start, step = item.number("StartAngle"), item.number("AngularStep")
    direction = item.text("RotationDirection").upper()
    if start is None or not step or direction not in ("CW", "CC", "CCW"):
        missing = "StartAngle" if start is None else "AngularStep" if not step else "RotationDirection"
        raise MissingAttribute(
            "a rotation does not say where its views are",
            attribute=missing,
            value=item.text(missing),
            uid=uid,
        )
    if step < 0:
        raise Inconsistent(
            "the angular step is negative", attribute="AngularStep", value=f"{step:g}", uid=uid
        )
    milliseconds = item.number("ActualFrameDuration") or 0.0
    return Rotation(
        start,
        -step if direction == "CW" else step,
        item.integer("NumberOfFramesInRotation"),
        max(0.0, milliseconds) / 1000.0,
        item.number("ScanArc"),
        item.number("TableTraverse"),
        item.numbers("RadialPosition"),
    )


def one_bed(turns: tuple[Rotation, ...], pixel_mm: float, uid: str) -> None:
    """Refuse rotations at several table positions, and several rotations at unknown ones."""
    if len(turns) < 2:
        return
    places = [t.traverse_mm for t in turns]
    if None in places:
        raise MissingAttribute(
            f"{len(turns)} rotations and no table position: they may be several beds",
            attribute="TableTraverse", uid=uid,
        )  # fmt: skip
    known = [p for p in places if p is not None]
    if max(known) - min(known) > pixel_mm / 2:
        raise Unsupported(
            f"the object holds {len({round(p) for p in known})} bed positions over "
            f"{max(known) - min(known):.0f} mm: each is a reconstruction of its own",
            attribute="TableTraverse", uid=uid,
            remedy="Export every bed position as an object of its own",
        )  # fmt: skip


def start_angles(obj: Attributes, turns: tuple[Rotation, ...]) -> tuple[float, ...]:
    """Start angle of each detector as stated, for the first rotation."""
    detectors = obj.items("DetectorInformationSequence")
    stated = [d.number("StartAngle") for d in detectors]
    if len(stated) < 2:
        return (turns[0].start_deg if not stated or stated[0] is None else stated[0],)
    if None in stated:
        raise MissingAttribute(
            f"{len(stated)} detectors, and not each states where it starts",
            attribute="StartAngle",
            uid=obj.uid,
        )
    angles = tuple(a for a in stated if a is not None)
    if len({round(a, 3) % 360 for a in angles}) < len(angles):
        raise Inconsistent(
            "two detectors start at the same angle", attribute="StartAngle", value=str(angles), uid=obj.uid
        )
    return angles


def radii_mm(detector: Attributes, turn: Rotation, views: int, uid: str) -> Vector:
    """Distance of the detector's face from the axis for each view: one value, or one per view."""
    radii = detector.numbers("RadialPosition") or turn.radii_mm
    if not radii:
        raise MissingAttribute(
            "the object does not say how far the detector stood from the axis", attribute="RadialPosition",
            uid=uid, remedy="Resolution depends on it: export the acquisition with its orbit",
        )  # fmt: skip
    if len(radii) not in (1, views):
        raise Inconsistent(
            f"{len(radii)} radial positions for {views} views", attribute="RadialPosition", uid=uid
        )
    low, high = RADIUS_MM
    if not all(low <= r <= high for r in radii):
        worst = min(radii) if min(radii) < low else max(radii)
        raise Inconsistent(
            f"a detector {worst:g} mm from the axis is implausible ({low:g} to {high:g} mm)",
            attribute="RadialPosition", value=f"{worst:g}", uid=uid,
            remedy="It is in millimetres by the standard: check how the camera writes it",
        )  # fmt: skip
    return np.resize(np.array(radii), views)


def patient_angle(stated_deg: npt.ArrayLike, position: str, counted: AnglesCounted) -> Vector:
    """Angle about the patient of an angle as ``counted``."""
    sign, offset, _ = _TURNED[position] if counted == "gantry" else (1, 0.0, False)
    return (sign * np.asarray(stated_deg, dtype=np.float64) + offset) % 360.0


def turned_over(position: str, counted: AnglesCounted) -> bool:
    """True where raw frames have the feet on top, so that rows and columns must both be reversed."""
    return counted == "gantry" and _TURNED[position][2]


def parallel_collimator(obj: Attributes) -> tuple[str, tuple[Finding, ...]]:
    """Name of the one parallel-hole collimator of all detectors (0018,1180 and 1181).

    Raises Unsupported for any other type, Inconsistent where detectors differ. A type that is not stated
    is taken as parallel, with a warning, unless a focal distance is stated.
    """
    detectors = obj.items("DetectorInformationSequence") or (obj,)
    kinds = {d.text("CollimatorType").upper() for d in detectors}
    focal = max((abs(d.number("FocalDistance") or 0.0) for d in detectors), default=0.0)
    other = sorted(kinds - {"PARA", "", "UNKN"})
    if other or (focal and "PARA" not in kinds):
        kind = other[0] if other else f"(not stated), focal distance {focal:g} mm"
        raise Unsupported(
            "only parallel-hole collimators are modelled; these views are focused, slanted or magnified",
            attribute="CollimatorType", value=kind, uid=obj.uid,
            remedy="Use the vendor's reconstruction, or acquire with a parallel-hole collimator",
        )  # fmt: skip
    names = {d.text("CollimatorGridName") for d in detectors}
    # Siemens names each head's collimator by its serial number: names may differ, types may not
    name = sorted(names)[0] if len(names) == 1 or all(n.startswith("@") for n in names) else ""
    if len(kinds) > 1 or not (name or names == {""}):
        raise Inconsistent(
            "detectors carry different collimators", attribute="CollimatorGridName",
            value=", ".join(sorted(names)), uid=obj.uid,
        )  # fmt: skip
    if kinds == {"PARA"}:
        return name, ()
    sentence = "the type of the collimator is not stated; parallel holes were assumed"
    return name, (Finding("collimator-type", Severity.WARNING, sentence, subject=obj.uid),)
