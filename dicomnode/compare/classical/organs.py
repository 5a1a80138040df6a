"""Mean dose of each region with its standard error: pass, fail, or undecided and what would decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, inf, isfinite, sqrt

from scipy.stats import norm

from dicomnode.compare.measure import Measure, two_sided
from dicomnode.compare.pair import Float, Pair

ONE_SIDED_95 = 1.645
"""95 % quantile of the normal distribution."""


class State(StrEnum):
    """What a comparison says."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class RegionError:
    """Relative error of a region's mean dose.

    Attributes
    ----------
    region, volume_ml : which
    evaluated_gy, reference_gy : mean doses
    error, sigma : relative error (evaluated / reference - 1) and its standard error
    z : error / sigma; nan without noise
    tolerance : relative error that is accepted
    state : pass where error + 1.645 sigma lies within the tolerance; fail where error - c sigma lies beyond
    it,
        with c such that all regions together raise ``false_alarms``
    more : further decays that would decide, in multiples of those made; 0 where decided, inf where
        error and tolerance are too close for any number
    """

    region: str
    volume_ml: float
    evaluated_gy: float
    reference_gy: float
    error: float
    sigma: float
    z: float
    tolerance: float
    state: State
    more: float

    @property
    def sentence(self) -> str:
        said = (
            f"{self.region}: {100 * self.error:+.2f} +- {100 * self.sigma:.2f} % "
            f"(limit {100 * self.tolerance:g} %)"
        )
        if self.state is State.UNDECIDED and isfinite(self.more):
            return f"{said}: undecided, {ceil(10 * self.more) / 10:g} times the decays made would decide"
        return f"{said}: {self.state.value}"


def region_errors(
    pair: Pair, tolerance: Mapping[str, float] | float, false_alarms: float = 0.01
) -> tuple[RegionError, ...]:
    """Error of every region; ``tolerance`` is relative, by region or one for all. ``false_alarms`` is the
    rate at which any region fails of a map whose regions all lie exactly at their tolerance (Bonferroni).

    Blind to shifts inside a region and to anything outside all regions.
    """
    limits = tolerance if isinstance(tolerance, Mapping) else dict.fromkeys(pair.regions, tolerance)
    certain = float(norm.isf(false_alarms / max(1, len(pair.regions))))
    return tuple(
        _region_error(name, share, pair, limits[name], certain) for name, share in pair.regions.items()
    )


def _region_error(name: str, share: Float, pair: Pair, tolerance: float, certain: float) -> RegionError:
    inside = share > 0
    part, evaluated, reference = share[inside], pair.evaluated[inside], pair.reference[inside]
    total, count = float(reference @ part), float(part.sum())
    mine = float(evaluated @ part)
    if total <= 0:
        # No dose to be relative to: noise may even have made it negative.
        return RegionError(
            name, count * pair.grid.voxel_ml, mine / count, total / count,
            inf if evaluated.any() else 0.0, inf, float("nan"), tolerance, State.UNDECIDED, inf,
        )  # fmt: skip
    off = float((evaluated - reference) @ part)
    error, sigma = off / total, sqrt(pair.widening * float(pair.variance[inside] @ part**2)) / total
    state, more = decided(abs(error), sigma, tolerance, certain)
    z = error / sigma if sigma else float("nan")
    return RegionError(
        name, count * pair.grid.voxel_ml, mine / count, total / count,
        error, sigma, z, tolerance, state, more,
    )  # fmt: skip


def decided(
    error: float, sigma: float, tolerance: float, certain: float = ONE_SIDED_95
) -> tuple[State, float]:
    """State of a positive error, and the multiple of the decays made that would still be needed.

    Pass where error + 1.645 sigma <= tolerance, fail where error - ``certain`` sigma > tolerance; sigma falls
    with the root of the decays, so abs(error - tolerance) = c sigma / sqrt(1 + more), c that of its side.
    """
    if error + ONE_SIDED_95 * sigma <= tolerance:
        return State.PASS, 0.0
    if error - certain * sigma > tolerance:
        return State.FAIL, 0.0
    margin = abs(error - tolerance)
    quantile = ONE_SIDED_95 if error < tolerance else certain
    return State.UNDECIDED, (quantile * sigma / margin) ** 2 - 1.0 if margin else inf


def worst_region(errors: tuple[RegionError, ...]) -> Measure:
    """Largest abs(z) over regions, p corrected for their number (Sidak); without noise the largest error."""
    noisy = [e for e in errors if isfinite(e.z)]
    if not noisy:
        top = max(errors, key=lambda e: abs(e.error))
        return Measure("region-error", abs(top.error), "", f"largest error: {top.sentence}")
    top = max(noisy, key=lambda e: abs(e.z))
    p = 1.0 - (1.0 - two_sided(top.z)) ** len(noisy)
    return Measure(
        "region-z", abs(top.z), "sd", f"most deviant: {top.sentence}", None, None, p, null="closed form"
    )
