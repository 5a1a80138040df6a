"""Every threshold of the verdict in one place, beside where it comes from and its rate of false alarms.

Change a number only together with its calibration: docs/comparing.md says how, ``make compare-study``
repeats it. Thresholds belong to a model (the engine or network that is judged) and are versioned with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import Field

from dicomnode.model import Settings

VERSION = "2"


class VerdictSettings(Settings):
    """Limits of the gates."""

    negative_share: float = Field(
        1e-3, description="Dose below zero accepted, share of the hot level: ringing of an FFT", gt=0, lt=1
    )
    total_share: float = Field(
        0.02, description="Accepted error of the total, share, beside 3 sd of its noise", gt=0, lt=1
    )
    region_share: float = Field(
        0.05, description="Accepted error of a region's mean; EANM asks 10 % of activity in all", gt=0, lt=1
    )
    small_region_share: float = Field(
        0.10, description="The same for regions below small_region_ml: clinical choice", gt=0, lt=1
    )
    small_region_ml: float = Field(5.0, description="A region below this volume is small, mL", ge=0)
    region_p: float = Field(
        0.01, description="False alarms of all regions together, were each exactly at its limit", gt=0, lt=1
    )
    moment_degree: int = Field(
        4, description="35 moments: tolerances from fewer than 1500 cases carry no more", ge=1, le=12
    )
    moment_p: float = Field(
        0.01, description="Least p of the moments; the false alarms of this gate", gt=0, lt=1
    )
    tolerance_share: float = Field(
        0.01,
        description="Smooth model error accepted, 1 sd: what a good network has (study, null B)",
        ge=0,
        lt=1,
    )
    tolerance_mm: float = Field(20.0, description="Correlation length of that error, mm", gt=0)
    scan_scales_mm: tuple[float, ...] = Field((0.0, 4.0, 8.0), description="Scales of the scan, mm")
    scan_p: float = Field(
        1e-4,
        description="False alarms of the scan, Bonferroni over voxels and scales, were noise Gaussian; that "
        "of Monte Carlo has heavier tails: 0.01 gave 3 % for 90Y",
        gt=0,
        lt=1,
    )
    displaced_warn_mm: float = Field(
        0.5,
        description="2 SW1 beyond noise that is reported, mm: null with 1 % error has 95 % below 0.34",
        gt=0,
    )
    displaced_fail_mm: float = Field(
        1.0, description="2 SW1 beyond noise that fails, mm: largest null 0.49, a 2 mm shift gives 1.95", gt=0
    )
    certain_fail_mm: float = Field(
        0.7,
        description="Displacement certain at 95 % that fails, mm: a 2 mm shift gives 1.4 at 30 % noise",
        gt=0,
    )
    noise_share: float = Field(
        0.30,
        description="Relative noise of the hot level above which nothing is decided: study, up to 30 %",
        gt=0,
    )
    gamma_noise_share: float = Field(
        0.02, description="Relative noise above which gamma is not interpretable (a right map fails)", gt=0
    )


@dataclass(frozen=True)
class Calibration:
    """How often a gate fails a map that is as good as accepted.

    Attributes
    ----------
    rate : nominal, at most
    how : how it was found
    """

    rate: float
    how: str


FALSE_ALARMS: Mapping[str, Calibration] = MappingProxyType(
    {
        "sanity": Calibration(0.003, "total: 3 sd beyond 2 %, normal law; measured 0 of 584"),
        "noise": Calibration(0.0, "never fails; only undecided"),
        "regions": Calibration(0.01, "all regions together, were each at its limit; measured 0 of 584"),
        "moments": Calibration(0.02, "nominal 0.01, F law from batches; measured 9 of 584"),
        "scan": Calibration(
            0.01,
            "limit set by real noise; measured 4 of 584, 3 of 584 without any error (90Y 3 and 2 of 174)",
        ),
        "displacement": Calibration(
            0.005, "measured 0 of 584 (95 % confidence), largest 0.44 mm; certain part at most 0.29 mm"
        ),
    }
)
"""Rates per gate. Measured: maps with 1 % smooth error against transport of the engine ``montecarlo``, two
phantoms, three nuclides, 1e4 to 1e7 decays where noise is below 30 % (docs/comparing.md). Together 4.8 % at
most; 13 of 584 maps failed, and 3 of 584 without any error."""
