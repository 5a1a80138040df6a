"""Time-integrated activity from one scan at time T. All are A(T) times one number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, hypot, log, sqrt
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.errors import ConfigError, OutOfDomain
from dicomnode.model import Finding, Severity
from dicomnode.tia.estimate import Estimate
from dicomnode.tia.measure import Measured
from dicomnode.tia.settings import PopulationHalfLife, TiaSettings

if TYPE_CHECKING:
    from dicomnode.tia.integrate import Integration

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


@dataclass(frozen=True)
class Factor:
    """Integral / A(T).

    Attributes
    ----------
    hours : the ratio, h
    relative : standard uncertainty of the model, relative
    rate_per_h : effective rate where the method assumes one
    """

    hours: float
    relative: float
    rate_per_h: float | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class SingleTimePoint:
    """One scan at time T. ``factor`` takes region, T (h), physical decay constant (1/h) and settings.

    ``estimate`` raises ConfigError where a population half-life is missing, OutOfDomain where one is longer
    than the physical one.
    """

    line: str
    factor: Callable[[str, float, float, TiaSettings], Factor]
    by_voxel: bool = False

    def chosen(self, work: Integration) -> str:
        return work.time_point()

    def estimate(self, curve: Measured, work: Integration) -> Estimate:
        at, activity = float(curve.hours[work.index]), float(curve.activity_mbq[work.index])
        factor = self.factor(curve.name, at, work.physical_per_h, work.settings)
        weight, rate = np.zeros(len(curve.hours)), factor.rate_per_h
        weight[work.index] = factor.hours
        return Estimate(
            method=work.settings.method,
            tia_mbq_h=activity * factor.hours,
            sensitivity_h=weight,
            voxel_weight_h=weight,
            model_mbq_h=abs(activity * factor.hours) * factor.relative,
            parameters={} if rate is None else {"a1_mbq": activity * exp(rate * at), "lambda1_per_h": rate},
            effective_half_life_h=None if rate is None else log(2.0) / rate,
            extrapolated_fraction=None if rate is None else exp(-rate * at),
            findings=factor.findings,
        )


def _haenscheid(region: str, at_hours: float, physical_per_h: float, settings: TiaSettings) -> Factor:
    findings = _window(region, at_hours, physical_per_h)
    return Factor(haenscheid_h(at_hours), settings.uncertainty.haenscheid_relative, findings=findings)


def _physical(region: str, at_hours: float, physical_per_h: float, settings: TiaSettings) -> Factor:
    relative = settings.uncertainty.physical_relative
    return Factor(exponential_h(physical_per_h, at_hours), relative, physical_per_h)


def _population(region: str, at_hours: float, physical_per_h: float, settings: TiaSettings) -> Factor:
    """ln 2 over the population's mean half-life."""
    population = population_for(region, settings)
    rate = _slower_than_physical(region, population, physical_per_h)
    return _of_population(region, at_hours, rate, population.relative_sd)


def _madsen(region: str, at_hours: float, physical_per_h: float, settings: TiaSettings) -> Factor:
    """The population's mean rate, which for log-normal half-lives (PMC8882881) of mean T and relative spread
    s is ln 2 / T (1 + s^2)."""
    population = population_for(region, settings)
    rate = _slower_than_physical(region, population, physical_per_h)
    return _of_population(region, at_hours, rate * (1.0 + population.relative_sd**2), population.relative_sd)


def _of_population(region: str, at_hours: float, rate: float, spread: float) -> Factor:
    relative = population_error(rate, at_hours, spread)
    return Factor(
        exponential_h(rate, at_hours), relative, rate, _far_from_minimum(region, at_hours, rate, relative)
    )


def _slower_than_physical(region: str, population: PopulationHalfLife, physical_per_h: float) -> float:
    """Its effective rate, 1/h. Raises OutOfDomain where activity would live longer than its nuclide."""
    rate = log(2.0) / population.effective_half_life_hours
    if rate < physical_per_h * (1 - 1e-9):
        raise OutOfDomain(
            f"population effective half-life of {region!r}",
            population.effective_half_life_hours,
            "h",
            f"at most the physical half-life, {log(2.0) / physical_per_h:.2f} h",
        )
    return rate


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


PHYSICAL = SingleTimePoint("one scan, physical decay only: an upper bound", _physical)
POPULATION = SingleTimePoint("one scan, the population's mean effective half-life", _population)
HAENSCHEID = SingleTimePoint("one scan, 2 T / ln 2 (Haenscheid et al. 2018)", _haenscheid)
MADSEN = SingleTimePoint("one scan, the population's mean effective rate (Madsen et al. 2018)", _madsen)
