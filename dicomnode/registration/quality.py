"""How well two images lie on each other: outlines, mutual information, and what shift remains."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dicomnode.registration.images import Float32, Mask
from dicomnode.registration.prepare import Prepared

BLOCK_MM = 56.0
"""Edge of a block: larger than the distance of two vertebrae, so that one is not taken for the next."""
REACH_MM = 24.0
"""Largest shift of a block that is looked for; less than a vertebra (33 mm)."""
CORRELATION_MIN = 0.5
"""Below this a block has not found itself, and counts as shifted by ``REACH_MM``."""
PERCENTILE = 75.0
"""A quarter of the blocks may move more: breath, gut and bladder are not rigid."""


def dice(first: Mask, second: Mask) -> float:
    """Dice coefficient, 0 to 1; 0 for two empty masks."""
    both = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / both if both else 0.0


def mutual_information(first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], bins: int) -> float:
    """Mutual information of two samples from their joint histogram, nats.

    Bins span the 1st to 99th percentile, so that metal or noise do not set the scale.
    """
    edges = []
    for values in (first, second):
        low, high = np.percentile(values, (1.0, 99.0)).tolist()
        if not high > low:
            return 0.0
        edges.append(np.linspace(low, high, bins + 1))
    joint, _, _ = np.histogram2d(
        np.clip(first, edges[0][0], edges[0][-1]), np.clip(second, edges[1][0], edges[1][-1]), bins=edges
    )
    p = joint / joint.sum()
    outer = p.sum(axis=1, keepdims=True) * p.sum(axis=0, keepdims=True)
    full = p > 0
    return float((p[full] * np.log(p[full] / outer[full])).sum())


def residual_mm(fixed: Prepared, moved: Float32, covered: Mask) -> float:
    """Shift that remains, mm: each block of the reference is looked for in the registered image.

    Block matching by normalised cross-correlation, independent of the metric that was optimised: a wrong
    patient, a mirrored image or a slipped vertebra gives blocks that find themselves elsewhere or nowhere.
    The value is the 75th percentile over blocks; ``REACH_MM`` where no block could be compared.
    """
    shifts = [_block_shift_mm(fixed, moved, corner, size) for corner, size in _blocks(fixed, covered)]
    return float(np.percentile(shifts, PERCENTILE)) if len(shifts) >= 4 else REACH_MM


def _blocks(fixed: Prepared, covered: Mask) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Corners and sizes (z, y, x) of blocks that lie in the body, were seen, and show something."""
    spacing = np.array(fixed.grid.spacing_mm[::-1])
    size = tuple(int(n) for n in np.maximum(4, np.rint(BLOCK_MM / spacing)))
    usable = fixed.body & covered
    shape = fixed.values.shape
    for corner in np.ndindex(*(max(1, 2 * (n // s) - 1) for n, s in zip(shape, size, strict=True))):
        start = tuple(c * (s // 2) for c, s in zip(corner, size, strict=True))
        if sum(corner) % 2:  # a checkerboard of half-overlapping blocks covers the body well enough
            continue
        window = tuple(slice(a, a + s) for a, s in zip(start, size, strict=True))
        block = fixed.values[window]
        if block.shape == size and usable[window].mean() > 0.6 and block.std() > fixed.texture:
            yield start, size


def _block_shift_mm(fixed: Prepared, moved: Float32, corner: tuple[int, ...], size: tuple[int, ...]) -> float:
    spacing = np.array(fixed.grid.spacing_mm[::-1])
    reach = np.maximum(1, np.rint(REACH_MM / spacing)).astype(int)
    template = fixed.values[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))]
    low = np.maximum(np.array(corner) - reach, 0)
    high = np.minimum(np.array(corner) + np.array(size) + reach, moved.shape)
    window = moved[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    scores = _correlation(template, window)
    peak = np.unravel_index(int(scores.argmax()), scores.shape)
    if scores[peak] < CORRELATION_MIN:
        return REACH_MM
    offset = _refine(scores, tuple(int(p) for p in peak)) + low - np.array(corner)
    return min(float(np.linalg.norm(offset * spacing)), REACH_MM)


def _correlation(template: Float32, window: Float32) -> npt.NDArray[np.float64]:
    """Normalised cross-correlation of ``template`` at every place within ``window`` (Lewis 1995).

    By Fourier transforms of the window's own size: what wraps around lies outside of every whole place.
    """
    from scipy.fft import irfftn, next_fast_len, rfftn

    t = template.astype(np.float64) - template.mean(dtype=np.float64)
    w = window.astype(np.float64) - window.mean(dtype=np.float64)
    size = [next_fast_len(n, real=True) for n in w.shape]
    product = irfftn(rfftn(w, size) * rfftn(t, size).conj(), size)
    product = product[tuple(slice(n - m + 1) for n, m in zip(w.shape, t.shape, strict=True))]
    first, second = _box_sum(w, t.shape), _box_sum(w * w, t.shape)
    variance = np.maximum(second - first**2 / t.size, 1e-9 * t.size)
    return np.asarray(product / np.sqrt(variance * (t**2).sum()))


def _box_sum(values: npt.NDArray[np.float64], size: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Sum of every box of ``size`` within ``values``."""
    for axis, n in enumerate(size):
        total = np.moveaxis(np.cumsum(values, axis=axis), axis, 0)
        whole = total[n - 1 :].copy()
        whole[1:] -= total[:-n]
        values = np.moveaxis(whole, 0, axis)
    return values


def _refine(scores: npt.NDArray[np.float64], peak: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Position of the maximum between voxels, by a parabola along each axis."""
    place = np.array(peak, dtype=np.float64)
    for axis, p in enumerate(peak):
        if 0 < p < scores.shape[axis] - 1:
            before, at, after = (scores[(*peak[:axis], q, *peak[axis + 1 :])] for q in (p - 1, p, p + 1))
            curvature = before - 2.0 * at + after
            if curvature < 0:
                place[axis] += 0.5 * (before - after) / curvature
    return place
