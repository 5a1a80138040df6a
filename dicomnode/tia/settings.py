"""How a cycle is integrated over time. Every choice has a name, and the result records it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dicomnode.errors import ConfigError
from dicomnode.model import Settings
from dicomnode.tia.methods import checked_name

Shape = Literal["mono-exponential", "bi-exponential", "tri-exponential", "model-average"]


class PopulationHalfLife(Settings):
    """Effective half-life of a region in a population, for one scan."""

    effective_half_life_hours: float = Field(description="mean effective half-life, h", gt=0)
    relative_sd: float = Field(
        0.25, description="spread of the half-life between patients, relative standard deviation", ge=0, lt=1
    )
    source: str = Field(description="publication or the site's own patients", min_length=1)


class UncertaintySettings(Settings):
    """Inputs to the uncertainty budget (EANM guidance, Gear et al. 2018, doi 10.1007/s00259-018-4136-7)."""

    calibration_relative: float = Field(
        0.06,
        description="standard uncertainty of the calibration factor, relative, common to all time points "
        "(0.06: spread of calibration geometries, Zhao et al. 2018)",
        ge=0,
        lt=1,
    )
    time_point_relative: float = Field(
        0.05,
        description="standard uncertainty of one time point that the others do not share, relative: "
        "reconstruction, registration, dead time, but not counting, which is added "
        "(a site estimate; it weighs the fit)",
        gt=0,
        lt=1,
    )
    sensitivity_cps_per_mbq: float = Field(
        5.67,
        description="system sensitivity, counts/s per MBq, for the counting noise where the reconstruction "
        "states none "
        "(5.67: 177Lu SPECT, Santoro et al. 2018, doi 10.1186/s13550-018-0459-4)",
        gt=0,
    )
    acquisition_s: float = Field(
        1200.0, description="acquisition time of one position, s, for the counting noise", gt=0
    )
    contour_voxel_mm: float | None = Field(
        None,
        description="voxel edge of the image the contours were drawn on, mm; none: that of the grid",
        gt=0,
    )
    contour_fwhm_mm: float = Field(
        2.0,
        description="resolution (FWHM) of the image contoured, mm; 2 for CT, about 12 for SPECT",
        ge=0,
    )
    spect_fwhm_mm: float = Field(12.0, description="resolution (FWHM) of the emission image, mm", gt=0)
    haenscheid_relative: float = Field(
        0.10,
        description="model uncertainty of stp-haenscheid (Haenscheid et al. 2018: within 10 % in its window)",
        ge=0,
    )
    physical_relative: float = Field(
        0.50,
        description="model uncertainty of stp-physical, relative; no published figure, the site sets it",
        ge=0,
    )


class TiaSettings(Settings):
    """The settings of this room."""

    method: str = Field(
        "trapezoid",
        description="how activity is integrated over time (`dicomnode methods` lists them); see docs/tia.md",
    )
    start: Literal["zero", "physical-back-decay", "fit"] = Field(
        "zero",
        description="activity at administration for the trapezoid: zero (the published convention), "
        "the first scan decayed back physically, or the fitted curve of the region",
    )
    when_rising: Literal["trapezoid", "refuse"] = Field(
        "trapezoid",
        description="what to do where activity rises and the method cannot describe it: the trapezoid with a "
        "warning, or no result",
    )
    rise_sigmas: float = Field(
        2.0, description="a rise counts as real beyond this many standard uncertainties", ge=0
    )
    shape: Shape = Field(
        "model-average", description="curve by region for hybrid, and for start = fit of the trapezoid"
    )
    time_point_hours: float = Field(
        72.0,
        description="the time point nearest to this gives the amount by voxel (hybrid) or is the single time "
        "point, h (72: 177Lu-DOTATATE optimum, J Nucl Med 2022, PMC8882881)",
        gt=0,
    )
    outside: Literal["remainder", "field-of-view", "trapezoid"] = Field(
        "remainder", description="curve of voxels outside every region, where the method works by region"
    )
    negative_voxels: Literal["keep", "zero"] = Field(
        "keep",
        description="negative TIA voxels (noise of filtered or resampled images): keep them unbiased, or set "
        "them to zero, which adds activity and is reported",
    )
    uptake_half_life_hours: float | None = Field(
        None, description="fixes the uptake half-life, h, so that uptake can be fitted to fewer points", gt=0
    )
    populations: dict[str, PopulationHalfLife] = Field(
        default_factory=dict,
        description="effective half-life by region (stp-population, stp-madsen); 'default': the rest",
    )
    uncertainty: UncertaintySettings = Field(
        default_factory=lambda: UncertaintySettings.model_validate({}),
        description="inputs to the uncertainty budget",
    )

    @field_validator("method")
    @classmethod
    def _is_there(cls, value: str) -> str:
        try:
            return checked_name(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _recovery_moved(cls, table: object) -> object:
        if isinstance(table, dict) and table.keys() & {"recovery", "recovery_regions"}:
            raise ValueError(
                "a curve of spheres does not fit regions of other shapes, sizes and surroundings: remove it, "
                "and state the width of the images under [[recovery.widths]] (docs/recovery.md)"
            )
        return table
