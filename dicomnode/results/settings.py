"""What a site decides about its results."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dicomnode.model import Settings


class Radiobiology(Settings):
    """Linear-quadratic parameters of one region."""

    alpha_beta_gy: float = Field(description="alpha/beta of the linear-quadratic model, Gy", gt=0)
    repair_half_time_h: float = Field(description="half-time of the repair of sublethal damage, h", gt=0)
    effective_half_life_h: float | None = Field(
        None, description="used where the region's curve was not fitted by exponentials, h", gt=0
    )


class ResultsSettings(Settings):
    """How organ doses are formed and shown."""

    mean: Literal["mass", "volume"] = Field(
        "mass",
        description="weight of a voxel in the mean dose: its mass (energy imparted / mass, ICRU 85), or "
        "its volume (as planning systems do)",
    )
    resolution_fwhm_mm: float = Field(
        12.0, description="image resolution: noise of voxels nearer than this is one draw, mm", gt=0
    )
    course_common_relative: float = Field(
        0.05,
        description="relative standard uncertainty that all cycles of a course share (calibration, "
        "recovery, S-values); the rest is taken as independent between cycles",
        ge=0,
        lt=1,
    )
    radiobiology: dict[str, Radiobiology] = Field(
        default_factory=dict, description="region -> parameters; BED and EQD2 are given where set"
    )
    alpha_rbe: float = Field(
        1.0,
        description="relative biological effectiveness of alpha particles: with other than 1 the report also "
        "has the mean dose so weighted; every other figure and map is absorbed dose",
        ge=1,
        le=100,
    )
    ct_window_hu: tuple[float, float] = Field(
        (-160.0, 240.0), description="black and white of the CT in pictures, HU"
    )
