"""PET Image series, one slice per object: PET, and SPECT that is stored as PET."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.camera_facts import facts_of
from dicomnode.dicom.header.dataset import Attributes, one_value
from dicomnode.dicom.header.instants import acquired_at
from dicomnode.dicom.header.radiopharmaceutical import Injected, clock_of, read_injected
from dicomnode.dicom.header.times import Clock, instant, instant_of
from dicomnode.dicom.volumes.decay import Decay, SliceTimes, bed_offsets_s, corrected, decay_of, scan_start
from dicomnode.dicom.volumes.pixels import matrix, stored_frames
from dicomnode.dicom.volumes.scale import MAPPING, scaling_of
from dicomnode.dicom.volumes.stack import Plane, about_distance, plane_of, stack
from dicomnode.errors import Inconsistent, MissingAttribute
from dicomnode.model import Finding, Severity
from dicomnode.model.series import EmissionVolume
from dicomnode.model.statements import once, one_scan


@dataclass(frozen=True, eq=False)
class PetSlice:
    """One slice in its unit, with its place and times, and what is doubtful in them."""

    plane: Plane
    values: npt.NDArray[np.float32]
    unit: str
    unit_origin: str
    times: SliceTimes
    findings: tuple[Finding, ...] = ()


def read_pet(objects: Sequence[Attributes], zone: ZoneInfo) -> EmissionVolume:
    """The volume of a PET Image series.

    Each slice is scaled by its own slope. Raises Refused for a series that is not whole, not one series,
    unevenly spaced, or in a unit that is no activity concentration.
    """
    objects = list(objects)
    first, uid = objects[0], objects[0].text("SeriesInstanceUID")
    for keyword in (
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "Rows",
        "Columns",
        "Units",
        "DecayCorrection",
    ):
        one_value(objects, keyword)
    _refuse_partial(objects, uid)
    clock = clock_of(first, zone)
    slices = [_slice(obj, clock) for obj in objects]
    start = scan_start(
        [s.times for s in slices],
        instant(first.text("SeriesDate"), first.text("SeriesTime"), clock).at,
        _ge_scan_at(first, clock),
    )
    injected, correction = read_injected(first, clock), first.text("DecayCorrection")
    decay = decay_of(
        correction, [s.times for s in slices], start, injected.administered_at, injected.half_life_s, uid
    )
    _refuse_mixed([read_injected(obj, clock) for obj in objects], uid)
    about_time = tuple(f for f in acquired_at(first, clock).findings if f.subject != uid)
    return assemble(first, slices, matrix(first), decay, injected, about_time)


def assemble(
    obj: Attributes,
    slices: Sequence[PetSlice],
    shape: tuple[int, int],
    decay: Decay,
    injected: Injected,
    findings: tuple[Finding, ...] = (),
) -> EmissionVolume:
    """The volume that slices make, sorted along the normal and each multiplied by its decay factor."""
    uid = obj.text("SeriesInstanceUID")
    units = {s.unit for s in slices}
    if len(units) > 1:
        raise Inconsistent(
            "slices of one series differ in unit", attribute="Units", value=str(units), uid=uid
        )
    grid, order, about_grid = stack([s.plane for s in slices], shape, uid)
    values = np.stack([slices[i].values * np.float32(decay.factors[i]) for i in order])
    times = [s.times for s in slices]
    beds, duration_s = _beds(times)
    return EmissionVolume(
        grid=grid,
        values=np.ascontiguousarray(values, dtype=np.float32),
        unit=slices[0].unit,
        started_at=min(t.acquired for t in times),
        duration_s=duration_s,
        decay_reference=decay.label,
        decay_reference_at=decay.at,
        nuclide=injected.nuclide,
        half_life_s=injected.half_life_s,
        series_uid=uid,
        frame_of_reference_uid=obj.text("FrameOfReferenceUID"),
        origin={
            "unit": slices[0].unit_origin,
            "geometry": "ImagePositionPatient along row x column",
            "time": f"acquisition times of {beds} bed position{'s' if beds > 1 else ''}",
            "decay_reference": decay.origin,
        },
        facts=facts_of(obj) | {"bed_positions": str(beds)},
        findings=(
            *findings,
            *injected.findings,
            *about_grid,
            *about_distance(obj, grid, uid),
            *decay.findings,
            *corrected(obj.text("DecayCorrection"), obj.texts("CorrectedImage"), uid),
            *_about_correction(obj),
            *once(f for s in slices for f in s.findings if f.subject == uid),
            *one_scan([t.acquired for t in times], uid),
        ),
    )


def _refuse_mixed(stated: Sequence[Injected], uid: str) -> None:
    """Slices of one series hold one nuclide."""
    for keyword, values in (
        ("RadionuclideCodeSequence", {i.nuclide for i in stated if i.nuclide}),
        ("RadionuclideHalfLife", {i.half_life_s for i in stated if i.half_life_s}),
        ("RadiopharmaceuticalStartDateTime", {i.administered_at for i in stated if i.administered_at}),
    ):
        if len(values) > 1:
            raise Inconsistent(
                f"the slices of one series state {' and '.join(sorted(map(str, values)))}",
                attribute=keyword, uid=uid, remedy="Send the series again, whole; two scans are two series",
            )  # fmt: skip


def _beds(times: list[SliceTimes]) -> tuple[int, float | None]:
    """Number of bed positions, and seconds from the start of the first to the end of the last."""
    offsets = bed_offsets_s(times)
    ends = [o + t.duration_s for o, t in zip(offsets, times, strict=True) if t.duration_s]
    return len({round(o) for o in offsets}), max(ends) if ends else None


def _slice(obj: Attributes, clock: Clock) -> PetSlice:
    acquired = acquired_at(obj, clock)
    if acquired.at is None:
        raise MissingAttribute(
            "the slice does not say when it was acquired", attribute="AcquisitionDate", uid=obj.uid,
            remedy="Without it no time-activity curve can be made: export it with its dates",
        )  # fmt: skip
    stored = stored_frames(obj)
    if len(stored) != 1:
        raise Inconsistent("a PET image holds one frame", attribute="NumberOfFrames", uid=obj.uid)
    mappings = {MAPPING: obj.items("RealWorldValueMappingSequence")}
    scaling = scaling_of(obj, mappings, obj, obj.text("Units"), stored[0])
    times = SliceTimes(
        acquired.at,
        seconds(obj.number("FrameReferenceTime")),
        seconds(obj.number("ActualFrameDuration")),
        obj.number("DecayFactor"),
    )
    plane = plane_of(obj, obj, obj, obj.uid)
    values, about = scaling.apply(stored[0], obj.uid), acquired.findings + scaling.findings
    return PetSlice(plane, values, scaling.unit, scaling.origin, times, about)


def seconds(milliseconds: float | None) -> float | None:
    """Seconds of milliseconds; None stays None."""
    return None if milliseconds is None else milliseconds / 1000.0


def _refuse_partial(objects: Sequence[Attributes], uid: str) -> None:
    """NumberOfSlices (0054,0081) is the number that the whole series has."""
    stated = objects[0].integer("NumberOfSlices")
    if stated and len(objects) != stated:
        raise Inconsistent(
            f"{len(objects)} of {stated} slices are there", attribute="NumberOfSlices", value=str(stated),
            uid=uid, remedy="Send the series again, whole",
        )  # fmt: skip


def _ge_scan_at(obj: Attributes, clock: Clock) -> datetime | None:
    """GE's scan date and time (0009,100D), where the block is GE's."""
    if obj.text((0x0009, 0x0010)) != "GEMS_PETD_01":
        return None
    return instant_of(obj.text((0x0009, 0x100D)), clock).at


def _about_correction(obj: Attributes) -> tuple[Finding, ...]:
    """Warn of a CorrectedImage that is stated without scatter correction."""
    listed = {value.upper() for value in obj.texts("CorrectedImage")}
    if not listed or "SCAT" in listed:
        return ()
    sentence = (
        "the series is not corrected for scatter (CorrectedImage has no SCAT): activity is overestimated"
    )
    return (Finding("no-scatter-correction", Severity.WARNING, sentence, subject=obj.uid),)
