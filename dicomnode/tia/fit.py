"""Weighted least squares of one model to one curve, with its covariance and corrected Akaike criterion."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import exp

import numpy as np

from dicomnode.errors import NotConverged
from dicomnode.tia.curves import FARTHEST_BACK, FASTEST_PER_H, Array, Curve, Model

AT_BOUND = 1e-6
"""A rate this close (relative to the physical one) to its bound counts as on it."""


MOST_EVALUATIONS = 200
"""A model with more parameters than the scans determine creeps along a valley; given up after so many."""


@dataclass(frozen=True, eq=False)
class ModelFit:
    """One model fitted to one curve.

    Attributes
    ----------
    curve : the fitted sum of exponentials
    covariance : of (a_1..a_m, lambda_1..lambda_m); rows of parameters on a bound are zero
    sensitivity_h : derivative of the integral by each measured activity, h
    chi2, degrees : weighted sum of squares and degrees of freedom
    aicc : corrected Akaike criterion; None where points <= parameters + 1, where it is not defined
    at_physical_bound : True where the slowest rate is the physical one because the bound stopped it
    """

    model: Model
    curve: Curve
    covariance: Array
    sensitivity_h: Array
    chi2: float
    degrees: int
    aicc: float | None
    at_physical_bound: bool

    @property
    def integral_mbq_h(self) -> float:
        return self.curve.integral_mbq_h()


def aicc(chi2: float, points: int, parameters: int) -> float | None:
    """Corrected Akaike criterion of a weighted least-squares fit.

    AICc = chi2 + 2 K + 2 K (K + 1) / (N - K - 1), Burnham & Anderson 2002, as in NUKFIT (Kletting et al.
    2013); constants common to all models are left out. None where N <= K + 1.
    """
    if points <= parameters + 1:
        return None
    return chi2 + 2 * parameters + 2 * parameters * (parameters + 1) / (points - parameters - 1)


def log_linear_rate(hours: Array, activity: Array, sigma: Array) -> float | None:
    """Rate (1/h) of the weighted straight line through ln A; None with fewer than two positive points."""
    use = activity > 0
    if np.count_nonzero(use) < 2:
        return None
    t, y, w = hours[use], np.log(activity[use]), (activity[use] / sigma[use]) ** 2
    t_mean, y_mean = np.average(t, weights=w), np.average(y, weights=w)
    return float(-np.sum(w * (t - t_mean) * (y - y_mean)) / np.sum(w * (t - t_mean) ** 2))


def _start(
    model: Model, hours: Array, activity: Array, sigma: Array, physical: float, uptake: float
) -> Array:
    """Best of a grid of rates, the amplitudes by non-negative least squares; the log-linear rate included."""
    from scipy.optimize import nnls

    rate_matrix, amp_matrix = np.array(model.rate, dtype=float), np.array(model.amplitude, dtype=float)
    offset = model.offset(physical, uptake)[len(amp_matrix) :]
    slope = log_linear_rate(hours, activity, sigma) or physical
    slow = [max(slope - physical, 0.0), *np.geomspace(physical * 0.05, physical * 30, 7)]
    fast = list(np.geomspace(0.01, FASTEST_PER_H * 0.9, 7))
    n = rate_matrix.shape[1]
    axes = [fast] if model.slowest_is_physical else [slow, *[fast] * (n - 1)]
    best, best_theta = np.inf, np.zeros(model.n_parameters)
    for rates in product(*axes):
        decay = np.exp(-np.multiply.outer(hours, rate_matrix @ np.array(rates) + offset))
        amplitudes, residual = nnls(decay @ amp_matrix / sigma[:, None], activity / sigma)
        if residual < best:
            best, best_theta = residual, np.concatenate([amplitudes, rates])
    return best_theta


def fit_model(
    model: Model,
    hours: Array,
    activity: Array,
    sigma: Array,
    physical_per_h: float,
    uptake_per_h: float = 0.0,
) -> ModelFit:
    """Fit ``model`` in the linear domain, weights 1/sigma^2, rates bounded below by physical decay.

    Parameters
    ----------
    hours, activity, sigma : (n,) h, MBq, MBq
    physical_per_h, uptake_per_h : physical decay constant; uptake rate of models that fix it, 1/h

    Raises
    ------
    NotConverged : fewer points than parameters, the optimiser stopped without a minimum, or its curve rises
        before the first scan beyond ``FARTHEST_BACK``
    """
    from scipy.optimize import least_squares

    n, k = len(hours), model.n_parameters
    if n < k:
        raise NotConverged(f"{model.name} has {k} parameters but there are {n} time points")
    scale = np.concatenate([np.full(model.n_amplitudes, activity.max()), np.ones(k - model.n_amplitudes)])
    expansion = model.expansion()

    def residuals(x: Array) -> Array:
        return np.asarray((model.curve(x * scale, physical_per_h, uptake_per_h).at(hours) - activity) / sigma)

    def jacobian(x: Array) -> Array:
        full = model.curve(x * scale, physical_per_h, uptake_per_h).jacobian(hours)
        return np.asarray(full @ expansion * scale / sigma[:, None])

    upper = np.concatenate(
        [np.full(model.n_amplitudes, np.inf), np.full(k - model.n_amplitudes, FASTEST_PER_H)]
    )
    start = _start(model, hours, activity, sigma, physical_per_h, uptake_per_h) / scale
    inside = np.clip(start, 1e-9, np.where(np.isfinite(upper), upper * (1 - 1e-9), np.inf))
    result = least_squares(
        residuals,
        inside,
        jac=jacobian,
        bounds=(0, upper),
        xtol=1e-10,
        ftol=1e-10,
        gtol=1e-10,
        x_scale="jac",
        max_nfev=MOST_EVALUATIONS,
    )
    if not result.success:
        raise NotConverged(f"{model.name} did not converge: {result.message}", detail=result.x)
    unseen = model.curve(result.x * scale, physical_per_h, uptake_per_h).at(np.linspace(0.0, hours[0], 33))
    times = float(np.max(unseen)) / float(np.max(activity))
    if times > FARTHEST_BACK * exp(physical_per_h * hours[0]):
        raise NotConverged(
            f"{model.name} did not converge: before the first scan its curve is {times:.0e} times as high as "
            "anything that was measured",
            detail=result.x,
        )
    return _described(model, result.x * scale, hours, activity, sigma, physical_per_h, uptake_per_h)


def _described(
    model: Model, theta: Array, hours: Array, activity: Array, sigma: Array, physical: float, uptake: float
) -> ModelFit:
    """Covariance, sensitivities and criterion at the minimum. A parameter on a bound counts as fixed."""
    n_a = model.n_amplitudes
    floor = np.concatenate([np.full(n_a, activity.max()), np.full(len(theta) - n_a, physical)]) * AT_BOUND
    roof = np.concatenate([np.full(n_a, np.inf), np.full(len(theta) - n_a, FASTEST_PER_H * (1 - 1e-4))])
    free = (theta > floor) & (theta < roof)
    theta = np.where(theta > floor, theta, 0.0)
    curve = model.curve(theta, physical, uptake)
    expansion = model.expansion()[:, free]
    weighted = curve.jacobian(hours) @ expansion / sigma[:, None]
    # Gauss-Newton covariance (J^T W J)^-1; Gear et al. 2018, section on the time-activity curve.
    covariance = np.linalg.pinv(weighted.T @ weighted)
    sensitivity = curve.integral_gradient() @ expansion @ covariance @ (weighted / sigma[:, None]).T
    chi2 = float(np.sum(((curve.at(hours) - activity) / sigma) ** 2))
    return ModelFit(
        model,
        curve,
        expansion @ covariance @ expansion.T,
        np.asarray(sensitivity),
        chi2,
        len(hours) - len(theta),
        aicc(chi2, len(hours), len(theta)),
        bool(not model.slowest_is_physical and theta[n_a] == 0.0),
    )
