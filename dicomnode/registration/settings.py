"""Settings of registration, each limit with its source."""

from __future__ import annotations

from pydantic import Field

from dicomnode.model import Settings

TG132 = "AAPM TG-132, Brock et al., Med Phys 44:e43 (2017)"
"""Dice within contouring uncertainty, 0.80 to 0.90; target registration error within the largest voxel."""


class RegistrationSettings(Settings):
    """How time points are brought together, and what holds the cycle."""

    reference_hours: float = Field(
        24.0,
        description="the time point nearest to this is the reference, where none has regions",
        gt=0,
    )
    working_voxel_mm: float = Field(
        4.0, description="CTs are averaged down to about this before alignment; finer costs time", gt=0, le=10
    )
    histogram_bins: int = Field(
        32, description="of the joint histogram of Mattes mutual information", ge=8, le=128
    )
    samples: int = Field(
        30_000, description="voxels used per level, on a regular pattern so that runs agree", ge=5_000
    )
    iterations: int = Field(120, description="most optimiser steps per resolution level", ge=10, le=1000)
    body_hu: float = Field(-300.0, description="CT number that separates the body from air", gt=-900, lt=0)
    dice_min: float = Field(
        0.90,
        description="body outlines overlapping less hold the cycle (AAPM TG-132: 0.80 to 0.90)",
        gt=0,
        lt=1,
    )
    residual_max_mm: float = Field(
        5.0,
        description="a larger residual shift between CTs holds the cycle: one SPECT voxel (AAPM TG-132)",
        gt=0,
    )
    spect_residual_max_mm: float = Field(
        12.0,
        description="the same between SPECTs: their resolution, as uptake that changes looks like a shift",
        gt=0,
    )
    rotation_max_deg: float = Field(
        15.0, description="a larger rotation holds the cycle: a supine patient does not turn that far", gt=0
    )
    outside_warn_fraction: float = Field(
        0.02,
        description="part of the reference's activity unseen at a time point that gives a warning",
        ge=0,
        lt=1,
    )
    outside_hold_fraction: float = Field(
        0.10,
        description="the same part that holds the cycle: the remainder's TIA would be wrong by as much",
        gt=0,
        le=1,
    )
    region_cut_fraction: float = Field(
        0.01, description="part of a region unseen at a time point that holds the cycle", ge=0, lt=1
    )
