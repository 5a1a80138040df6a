"""The trapezoid with a physical tail: linear in activity, so that it is one weight per time point."""

from __future__ import annotations

from math import exp, hypot, log, sqrt

import numpy as np

from dicomnode.tia.curves import Array
from dicomnode.tia.estimate import Estimate
from dicomnode.tia.measure import Measured


def weights_h(hours: Array, physical_per_h: float, start_ratio: float = 0.0) -> Array:
    """w_i (h) with integral = sum_i w_i A_i.

    A~ = sum_{i=0}^{n-1} (A_i + A_{i+1}) / 2 (t_{i+1} - t_i) + A_n / lambda, t_0 = 0 (Kim et al., equation 1,
    tail to infinity with physical decay only).

    Parameters
    ----------
    hours : (n,) times of the scans, h, increasing and positive
    physical_per_h : physical decay constant, 1/h
    start_ratio : A_0 / A_1; 0 is the published convention
    """
    widths = np.diff(hours, prepend=0.0)
    weights = widths / 2.0
    weights[:-1] += widths[1:] / 2.0
    weights[0] += start_ratio * hours[0] / 2.0
    weights[-1] += 1.0 / physical_per_h
    return weights


def start_ratio(start: str, first_hours: float, physical_per_h: float) -> float:
    """A_0 / A_1 of the conventions that need no fit: "zero" and "physical-back-decay"."""
    return exp(physical_per_h * first_hours) if start == "physical-back-decay" else 0.0


def trapezoid(curve: Measured, physical_per_h: float, ratio: float, unknown_tail_relative: float) -> Estimate:
    """The trapezoid of one curve.

    The tail assumes no clearance after the last scan, and straight lines lie above a curve that falls
    exponentially. The uncertainty of both ("model" in the budget) is that of values anywhere between the
    trapezoid's and the exponential's: A_n / lambda and A_n / lambda_obs for the tail (lambda_obs the rate
    between the last two scans), the linear and the logarithmic mean for each interval. The trapezoid's
    value is the upper end of each, not the middle, and both are high together: the root mean square error
    of the reported value is their sum over sqrt(3) (our own choice: uniform, fully correlated).

    Where nothing was seen to fall (one scan, or a rise at the end) the tail is the bare assumption of
    ``stp-physical`` and is as uncertain: ``unknown_tail_relative`` of it.
    """
    weights = weights_h(curve.hours, physical_per_h, ratio)
    total = float(weights @ curve.activity_mbq)
    tail = float(curve.activity_mbq[-1]) / physical_per_h
    observed = _last_rate(curve)
    spread = _above_exponential(curve)
    if observed is not None:
        spread += tail * max(0.0, 1.0 - physical_per_h / observed)
    unknown = unknown_tail_relative * abs(tail) if observed is None else 0.0
    return Estimate(
        method="trapezoid",
        tia_mbq_h=total,
        sensitivity_h=weights,
        voxel_weight_h=weights,
        model_mbq_h=hypot(spread / sqrt(3.0), unknown),
        effective_half_life_h=None if observed is None else log(2.0) / observed,
        extrapolated_fraction=tail / total if total > 0 else None,
    )


def _above_exponential(curve: Measured) -> float:
    """Area between straight and exponential lines joining the scans, MBq h, over falling intervals."""
    before, after = curve.activity_mbq[:-1], curve.activity_mbq[1:]
    falls = (before > after) & (after > 0)
    before, after, width = before[falls], after[falls], np.diff(curve.hours)[falls]
    return float(np.sum(width * ((before + after) / 2.0 - (before - after) / np.log(before / after))))


def _last_rate(curve: Measured) -> float | None:
    """Effective rate between the last two scans, 1/h; None where activity does not fall."""
    if len(curve.hours) < 2:
        return None
    before, last = curve.activity_mbq[-2:]
    if not before > last > 0:
        return None
    return float(np.log(before / last) / (curve.hours[-1] - curve.hours[-2]))
