"""Administration, time points, the cycle they make, and the cycle on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dicomnode.errors import Inconsistent
from dicomnode.model.findings import Finding
from dicomnode.model.volumes import ActivityMap, HuMap, LabelMap


@dataclass(frozen=True)
class Administration:
    """One administration of a radiopharmaceutical.

    Attributes
    ----------
    nuclide : ICRP 107 name ("Lu-177")
    activity_mbq : net administered activity (syringe less residual), MBq, at ``at``
    at : aware datetime (UTC offset known)
    radiopharmaceutical : free text, may be empty
    residual_mbq : what was left in syringe and lines, MBq
    source : where it was learned: a SOP Instance UID, "config", or "person:NAME"
    """

    nuclide: str
    activity_mbq: float
    at: datetime
    radiopharmaceutical: str = ""
    residual_mbq: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise Inconsistent("the administration time has no time zone", attribute="at")
        if not self.activity_mbq > 0:
            raise Inconsistent(
                "the administered activity must be positive",
                attribute="activity_mbq",
                value=str(self.activity_mbq),
            )


@dataclass(frozen=True, eq=False)
class TimePoint:
    """One SPECT or PET volume with its CT, in one frame of reference.

    Attributes
    ----------
    label : "T1", "T2", ...
    acquired_at : aware datetime of the start of the acquisition, to which ``activity`` refers
    duration_s : acquisition duration, s
    activity : ActivityMap, decay-corrected to ``acquired_at``
    ct : HuMap or None
    regions : LabelMap on ``activity.grid`` or None
    spect_uid, ct_uid : Series Instance UIDs
    frame_of_reference_uid : of SPECT and CT
    calibration_relative_uncertainty : standard uncertainty of the calibration factor, relative
    origin : name of a quantity -> where its value came from
    camera_model : ManufacturerModelName of the emission, which a width of its images is chosen by
    """

    label: str
    acquired_at: datetime
    duration_s: float
    activity: ActivityMap
    ct: HuMap | None
    regions: LabelMap | None
    spect_uid: str
    ct_uid: str
    frame_of_reference_uid: str
    calibration_relative_uncertainty: float = 0.0
    origin: Mapping[str, str] = field(default_factory=dict)
    camera_model: str = ""


@dataclass(frozen=True, eq=False)
class Cycle:
    """One administration and the time points that follow it, in order of time."""

    administration: Administration
    time_points: tuple[TimePoint, ...]

    def hours(self) -> tuple[float, ...]:
        """Time of each acquisition since administration, h."""
        zero = self.administration.at
        return tuple((t.acquired_at - zero).total_seconds() / 3600.0 for t in self.time_points)


@dataclass(frozen=True)
class RegistrationQuality:
    """How well a time point was brought onto the reference.

    Attributes
    ----------
    method : "identity", "ct-ct", "spect-spect"
    transform : rigid parameters (rx, ry, rz in rad; tx, ty, tz in mm) about ``center_mm``, mapping
        points of the reference into the moving image (SimpleITK's convention)
    center_mm : centre of rotation
    dice_body : overlap of the body outlines, 0 to 1
    mutual_information : of the registered pair, nats
    residual_mm : residual shift that remains after registration, mm
    algorithm : name and version of what aligned them; empty where nothing was aligned
    """

    method: str
    transform: tuple[float, ...]
    center_mm: tuple[float, float, float]
    dice_body: float
    mutual_information: float
    residual_mm: float
    algorithm: str = ""


@dataclass(frozen=True, eq=False)
class RegisteredTimePoint:
    """A time point on the cycle's common grid."""

    label: str
    hours: float
    activity: ActivityMap
    quality: RegistrationQuality


@dataclass(frozen=True, eq=False)
class RegisteredCycle:
    """Every time point on the grid of the reference time point.

    Attributes
    ----------
    administration : Administration
    points : in order of time, all on one grid
    reference : label of the time point whose grid and frame of reference are used
    ct : HuMap on the common grid, or None
    regions : LabelMap on the common grid, or None
    frame_of_reference_uid : of the reference time point
    findings : what registration has to say
    """

    administration: Administration
    points: tuple[RegisteredTimePoint, ...]
    reference: str
    ct: HuMap | None
    regions: LabelMap | None
    frame_of_reference_uid: str
    findings: tuple[Finding, ...] = ()
