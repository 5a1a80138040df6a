"""What every method returns for one curve: the integral, its derivatives, and how voxels share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dicomnode.model import Finding, RegionTia
from dicomnode.tia.curves import Array
from dicomnode.tia.measure import Measured
from dicomnode.tia.uncertainty import combined


@dataclass(frozen=True, eq=False)
class Estimate:
    """The time-integrated activity of one curve.

    Attributes
    ----------
    tia_mbq_h : integral from administration to infinity, MBq h
    sensitivity_h : derivative of the integral by each measured activity, h
    voxel_weight_h : k_i with sum_i k_i A_i = integral; a voxel's TIA is sum_i k_i A_i of the voxel, h
    model_mbq_h : standard uncertainty of the model itself (tail, choice of model, population), MBq h
    lack_of_fit : factor >= 1 on the fit's uncertainty where residuals exceed the stated noise
    extrapolated_fraction : part of the integral after the last scan, None where the method has none
    """

    method: str
    tia_mbq_h: float
    sensitivity_h: Array
    voxel_weight_h: Array
    model_mbq_h: float = 0.0
    lack_of_fit: float = 1.0
    parameters: Mapping[str, float] = field(default_factory=dict)
    covariance: tuple[tuple[float, ...], ...] = ()
    aicc: float | None = None
    r_squared: float | None = None
    effective_half_life_h: float | None = None
    extrapolated_fraction: float | None = None
    model_weights: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def budget(curve: Measured, estimate: Estimate) -> dict[str, float]:
    """Relative standard uncertainties of the integral, to be added in quadrature.

    ``counts`` and ``fit`` are what the covariance of the curve makes of the noise of each time point
    (u^2 = sum_i (dA~/dA_i)^2 u_i^2, Gear et al. 2018, "Time-integrated activity"), ``model`` that of the
    method; calibration, recovery and contour are common to all time points and pass unchanged.
    """
    if estimate.tia_mbq_h == 0:
        return {}
    g, scale = estimate.sensitivity_h, abs(estimate.tia_mbq_h)
    total = float(np.linalg.norm(g * curve.fit_sigma_mbq)) / scale
    counts = float(np.linalg.norm(g * curve.counts_mbq)) / scale
    fit = np.sqrt(max((total * estimate.lack_of_fit) ** 2 - counts**2, 0.0))
    return {"counts": counts, "fit": float(fit), "model": estimate.model_mbq_h / scale, **curve.common}


def region_tia(curve: Measured, estimate: Estimate) -> RegionTia:
    """The noun that leaves the room: MBq s."""
    shares = budget(curve, estimate)
    tia_mbq_s = estimate.tia_mbq_h * 3600.0
    empty = float(np.linalg.norm(estimate.sensitivity_h * curve.fit_sigma_mbq)) * 3600.0
    return RegionTia(
        region=curve.name,
        hours=tuple(curve.hours.tolist()),
        activity_mbq=tuple(curve.activity_mbq.tolist()),
        sigma_mbq=tuple(curve.sigma_mbq.tolist()),
        method=estimate.method,
        tia_mbq_s=tia_mbq_s,
        sigma_tia_mbq_s=combined(shares) * abs(tia_mbq_s) if shares else empty,
        parameters=estimate.parameters,
        covariance=estimate.covariance,
        aicc=estimate.aicc,
        r_squared=estimate.r_squared,
        budget=shares,
        effective_half_life_h=estimate.effective_half_life_h,
        extrapolated_fraction=estimate.extrapolated_fraction,
        model_weights=estimate.model_weights,
        dose_contour=curve.dose_contour,
    )
