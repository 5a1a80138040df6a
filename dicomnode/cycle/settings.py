"""Settings of the cycle room."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field, field_validator

from dicomnode.model import Settings
from dicomnode.model.choice import Choice, refuse_clashes


class CalibrationRecord(Settings):
    """How one camera's images become Bq/mL. Every text that is given must match; of several the one
    with the latest ``valid_from`` counts, and those of one day must do the same."""

    name: str = Field(description="a name of your own; it is recorded with every dose that used it")
    manufacturer: str = Field("", description="Manufacturer (0008,0070) contains this text, any case")
    model: str = Field("", description="ManufacturerModelName (0008,1090) contains this text")
    station: str = Field("", description="StationName (0008,1010) equals this text")
    collimator: str = Field("", description="CollimatorType or CollimatorGridName contains this text")
    nuclide: str = Field("", description="nuclide as ICRP 107 writes it, e.g. Lu-177")
    reconstruction: str = Field("", description="SeriesDescription contains this text, any case")
    valid_from: date | None = Field(None, description="first acquisition day on which it applies")
    valid_to: date | None = Field(None, description="last acquisition day on which it applies")
    sensitivity_cps_per_mbq: float | None = Field(
        None, gt=0, description="counts per second and MBq; turns counts into activity"
    )
    relative_uncertainty: float = Field(
        0.05, ge=0, lt=1, description="standard uncertainty of the factor, relative"
    )
    decay_reference: Literal["", "START", "ADMIN", "NONE"] = Field(
        "", description="instant to which voxel values refer, where the objects do not say or say it wrongly"
    )


CALIBRATION: Choice[CalibrationRecord] = Choice(
    table="[[cycle.calibration]]",
    name=lambda r: r.name,
    effect=lambda r: (r.sensitivity_cps_per_mbq, r.relative_uncertainty, r.decay_reference),
    reach=lambda r: (
        *(t.casefold() for t in (r.manufacturer, r.model, r.collimator, r.reconstruction)), r.station,
        r.nuclide,
    ),
    since=lambda r: r.valid_from or date.min,
)  # fmt: skip


class CameraSeries(Settings):
    """Which series of one camera to use, where it sends several. Every text that is given must match."""

    manufacturer: str = Field("", description="Manufacturer (0008,0070) contains this text, any case")
    model: str = Field("", description="ManufacturerModelName (0008,1090) contains this text, any case")
    station: str = Field("", description="StationName (0008,1010) equals this text")
    emission_description: str = Field("", description="as in [cycle], for this camera")
    ct_description: str = Field("", description="as in [cycle], for this camera")


class CycleSettings(Settings):
    """Grouping of series into time points and cycles."""

    expected_time_points: int = Field(4, ge=1, description="a cycle with this many time points is complete")
    minimum_time_points: int = Field(1, ge=1, description="fewer than this never start on quiet time alone")
    series_quiet_s: float = Field(
        30.0, ge=0, description="a series is complete when nothing has come for this long"
    )
    cycle_quiet_h: float = Field(
        96.0, gt=0, description="a cycle short of time points starts after this long without new ones"
    )
    cycle_window_d: float = Field(
        21.0,
        gt=0,
        description="an acquisition later than this after an administration does not belong to it; two "
        "administrations of one nuclide closer than this hold the cycle",
    )
    administration_tolerance_min: float = Field(
        10.0, ge=0, description="two statements of one administration time may differ by this much"
    )
    activity_tolerance: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="two statements of one administered activity may differ by this fraction",
    )
    time_point_gap_min: float = Field(
        90.0,
        gt=0,
        description="emission series closer than this are one time point where they share the frame of "
        "reference, and hold the cycle where they do not",
    )
    emission_description: str = Field(
        "",
        description="regular expression; where one time point has several emission series, take the one "
        "whose description matches",
    )
    ct_description: str = Field(
        "",
        description="regular expression; where one visit has several CTs, take the one whose description "
        "matches",
    )
    camera: tuple[CameraSeries, ...] = Field(
        (), description="descriptions by camera; they come before those of [cycle]"
    )
    without_ct: Literal["hold", "soft-tissue"] = Field(
        "hold", description="what to do without a CT: hold, or take the body as soft tissue of 1.04 g/cm3"
    )
    same_study_ct: bool = Field(
        False, description="accept a CT of the same study but another frame of reference, with a finding"
    )
    calibration: tuple[CalibrationRecord, ...] = Field(
        (), description="calibration by camera, collimator, nuclide, reconstruction and date"
    )

    @field_validator("calibration")
    @classmethod
    def _no_clash(cls, value: tuple[CalibrationRecord, ...]) -> tuple[CalibrationRecord, ...]:
        return tuple(refuse_clashes(CALIBRATION, value))


class AdministrationRecord(Settings):
    """An administration that no object tells of."""

    patient_id: str = Field(description="PatientID (0010,0020), exactly")
    nuclide: str = Field(description="nuclide as ICRP 107 writes it, e.g. Lu-177")
    activity_mbq: float = Field(gt=0, description="net administered activity")
    at: datetime = Field(description="date and time; without an offset it is local time of the site")
    radiopharmaceutical: str = Field("", description="free text")
    residual_mbq: float = Field(0.0, ge=0, description="left in syringe and lines, already subtracted")
