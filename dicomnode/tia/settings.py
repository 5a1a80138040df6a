"""How a cycle is integrated over time. Every choice has a name, and the result records it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dicomnode.errors import ConfigError
from dicomnode.model import Settings
from dicomnode.tia.methods import checked_name

Start = Literal["zero", "physical-back-decay", "fit"]
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


def _known(method: str) -> str:
    """The name of a method that is there; ValueError, which pydantic reports, where it is not."""
    try:
        return checked_name(method)
    except ConfigError as error:
        raise ValueError(str(error)) from None


class AgentTia(Settings):
    """How one agent or nuclide is integrated, other than [tia] says. Every text that is given must match."""

    agent: str = Field("", description="the radiopharmaceutical contains this text, any case")
    nuclide: str = Field("", description="nuclide as ICRP 107 writes it, e.g. Y-90")
    method: str | None = Field(None, description="as in [tia]; none: that of [tia]")
    start: Start | None = Field(None, description="as in [tia]; none: that of [tia]")
    permanent: bool = Field(
        False,
        description="a permanent implant (microspheres): nothing leaves but by physical decay, so that one "
        "scan is enough and its integral is exact (stp-physical without uncertainty of the model)",
    )

    @field_validator("method")
    @classmethod
    def _is_there(cls, value: str | None) -> str | None:
        return value if value is None else _known(value)

    @model_validator(mode="after")
    def _says_what_it_is_of(self) -> Self:
        if not self.agent and not self.nuclide:
            raise ValueError("name the agent or the nuclide")
        if self.permanent and self.method not in (None, "stp-physical"):
            raise ValueError("a permanent implant is integrated by stp-physical")
        return self


class TiaSettings(Settings):
    """The settings of this room."""

    method: str = Field(
        "trapezoid",
        description="how activity is integrated over time (`dicomnode methods` lists them); see docs/tia.md",
    )
    start: Start = Field(
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
    by_agent: tuple[AgentTia, ...] = Field(
        (), description="method and start by agent or nuclide; the record that says most of an agent counts"
    )
    uncertainty: UncertaintySettings = Field(
        default_factory=lambda: UncertaintySettings.model_validate({}),
        description="inputs to the uncertainty budget",
    )

    @field_validator("method")
    @classmethod
    def _is_there(cls, value: str) -> str:
        return _known(value)

    @model_validator(mode="before")
    @classmethod
    def _recovery_moved(cls, table: object) -> object:
        if isinstance(table, dict) and table.keys() & {"recovery", "recovery_regions"}:
            raise ValueError(
                "a curve of spheres does not fit regions of other shapes, sizes and surroundings: remove it, "
                "and state the width of the images under [[recovery.widths]] (docs/recovery.md)"
            )
        return table

    def agent(self, nuclide: str, radiopharmaceutical: str) -> AgentTia | None:
        """The record of an agent: of those that fit, the one that states most; None where none fits.

        Raises
        ------
        ConfigError : two that state as much say different things
        """
        fitting = [
            a
            for a in self.by_agent
            if a.agent.casefold() in radiopharmaceutical.casefold() and a.nuclide in ("", nuclide)
        ]
        most = max((bool(a.agent) + bool(a.nuclide) for a in fitting), default=0)
        best = [a for a in fitting if bool(a.agent) + bool(a.nuclide) == most]
        if len({(a.method, a.start, a.permanent) for a in best}) > 1:
            raise ConfigError(
                [f"[[tia.by_agent]]: {len(best)} records fit {radiopharmaceutical or nuclide} and differ"]
            )
        return best[0] if best else None

    def of_agent(self, nuclide: str, radiopharmaceutical: str) -> Self:
        """These settings as they are for one agent; the same where no record fits."""
        record = self.agent(nuclide, radiopharmaceutical)
        if record is None:
            return self
        changes: dict[str, object] = {}
        if record.permanent:
            exact = self.uncertainty.model_copy(update={"physical_relative": 0.0})
            changes = {"method": "stp-physical", "uncertainty": exact}
        elif record.method is not None:
            changes["method"] = record.method
        if record.start is not None:
            changes["start"] = record.start
        return self.model_copy(update=changes)
