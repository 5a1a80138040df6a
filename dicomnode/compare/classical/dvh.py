"""Dose-volume histograms against each other."""

from __future__ import annotations

from math import sqrt

import numpy as np

from dicomnode.compare.bootstrap import generator, null_values
from dicomnode.compare.measure import Measure, bootstrap_p, two_sided
from dicomnode.compare.pair import Float, Pair
from dicomnode.errors import OutOfDomain

PERCENTS = (2.0, 50.0, 98.0)
POINTS = 2e6
"""Voxels drawn for the noise of a region's D2, D50 and D98, in all."""


def dvh_distance(pair: Pair, region: str, *, draws: int = 0, seed: int = 0) -> Measure:
    """Area between the two histograms of a region, Gy: for voxels that the region fills, the mean of
    abs(P_(k) - R_(k)) over sorted doses; a voxel filled in part counts by that part.

    It equals the W1 distance of the two dose distributions. Noise widens the reference's histogram, so the
    distance is never zero and may even *fall* for a real fault: compare it with ``expected``.
    """
    value = _distance(pair, region)
    null = null_values(lambda p: _distance(p, region), pair, draws, seed)
    words = f"{region}: the dose-volume histograms are {value:.4g} Gy apart"
    relative = (
        {"relative_to_mean": value / mean}
        if (mean := float(np.average(pair.reference, weights=pair.regions[region])))
        else {}
    )
    if not draws:
        return Measure("dvh-distance", value, "Gy", words, detail=relative)
    expected, spread = float(null.mean()), float(null.std(ddof=1)) if draws > 1 else 0.0
    return Measure(
        "dvh-distance", value, "Gy", f"{words}, noise alone gives {expected:.4g} +- {spread:.2g} Gy",
        expected, spread, bootstrap_p(value, null), relative, f"bootstrap of {draws}",
    )  # fmt: skip


def _distance(pair: Pair, region: str) -> float:
    mine, theirs, part, _ = _voxels(pair, region)
    both = np.concatenate([mine, theirs])
    order = np.argsort(both, kind="stable")
    ahead = np.cumsum(np.concatenate([part, -part])[order])[:-1]
    return float(np.abs(ahead) @ np.diff(both[order]) / part.sum())


def _voxels(pair: Pair, region: str) -> tuple[Float, Float, Float, Float]:
    """Evaluated and reference dose of the voxels that a region touches, its part of each, and sigma."""
    share = pair.regions[region]
    inside = share > 0
    return pair.evaluated[inside], pair.reference[inside], share[inside], np.sqrt(pair.variance[inside])


def dose_at_volume(doses: Float, part: Float, percent: float) -> float:
    """Dose that at least ``percent`` of the volume receives, Gy: D2, D50, D98.

    ``part`` of each voxel counts. Linear between voxels (each stands for its middle), for whole voxels as
    ``numpy.percentile``. A single voxel has one dose for all. Raises OutOfDomain outside 0 to 100.
    """
    if not 0.0 <= percent <= 100.0:
        raise OutOfDomain("volume", percent, "%", "0 to 100")
    rising = np.argsort(doses, kind="stable")
    middles = np.cumsum(part[rising]) - part[rising] / 2.0
    wanted = middles[0] + (1.0 - percent / 100.0) * (middles[-1] - middles[0])
    return float(np.interp(wanted, middles, doses[rising]))


def volume_at_dose(doses: Float, part: Float, level_gy: float) -> float:
    """Share of the volume with at least ``level_gy``, %."""
    return 100.0 * float(part[doses >= level_gy].sum()) / float(part.sum())


def dvh_differences(
    pair: Pair, region: str, *, levels_gy: tuple[float, ...] = (), draws: int = 0, seed: int = 0
) -> tuple[Measure, ...]:
    """Evaluated less reference of D2, D50, D98 (Gy) and of V at ``levels_gy`` (%).

    D2 and D98 of a noisy reference are biased outwards. With ``draws`` noise is added to the evaluated
    voxels of the region, that often or as often as ``POINTS`` allows: ``expected`` is the bias, ``spread``
    is widened by the dispersion, p is two-sided normal.
    """
    mine, theirs, part, sigma = _voxels(pair, region)
    value = _points(mine, part, levels_gy) - _points(theirs, part, levels_gy)
    count = max(draws, int(np.clip(POINTS / mine.size, 20, 200))) if draws and pair.noisy else 0
    rng = generator(seed)
    null = np.array(
        [
            _points(mine, part, levels_gy)
            - _points(mine + sigma * rng.standard_normal(mine.size), part, levels_gy)
            for _ in range(count)
        ]
    )
    names = [*((f"d{x:g}-difference", f"D{x:g}", "Gy") for x in PERCENTS),
             *((f"v{x:g}-difference", f"V{x:g}Gy", "%") for x in levels_gy)]  # fmt: skip
    return tuple(
        _difference(*names[k], region, float(value[k]), null[:, k] if count else null, sqrt(pair.widening))
        for k in range(len(names))
    )


def _points(doses: Float, part: Float, levels_gy: tuple[float, ...]) -> Float:
    """D2, D50, D98, and V at each level."""
    volumes = [dose_at_volume(doses, part, percent) for percent in PERCENTS]
    return np.array([*volumes, *(volume_at_dose(doses, part, level) for level in levels_gy)])


def _difference(
    name: str, symbol: str, unit: str, region: str, value: float, null: Float, widening: float
) -> Measure:
    words = f"{region}: {symbol} differs by {value:+.4g} {unit}"
    if not null.size:
        return Measure(name, value, unit, words)
    expected, spread = float(null.mean()), widening * float(null.std(ddof=1))
    p = two_sided((value - expected) / spread) if spread > 0 else None
    return Measure(
        name, value, unit, f"{words}, noise alone gives {expected:+.3g} +- {spread:.2g} {unit}",
        expected, spread, p, null=f"bootstrap of {len(null)}",
    )  # fmt: skip
