"""Every measure of the study as one number that grows with the fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dicomnode.compare.classical.dvh import dvh_distance
from dicomnode.compare.classical.gamma import Criterion, gamma_pass_rate
from dicomnode.compare.classical.organs import region_errors
from dicomnode.compare.classical.voxelwise import (
    mean_absolute_error,
    root_mean_squared_error,
    structural_similarity,
)
from dicomnode.compare.moments.chisquare import Tolerance, moment_chi_square
from dicomnode.compare.moments.christoffel import christoffel
from dicomnode.compare.moments.scan_statistic import scan
from dicomnode.compare.transport.bures import bures
from dicomnode.compare.transport.directions import axis_bounds, normalised
from dicomnode.compare.transport.exact import unbalanced
from dicomnode.compare.transport.sinkhorn import entropic
from dicomnode.compare.transport.sliced import sliced

GLOBAL, LOCAL = Criterion(max_gamma=1.1, steps=5), Criterion(local=True, max_gamma=1.1, steps=5)
"""Enough for the pass rate."""
POINTS = 1000


def _block(pair: Any) -> int:
    count = np.prod([high - low for low, high in pair.box_zyx()])
    return int(np.ceil((count / POINTS) ** (1.0 / 3.0)))


def _axes(pair: Any) -> float:
    shares = (normalised(np.where(pair.body, m, 0.0)) for m in (pair.evaluated, pair.reference))
    return axis_bounds(*shares, pair.spacing_zyx)[0]


def _ratio(found: Any) -> float:
    """Chi-square over what noise and tolerance make of it."""
    return found.value / found.expected


MEASURES: dict[str, Callable[[Any], float]] = {
    "MAE": lambda p: mean_absolute_error(p).value,
    "RMSE": lambda p: root_mean_squared_error(p).value,
    "1 - SSIM": lambda p: 1.0 - structural_similarity(p).value,
    "gamma 3/3 global": lambda p: 100.0 - gamma_pass_rate(p, GLOBAL).value,
    "gamma 3/3 local": lambda p: 100.0 - gamma_pass_rate(p, LOCAL).value,
    "DVH distance": lambda p: max(dvh_distance(p, r).detail.get("relative_to_mean", 0.0) for r in p.regions),
    "region z": lambda p: max(abs(e.z) for e in region_errors(p, 0.05)),
    "total": lambda p: abs(float(p.difference.sum())) / float(p.reference[p.body].sum()),
    "W1 axes": _axes,
    "2 SW1": lambda p: sliced(p).value,
    "Bures": lambda p: bures(p).value,
    "Sinkhorn": lambda p: entropic(p, block=_block(p)).value,
    "KR 15 mm": lambda p: unbalanced(p, price_mm=15.0, block=_block(p)).value / p.hot_gy,
    "moments 4": lambda p: _ratio(moment_chi_square(p, 4)),
    "moments 8": lambda p: _ratio(moment_chi_square(p, 8)),
    "moments 4 + tol": lambda p: _ratio(moment_chi_square(p, 4, Tolerance())),
    "Christoffel": lambda p: abs(christoffel(p).value - 1.0),
    "scan": lambda p: scan(p).value,
    "scan + tol": lambda p: scan(p, tolerance=0.01).value,
}
UNITS = {
    "MAE": "% hot", "RMSE": "% hot", "gamma 3/3 global": "% fail", "gamma 3/3 local": "% fail",
    "region z": "sd", "W1 axes": "mm", "2 SW1": "mm", "Bures": "mm", "Sinkhorn": "mm", "KR 15 mm": "mm",
    "moments 4": "x noise", "moments 8": "x noise", "moments 4 + tol": "x noise", "scan": "sd",
    "scan + tol": "sd",
}  # fmt: skip
