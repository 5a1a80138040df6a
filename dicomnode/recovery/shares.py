"""Regions as shares: what part of each voxel a region fills, no voxel filled by more than its whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi

import numpy as np
import numpy.typing as npt

from dicomnode.errors import Inconsistent

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]

NESTED = 0.5
"""A larger contour that covers more than this part of a smaller one includes it (an RTSTRUCT liver holds its
lesions, a segmentation leaves them out)."""
LEAST_OWN = 0.02
"""Of its own volume, what a region must keep after smaller ones took theirs, to have a concentration."""


@dataclass(frozen=True, eq=False)
class Boxed:
    """An array that is zero outside of its box.

    Attributes
    ----------
    box : index ranges z, y, x within the whole grid
    values : float32 of the box's shape
    """

    box: Box
    values: Float32

    @property
    def total(self) -> float:
        return float(self.values.sum(dtype=np.float64))

    def within(self, box: Box) -> Float32:
        """The values in another box, zero where this one does not reach."""
        out = np.zeros([s.stop - s.start for s in box], np.float32)
        low = [max(a.start, b.start) for a, b in zip(self.box, box, strict=True)]
        high = [min(a.stop, b.stop) for a, b in zip(self.box, box, strict=True)]
        if all(a < b for a, b in zip(low, high, strict=True)):
            there = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, box, strict=True))
            here = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, self.box, strict=True))
            out[there] = self.values[here]
        return out


@dataclass(frozen=True, eq=False)
class Shares:
    """Regions that do not overlap, and the rest of the body.

    Attributes
    ----------
    names : of the regions that have voxels of their own
    owned : share of each, without what smaller regions took, in a box of its own
    rest : share of the body that no region fills, of the whole grid's shape
    spacing_mm : of the voxels along x, y, z
    holds : region (all given) -> volume (len(names),) in mL that it holds of each owned region: its own, and
        that of smaller ones within it
    spread_mm2 : variance along an axis that moving the shares onto this grid has added to them
    """

    names: tuple[str, ...]
    owned: tuple[Boxed, ...]
    rest: Float32
    spacing_mm: tuple[float, float, float]
    holds: Mapping[str, Float64]
    spread_mm2: float = 0.0

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def volume_ml(self) -> Float64:
        """Owned volumes, mL."""
        return np.array([one.total for one in self.owned]) * self.voxel_ml

    def whole_ml(self, name: str) -> float:
        """Volume of a region as it was drawn, mL."""
        return float(self.holds[name].sum())


def make_shares(
    regions: Mapping[str, npt.NDArray[np.floating]],
    body: npt.NDArray[np.floating] | npt.NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    *,
    spread_mm2: float = 0.0,
) -> Shares:
    """Shares that add up to at most one: of two regions that overlap the smaller owns what both fill.

    Parameters
    ----------
    regions : name -> (z, y, x) part of each voxel within the region as drawn, 0 to 1
    body : the same of the patient
    spacing_mm : x, y, z
    spread_mm2 : variance that interpolation has added to the shares, mm2 along an axis

    Raises
    ------
    Inconsistent : shapes differ, or a share is not between 0 and 1
    """
    shape = np.shape(body)
    for name, share in regions.items():
        if share.shape != shape or share.min() < -1e-5 or share.max() > 1 + 1e-5:
            raise Inconsistent(f"the share of {name!r} must lie between 0 and 1 on the body's grid {shape}")
    order = sorted(regions, key=lambda n: float(regions[n].sum(dtype=np.float64)))
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    owned, inside = _divide(regions, order)
    whole = {n: float(regions[n].sum(dtype=np.float64)) for n in order}
    names = tuple(n for n in regions if owned[n].total > LEAST_OWN * whole[n] and whole[n] > 0)
    rest = np.array(body, dtype=np.float32)
    for name in names:
        rest[owned[name].box] -= owned[name].values
    holds = {
        name: np.array(
            [
                owned[other].total * voxel_ml * (1.0 if other == name else inside.get((name, other), 0.0))
                for other in names
            ]
        )
        for name in regions
    }
    return Shares(
        names, tuple(owned[n] for n in names), np.clip(rest, 0, None), spacing_mm, holds, spread_mm2
    )


def _divide(
    regions: Mapping[str, npt.NDArray[np.floating]], smallest_first: Sequence[str]
) -> tuple[dict[str, Boxed], dict[tuple[str, str], float]]:
    """What each region owns, and (larger, smaller) -> part of the smaller within the larger."""
    owned: dict[str, Boxed] = {}
    inside: dict[tuple[str, str], float] = {}
    for name in smallest_first:
        box = _box(regions[name])
        left = np.array(regions[name][box], dtype=np.float32)
        drawn, taken = left.copy(), np.zeros_like(left)
        for other, smaller in owned.items():
            theirs = smaller.within(box)
            part = float(np.maximum(drawn + theirs - 1, 0).sum()) / max(smaller.total, 1e-9)
            if part > NESTED:
                inside[name, other] = min(part, 1.0) if part < 0.95 else 1.0
                left -= theirs
            taken += theirs
        owned[name] = Boxed(box, np.clip(np.minimum(left, 1 - taken), 0, 1))
    return owned, inside


def _box(share: npt.NDArray[np.floating]) -> Box:
    """The smallest box that holds all that is not zero; an empty one for nothing."""
    out = []
    for axis in range(3):
        other = tuple(i for i in range(3) if i != axis)
        there = np.flatnonzero(share.max(axis=other) > 0)
        out.append(slice(int(there[0]), int(there[-1]) + 1) if there.size else slice(0, 0))
    return out[0], out[1], out[2]


def padded(box: Box, voxels_zyx: Sequence[int], shape: Sequence[int]) -> Box:
    """The box made larger on every side, within the grid."""
    z, y, x = (
        slice(max(s.start - pad, 0), min(s.stop + pad, n))
        for s, pad, n in zip(box, voxels_zyx, shape, strict=True)
    )
    return z, y, x


def moved_edges(shares: Shares, by_mm: float) -> Shares:
    """All contours moved outwards (or, negative, inwards) by ``by_mm``; the smaller region keeps its way.

    The edge of a share lies where its gradient is; a multiple of it is added such that the volume becomes
    V (1 + d S / 3 V)^3, S the surface: exact for a sphere, first order in d for any shape.
    """
    voxel, shape = shares.voxel_ml, shares.rest.shape
    taken = np.zeros(shape, np.float32)
    moved: dict[int, Boxed] = {}
    rest = shares.rest.copy()
    for one in shares.owned:
        rest[one.box] += one.values  # the body again
    for i in np.argsort(shares.volume_ml, kind="stable").tolist():
        box = padded(shares.owned[i].box, (2, 2, 2), shape)
        wanted = _moved_edge(shares.owned[i].within(box), shares.spacing_mm, by_mm)
        values = np.minimum(wanted, np.minimum(1 - taken[box], rest[box]))
        moved[i] = Boxed(box, np.clip(values, 0, 1))
        taken[box] += moved[i].values
    owned = tuple(moved[i] for i in range(len(shares.names)))
    factor = np.array([one.total for one in owned]) * voxel / np.maximum(shares.volume_ml, 1e-12)
    holds = {name: volume * factor for name, volume in shares.holds.items()}
    left = np.clip(rest - taken, 0, None)
    return Shares(shares.names, owned, left, shares.spacing_mm, holds, shares.spread_mm2)


def surface_mm2(share: Float32, spacing_mm: tuple[float, float, float]) -> float:
    """Surface of a region, mm2: by the gradient of its share, and no less than that of a sphere."""
    voxel_mm3 = float(np.prod(spacing_mm))
    by_gradient = float(_steepness(np.pad(share, 1), spacing_mm).sum(dtype=np.float64)) * voxel_mm3
    volume = float(share.sum(dtype=np.float64)) * voxel_mm3
    # Below 5 mL central differences lose some of the gradient (14 % at 0.5 mL in voxels of 4.4 mm).
    return max(by_gradient, float((36.0 * pi * volume**2) ** (1 / 3)))


def _steepness(share: Float32, spacing_mm: tuple[float, float, float]) -> Float32:
    slopes = np.gradient(share, *reversed(spacing_mm))
    return np.asarray(np.sqrt(sum(np.square(d) for d in slopes)), dtype=np.float32)


def _moved_edge(share: Float32, spacing_mm: tuple[float, float, float], by_mm: float) -> Float32:
    """The share (with zeros around it) with its edge moved."""
    steep = _steepness(share, spacing_mm)
    volume = float(share.sum(dtype=np.float64))
    growth = 1.0 + by_mm * surface_mm2(share, spacing_mm) / (3.0 * volume * float(np.prod(spacing_mm)))
    wanted = volume * max(growth, 0.2) ** 3
    low, high = 0.0, 8.0 * abs(by_mm)
    sign = np.float32(np.sign(by_mm))
    for _ in range(12):
        middle = (low + high) / 2
        got = np.clip(share + sign * np.float32(middle) * steep, 0, 1).sum(dtype=np.float64)
        low, high = (middle, high) if abs(got - volume) < abs(wanted - volume) else (low, middle)
    return np.asarray(np.clip(share + sign * np.float32((low + high) / 2) * steep, 0, 1), dtype=np.float32)
