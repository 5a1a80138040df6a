"""The gates of the verdict: each looks at one thing that can be wrong and says pass, fail or undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, sqrt

import numpy as np
from scipy.stats import norm

from dicomnode.compare.classical.organs import RegionError, State, region_errors
from dicomnode.compare.judgement.thresholds import FALSE_ALARMS, VerdictSettings
from dicomnode.compare.measure import Measure
from dicomnode.compare.moments.chisquare import Tolerance, moment_chi_square
from dicomnode.compare.moments.displacement import certified_shift
from dicomnode.compare.moments.scan_statistic import scan
from dicomnode.compare.pair import Mass, Pair
from dicomnode.compare.transport.sliced import sliced

NOISE_SD = 10.0
"""A transport's own noise below zero is none of its faults up to so many of its standard deviations."""


@dataclass(frozen=True)
class Gate:
    """What one gate says.

    Attributes
    ----------
    name : as in ``thresholds.FALSE_ALARMS``
    state : pass, fail or undecided
    sentence : why
    value, limit, unit : the numbers compared
    false_alarm : nominal rate at which an acceptable map fails here
    more : further decays that would decide, in multiples of those made (0 decided, inf never)
    measures : what it rests on
    """

    name: str
    state: State
    sentence: str
    value: float
    limit: float
    unit: str
    more: float = 0.0
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def false_alarm(self) -> float:
        return FALSE_ALARMS[self.name].rate


def sanity_gate(pair: Pair, settings: VerdictSettings, kind: Mass) -> Gate:
    """No negative dose beyond ringing and noise; total within its limit plus three standard deviations."""
    lowest = float((pair.evaluated + NOISE_SD * pair.evaluated_sigma)[pair.body].min())
    floor = -settings.negative_share * pair.hot_gy
    if lowest < floor:
        return Gate("sanity", State.FAIL, f"the evaluated map holds negative dose down to {lowest:.4g} Gy",
                    lowest, floor, "Gy")  # fmt: skip
    weights = pair.weights(kind)
    total = float((pair.reference * weights).sum())
    off = float((pair.evaluated * weights).sum()) / total - 1.0
    sigma = sqrt(pair.widening * float((pair.variance * weights**2).sum())) / total
    limit = settings.total_share + 3.0 * sigma
    state = State.PASS if abs(off) <= limit else State.FAIL
    words = f"total {kind} {100 * off:+.2f} +- {100 * sigma:.2f} % (limit {100 * limit:.2f} %)"
    return Gate("sanity", state, words, 100 * abs(off), 100 * limit, "%")


def noise_gate(pair: Pair, settings: VerdictSettings) -> Gate:
    """Whether the reference has decays enough to judge by."""
    noise, limit = pair.relative_noise, settings.noise_share
    words = f"noise of the reference {100 * noise:.2g} % at the hot level"
    if not pair.noisy:
        return Gate("noise", State.UNDECIDED, "the reference states no noise to test against",
                    0.0, 100 * limit, "%", inf)  # fmt: skip
    if noise <= limit:
        return Gate("noise", State.PASS, words, 100 * noise, 100 * limit, "%")
    return Gate("noise", State.UNDECIDED, f"{words}: too much to decide", 100 * noise, 100 * limit, "%",
                (noise / limit) ** 2 - 1.0)  # fmt: skip


def region_gate(pair: Pair, settings: VerdictSettings) -> tuple[Gate, tuple[RegionError, ...]]:
    """Every region's mean within its tolerance, with its standard error."""
    limits = {
        name: settings.small_region_share
        if share.sum() * pair.grid.voxel_ml < settings.small_region_ml
        else settings.region_share
        for name, share in pair.regions.items()
    }
    errors = region_errors(pair, limits, settings.region_p)
    if not errors:
        return Gate("regions", State.PASS, "no regions were given", 0.0, 0.0, "%"), ()
    states = {e.state for e in errors}
    state = next(s for s in (State.FAIL, State.UNDECIDED, State.PASS) if s in states)
    worst = max((e for e in errors if e.state is state), key=lambda e: abs(e.error) / e.tolerance)
    more = max((e.more for e in errors if e.state is State.UNDECIDED and isfinite(e.more)), default=0.0)
    if state is State.UNDECIDED and more == 0.0:
        more = inf
    gate = Gate("regions", state, worst.sentence, 100 * abs(worst.error), 100 * worst.tolerance, "%",
                more if state is State.UNDECIDED else 0.0)  # fmt: skip
    return gate, errors


def moment_gate(pair: Pair, settings: VerdictSettings) -> Gate:
    """Low-pass difference beyond noise and tolerance: shifts, blur, wrong density."""
    tolerance = Tolerance(settings.tolerance_share, settings.tolerance_mm)
    found = moment_chi_square(pair, settings.moment_degree, tolerance)
    p = found.p_value or 0.0
    state = State.FAIL if p < settings.moment_p else State.PASS
    return Gate("moments", state, found.sentence, p, settings.moment_p, "p", measures={"moments": found})


def scan_gate(pair: Pair, settings: VerdictSettings) -> Gate:
    """The most deviant place beyond noise and tolerance: a missing lesion, a hot spot."""
    found = scan(pair, tolerance=settings.tolerance_share, scales_mm=settings.scan_scales_mm)
    tests = int(np.count_nonzero(pair.body)) * len(settings.scan_scales_mm)
    limit = float(norm.isf(0.5 * settings.scan_p / tests))
    state = State.FAIL if found.value > limit else State.PASS
    return Gate("scan", state, f"{found.sentence} (limit {limit:.1f} sd)", found.value, limit, "sd",
                measures={"scan": found})  # fmt: skip


def displacement_gate(pair: Pair, settings: VerdictSettings, kind: Mass) -> Gate:
    """How far dose lies from where it should, beyond what noise makes of 2 SW1."""
    weights = pair.weights(kind)
    if not (pair.evaluated * weights).sum() > 0:
        return _no_mass("the evaluated map holds no dose", State.FAIL, settings)
    if not (pair.reference * weights).sum() > 0:
        return _no_mass("noise leaves the reference no dose in all", State.UNDECIDED, settings)
    found = sliced(pair, kind=kind)
    beyond = found.value - (found.expected or 0.0)
    certain = certified_shift(pair, kind=kind) if pair.noisy else None
    measures = {"sliced": found} | ({"certain": certain} if certain else {})
    failed = beyond > settings.displaced_fail_mm or (
        certain is not None and certain.value > settings.certain_fail_mm
    )
    words = f"{found.sentence}; {certain.sentence}" if certain else found.sentence
    if not failed and beyond > settings.displaced_warn_mm:
        words = f"{words}; more than the {settings.displaced_warn_mm:g} mm that good maps keep within"
    return Gate("displacement", State.FAIL if failed else State.PASS, words, beyond,
                settings.displaced_fail_mm, "mm", measures=measures)  # fmt: skip


def _no_mass(why: str, state: State, settings: VerdictSettings) -> Gate:
    more = inf if state is State.UNDECIDED else 0.0
    return Gate("displacement", state, why, inf, settings.displaced_fail_mm, "mm", more)
