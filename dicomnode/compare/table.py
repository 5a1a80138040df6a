"""All measures of one pair, for a table; and the same as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np

from dicomnode.compare.classical.dvh import dvh_differences, dvh_distance
from dicomnode.compare.classical.gamma import Criterion, gamma_pass_rate
from dicomnode.compare.classical.organs import worst_region
from dicomnode.compare.classical.voxelwise import (
    debiased_squared_error,
    mean_absolute_error,
    mean_squared_error,
    root_mean_squared_error,
    structural_similarity,
)
from dicomnode.compare.judgement.verdict import Judgement
from dicomnode.compare.measure import Measure
from dicomnode.compare.moments.chisquare import Tolerance, moment_chi_square
from dicomnode.compare.moments.christoffel import christoffel
from dicomnode.compare.moments.displacement import averaged_certified_shift
from dicomnode.compare.moments.scan_statistic import scan
from dicomnode.compare.pair import Mass, Pair
from dicomnode.compare.transport.bures import bures
from dicomnode.compare.transport.exact import MOST_POINTS, unbalanced
from dicomnode.compare.transport.sinkhorn import entropic
from dicomnode.compare.transport.sliced import sliced

COARSE_POINTS = 900
"""Exact transport runs on blocks so large that about this many remain."""


def all_measures(pair: Pair, judgement: Judgement, *, draws: int = 5, seed: int = 0) -> tuple[Measure, ...]:
    """Every measure of the package that a map of clinical size allows, ``draws`` bootstraps where no law
    is known (0 leaves ``expected`` away and saves most of the time)."""
    kind: Mass = "dose" if pair.density is None else "energy"
    return (
        *_voxel(pair, draws, seed),
        *_histograms(pair, draws, seed),
        *_transport(pair, kind, draws, seed),
        *_moments(pair, kind, draws, seed),
        *([worst_region(judgement.regions)] if judgement.regions else []),
    )


def _voxel(pair: Pair, draws: int, seed: int) -> Iterator[Measure]:
    yield mean_absolute_error(pair)
    yield mean_squared_error(pair)
    yield root_mean_squared_error(pair)
    yield debiased_squared_error(pair)
    yield structural_similarity(pair, draws=draws, seed=seed)
    yield gamma_pass_rate(pair, Criterion(3.0, 3.0), draws=draws, seed=seed)
    yield gamma_pass_rate(pair, Criterion(3.0, 3.0, local=True), draws=draws, seed=seed)


def _histograms(pair: Pair, draws: int, seed: int) -> Iterator[Measure]:
    for name in pair.regions:
        yield dvh_distance(pair, name, draws=draws, seed=seed)
        yield from dvh_differences(pair, name, draws=draws, seed=seed)


def _transport(pair: Pair, kind: Mass, draws: int, seed: int) -> Iterator[Measure]:
    yield sliced(pair, kind=kind, draws=4 * draws, seed=seed)
    yield bures(pair, kind=kind, draws=draws, seed=seed)
    count = int(np.prod([high - low for low, high in pair.box_zyx()]))
    block = max(1, int(np.ceil((count / COARSE_POINTS) ** (1.0 / 3.0))))
    if count / block**3 <= MOST_POINTS:
        yield unbalanced(pair, kind=kind, block=block, draws=draws, seed=seed)
    yield entropic(pair, kind=kind, block=max(2, block // 2), draws=draws, seed=seed)


def _moments(pair: Pair, kind: Mass, draws: int, seed: int) -> Iterator[Measure]:
    if pair.noisy:
        degree = min(8, min(high - low for low, high in pair.box_zyx()) - 1)
        yield moment_chi_square(pair, degree)
        yield moment_chi_square(pair, min(4, degree), Tolerance())
        yield scan(pair, tolerance=0.0)
        yield averaged_certified_shift(pair, kind=kind)
    yield christoffel(pair, kind=kind, draws=draws, seed=seed)


def as_data(judgement: Judgement, measures: tuple[Measure, ...]) -> dict[str, Any]:
    """Everything as plain data for JSON; what is not finite becomes None."""
    return {
        "verdict": judgement.state.value,
        "sentence": judgement.sentence,
        "further_decays": judgement.further_decays,
        "more_times_decays_made": _finite(judgement.more),
        "thresholds_version": judgement.thresholds,
        "gates": [
            {"name": g.name, "state": g.state.value, "value": _finite(g.value), "limit": _finite(g.limit),
             "unit": g.unit, "false_alarm": g.false_alarm, "sentence": g.sentence}
            for g in judgement.gates
        ],
        "regions": [
            {"region": e.region, "volume_ml": e.volume_ml, "evaluated_gy": e.evaluated_gy,
             "reference_gy": e.reference_gy, "error": _finite(e.error), "standard_error": _finite(e.sigma),
             "tolerance": e.tolerance, "state": e.state.value}
            for e in judgement.regions
        ],
        "measures": [
            {"name": m.name, "value": _finite(m.value), "unit": m.unit,
             "expected_under_noise": _finite(m.expected),
             "spread_under_noise": _finite(m.spread), "p_value": m.p_value, "null": m.null,
             "sentence": m.sentence,
             "detail": {k: _finite(v) if isinstance(v, float) else v for k, v in m.detail.items()}}
            for m in measures
        ],
    }  # fmt: skip


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and isfinite(value) else None
