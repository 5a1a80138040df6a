"""Gamma index in three dimensions (Low et al. 1998, Med Phys 25:656), as pymedphys defines it.

For each reference voxel the evaluated map is interpolated trilinearly on spherical shells of growing
distance (Wendling et al. 2007, Med Phys 34:1647), d = 0, DTA/10, 2 DTA/10 ... Both maps lie on one grid, so
the shells meet every voxel's neighbourhood in the same cells with the same weights: tabled once.

Which map is the reference matters: noise in the reference lowers the pass rate, noise in the evaluated map
raises it (Graves, Jia & Jiang 2013, arXiv 1208.2379). Here the reference is always ``pair.reference``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil, pi

import numpy as np
import numpy.typing as npt

from dicomnode.compare.bootstrap import null_values
from dicomnode.compare.measure import Measure, bootstrap_p
from dicomnode.compare.pair import Float, Pair
from dicomnode.errors import OutOfDomain

Int = npt.NDArray[np.int64]
THREADS = 2
READABLE_NOISE = 0.02
"""Above this relative noise gamma mostly measures noise: at 3 % a right map fails 1.4 % of voxels, at 10 %
25 % (3 %/3 mm global; docs/comparing.md)."""


@dataclass(frozen=True)
class Criterion:
    """What counts as agreement.

    Attributes
    ----------
    dose_percent, distance_mm : the two criteria
    local : dose criterion relative to the voxel's own reference dose instead of ``norm_gy``
    cutoff_percent : voxels whose reference dose is below this share of ``norm_gy`` are left out
    norm_gy : dose that percentages refer to; None: the pair's hot level
    steps : shells per ``distance_mm``
    max_gamma : values are searched no further
    """

    dose_percent: float = 3.0
    distance_mm: float = 3.0
    local: bool = False
    cutoff_percent: float = 10.0
    norm_gy: float | None = None
    steps: int = 10
    max_gamma: float = 2.0

    def __post_init__(self) -> None:
        for name, value in (("dose_percent", self.dose_percent), ("distance_mm", self.distance_mm),
                            ("steps", self.steps), ("max_gamma", self.max_gamma)):  # fmt: skip
            if not 0 < value < np.inf:
                raise OutOfDomain(f"gamma {name}", value, "", "positive and finite")

    @property
    def name(self) -> str:
        return f"{self.dose_percent:g} %/{self.distance_mm:g} mm {'local' if self.local else 'global'}"


@dataclass(frozen=True, eq=False)
class Shells:
    """Search positions, shell by shell, and within a shell cell by cell.

    Attributes
    ----------
    distance : of each shell, in units of the distance criterion
    shell_start : first group of each shell, and the end
    group_start : first point of each group, and the end
    cell : (groups, 3) corner of the cell relative to the voxel, (z, y, x)
    weight : (points, 3) position within the cell, 0 to 1
    offset : (points, 3) position relative to the voxel, mm
    """

    distance: Float
    shell_start: Int
    group_start: Int
    cell: Int
    weight: Float
    offset: Float


def gamma_map(evaluated: Float, reference: Float, spacing_zyx: tuple[float, float, float],
              criterion: Criterion, norm_gy: float, *, every: int = 1) -> Float:  # fmt: skip
    """Gamma of each voxel; nan below the cut-off, ``max_gamma`` where nothing nearer was found.

    ``every`` takes each n-th voxel above the cut-off only. Raises OutOfDomain for a norm that is not
    positive.
    """
    from dicomnode.compare.classical.gamma_numba import gamma_voxels

    if not norm_gy > 0:
        raise OutOfDomain("gamma norm", norm_gy, "Gy", "positive")
    voxels = np.flatnonzero(reference >= criterion.cutoff_percent / 100.0 * norm_gy)[::every]
    flat = reference.ravel()[voxels]
    norm = criterion.dose_percent / 100.0 * (flat if criterion.local else np.full(voxels.size, norm_gy))
    norm = np.maximum(norm, np.finfo(float).tiny)
    table = shells(criterion, spacing_zyx)
    low, high = _cell_range(evaluated)
    gamma = np.full(reference.size, np.nan)
    reach = int(np.abs(table.cell).max()) + 1

    def work(part: Int) -> None:
        gamma_voxels(
            voxels[part], reference, evaluated, low, high, np.array(spacing_zyx), reach, norm[part],
            table.distance, table.shell_start, table.group_start, table.cell, table.weight,
            table.offset, gamma,
        )  # fmt: skip

    with ThreadPoolExecutor(THREADS) as pool:
        # Interleaved parts, for the voxels that fail and take long lie together.
        list(pool.map(work, [np.arange(k, voxels.size, 4 * THREADS) for k in range(4 * THREADS)]))
    found = gamma[voxels]
    gamma[voxels] = np.where(np.isinf(found), np.nan, np.minimum(found, criterion.max_gamma))
    return gamma.reshape(reference.shape)


def _cell_range(values: Float) -> tuple[Float, Float]:
    """Lowest and highest of the eight corners of each cell; same shape, the last planes unused."""
    low, high = values.copy(), values.copy()
    for axis in range(3):
        here, after = [slice(None)] * 3, [slice(None)] * 3
        here[axis], after[axis] = slice(0, -1), slice(1, None)
        low[tuple(here)] = np.minimum(low[tuple(here)], low[tuple(after)])
        high[tuple(here)] = np.maximum(high[tuple(here)], high[tuple(after)])
    return low, high


def distances(criterion: Criterion) -> list[tuple[float, float]]:
    """(distance, step) of each shell, mm; the distance criterion itself is always among them."""
    found, distance, forced = [], 0.0, False
    step = criterion.distance_mm / criterion.steps
    while distance <= criterion.distance_mm * criterion.max_gamma:
        found.append((distance, step))
        step = max(distance / criterion.steps / criterion.max_gamma, criterion.distance_mm / criterion.steps)
        distance += step
        if not forced and distance >= criterion.distance_mm:
            distance, forced = criterion.distance_mm, True
    return found


def shells(criterion: Criterion, spacing_zyx: tuple[float, float, float]) -> Shells:
    """The table of search positions for voxels of ``spacing_zyx`` mm."""
    spacing = np.array(spacing_zyx)
    distance, shell_start, group_start, cells, offsets = [], [0], [0], [], []
    for d, step in distances(criterion):
        points = _sphere(d, step)
        corner = np.floor(points / spacing).astype(np.int64)
        kinds, group = np.unique(corner, axis=0, return_inverse=True)
        order = np.argsort(group.ravel(), kind="stable")
        offsets.append(points[order])
        cells.append(kinds)
        group_start.extend((group_start[-1] + np.cumsum(np.bincount(group.ravel()))).tolist())
        shell_start.append(shell_start[-1] + len(kinds))
        distance.append(d / criterion.distance_mm)
    offset, cell = np.concatenate(offsets), np.concatenate(cells)
    starts = np.array(group_start)
    within = offset / spacing - np.repeat(cell, np.diff(starts), axis=0)
    return Shells(np.array(distance), np.array(shell_start), starts, cell, within, offset)


def _sphere(distance: float, step: float) -> Float:
    """Points on a sphere no more than ``step`` apart, in rows of equal elevation, (z, y, x), mm.

    Rows and their starts are those of pymedphys, so that both search the same points: its first axis is
    our z.
    """
    elevation = np.linspace(0.0, pi, ceil(pi * distance / step) + 1)
    rows = []
    for phi in elevation:
        count = int(np.ceil(2 * pi * (distance * np.sin(phi)) / step)) + 1
        azimuth = np.linspace(0.0, 2 * pi, count + 1)[:-1]
        rows.append(
            np.stack(
                [
                    distance * np.sin(phi) * np.cos(azimuth),
                    distance * np.sin(phi) * np.sin(azimuth),
                    distance * np.cos(phi) * np.ones_like(azimuth),
                ],
                axis=1,
            )
        )
    return np.concatenate(rows)


def gamma_pass_rate(
    pair: Pair, criterion: Criterion | None = None, *, draws: int = 0, seed: int = 0
) -> Measure:
    """Share of reference voxels above the cut-off with gamma <= 1, %, beside what noise alone gives.

    Never a release criterion by itself: at 95 % passing, 3 %/3 mm global passes a 2 mm shift, a missing
    lesion of 0.9 mL and lung computed as water (docs/comparing.md).
    """
    criterion = criterion or Criterion()
    norm = criterion.norm_gy or pair.hot_gy

    def rate(p: Pair) -> float:
        reference = np.where(p.body, p.reference, -np.inf)
        found = gamma_map(p.evaluated, reference, p.spacing_zyx, criterion, norm)
        counted = found[~np.isnan(found)]
        if not counted.size:
            raise OutOfDomain("reference dose above the gamma cut-off", 0, "voxels", "at least one")
        return 100.0 * float(np.count_nonzero(counted <= 1.0)) / counted.size

    value = rate(pair)
    null = null_values(rate, pair, draws, seed)
    words = f"gamma {criterion.name}: {value:.2f} % of the voxels above {criterion.cutoff_percent:g} % pass"
    if pair.relative_noise > READABLE_NOISE:
        words += f"; not interpretable: the reference has {100 * pair.relative_noise:.1f} % noise"
    if not draws:
        return Measure("gamma", value, "%", words)
    expected, spread = float(null.mean()), float(null.std(ddof=1)) if draws > 1 else 0.0
    return Measure(
        "gamma", value, "%", f"{words}; noise alone gives {expected:.2f} +- {spread:.2g} %",
        expected, spread, bootstrap_p(-value, -null), null=f"bootstrap of {draws}",
    )  # fmt: skip
