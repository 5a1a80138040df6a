"""Does the CT lie where the projections see the patient?

The body of the CT, filled evenly with activity and attenuated, is projected and compared with what the camera
saw, over shifts of the body and over its mirror images. Activity is not even, so a shift of a few centimetres
may be uptake and not misplacement; a body mirrored, upside down or half a length away is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.model import Finding, Settings, Severity
from dicomnode.model.projections import Projections
from dicomnode.recon.camera.attenuation import AttenuationMap

Float64 = npt.NDArray[np.float64]

FEWEST_BINS = 32
"""Rows and bins are joined down to about this many: 10 mm shows a body."""
MOST_VIEWS = 16
BODY_PER_WATER = 0.3
"""Part of the median coefficient of dense voxels above which a voxel counts as body: lung included."""


class OutlineLimits(Settings):
    """When the place of the CT is doubted. Own choices, from the sets of tests/recon/test_outline.py."""

    shift_mm: float = Field(
        25.0, gt=0, description="shift of the body outline against the projections: warning"
    )
    hold_mm: float = Field(50.0, gt=0, description="shift of the body outline: hold")
    mirror_gain: float = Field(
        0.03, gt=0, description="a mirrored body that correlates better by this much holds"
    )


@dataclass(frozen=True)
class OutlineScore:
    """How well the CT's body explains the projections.

    Attributes
    ----------
    as_is : correlation where the headers put the CT, -1 to 1
    best : the highest correlation over shifts
    shift_mm : (x, y, z) that the CT would have to be moved for it
    mirrored : axes ("x", "y", "z") -> highest correlation of the body mirrored there
    """

    as_is: float
    best: float
    shift_mm: tuple[float, float, float]
    mirrored: dict[str, float]


DEFAULT_LIMITS = OutlineLimits()
MIRRORS = ("x", "y", "z", "xy", "xz", "yz")


def outline_score(
    projections: Projections, attenuation: AttenuationMap, reach_mm: float = 80.0
) -> OutlineScore:
    """Correlation of seen and expected views over shifts up to ``reach_mm`` and over mirror images."""
    seen, factor = _seen(projections)
    views = _views(projections)
    angle = np.deg2rad(projections.angle_deg[views])
    per_cm = _coarser(attenuation.per_cm.astype(np.float64), factor)
    bin_mm = tuple(
        s * f for s, f in zip(projections.grid.spacing_mm, (factor[1], factor[1], factor[0]), strict=True)
    )
    reach = (int(reach_mm / bin_mm[2]), int(reach_mm / bin_mm[0]))

    def maps(axes: str) -> Float64:
        flipped = per_cm
        for axis in axes:
            flipped = np.flip(flipped, axis={"x": 2, "y": 1, "z": 0}[axis])
        return np.stack([
            _correlations(expected, seen[v], reach)
            for expected, v in zip(_expected(flipped, angle, bin_mm[0] / 10), views, strict=True)
        ])  # fmt: skip

    straight = maps("")
    best, shift = _best_shift(straight, angle, reach)
    as_is = float(straight[:, reach[0], reach[1]].mean())
    mirrored = {axes: _best_shift(maps(axes), angle, reach)[0] for axes in MIRRORS}
    x, y, z = (float(n * size) for n, size in zip(shift, bin_mm, strict=True))
    return OutlineScore(as_is, best, (x, y, z), mirrored)


def outline_findings(
    score: OutlineScore, limits: OutlineLimits = DEFAULT_LIMITS, subject: str = ""
) -> tuple[Finding, ...]:
    """What the score asks for: a hold for a mirrored or far-off body, a warning for a doubtful place."""
    axes, mirrored = max(score.mirrored.items(), key=lambda pair: pair[1])
    if mirrored > score.best + limits.mirror_gain:
        sentence = (
            f"the projections fit the patient's outline better when it is mirrored along {axes} "
            f"(correlation {mirrored:.2f}, {score.best:.2f} as it is): left and right, or head and "
            f"feet, may be exchanged. Check how the camera writes angles and patient position"
        )
        return (
            Finding("outline-mirrored", Severity.HOLD, sentence, mirrored - score.best, limits.mirror_gain,
                    "", subject),
        )  # fmt: skip
    distance = float(np.linalg.norm(score.shift_mm))
    if distance <= limits.shift_mm:
        return ()
    severity = Severity.HOLD if distance > limits.hold_mm else Severity.WARNING
    sentence = (
        f"the patient's outline in the CT fits the projections best {distance:.0f} mm away from where the "
        f"headers put it: check the registration of CT and SPECT"
    )
    return (Finding("outline-shift", severity, sentence, distance, limits.shift_mm, "mm", subject),)


def _views(projections: Projections) -> npt.NDArray[np.intp]:
    count = len(projections.angle_deg)
    order = np.argsort(projections.angle_deg, kind="stable")
    chosen = order[np.unique(np.linspace(0, count - 1, min(count, MOST_VIEWS)).astype(int))]
    return np.asarray(chosen, dtype=np.intp)


def _seen(projections: Projections) -> tuple[Float64, tuple[int, int]]:
    """Square roots of the counts of all windows, so that hot organs do not drown the outline; and the factors
    (axial, transaxial) by which rows and bins were joined."""
    counts = projections.counts.sum(axis=0).astype(np.float64)
    factor = (max(1, counts.shape[1] // FEWEST_BINS), max(1, counts.shape[2] // FEWEST_BINS))
    v, rows, bins = counts.shape[0], counts.shape[1] // factor[0], counts.shape[2] // factor[1]
    cut = counts[:, : rows * factor[0], : bins * factor[1]]
    joined = cut.reshape(v, rows, factor[0], bins, factor[1]).sum(axis=(2, 4))
    return np.sqrt(joined), factor


def _coarser(volume: Float64, factor: tuple[int, int]) -> Float64:
    """Mean over blocks of (factor[0], factor[1], factor[1]) voxels."""
    a, t = factor
    z, y, x = volume.shape[0] // a, volume.shape[1] // t, volume.shape[2] // t
    cut = volume[: z * a, : y * t, : x * t]
    return np.asarray(cut.reshape(z, a, y, t, x, t).mean(axis=(1, 3, 5)))


def _expected(per_cm: Float64, angle: Float64, bin_cm: float) -> list[Float64]:
    """Square roots of the views (axial, transaxial) of an evenly active body, attenuated."""
    from scipy.ndimage import affine_transform

    dense = per_cm[per_cm > 0.05]
    body = (per_cm > BODY_PER_WATER * (float(np.median(dense)) if dense.size else 1.0)).astype(np.float64)
    size = per_cm.shape[1]
    centre = (size - 1) / 2
    views = []
    for a in angle:
        # rows of the turned volume go away from the detector along -(cos a, sin a), columns along the bins
        away, across = np.array([-np.sin(a), -np.cos(a)]), np.array([np.cos(a), -np.sin(a)])  # (y, x)
        matrix = np.eye(3)
        matrix[1:, 1:] = np.column_stack([away, across])
        offset = np.array([0.0, *(centre - matrix[1:, 1:] @ np.array([centre, centre]))])
        turned_mu = affine_transform(per_cm, matrix, offset, order=1)
        turned = affine_transform(body, matrix, offset, order=1)
        path = (np.cumsum(turned_mu, axis=1) - turned_mu / 2) * bin_cm
        views.append(np.sqrt((turned * np.exp(-path)).sum(axis=1)))
    return views


def _correlations(expected: Float64, seen: Float64, reach: tuple[int, int]) -> Float64:
    """Correlation of ``seen`` with ``expected`` moved by every shift within ``reach`` (rows, bins)."""
    rows, bins = seen.shape
    pad = ((reach[0], reach[0]), (reach[1], reach[1]))
    wide = np.pad(expected, pad)
    shape = (rows + 2 * reach[0], bins + 2 * reach[1])
    ones = np.fft.rfft2(np.pad(np.ones_like(seen), ((0, 2 * reach[0]), (0, 2 * reach[1]))))
    spot = np.fft.rfft2(np.pad(seen, ((0, 2 * reach[0]), (0, 2 * reach[1]))))
    field, square = np.fft.rfft2(wide), np.fft.rfft2(wide**2)

    def lagged(first: npt.NDArray[np.complex128], second: npt.NDArray[np.complex128]) -> Float64:
        whole = np.fft.irfft2(first * np.conj(second), s=shape)
        return np.asarray(whole[: 2 * reach[0] + 1, : 2 * reach[1] + 1])

    n = seen.size
    sums, squares, cross = lagged(field, ones), lagged(square, ones), lagged(field, spot)
    variance = np.maximum(squares - sums**2 / n, 1e-9)
    covariance = cross - sums * seen.sum() / n
    found = covariance / np.sqrt(variance * max(float(seen.var()) * n, 1e-9))
    return np.asarray(found[::-1, ::-1])  # lag L of the padded field is a shift of reach - L


def _best_shift(
    maps: Float64, angle: Float64, reach: tuple[int, int]
) -> tuple[float, tuple[float, float, float]]:
    """The shift (x, y, z) in bins whose views, moved accordingly, correlate best in the mean."""
    from scipy.ndimage import map_coordinates

    views = np.arange(len(angle), dtype=float)[:, None]
    rows = np.arange(2 * reach[0] + 1, dtype=float)[None]
    side = 2 * reach[1] + 1
    scores = np.full((side, side, 2 * reach[0] + 1), -2.0)
    for dx, dy in product(range(-reach[1], reach[1] + 1), repeat=2):
        if dx * dx + dy * dy > reach[1] ** 2:
            continue
        across = reach[1] - dx * np.sin(angle) + dy * np.cos(angle)
        at = np.stack(np.broadcast_arrays(views, rows, across[:, None]))
        scores[dx + reach[1], dy + reach[1]] = map_coordinates(maps, at, order=1).mean(axis=0)
    peak = tuple(int(n) for n in np.unravel_index(scores.argmax(), scores.shape))
    x, y, z = (_vertex(scores, peak, axis) for axis in range(3))
    return float(scores[peak]), (x - reach[1], y - reach[1], z - reach[0])


def _vertex(scores: Float64, peak: tuple[int, ...], axis: int) -> float:
    """Place of the maximum along one axis, by the parabola through it and its two neighbours."""
    line = np.moveaxis(scores, axis, -1)
    for n in (n for a, n in enumerate(peak) if a != axis):
        line = line[n]
    k = peak[axis]
    if not 0 < k < len(line) - 1 or min(line[k - 1], line[k + 1]) < -1:
        return float(k)
    bend = line[k - 1] - 2 * line[k] + line[k + 1]
    return float(k) if bend >= 0 else float(k + (line[k - 1] - line[k + 1]) / (2 * bend))
