"""Multi-frame functional groups (PS3.3 C.7.6.16), and the enhanced PET volume read from them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.header.instants import acquired_at
from dicomnode.dicom.header.radiopharmaceutical import Injected, clock_of, read_injected
from dicomnode.dicom.header.times import Clock, instant, instant_of
from dicomnode.dicom.volumes.decay import Decay, SliceTimes, decay_of, scan_start
from dicomnode.dicom.volumes.pixels import frame_count, matrix, stored_frames
from dicomnode.dicom.volumes.pt import PetSlice, assemble, seconds
from dicomnode.dicom.volumes.scale import MAPPING, MAPPING_SHARED, scaling_of
from dicomnode.dicom.volumes.stack import Plane, plane_of
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model.series import EmissionVolume


class Frame:
    """One frame: its own functional groups, then the shared ones."""

    def __init__(self, obj: Attributes, shared: Attributes, own: Attributes) -> None:
        self._obj, self._groups = obj, (own, shared)

    def items(self, sequence: str) -> tuple[Attributes, ...]:
        """Items of a macro's sequence, empty where neither group has it."""
        return next((items for group in self._groups if (items := group.items(sequence))), ())

    def group(self, sequence: str) -> Attributes:
        """The macro's only item, or an empty one."""
        items = self.items(sequence)
        return items[0] if items else Attributes({}, self._obj.faults)

    def plane(self) -> Plane:
        """Place of the frame. Raises MissingAttribute."""
        return plane_of(
            self.group("PlanePositionSequence"),
            self.group("PlaneOrientationSequence"),
            self.group("PixelMeasuresSequence"),
            self._obj.uid,
        )


def frames_of(obj: Attributes) -> Iterator[Frame]:
    """The frames, in the order of their pixels. Raises Inconsistent where groups are missing."""
    shared = obj.first("SharedFunctionalGroupsSequence")
    per_frame = obj.items("PerFrameFunctionalGroupsSequence")
    if len(per_frame) != frame_count(obj):
        raise Inconsistent(
            f"{frame_count(obj)} frames have {len(per_frame)} functional groups",
            attribute="PerFrameFunctionalGroupsSequence", uid=obj.uid,
        )  # fmt: skip
    return (Frame(obj, shared, own) for own in per_frame)


def read_enhanced_pet(obj: Attributes, zone: ZoneInfo) -> EmissionVolume:
    """The volume of an Enhanced PET, or of a Legacy Converted Enhanced PET, object. Raises Refused."""
    clock = clock_of(obj, zone)
    stored = stored_frames(obj)
    base = acquired_at(obj, clock)
    if base.at is None:
        raise MissingAttribute(
            "the object does not say when it was acquired", attribute="AcquisitionDateTime", uid=obj.uid,
            remedy="Without it no time-activity curve can be made: export it with its dates",
        )  # fmt: skip
    slices = [_slice(obj, frame, stored[k], clock, base.at) for k, frame in enumerate(frames_of(obj))]
    injected = read_injected(obj, clock)
    decay = _decay(obj, slices, clock, injected)
    return assemble(obj, slices, matrix(obj), decay, injected, base.findings)


def _slice(
    obj: Attributes, frame: Frame, stored: npt.NDArray[np.signedinteger], clock: Clock, base: datetime
) -> PetSlice:
    content = frame.group("FrameContentSequence")
    key = "RealWorldValueMappingSequence"
    mappings = {MAPPING_SHARED: frame.items(key), MAPPING: obj.items(key)}
    units = obj.text("Units") or _converted(frame, "Units")
    if not any(mappings.values()) and not units:
        raise Unsupported(
            "the enhanced PET image states no unit", attribute="RealWorldValueMappingSequence", uid=obj.uid,
            remedy="Export it with a real world value mapping in Bq/ml",
        )  # fmt: skip
    scaling = scaling_of(obj, mappings, frame.group("PixelValueTransformationSequence"), units, stored)
    acquired = instant_of(content.text("FrameAcquisitionDateTime"), clock, obj.uid).at or base
    reference = instant_of(content.text("FrameReferenceDateTime"), clock).at
    times = SliceTimes(
        acquired,
        (reference - base).total_seconds() if reference else None,
        seconds(content.number("FrameAcquisitionDuration")),
        frame.group("PETFrameCorrectionFactorsSequence").number("DecayFactor"),
    )
    values = scaling.apply(stored, obj.uid)
    return PetSlice(frame.plane(), values, scaling.unit, scaling.origin, times, scaling.findings)


def _decay(obj: Attributes, slices: list[PetSlice], clock: Clock, injected: Injected) -> Decay:
    """DecayCorrected and DecayCorrectionDateTime (PS3.3 C.8.22.3); DecayCorrection of a converted series."""
    times, uid = [s.times for s in slices], obj.text("SeriesInstanceUID")
    series_at = instant(obj.text("SeriesDate"), obj.text("SeriesTime"), clock).at
    start = scan_start(times, series_at, None)
    correction = obj.text("DecayCorrection") or _converted(next(frames_of(obj)), "DecayCorrection")
    if obj.text("SOPClassUID") == sop.ENHANCED_PET:
        corrected_to = instant_of(obj.text("DecayCorrectionDateTime"), clock, uid).at
        correction = "NONE" if obj.text("DecayCorrected").upper() == "NO" else correction
        if corrected_to is not None and correction != "NONE":
            correction, start = _correction_to(corrected_to, start, injected)
    return decay_of(correction, times, start, injected.administered_at, injected.half_life_s, uid)


def _correction_to(
    at: datetime, start: tuple[datetime, str], injected: Injected
) -> tuple[str, tuple[datetime, str]]:
    """ADMIN where the stated instant is the administration's, else START with that instant as zero."""
    given = injected.administered_at
    if given is not None and abs(at - given) <= timedelta(seconds=60) < abs(at - start[0]):
        return "ADMIN", start
    return "START", (at, "DecayCorrectionDateTime")


def _converted(frame: Frame, keyword: str) -> str:
    """An attribute that a legacy conversion kept aside (PS3.3 C.7.6.16.2.25 and .26)."""
    own = frame.group("UnassignedPerFrameConvertedAttributesSequence").text(keyword)
    return own or frame.group("UnassignedSharedConvertedAttributesSequence").text(keyword)
