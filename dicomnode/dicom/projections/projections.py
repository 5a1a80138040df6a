"""Raw SPECT projections: NM Image, TOMO (PS3.3 A.5, C.8.4), freed of how a camera stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.camera_facts import facts_of
from dicomnode.dicom.header.dataset import Attributes, one_value, open_object, quiet
from dicomnode.dicom.header.headers import role_of
from dicomnode.dicom.header.instants import acquired_at
from dicomnode.dicom.header.radiopharmaceutical import clock_of, read_injected
from dicomnode.dicom.projections.energy_windows import energy_windows, peak_window
from dicomnode.dicom.projections.frames import Key, frame_index
from dicomnode.dicom.projections.gantry import (
    AnglesCounted,
    Rotation,
    one_bed,
    parallel_collimator,
    patient_angle,
    patient_position,
    radii_mm,
    rotations,
    start_angles,
    turned_over,
)
from dicomnode.dicom.projections.projection_grid import pixel_mm, place
from dicomnode.dicom.volumes.pixels import stored_frames
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding, Severity
from dicomnode.model.projections import Projections
from dicomnode.model.series import Role

MISSING_VIEWS = 0.1
"""Largest part of the views that may be missing: own choice; beyond, streaks reach the whole slice."""
_CHANGES_COUNTS = {"ATTN": "attenuation", "SCAT": "scatter", "DECY": "decay, to a time that is not stated"}
_SCALES_COUNTS = ("DTIM", "RADL", "MOTN")


@quiet()
def read_projections(
    paths: Sequence[Path],
    zone: ZoneInfo,
    angles_counted: AnglesCounted = "patient",
    nuclide: str = "",
) -> Projections:
    """The projections of one acquisition, each frame placed by the object's vectors, never by its order.

    Several objects of one series must be energy windows of the same acquisition. Everything doubtful is among
    the findings. Raises Refused, by its kinds, for what cannot be used.

    Parameters
    ----------
    zone : the site's, for times without an offset
    angles_counted : "gantry" for a camera that counts Start Angle by the gantry, against PS3.3 C.8.4.12
    nuclide : what counts where the object names none
    """
    objects = [open_object(path, pixels=True) for path in paths]
    if not objects:
        raise Inconsistent("a series without an object")
    for obj in objects:
        role, because = role_of(obj)
        if role is not Role.PROJECTIONS:
            raise Unsupported(because or f"an object of role {role} holds no raw projections", uid=obj.uid)
    one_value(objects, "SeriesInstanceUID")
    whole = _joined([_read(obj, zone, angles_counted) for obj in objects])
    named = whole.nuclide or nuclide
    return replace(whole, nuclide=named, peak=peak_window(whole.windows, named, whole.series_uid))


def _read(obj: Attributes, zone: ZoneInfo, counted: AnglesCounted) -> Projections:
    """One object; its peak is not yet chosen."""
    collimator, about_collimator = parallel_collimator(obj)
    windows, turns = energy_windows(obj), rotations(obj)
    one_bed(turns, pixel_mm(obj)[1], obj.uid)
    position, about_position = patient_position(obj)
    starts = start_angles(obj, turns)
    index = frame_index(obj, len(windows), len(starts), len(turns))
    orbit, about_views = _orbit(obj, index, turns, starts, len(windows))
    angles = patient_angle(orbit.stated_deg, position, counted)
    firsts = _first_views(orbit, len(starts))
    turned = turned_over(position, counted)
    placed = place(
        obj, tuple(patient_angle(list(starts), position, counted)),
        tuple(float(orbit.radius_mm[i]) for i in firsts), position, turned,
    )  # fmt: skip
    counts, raw, about_counts = _counts(obj)
    frames = counts[np.array([[index[w, *key] for key in orbit.keys] for w in range(1, len(windows) + 1)])]
    frames = frames[:, :, ::-1] if placed.head_on_top else frames[..., ::-1]
    clock = clock_of(obj, zone)
    started, injected = acquired_at(obj, clock), read_injected(obj, clock)
    if started.at is None:
        raise MissingAttribute(
            "the object does not say when it was acquired", attribute="AcquisitionDate", uid=obj.uid,
            remedy="Without it no time-activity curve can be made: export it with its dates",
        )  # fmt: skip
    return Projections(
        counts=np.ascontiguousarray(frames),
        windows=windows,
        peak=0,
        angle_deg=(90.0 - angles) % 360.0,
        radius_mm=orbit.radius_mm,
        seconds=orbit.seconds,
        started_s=orbit.started_s,
        pixel_mm=pixel_mm(obj),
        grid=placed.grid,
        started_at=started.at,
        nuclide=injected.nuclide,
        collimator=collimator,
        series_uid=obj.text("SeriesInstanceUID"),
        frame_of_reference_uid=obj.text("FrameOfReferenceUID"),
        raw=raw,
        origin={
            "geometry": placed.origin,
            "angles": f"Start Angle and Angular Step about the {counted}, patient {position}",
            "time": "acquisition time and Actual Frame Duration; time between views is not stated",
        },
        facts=_facts(obj, position),
        findings=(
            *started.findings, *injected.findings, *about_collimator, *about_position, *about_views,
            *placed.findings, *about_counts,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Orbit:
    """Views in the order rotation, detector, view; arrays have one value per view."""

    keys: list[Key]
    stated_deg: npt.NDArray[np.float64]
    radius_mm: npt.NDArray[np.float64]
    seconds: npt.NDArray[np.float64]
    started_s: npt.NDArray[np.float64]


def _orbit(
    obj: Attributes,
    index: dict[tuple[int, int, int, int], int],
    turns: tuple[Rotation, ...],
    starts: tuple[float, ...],
    windows: int,
) -> tuple[Orbit, tuple[Finding, ...]]:
    """Every view that all windows have. Raises Inconsistent where too many are missing."""
    keys, expected = [], 0
    per_turn = {r: _views(obj, index, turns[r - 1], r, len(starts)) for r in range(1, len(turns) + 1)}
    for r, views in per_turn.items():
        for d in range(1, len(starts) + 1):
            expected += views
            wanted = ((d, r, v) for v in range(1, views + 1))
            keys += [key for key in wanted if all((w, *key) in index for w in range(1, windows + 1))]
    findings = _missing(expected - len(keys), expected, obj.uid)
    continuous = 0.5 if obj.text("TypeOfDetectorMotion").upper() == "CONTINUOUS" else 0.0
    if continuous:
        findings += (_continuous(turns[0].step_deg, obj.uid),)
    begun = np.cumsum([0.0] + [per_turn[r] * turns[r - 1].frame_s for r in per_turn])
    detectors = obj.items("DetectorInformationSequence") or (Attributes({}),)
    distance = {
        (d, r): radii_mm(detectors[d - 1], turns[r - 1], per_turn[r], obj.uid)
        for d in range(1, len(starts) + 1)
        for r in per_turn
    }
    rows = []
    for d, r, v in keys:
        turn = turns[r - 1]
        start = starts[d - 1] + turn.start_deg - turns[0].start_deg
        angle = start + turn.step_deg * (v - 1 + continuous)
        rows.append((angle, distance[d, r][v - 1], turn.frame_s, begun[r - 1] + (v - 1) * turn.frame_s))
    table = np.array(rows, dtype=np.float64)
    if not table[:, 2].all():
        sentence = "the object does not say how long a view lasted: its counts cannot become activity"
        findings += (Finding("view-duration", Severity.HOLD, sentence, subject=obj.uid),)
    return Orbit(keys, table[:, 0] % 360.0, table[:, 1], table[:, 2], table[:, 3]), findings


def _views(
    obj: Attributes, index: dict[tuple[int, int, int, int], int], turn: Rotation, r: int, detectors: int
) -> int:
    """Views of one detector in rotation ``r``. Some writers count those of all detectors together."""
    present = max((v for _, _, rotation, v in index if rotation == r), default=0)
    stated = turn.views or present
    if detectors > 1 and stated == present * detectors:
        stated = present
    if present == 0 or present > stated:
        raise Inconsistent(
            f"rotation {r} has frames of views up to {present}, stated are {stated}",
            attribute="NumberOfFramesInRotation", value=str(stated), uid=obj.uid,
        )  # fmt: skip
    arc = turn.arc_deg
    step = abs(turn.step_deg)
    if arc and not any(
        isclose(arc, step * n, abs_tol=step / 2) for n in (stated - 1, stated, stated * detectors)
    ):
        raise Inconsistent(
            f"{stated} views in steps of {step:g} degrees do not make the stated arc of {arc:g} degrees",
            attribute="AngularStep", value=f"{step:g}", uid=obj.uid,
            remedy="Views may be missing at the end, or the step is wrong: send the acquisition again, whole",
        )  # fmt: skip
    return stated


def _first_views(orbit: Orbit, detectors: int) -> list[int]:
    """Index of each detector's earliest view."""
    return [next(i for i, key in enumerate(orbit.keys) if key[0] == d) for d in range(1, detectors + 1)]


def _missing(missing: int, expected: int, uid: str) -> tuple[Finding, ...]:
    if not missing:
        return ()
    if missing > MISSING_VIEWS * expected:
        raise Inconsistent(
            f"{missing} of {expected} views are missing", attribute="AngularViewVector", uid=uid,
            remedy="Send the acquisition again, whole",
        )  # fmt: skip
    sentence = f"{missing} of {expected} views are missing; the image is made of the others"
    return (
        Finding("missing-views", Severity.WARNING, sentence, missing, MISSING_VIEWS * expected, "views", uid),
    )


def _continuous(step_deg: float, uid: str) -> Finding:
    sentence = (
        f"the detector moved while it counted: each view stands for the middle of its step, "
        f"{abs(step_deg) / 2:g} degrees after its start"
    )
    return Finding("continuous-motion", Severity.NOTE, sentence, abs(step_deg) / 2, unit="deg", subject=uid)


def _counts(obj: Attributes) -> tuple[npt.NDArray[np.int32], bool, tuple[Finding, ...]]:
    """Whole counts of every frame, and whether they are the camera's own.

    Raises Unsupported for projections already corrected for attenuation, scatter or decay, Inconsistent for
    negative counts.
    """
    corrected = {value.upper() for value in obj.texts("CorrectedImage")}
    for value, what in _CHANGES_COUNTS.items():
        if value in corrected:
            raise Unsupported(
                f"the projections are already corrected for {what}", attribute="CorrectedImage", value=value,
                uid=obj.uid, remedy="Send the projections as acquired",
            )  # fmt: skip
    stored = stored_frames(obj)
    counts, raw, findings = _rescaled(obj, stored)
    if counts.min() < 0 or counts.max() > np.iinfo(np.int32).max:
        raise Inconsistent("projections hold negative or absurd counts", attribute="PixelData", uid=obj.uid)
    scaled = [value for value in _SCALES_COUNTS if value in corrected]
    if scaled:
        raw = False
        sentence = (
            f"the camera scaled the counts before it stored them (CorrectedImage {', '.join(scaled)}): they "
            f"are not corrected for it again, and nothing that needs raw counts is done with them"
        )
        findings += (Finding("corrected-projections", Severity.WARNING, sentence, subject=obj.uid),)
    return counts.astype(np.int32), raw, findings + _saturated(obj, stored)


def _rescaled(
    obj: Attributes, stored: npt.NDArray[np.signedinteger]
) -> tuple[npt.NDArray[np.signedinteger], bool, tuple[Finding, ...]]:
    """Counts after Rescale Slope and Intercept: raw only where these merely undo a multiplication."""
    slope, intercept = obj.number("RescaleSlope"), obj.number("RescaleIntercept") or 0.0
    if slope is None or (slope == 1.0 and intercept == 0.0):
        return stored, True, ()
    if slope <= 0:
        raise Inconsistent(
            "a scale factor is not positive", attribute="RescaleSlope", value=f"{slope:g}", uid=obj.uid
        )
    values = stored * slope + intercept
    whole = np.rint(values)
    raw = slope < 1.0 and bool(np.abs(values - whole).max() < 1e-3)
    sentence = (
        f"stored values become counts by Rescale Slope {slope:g} and Intercept {intercept:g}; they are "
        + ("whole numbers again" if raw else "rounded and no longer raw counts")
    )
    finding = Finding("rescaled-projections", Severity.WARNING, sentence, slope, 1.0, subject=obj.uid)
    return whole.astype(np.int64), raw, (finding,)


def _saturated(obj: Attributes, stored: npt.NDArray[np.signedinteger]) -> tuple[Finding, ...]:
    """Pixels at the top of what the object can store: their true counts are lost."""
    bits = obj.integer("BitsStored") or obj.integer("BitsAllocated") or 16
    top = 2 ** (bits - (obj.integer("PixelRepresentation") == 1)) - 1
    full = int(np.count_nonzero(stored >= top))
    if not full:
        return ()
    sentence = (
        f"{full} pixels are full ({top}): counts are lost there and the activity would come out too low. "
        f"Acquire with shorter views or a finer matrix"
    )
    return (Finding("saturated-pixels", Severity.HOLD, sentence, full, 0.0, "pixels", obj.uid),)


def _facts(obj: Attributes, position: str) -> dict[str, str]:
    """What calibration and checks need beside the facts of every emission object."""
    detectors = obj.items("DetectorInformationSequence")
    rotation = obj.first("RotationInformationSequence")
    offsets = [d.numbers("CenterOfRotationOffset") for d in detectors]
    further = {
        "patient_position": position,
        "detectors": str(max(1, len(detectors))),
        "detector_motion": obj.text("TypeOfDetectorMotion"),
        "bits_stored": obj.text("BitsStored"),
        "centre_of_rotation_mm": "\\".join(f"{v:g}" for offset in offsets for v in offset),
        "table_height_mm": rotation.text("TableHeight"),
        "zoom": obj.first("DetectorInformationSequence").text("ZoomFactor"),
        "field_of_view_mm": obj.first("DetectorInformationSequence").text("FieldOfViewDimensions"),
        "energy_windows": " ".join(
            "+".join(f"{low:g}-{high:g}" for low, high in w.ranges_kev) for w in energy_windows(obj)
        ),
    }
    return facts_of(obj) | {name: value for name, value in further.items() if value}


def _joined(parts: list[Projections]) -> Projections:
    """Energy windows that came as objects of their own, put together."""
    first = parts[0]
    for other in parts[1:]:
        same = (
            other.counts.shape[1:] == first.counts.shape[1:]
            and other.grid.matches(first.grid, 0.01)
            and np.allclose(other.angle_deg, first.angle_deg, atol=0.01)
            and np.allclose(other.radius_mm, first.radius_mm, atol=0.1)
            and abs((other.started_at - first.started_at).total_seconds()) < 60.0
            and not {w.ranges_kev for w in other.windows} & {w.ranges_kev for w in first.windows}
        )
        if not same:
            raise Unsupported(
                f"the series holds {len(parts)} acquisitions (beds or repeats), not windows of one",
                attribute="SeriesInstanceUID", uid=first.series_uid,
                remedy="Send each acquisition as a series of its own",
            )  # fmt: skip
        first = replace(
            first,
            counts=np.concatenate([first.counts, other.counts]),
            windows=first.windows + other.windows,
            raw=first.raw and other.raw,
            findings=tuple(dict.fromkeys(first.findings + other.findings)),
        )
    return first
