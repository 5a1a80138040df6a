"""Settings of the check room: limits that a site may move. Defaults name their source in limits.py."""

from __future__ import annotations

from pydantic import Field

from dicomnode.model import Settings


class CheckSettings(Settings):
    """Limits of the rules. A rule that fails holds the cycle with a sentence."""

    half_life_tolerance: float = Field(
        0.01, gt=0, lt=1, description="header half-life may differ from ICRP 107 by this fraction"
    )
    image_total_tolerance: float = Field(
        0.10,
        ge=0,
        description="activity in the image may exceed the decayed administered activity by this fraction",
    )
    earliest_h: float = Field(
        0.0, ge=0, description="an acquisition earlier than this after administration is a clock fault"
    )
    latest_h: float = Field(
        504.0, gt=0, description="an acquisition later than this after administration is a clock fault"
    )
    tail_fraction: float = Field(
        0.5, gt=0, le=1, description="warn where more of the TIA than this lies after the last time point"
    )
    hot_noise_warn: float = Field(
        0.05,
        gt=0,
        le=1,
        description="warn where the Monte Carlo noise of hot voxels exceeds this",
    )
    hot_noise_hold: float = Field(
        0.15,
        gt=0,
        le=1,
        description="hold where the Monte Carlo noise of hot voxels exceeds this",
    )
    minimum_activity_mbq: float = Field(
        10.0, gt=0, description="a therapy below this is taken for a unit error in the header"
    )
    maximum_activity_mbq: float = Field(
        50000.0, gt=0, description="a therapy above this is taken for a unit error in the header"
    )
