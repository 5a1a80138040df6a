"""Which curve describes a region: rising activity, the allowed models, the corrected Akaike criterion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log

import numpy as np

from dicomnode.errors import NotConverged
from dicomnode.model import Finding, Severity
from dicomnode.tia.curves import FIXED_UPTAKE_MODELS, MODELS, Array, Model
from dicomnode.tia.estimate import Estimate
from dicomnode.tia.fit import ModelFit, fit_model, log_linear_rate
from dicomnode.tia.measure import Measured
from dicomnode.tia.settings import TiaSettings


class Rising(NotConverged):
    """Activity rises where the method's curve can only fall; ``detail`` is (hours, MBq)."""


POOR_FIT = 0.01
"""Probability of so large a chi-square below which the noise is taken to be underestimated."""


def rise(curve: Measured, sigmas: float) -> str:
    """ "none", "early" (a rise before the last interval) or "late" (no clearance seen at the end).

    A rise is real where it exceeds ``sigmas`` standard uncertainties of the difference. "late": the last
    interval rises, or the largest activity is the last, or the straight line through ln A does not fall.
    """
    a, s = curve.activity_mbq, curve.fit_sigma_mbq
    if len(a) < 2:
        return "none"
    limit = sigmas * np.hypot(s[:, None], s[None, :])
    rises = np.triu(a[None, :] - a[:, None] > limit, k=1)
    if rises[-2, -1] or (rises[:, -1].any() and int(a.argmax()) == len(a) - 1):
        return "late"
    if rises.any():
        return "early"
    slope = log_linear_rate(curve.hours, a, s)
    return "late" if slope is None or slope <= 0 else "none"


def candidates(method: str, points: int, settings: TiaSettings, rises: str) -> list[Model]:
    """Models that the method, the number of points and the shape allow.

    Bi- and tri-exponentials need one point more than parameters; a fixed uptake half-life saves a parameter
    and a point. A purely decaying model is never fitted to rising activity.
    """
    pool = (*MODELS, *(FIXED_UPTAKE_MODELS if settings.uptake_half_life_hours else ()))
    wanted = [m for m in pool if method in (m.family, "model-average")]
    needed = {m.name: m.n_parameters + (m.family != "mono-exponential") for m in wanted}
    enough = [m for m in wanted if points >= needed[m.name]]
    if not enough:
        raise NotConverged(
            f"{method} needs at least {min(needed.values())} time points, the cycle has {points}; choose "
            "mono-exponential, hybrid or trapezoid, or fix uptake_half_life_hours"
        )
    return [m for m in enough if m.rises or rises == "none"]


def fitted(curve: Measured, physical_per_h: float, method: str, settings: TiaSettings) -> Estimate:
    """Fit one region by ``method`` and choose or average by AICc.

    Raises
    ------
    Rising : activity rises where the method's curves only fall; ``detail`` is the measured curve
    NotConverged : too few points, or no minimum found
    """
    shape = rise(curve, settings.rise_sigmas)
    why = {"late": "activity does not fall at the end", "early": "activity rises before it falls"}
    models = [] if shape == "late" else candidates(method, len(curve.hours), settings, shape)
    if not models:
        raise Rising(
            f"{curve.name}: {why[shape]} ({_listed(curve)}), so no {method} curve is fitted",
            detail=(curve.hours.tolist(), curve.activity_mbq.tolist()),
        )
    uptake = log(2.0) / settings.uptake_half_life_hours if settings.uptake_half_life_hours else 0.0
    fits, dropped = _fits(curve, models, physical_per_h, uptake)
    weights = akaike_weights(fits)
    best = fits[int(np.argmax(weights))]
    average = method == "model-average"
    estimate = _averaged(curve, fits, weights, best) if average else _one(curve, best, method)
    return replace(estimate, findings=(*estimate.findings, *dropped))


def _fits(
    curve: Measured, models: Sequence[Model], physical_per_h: float, uptake_per_h: float
) -> tuple[list[ModelFit], tuple[Finding, ...]]:
    """Every model that converges, and a note on each that does not. NotConverged where none does."""
    fits: list[ModelFit] = []
    failed: list[NotConverged] = []
    for m in models:
        try:
            fit = fit_model(
                m, curve.hours, curve.activity_mbq, curve.fit_sigma_mbq, physical_per_h, uptake_per_h
            )
        except NotConverged as error:
            failed.append(error)
            continue
        if fit.integral_mbq_h > 0:
            fits.append(fit)
        else:
            failed.append(Rising(f"{m.name} finds no positive activity", detail=curve.activity_mbq.tolist()))
    if not fits:
        raise failed[0]
    return fits, tuple(
        Finding("tia-model-left-out", Severity.NOTE, f"{curve.name}: {error}; left out", subject=curve.name)
        for error in failed
    )


def akaike_weights(fits: Sequence[ModelFit]) -> Array:
    """w_m ~ exp(-(AICc_m - min)/2) (Burnham & Anderson 2002). Models without a defined AICc (points <=
    parameters + 1) get a weight only where none has one; then the least chi-square wins."""
    scores = np.array([np.inf if f.aicc is None else f.aicc for f in fits])
    if not np.isfinite(scores).any():
        weights = np.zeros(len(fits))
        weights[int(np.argmin([f.chi2 + 2 * f.model.n_parameters for f in fits]))] = 1.0
        return weights
    weights = np.exp(-(scores - scores.min()) / 2.0)
    return np.asarray(weights / weights.sum())


def _one(curve: Measured, fit: ModelFit, method: str) -> Estimate:
    from scipy.stats import chi2 as chi2_distribution

    total = fit.integral_mbq_h
    worse = fit.degrees > 0 and float(chi2_distribution.sf(fit.chi2, fit.degrees)) < POOR_FIT
    ratio = (fit.chi2 / fit.degrees) ** 0.5 if worse else 1.0
    names = [f"a{j + 1}_mbq" for j in range(len(fit.curve.amplitude_mbq))]
    names += [f"lambda{j + 1}_per_h" for j in range(len(fit.curve.rate_per_h))]
    values = np.concatenate([fit.curve.amplitude_mbq, fit.curve.rate_per_h])
    spread = float(np.sum((curve.activity_mbq - curve.activity_mbq.mean()) ** 2))
    residual = float(np.sum((curve.activity_mbq - fit.curve.at(curve.hours)) ** 2))
    return Estimate(
        method=method,
        tia_mbq_h=total,
        sensitivity_h=fit.sensitivity_h,
        voxel_weight_h=_amount_weights(curve, fit.curve.at(curve.hours), total),
        lack_of_fit=ratio,
        parameters=dict(zip(names, values.tolist(), strict=True)),
        covariance=tuple(map(tuple, (fit.covariance * ratio**2).tolist())),
        aicc=fit.aicc,
        r_squared=1.0 - residual / spread if spread > 0 and fit.degrees > 0 else None,
        effective_half_life_h=fit.curve.effective_half_life_h,
        extrapolated_fraction=fit.curve.integral_mbq_h(float(curve.hours[-1])) / total,
        findings=_what_the_fit_says(curve, fit, worse),
    )


def _averaged(curve: Measured, fits: Sequence[ModelFit], weights: Array, best: ModelFit) -> Estimate:
    """A~ = sum w A~_m, u = sum w sqrt(u_m^2 + (A~_m - A~)^2) (Burnham & Anderson 2002, section 4.3.2).

    Parameters, covariance and criterion are those of the best model; ``model_weights`` tells the rest.
    """
    parts = [_one(curve, f, "model-average") for f in fits]
    main = parts[int(np.argmax(weights))]
    totals = np.array([p.tia_mbq_h for p in parts])
    total = float(weights @ totals)
    noise = np.array([np.linalg.norm(p.sensitivity_h * curve.fit_sigma_mbq) * p.lack_of_fit for p in parts])
    wide = float(weights @ np.hypot(noise, totals - total))
    sensitivity = np.asarray(weights @ np.array([p.sensitivity_h for p in parts]))
    factor = float(weights @ np.array([p.lack_of_fit for p in parts]))
    inner = float(np.linalg.norm(sensitivity * curve.fit_sigma_mbq)) * factor
    tail = float(weights @ np.array([(p.extrapolated_fraction or 0.0) * p.tia_mbq_h for p in parts]))
    return Estimate(
        method="model-average",
        tia_mbq_h=total,
        sensitivity_h=sensitivity,
        voxel_weight_h=_amount_weights(curve, best.curve.at(curve.hours), total),
        model_mbq_h=max(wide**2 - inner**2, 0.0) ** 0.5,
        lack_of_fit=factor,
        parameters=main.parameters,
        covariance=main.covariance,
        aicc=main.aicc,
        r_squared=main.r_squared,
        effective_half_life_h=main.effective_half_life_h,
        extrapolated_fraction=tail / total,
        model_weights={f.model.name: float(w) for f, w in zip(fits, weights, strict=True)},
        findings=main.findings,
    )


def _amount_weights(curve: Measured, shape: Array, total: float) -> Array:
    """k_i = total c_i, c_i = (f_i / s_i^2) / sum_j (f_j A_j / s_j^2): the least-squares amount of the
    fitted shape f in a voxel, so that the voxels of the region add up to the region's integral."""
    w = shape / curve.fit_sigma_mbq**2
    return np.asarray(total * w / float(w @ curve.activity_mbq))


def _listed(curve: Measured) -> str:
    return ", ".join(f"{a:.3g} MBq at {t:g} h" for t, a in zip(curve.hours, curve.activity_mbq, strict=True))


def _what_the_fit_says(curve: Measured, fit: ModelFit, worse: bool) -> tuple[Finding, ...]:
    from scipy.stats import chi2 as chi2_distribution

    said = []
    if fit.at_physical_bound:
        said.append(
            Finding(
                "tia-physical-bound",
                Severity.WARNING,
                f"{curve.name}: the fitted rate stopped at physical decay; measured activity falls "
                "more slowly than physics allows; check calibration, decay correction and contours",
                measured=fit.curve.effective_half_life_h,
                unit="h",
                subject=curve.name,
                source="lambda_eff >= lambda_phys",
            )
        )
    if worse:
        said.append(
            Finding(
                "tia-poor-fit",
                Severity.WARNING,
                f"{curve.name}: the {fit.model.name} curve misses the scans by more than their "
                f"uncertainty (chi-square {fit.chi2:.1f} for {fit.degrees} degrees of freedom); the "
                "uncertainty of the fit was widened",
                measured=fit.chi2,
                limit=float(chi2_distribution.isf(POOR_FIT, fit.degrees)),
                subject=curve.name,
                source="Birge ratio; chi-square test at 1 %",
            )
        )
    if fit.degrees == 0:
        said.append(
            Finding(
                "tia-exact-fit",
                Severity.NOTE,
                f"{curve.name}: {len(curve.hours)} time points determine the {fit.model.name} curve "
                "without any left to test it",
                subject=curve.name,
            )
        )
    return tuple(said)
