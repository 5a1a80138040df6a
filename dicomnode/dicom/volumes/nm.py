"""NM Image, RECON TOMO: one multi-frame object is one volume (PS3.3 A.5, C.8.4)."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.camera_facts import facts_of
from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.instants import acquired_at
from dicomnode.dicom.header.radiopharmaceutical import clock_of, read_injected
from dicomnode.dicom.volumes.pixels import frame_count, matrix, stored_frames
from dicomnode.dicom.volumes.scale import MAPPING, MAPPING_SHARED, scaling_of
from dicomnode.dicom.volumes.stack import Plane, axes, plane_of
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding, Grid, Severity
from dicomnode.model.series import EmissionVolume
from dicomnode.model.statements import LONGEST_SCAN, Fact, Statement, within

SLICE_VECTOR = 0x00540080


def read_nm(obj: Attributes, zone: ZoneInfo) -> EmissionVolume:
    """A reconstructed NM volume.

    NM has no statement of the decay reference: ``decay_reference`` stays empty (unless the vendor added
    DecayCorrection), and the calibration record of the camera supplies it. Raises Refused.
    """
    clock = clock_of(obj, zone)
    order, about_order = slice_order(obj)
    grid, flipped = nm_grid(obj)
    about_slices = slice_distance(obj, grid.spacing_mm)
    stored = stored_frames(obj)[order]
    scaling = scaling_of(obj, _mappings(obj), obj, obj.text("Units"), stored)
    values = scaling.apply(stored, obj.uid)
    started, injected = acquired_at(obj, clock), read_injected(obj, clock)
    if started.at is None:
        raise MissingAttribute(
            "the object does not say when it was acquired", attribute="AcquisitionDate", uid=obj.uid,
            remedy="Without it no time-activity curve can be made: export it with its dates",
        )  # fmt: skip
    duration, about_duration = duration_s(obj, scaling.unit)
    stated = obj.text("DecayCorrection").upper()
    return EmissionVolume(
        grid=grid,
        values=np.ascontiguousarray(values[::-1] if flipped else values),
        unit=scaling.unit,
        started_at=started.at,
        duration_s=duration,
        decay_reference=stated if stated in ("START", "ADMIN", "NONE") else "",
        decay_reference_at={"START": started.at, "ADMIN": injected.administered_at}.get(stated),
        nuclide=injected.nuclide,
        half_life_s=injected.half_life_s,
        series_uid=obj.text("SeriesInstanceUID"),
        frame_of_reference_uid=obj.text("FrameOfReferenceUID"),
        origin={
            "unit": scaling.origin,
            "geometry": "DetectorInformationSequence and signed SpacingBetweenSlices"
            + ("; slices reversed, so that the grid is right-handed" if flipped else ""),
            "time": "AcquisitionDate and AcquisitionTime",
            "decay_reference": "DecayCorrection" if stated else "not stated in NM",
        },
        facts=facts_of(obj),
        findings=(
            *started.findings,
            *injected.findings,
            *about_order,
            *about_duration,
            *about_slices,
            *scaling.findings,
        ),
    )


def slice_order(obj: Attributes) -> tuple[npt.NDArray[np.intp], tuple[Finding, ...]]:
    """Order of frames by SliceVector (0054,0080).

    Raises Unsupported for frames that vary in more than the slice (gates, energy windows), or whose first
    frame is not slice 1: the position in the object is that of the first frame, and the order would be
    ambiguous. Raises Inconsistent for a vector that is no permutation.
    """
    frames = frame_count(obj)
    pointer = obj.value("FrameIncrementPointer")
    pointers = [int(p) for p in pointer] if hasattr(pointer, "__iter__") else [int(pointer or 0)]
    if pointers not in ([SLICE_VECTOR], [0]) or (obj.integer("NumberOfEnergyWindows") or 1) > 1:
        raise Unsupported(
            "frames vary in more than the slice (gates, energy windows or detectors)",
            attribute="FrameIncrementPointer", value=obj.text("FrameIncrementPointer"), uid=obj.uid,
            remedy="Export one volume per object",
        )  # fmt: skip
    slices = obj.numbers("SliceVector") or tuple(range(1, frames + 1))
    if sorted(slices) != list(range(1, frames + 1)) or (obj.integer("NumberOfSlices") or frames) != frames:
        raise Inconsistent(
            f"the slice vector does not number the {frames} frames", attribute="SliceVector", uid=obj.uid
        )
    if slices[0] != 1:
        raise Unsupported(
            "the first frame is not slice 1, so it is ambiguous which end of the volume is stated",
            attribute="SliceVector", value=f"{slices[0]:g}", uid=obj.uid,
            remedy="Export slices in ascending order",
        )  # fmt: skip
    order = np.argsort(slices, kind="stable")
    if (order == np.arange(frames)).all():
        return order, ()
    sentence = "frames are not stored in the order of their slices; they were sorted by SliceVector"
    return order, (Finding("slice-order", Severity.NOTE, sentence, subject=obj.uid),)


SPACING = "SpacingBetweenSlices (0018,0088)"
THICKNESS = "SliceThickness (0018,0050)"
PIXELS = "PixelSpacing (0028,0030), since a SPECT's voxels are cubes"
SLICE_DISTANCE = Fact(
    name="the distance of the slices",
    rule="slice-distance-contradicts",
    places=(SPACING, THICKNESS, PIXELS),
    agree=within(relative=0.01),
    tolerance="1 %",
    absent="without SpacingBetweenSlices refused: the other places have no sign",
    remedy="release the cycle only where the volume has that height in the pictures of the report; else have "
    "the sender export it with its true SpacingBetweenSlices",
    show=lambda mm: f"{mm:.5g} mm",
    standard="PS3.3 C.8.4.15",
)


def slice_distance(obj: Attributes, spacing_mm: tuple[float, ...]) -> tuple[Finding, ...]:
    """Whether thickness and, where none is stated, square pixels agree with the voxel size (x, y, z)."""
    thickness = obj.number("SliceThickness")
    stated = [Statement(SPACING, spacing_mm[2]), Statement(THICKNESS, thickness or None)]
    if not thickness and abs(spacing_mm[0] - spacing_mm[1]) < 0.01 * spacing_mm[0]:
        stated.append(Statement(PIXELS, spacing_mm[0]))
    return SLICE_DISTANCE.settle(stated, obj.text("SeriesInstanceUID")).findings


def nm_grid(obj: Attributes) -> tuple[Grid, bool]:
    """Right-handed grid of an NM volume, and whether slices must be reversed for it.

    ``position of slice k = ImagePositionPatient + k * SpacingBetweenSlices * (row x column)``, signed
    (PS3.3 C.8.4.15): negative spacing stacks against the normal. The array is then reversed and the grid
    begins at its last slice, so that every voxel keeps its place and no later step meets a left-handed grid.
    """
    plane = detector_plane(obj)
    spacing = obj.number("SpacingBetweenSlices")
    if not spacing:
        raise MissingAttribute(
            "the direction in which slices are stacked is not stated", attribute="SpacingBetweenSlices",
            value=obj.text("SpacingBetweenSlices"), uid=obj.uid,
            remedy="SliceThickness has no sign and is not used: export with SpacingBetweenSlices",
        )  # fmt: skip
    row, column, normal = axes(plane.orientation, obj.uid)
    frames = frame_count(obj)
    if frames < 2:
        raise Inconsistent("one slice makes no volume", attribute="NumberOfFrames", uid=obj.uid)
    positions = [np.array(plane.position) + k * spacing * normal for k in (0, frames - 1)]
    return Grid(
        (frames, *matrix(obj)),
        (plane.spacing[1], plane.spacing[0], abs(spacing)),
        tuple(positions[1] if spacing < 0 else positions[0]),
        tuple(np.column_stack([row, column, normal]).ravel()),
    ), spacing < 0


DETECTOR = "the first DetectorInformationSequence item (0054,0022)"
OTHER_PLACE = "another item or the top level"


def _one_place(a: Plane, b: Plane) -> bool:
    return bool(
        np.allclose(a.position, b.position, atol=1e-2)
        and np.allclose(a.orientation, b.orientation, atol=1e-3)
    )


FIRST_PLANE: Fact[Plane] = Fact(
    name="the volume's position",
    rule="position-contradicts",
    places=(DETECTOR, OTHER_PLACE),
    agree=_one_place,
    tolerance="0.01 mm, 0.001 of a direction",
    absent="refused",
    remedy="Have the sender write one position",
    show=lambda plane: f"{plane.position} mm, {plane.orientation}",
    refused=True,
    standard="PS3.3 C.8.4.11",
)


def detector_plane(obj: Attributes) -> Plane:
    """Plane of the first slice, from Detector Information Sequence (0054,0022); else from the top level.

    Raises Inconsistent where several items, or items and top level, differ; MissingAttribute without any.
    """
    sources = [d for d in obj.items("DetectorInformationSequence") if d.numbers("ImagePositionPatient")]
    if obj.numbers("ImagePositionPatient"):
        sources.append(obj)
    planes = [plane_of(source, source, obj, obj.uid) for source in sources or [obj]]
    for plane in planes[1:]:
        FIRST_PLANE.settle([Statement(DETECTOR, planes[0]), Statement(OTHER_PLACE, plane)], obj.uid)
    return planes[0]


VIEWS = "NumberOfFramesInRotation (0054,0053) times AngularStep (0018,1144), for each detector"
ARC = "ScanArc (0018,1143)"
SCAN_ARC = Fact(
    name="the arc of the acquisition",
    rule="acquisition-arc-contradicts",
    places=(VIEWS, ARC),
    agree=within(relative=0.05),
    tolerance="5 %, which is less than a view of any acquisition; each detector may have its own share",
    absent="not compared",
    remedy="the number of views, and with it the duration, may be wrong: release the cycle only where the "
    "duration in the report is that of the scan; else have the sender correct it",
    show=lambda degrees: f"{degrees:.5g} degrees",
    standard="PS3.3 C.8.4.12",
)
SHORTEST_SPECT_S = 60.0
"""No SPECT of a therapy is shorter; less is the duration of one view or of one slice. Our own choice."""


def duration_s(obj: Attributes, unit: str) -> tuple[float | None, tuple[Finding, ...]]:
    """Duration of the acquisition: ActualFrameDuration times views, summed over rotations, s.

    Findings hold where counts become activity by it, and warn where the values are in Bq/mL. None where the
    number of views is not credible: some writers put the number of slices.
    """
    total = 0.0
    found: list[Finding] = []
    for rotation in obj.items("RotationInformationSequence"):
        frame_ms, views = rotation.number("ActualFrameDuration"), rotation.integer("NumberOfFramesInRotation")
        found += _about_arc(obj, rotation, views)
        if not frame_ms or not views:
            continue
        total += frame_ms * views / 1000.0
    if any(f.rule == "acquisition-duration" for f in found):
        total = 0.0
    elif total and not SHORTEST_SPECT_S <= total <= LONGEST_SCAN.total_seconds():
        found.append(_odd_duration(obj, total))
    severity = Severity.WARNING if unit == "Bq/mL" else Severity.HOLD
    return (total or None), tuple(replace(f, severity=severity) for f in found)


def _about_arc(obj: Attributes, rotation: Attributes, views: int | None) -> tuple[Finding, ...]:
    arc, step = rotation.number("ScanArc"), rotation.number("AngularStep")
    if not arc or not step or not views:
        return ()
    if views == frame_count(obj) and abs(arc / step - views) > 1.0:
        sentence = (
            f"the rotation states {views} views, which is the number of slices, but an arc of {arc:g} "
            f"degrees in steps of {step:g}: the duration of the acquisition is unknown"
        )
        return (Finding("acquisition-duration", Severity.HOLD, sentence, subject=obj.uid),)
    heads = max(1, obj.integer("NumberOfDetectors") or 1, len(obj.items("DetectorInformationSequence")))
    of_views = views * abs(step)
    if abs(of_views * heads - arc) <= abs(of_views - arc):  # each head of a camera has its share of the arc
        of_views *= heads
    stated = [Statement(VIEWS, of_views), Statement(ARC, arc)]
    return SCAN_ARC.settle(stated, obj.text("SeriesInstanceUID")).findings


def _odd_duration(obj: Attributes, total_s: float) -> Finding:
    sentence = (
        f"ActualFrameDuration times NumberOfFramesInRotation makes {total_s:g} s for the whole SPECT: the "
        f"frame duration is in another unit than ms, or that of something else; have the sender correct it"
    )
    return Finding(
        "acquisition-duration", Severity.HOLD, sentence, total_s, SHORTEST_SPECT_S, "s", obj.uid,
        "PS3.3 C.8.4.12",
    )  # fmt: skip


def _mappings(obj: Attributes) -> dict[str, tuple[Attributes, ...]]:
    """Real world value mappings, at the top level and in the shared functional groups."""
    shared = obj.first("SharedFunctionalGroupsSequence")
    key = "RealWorldValueMappingSequence"
    return {MAPPING: obj.items(key), MAPPING_SHARED: shared.items(key)}
