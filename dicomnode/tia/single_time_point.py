"""Time-integrated activity from one scan at time T. All are A(T) times one number."""

from __future__ import annotations

from math import exp, hypot, log, sqrt

import numpy as np

from dicomnode.errors import ConfigError, OutOfDomain
from dicomnode.model import Finding, Severity
from dicomnode.tia.estimate import Estimate
from dicomnode.tia.measure import Measured
from dicomnode.tia.settings import PopulationHalfLife, TiaSettings

MADSEN_TOLERANCE = 0.5
"""|lambda T - 1| beyond which an error of the half-life passes by more than half into the integral."""


def exponential_h(rate_per_h: float, at_hours: float) -> float:
    """Integral / A(T) of a mono-exponential, exp(lambda T) / lambda, h (Madsen et al., Med Phys 45:2318)."""
    return exp(rate_per_h * at_hours) / rate_per_h


def haenscheid_h(at_hours: float) -> float:
    """Integral / A(T) = 2 T / ln 2, h (Haenscheid et al. 2018, J Nucl Med 59:75).

    Within 10 % of a mono-exponential where 0.75 T_eff < T < 2.5 T_eff.
    """
    return 2.0 * at_hours / log(2.0)


def population_error(rate_per_h: float, at_hours: float, relative_sd: float) -> float:
    """Relative standard error of the integral from the spread s of the half-life.

    ln A~ = ln A + lambda T - ln lambda; with lambda = lambda_0 (1 + e) the error is
    (lambda_0 T - 1) e + e^2/2, of root mean square sqrt((lambda_0 T - 1)^2 s^2 + 3/4 s^4) for a normal e:
    least at T = 1/lambda_0, that is 1.44 half-lives (the minimum of Madsen et al. 2018).
    """
    return hypot((rate_per_h * at_hours - 1.0) * relative_sd, sqrt(0.75) * relative_sd**2)


def population_for(region: str, settings: TiaSettings) -> PopulationHalfLife:
    """The half-life configured for a region, or under "default"; ConfigError where there is neither."""
    by_name = {name.casefold(): value for name, value in settings.populations.items()}
    found = by_name.get(region.casefold(), by_name.get("default"))
    if found is None:
        raise ConfigError(
            [
                f"tia.populations has no effective half-life for region {region!r} and no 'default', which "
                f"{settings.method} needs; add one with its source"
            ]
        )
    return found


def rate_for(region: str, physical_per_h: float, settings: TiaSettings) -> tuple[float, float]:
    """Effective rate (1/h) and relative spread that the method assumes for a region.

    "stp-population" takes ln 2 over the mean half-life. "stp-madsen" takes the population's mean rate, which
    for log-normal half-lives (PMC8882881) of mean T and relative spread s is ln 2 / T (1 + s^2).
    """
    population = population_for(region, settings)
    rate = log(2.0) / population.effective_half_life_hours
    if rate < physical_per_h * (1 - 1e-9):
        raise OutOfDomain(
            f"population effective half-life of {region!r}",
            population.effective_half_life_hours,
            "h",
            f"at most the physical half-life, {log(2.0) / physical_per_h:.2f} h",
        )
    if settings.method == "stp-madsen":
        rate *= 1.0 + population.relative_sd**2
    return rate, population.relative_sd


def single_time_point(curve: Measured, index: int, physical_per_h: float, settings: TiaSettings) -> Estimate:
    """Integrate one curve from its scan ``index`` by the method of the settings.

    Raises
    ------
    ConfigError : no population half-life for the region
    OutOfDomain : a population half-life longer than the physical one
    """
    at = float(curve.hours[index])
    activity = float(curve.activity_mbq[index])
    rate: float | None = None
    findings: tuple[Finding, ...] = ()
    if settings.method == "stp-haenscheid":
        factor, relative = haenscheid_h(at), settings.uncertainty.haenscheid_relative
        findings = _window(curve.name, at, physical_per_h)
    elif settings.method == "stp-physical":
        rate, relative = physical_per_h, settings.uncertainty.physical_relative
        factor = exponential_h(rate, at)
    else:
        rate, spread = rate_for(curve.name, physical_per_h, settings)
        relative, factor = population_error(rate, at, spread), exponential_h(rate, at)
        findings = _far_from_minimum(curve.name, at, rate, relative)
    weight = np.zeros(len(curve.hours))
    weight[index] = factor
    return Estimate(
        method=settings.method,
        tia_mbq_h=activity * factor,
        sensitivity_h=weight,
        voxel_weight_h=weight,
        model_mbq_h=abs(activity * factor) * relative,
        parameters={} if rate is None else {"a1_mbq": activity * exp(rate * at), "lambda1_per_h": rate},
        effective_half_life_h=None if rate is None else log(2.0) / rate,
        extrapolated_fraction=None if rate is None else exp(-rate * at),
        findings=findings,
    )


def _window(region: str, at_hours: float, physical_per_h: float) -> tuple[Finding, ...]:
    """T_eff is unknown but at most the physical half-life: only a scan surely too late is named."""
    longest = log(2.0) / physical_per_h
    if at_hours <= 2.5 * longest:
        return ()
    return (
        Finding(
            "tia-haenscheid-window",
            Severity.WARNING,
            f"{region}: the scan at {at_hours:.1f} h is later than 2.5 times any effective half-life; "
            "the single-time-point formula overestimates, use another method",
            measured=at_hours,
            limit=2.5 * longest,
            unit="h",
            subject=region,
            source="Haenscheid et al. 2018, J Nucl Med 59:75",
        ),
    )


def _far_from_minimum(region: str, at_hours: float, rate: float, relative: float) -> tuple[Finding, ...]:
    if abs(rate * at_hours - 1.0) <= MADSEN_TOLERANCE:
        return ()
    return (
        Finding(
            "tia-single-time",
            Severity.WARNING,
            f"{region}: the scan at {at_hours:.1f} h is far from {1 / rate:.1f} h, where one scan is least "
            f"sensitive to the half-life; the model uncertainty is {100 * relative:.0f} %",
            measured=at_hours,
            limit=1 / rate,
            unit="h",
            subject=region,
            source="Madsen et al. 2018, Med Phys 45:2318",
        ),
    )
