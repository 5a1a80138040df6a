"""What the outlines of one plane enclose together: holes, outlines drawn twice, outlines that overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.regions.slabs import Float, Mask
from dicomnode.errors import Inconsistent

THIN_MM = 0.8
"""No wall is thinner: two outlines as near as this are one outline drawn twice, not quite alike."""
MOST_PAIRS = 5_000
SELF_CROSSING = 0.05
"""Part of an outline's area that may be lost where it crosses itself."""


@dataclass
class Remarks:
    """What was found in the planes of one region: how many planes hold it, and in how many pixels another
    reading of the outlines (a hole where they overlap; the area by the points) would differ."""

    twice: int = 0
    overlapping: int = 0
    overlapping_pixels: int = 0
    self_crossing: int = 0
    self_crossing_pixels: int = 0
    thinnest_mm: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """How two outlines lie to each other."""

    first: int
    second: int
    kind: str
    """"same", "nested", "joined" (they touch) or "crossing"."""
    wall_mm: float = 0.0


def enclosed(outlines: Sequence[Float], shape: tuple[int, int], pitch_mm: float, xor: bool,
             remarks: Remarks) -> Mask:  # fmt: skip
    """Pixels that the outlines of one plane enclose.

    An outline drawn twice counts once. Outlines that touch or overlap are one (with ``xor`` the overlap is
    a hole, as CLOSEDPLANAR_XOR says). What is left nests: an outline within another is its hole, and so on.

    Parameters
    ----------
    outlines : (points, 2) as (u, v) in pixels of ``pitch_mm``
    shape : (v, u)
    remarks : takes what was found

    Raises
    ------
    Inconsistent
        more outlines over each other than any real region has.
    """
    outlines = [_once(points, remarks) for points in outlines]
    alone = [even_odd([points], shape) for points in outlines]
    lost = sum(_lost(o, m) for o, m in zip(outlines, alone, strict=True))
    remarks.self_crossing += lost > 0
    remarks.self_crossing_pixels += lost
    pairs = list(_pairs(outlines, alone, pitch_mm))
    kinds = {pair.kind for pair in pairs}
    remarks.twice += "same" in kinds
    if "crossing" in kinds and not xor:
        remarks.overlapping += 1
        remarks.overlapping_pixels += _covered_evenly(alone, [p for p in pairs if p.kind == "crossing"])
    remarks.thinnest_mm += [p.wall_mm for p in pairs if p.kind == "nested" and p.wall_mm < THIN_MM]
    joins = {"same"} if xor else {"same", "joined", "crossing"}
    inside = np.zeros(shape, dtype=bool)
    for group in _groups(len(outlines), [p for p in pairs if p.kind in joins]):
        inside ^= np.logical_or.reduce([alone[i] for i in group])
    return inside


def even_odd(polygons: Sequence[npt.NDArray[np.float64]], shape: tuple[int, int]) -> Mask:
    """Pixels whose centre lies inside an odd number of closed polygons.

    ``polygons``: (points, 2) as (u, v) in pixels, where pixel (v, u) has its centre at (u, v); ``shape``:
    (v, u). An edge counts for rows from its lower end up to, not including, its upper end.
    """
    rows, columns = shape
    toggles = np.zeros((rows, columns + 1), dtype=np.int32)
    for polygon in polygons:
        a, b = polygon, np.roll(polygon, -1, axis=0)
        for (u0, v0), (u1, v1) in zip(a, b, strict=True):
            if v0 > v1:
                u0, v0, u1, v1 = u1, v1, u0, v0
            first, last = max(0, int(np.ceil(v0))), min(rows, int(np.ceil(v1)))
            if first >= last:
                continue
            v = np.arange(first, last)
            crossing = np.ceil(u0 + (v - v0) * (u1 - u0) / (v1 - v0))
            toggles[v, np.clip(crossing, 0, columns).astype(int)] += 1
    return np.asarray(np.cumsum(toggles, axis=1)[:, :columns] % 2 == 1)


def _once(points: Float, remarks: Remarks) -> Float:
    """An outline without its second round, where its points go round twice."""
    half = len(points) // 2
    if half >= 3 and len(points) % 2 == 0 and np.allclose(points[:half], points[half:], atol=0.05):
        remarks.twice += 1
        return points[:half]
    return points


def _lost(points: Float, mask: Mask) -> int:
    """Pixels by which the area of the points is not what an outline encloses, where it crosses itself; 0
    where it does not."""
    u, v = points[:, 0], points[:, 1]
    area = abs(float(u @ np.roll(v, -1) - v @ np.roll(u, -1))) / 2.0
    off = abs(area - int(mask.sum()))
    return round(off) if off - SELF_CROSSING * area > _edge(mask) else 0


def _covered_evenly(alone: Sequence[Mask], crossing: Sequence[Pair]) -> int:
    """Pixels that outlines which cross cover an even number of times: a hole to who reads them otherwise."""
    over = np.zeros(alone[0].shape, dtype=np.int32)
    for i in {i for pair in crossing for i in (pair.first, pair.second)}:
        over += alone[i]
    return int(np.count_nonzero((over > 0) & (over % 2 == 0)))


def _edge(mask: Mask) -> int:
    """Number of pixels of a mask with a neighbour that is not of it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return int(np.count_nonzero(mask & ~inner))


def _pairs(outlines: Sequence[Float], alone: Sequence[Mask], pitch_mm: float) -> Iterator[Pair]:
    """Pairs of outlines that are not apart. Where their areas agree to a pixel along the edge they are one
    and the same; a share of the edge is also what rounding may put over a common border."""
    boxes = [(points.min(axis=0), points.max(axis=0)) for points in outlines]
    near = 0
    for a, b in combinations(range(len(outlines)), 2):
        if (boxes[a][0] > boxes[b][1]).any() or (boxes[b][0] > boxes[a][1]).any():
            continue
        near += 1
        if near > MOST_PAIRS:
            raise Inconsistent("more outlines lie over each other than in any real region",
                               attribute="ContourData")  # fmt: skip
        sizes = sorted((int(alone[a].sum()), int(alone[b].sum())))
        common = int(np.count_nonzero(alone[a] & alone[b]))
        if not common:
            continue
        edge = _edge(alone[a] if alone[a].sum() == sizes[0] else alone[b])
        if sum(sizes) - 2 * common <= edge:
            yield Pair(a, b, "same")
        elif common <= edge / 2:
            yield Pair(a, b, "joined")
        elif sizes[0] - common <= edge / 2:
            yield Pair(a, b, "nested", (sizes[1] - sizes[0]) * pitch_mm / max(edge, 1))
        else:
            yield Pair(a, b, "crossing")


def _groups(count: int, pairs: Sequence[Pair]) -> list[list[int]]:
    """Indices that pairs join, directly or through others."""
    group = list(range(count))
    for pair in pairs:
        one, other = group[pair.first], group[pair.second]
        group = [one if g == other else g for g in group]
    return [[i for i in range(count) if group[i] == g] for g in sorted(set(group))]
