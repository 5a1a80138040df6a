"""How well a corrected concentration is known: finite differences of the same solver, in the logarithm.

Ratios err, and a lesion cannot be negative, so every part is one of ln c. The mass is in it: c is activity
per volume, and a contour drawn too large makes c too low by more than it makes the activity too high. Nothing
about the volume is to be added again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dicomnode.recovery.shares import Boxed, Float32, Float64, Shares, moved_edges, surface_mm2
from dicomnode.recovery.solve import Solution, System, build_system, solve, with_background
from dicomnode.recovery.width import Width

CONTOUR_RANDOM = 0.7
"""Of the common error of an edge, what differs from place to place; our own choice."""
CONTOUR_LENGTH_MM = 8.0
"""An edge errs alike within about this distance; our own choice."""
EDGE_STEP_MM = 1.0
SHIFT_STEP_MM = 2.0
HETEROGENEITY = 0.15
"""Of ln(c/m), what an uneven uptake within a region may change: the part that a uniform model cannot know."""
MOST = 3.0
"""A logarithm beyond this (a factor of 20) says only that nothing is known."""

FIRST = np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12.0
SECOND = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) / 12.0
"""Five-point derivatives, per voxel and per voxel squared."""


@dataclass(frozen=True)
class Errors:
    """What may be wrong with the inputs, standard uncertainties."""

    contour_mm: float = 1.0
    registration_mm: float = 1.5


@dataclass(frozen=True, eq=False)
class Budget:
    """Of each owned region's ln c, standard uncertainties (n,).

    Attributes
    ----------
    width, contour, shift, model : the parts
    loss : expected change of ln c by the unknown shift; negative, as any shift lowers a hot region
    """

    width: Float64
    contour: Float64
    shift: Float64
    model: Float64
    loss: Float64

    @property
    def parts(self) -> dict[str, Float64]:
        return {"width": self.width, "contour": self.contour, "shift": self.shift, "model": self.model}

    @property
    def combined(self) -> Float64:
        return np.asarray(np.sqrt(sum(np.square(part) for part in self.parts.values())))


def budget(
    system: System, solution: Solution, image: Float32, width: Width, by_shares: Float64, errors: Errors
) -> Budget:
    """Every part for one image.

    Parameters
    ----------
    by_shares : activity of each region as ``read_by_shares`` gives it, image unit times mL
    """
    shares = system.shares
    logs = _log(solution.concentration, solution)
    volume = shares.volume_ml
    model = np.hypot(
        _log(by_shares / volume, solution) - logs, HETEROGENEITY * (logs - _log(solution.measured, solution))
    )
    shift, loss = _shift(system, solution, image, logs, errors.registration_mm)
    contour = _contour(shares, solution, image, width, errors.contour_mm)
    return Budget(_width(shares, solution, image, width, logs), contour, shift, model, loss)


def _log(values: Float64, solution: Solution) -> Float64:
    """ln of the values; those that are not positive count as a factor of 20 below what the image shows."""
    floor = np.maximum(np.abs(solution.measured), 1e-30) * np.exp(-MOST)
    return np.asarray(np.log(np.maximum(values, floor)))


def _solved(shares: Shares, solution: Solution, image: Float32, width: Width) -> Float64:
    return _log(solve(build_system(shares, width), image, width).concentration, solution)


def _width(shares: Shares, solution: Solution, image: Float32, width: Width, logs: Float64) -> Float64:
    wider = width.times(1.0 + width.relative_uncertainty)
    return np.asarray(np.minimum(np.abs(_solved(shares, solution, image, wider) - logs), MOST))


def _contour(shares: Shares, solution: Solution, image: Float32, width: Width, contour_mm: float) -> Float64:
    """All contours moved together by 1 mm either way, times what an edge may be off.

    u^2 = u_sys^2 + u_ran^2 min(1, pi (8 mm)^2 / S): the ragged part averages out over a large surface S.
    """
    outer = _solved(moved_edges(shares, EDGE_STEP_MM), solution, image, width)
    inner = _solved(moved_edges(shares, -EDGE_STEP_MM), solution, image, width)
    surface = np.array([_surface(one, shares) for one in shares.owned])
    ragged = CONTOUR_RANDOM**2 * np.minimum(1.0, np.pi * CONTOUR_LENGTH_MM**2 / surface)
    edge = contour_mm * np.sqrt(1.0 + ragged)
    return np.asarray(np.minimum(np.abs(outer - inner) / (2.0 * EDGE_STEP_MM) * edge, MOST))


def _surface(one: Boxed, shares: Shares) -> float:
    return surface_mm2(one.values, shares.spacing_mm)


def _shift(
    system: System, solution: Solution, image: Float32, logs: Float64, registration_mm: float
) -> tuple[Float64, Float64]:
    """u_shift^2 = sum over axes (g u)^2 + 3/4 (h u^2)^2, g and h the first and second derivative of ln c by a
    shift of the image, the background kept; and the expected loss, sum of h u^2 / 2."""
    square, loss = np.zeros_like(logs), np.zeros_like(logs)
    for axis, step in zip(range(3), reversed(system.shares.spacing_mm), strict=True):
        ahead, behind = (
            _log(with_background(system, moved, solution.background_share), solution)
            for moved in _moved(image, axis, SHIFT_STEP_MM / step)
        )
        first = (ahead - behind) / (2.0 * SHIFT_STEP_MM)
        second = (ahead + behind - 2.0 * logs) / SHIFT_STEP_MM**2
        square += (first * registration_mm) ** 2 + 0.75 * (second * registration_mm**2) ** 2
        loss += np.minimum(second, 0.0) * registration_mm**2 / 2.0
    return np.minimum(np.sqrt(square), MOST), np.maximum(loss, -MOST)


def _moved(image: Float32, axis: int, by_voxels: float) -> Sequence[Float32]:
    from scipy.ndimage import correlate1d

    slope = correlate1d(image, FIRST, axis=axis, mode="nearest")
    bend = correlate1d(image, SECOND, axis=axis, mode="nearest")
    even = image + np.float32(by_voxels**2 / 2.0) * bend
    return even + np.float32(by_voxels) * slope, even - np.float32(by_voxels) * slope
