"""Regional results: time-activity curves, their integrals, and doses, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import hypot

from dicomnode.model.findings import Finding
from dicomnode.model.volumes import TiaMap


@dataclass(frozen=True)
class RegionTia:
    """Time-integrated activity of one region.

    Attributes
    ----------
    region : name
    hours, activity_mbq, sigma_mbq : the measured curve, h and MBq, with its standard uncertainty
    method : "trapezoid", "mono-exponential", "bi-exponential", "tri-exponential", "model-average",
        "stp-physical", "stp-population", "stp-haenscheid", "stp-madsen"
    tia_mbq_s, sigma_tia_mbq_s : integral from administration to infinity and its standard uncertainty
    parameters : name -> value, units in the names ("a1_mbq", "lambda1_per_h")
    covariance : parameters x parameters, in the order of ``parameters``; empty where not fitted
    aicc : corrected Akaike criterion of the model used, or None
    r_squared : of the fit, or None
    budget : name of a contribution -> relative standard uncertainty (EANM, Gear et al. 2018)
    effective_half_life_h : of the slowest phase, h, or None where the method has none
    extrapolated_fraction : part of ``tia_mbq_s`` that falls after the last scan, or None
    model_weights : name of a model -> its Akaike weight, where models were averaged
    dose_contour : what the contour contributes to the uncertainty of a mean dose, relative, in place of
        ``budget["contour"]``: the volume is in activity and mass, so the two must not be added; None
        where there is no contour
    """

    region: str
    hours: tuple[float, ...]
    activity_mbq: tuple[float, ...]
    sigma_mbq: tuple[float, ...]
    method: str
    tia_mbq_s: float
    sigma_tia_mbq_s: float
    parameters: Mapping[str, float] = field(default_factory=dict)
    covariance: tuple[tuple[float, ...], ...] = ()
    aicc: float | None = None
    r_squared: float | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    effective_half_life_h: float | None = None
    extrapolated_fraction: float | None = None
    model_weights: Mapping[str, float] = field(default_factory=dict)
    dose_contour: float | None = None

    @property
    def relative_of_dose(self) -> float:
        """Relative standard uncertainty that this curve gives a mean dose."""
        if not self.tia_mbq_s > 0:
            return 0.0
        whole = self.sigma_tia_mbq_s / self.tia_mbq_s
        if self.dose_contour is None:
            return whole
        rest = whole**2 - self.budget.get("contour", 0.0) ** 2
        return float(hypot(max(rest, 0.0) ** 0.5, self.dose_contour))


@dataclass(frozen=True, eq=False)
class TiaFit:
    """Time-integrated activity of a cycle: the map, its uncertainty, and each region's curve.

    Attributes
    ----------
    tia : TiaMap
    sigma : absolute standard uncertainty of ``tia`` per voxel, MBq s / mL
    method : name of the voxel method
    regions : one RegionTia per region, the whole field of view included under "field-of-view"
    findings : what the fit has to say
    """

    tia: TiaMap
    sigma: TiaMap
    method: str
    regions: tuple[RegionTia, ...]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class OrganDose:
    """Absorbed dose of one region.

    Attributes
    ----------
    mean_gy, sigma_gy : mean absorbed dose and its standard uncertainty (all contributions)
    d2_gy, d50_gy, d98_gy : dose received by at least 2, 50, 98 % of the volume
    max_gy : largest voxel
    volume_ml, mass_g : region on the dose grid
    tia_mbq_s : time-integrated activity within the region
    bed_gy, eqd2_gy : where alpha/beta, repair and effective half-life are configured
    alpha_gy : the part of ``mean_gy`` given by alpha particles and recoils, where the nuclide emits any
    low_gy, high_gy : interval of the true mean dose (k = 2) with the loss by partial volume in full, where it
        is known; not symmetrical about ``mean_gy``
    recovery : what the image shows of the region over what is there
    recovered_gy, recovered_sigma_gy : mean dose corrected for partial volume and its standard uncertainty;
        None where none may be stated
    recovery_limit : what limits the corrected dose ("contour", "width", ...), or why there is none
    """

    region: str
    mean_gy: float
    sigma_gy: float
    d2_gy: float
    d50_gy: float
    d98_gy: float
    max_gy: float
    volume_ml: float
    mass_g: float
    tia_mbq_s: float
    bed_gy: float | None = None
    eqd2_gy: float | None = None
    alpha_gy: float | None = None
    low_gy: float | None = None
    high_gy: float | None = None
    recovery: float | None = None
    recovered_gy: float | None = None
    recovered_sigma_gy: float | None = None
    recovery_limit: str = ""
