"""Dose-volume histograms against each other."""

from __future__ import annotations

import numpy as np

from dicomnode.compare.bootstrap import null_values
from dicomnode.compare.measure import Measure, bootstrap_p
from dicomnode.compare.pair import Float, Pair
from dicomnode.errors import OutOfDomain


def dvh_distance(pair: Pair, region: str, *, draws: int = 0, seed: int = 0) -> Measure:
    """Area between the two histograms of a region, Gy: mean of abs(P_(k) - R_(k)) over sorted doses.

    It equals the W1 distance of the two dose distributions. Noise widens the reference's histogram, so the
    distance is never zero and may even *fall* for a real fault: compare it with ``expected``.
    """
    value = _distance(pair, region)
    null = null_values(lambda p: _distance(p, region), pair, draws, seed)
    words = f"{region}: the dose-volume histograms are {value:.4g} Gy apart"
    relative = (
        {"relative_to_mean": value / mean}
        if (mean := float(pair.reference[pair.regions[region]].mean()))
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
    mask = pair.regions[region]
    return float(np.abs(np.sort(pair.evaluated[mask]) - np.sort(pair.reference[mask])).mean())


def dose_at_volume(doses: Float, percent: float) -> float:
    """Dose that at least ``percent`` of the volume receives, Gy: D2, D50, D98.

    Linear between voxels (each stands for its middle), as ``numpy.percentile``. A single voxel has one
    dose for all. Raises OutOfDomain outside 0 to 100.
    """
    if not 0.0 <= percent <= 100.0:
        raise OutOfDomain("volume", percent, "%", "0 to 100")
    return float(np.percentile(doses, 100.0 - percent))


def volume_at_dose(doses: Float, level_gy: float) -> float:
    """Share of the voxels with at least ``level_gy``, %."""
    return 100.0 * float(np.count_nonzero(doses >= level_gy)) / doses.size


def dvh_differences(pair: Pair, region: str, *, levels_gy: tuple[float, ...] = ()) -> tuple[Measure, ...]:
    """Evaluated less reference of D2, D50, D98 (Gy) and of V at ``levels_gy`` (%).

    D2 and D98 of a noisy reference are biased outwards; the sentence says by how much the noise of a voxel
    counts there.
    """
    mask = pair.regions[region]
    mine, theirs = pair.evaluated[mask], pair.reference[mask]
    noise = float(np.sqrt(pair.variance[mask].mean()))
    found = []
    for percent in (2.0, 50.0, 98.0):
        value = dose_at_volume(mine, percent) - dose_at_volume(theirs, percent)
        words = f"{region}: D{percent:g} differs by {value:+.4g} Gy (noise of a voxel {noise:.2g} Gy)"
        found.append(Measure(f"d{percent:g}-difference", value, "Gy", words))
    for level in levels_gy:
        value = volume_at_dose(mine, level) - volume_at_dose(theirs, level)
        found.append(
            Measure(f"v{level:g}-difference", value, "%", f"{region}: V{level:g}Gy differs by {value:+.3g} %")
        )
    return tuple(found)
