"""Scatter in the photopeak window, estimated from the windows beside it; it stays in the model as an addend.

Triple energy window (Ichihara, Ogawa, Motomura, Kubo, Hashimoto, J. Nucl. Med. 34, 2216, 1993): the scatter
under the peak is the trapezium between the neighbours, (C_l / W_l + C_u / W_u) W_p / 2. Dual energy window
(Jaszczak, Greer, Floyd, Harris, Coleman, J. Nucl. Med. 25, 893, 1984): k C_l, here with the ratio of widths
taken out, k = 0.5 where both are equally wide. Widths are those of the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.errors import Inconsistent
from dicomnode.model.projections import EnergyWindow, Projections
from dicomnode.model.settings import Settings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

WIDEST_GAP = 0.2  # of the peak's width, between the peak and a scatter window that is beside it


class ScatterMethod(StrEnum):
    """How scatter under the peak is estimated."""

    AUTO = "auto"
    """TEW where there are windows on both sides, DEW where only below, none where there are none."""
    TEW = "tew"
    DEW = "dew"
    NONE = "none"


class ScatterSettings(Settings):
    """How scatter is estimated from the windows beside the peak."""

    method: ScatterMethod = Field(
        ScatterMethod.AUTO, description="tew, dew, none, or auto: what the windows of the scan allow"
    )
    dew_k: float = Field(
        0.5, description="scatter under the peak per count below it at equal widths (Jaszczak 1984)", gt=0
    )
    smoothing_pixels: float = Field(
        1.5, description="Gaussian sigma over detector pixels; scatter is smooth, its noise is not", ge=0
    )


@dataclass(frozen=True, eq=False)
class Scatter:
    """An estimate and how it was made.

    Attributes
    ----------
    counts : float32 (views, axial, transaxial), expected scattered counts in the peak
    method : the method that was used
    weights : per window of the projections, its factor in the estimate (0 where unused)
    """

    counts: Float32
    method: ScatterMethod
    weights: tuple[float, ...]

    @property
    def total(self) -> float:
        return float(self.counts.sum(dtype=np.float64))


def estimate_scatter(projections: Projections, settings: ScatterSettings) -> Scatter:
    """Scatter in the peak window. Raises Inconsistent where the method lacks its windows."""
    method, weights = window_weights(projections.windows, projections.peak, settings)
    return Scatter(scatter_counts(projections.counts, weights, settings.smoothing_pixels), method, weights)


def window_weights(
    windows: tuple[EnergyWindow, ...], peak: int, settings: ScatterSettings
) -> tuple[ScatterMethod, tuple[float, ...]]:
    """The method and each window's factor in the estimate of scatter under the peak.

    A peak of several ranges (113 and 208 keV as one window) has no neighbours that TEW could use.
    """
    lower, upper = _neighbours(windows, peak)
    method = _method(settings.method, lower, upper)
    weights = [0.0] * len(windows)
    width = windows[peak].width_kev
    if method is ScatterMethod.TEW and lower is not None and upper is not None:
        for side in (lower, upper):
            weights[side] = 0.5 * width / windows[side].width_kev
    elif method is ScatterMethod.DEW and lower is not None:
        weights[lower] = settings.dew_k * width / windows[lower].width_kev
    return method, tuple(weights)


def scatter_counts(
    counts: npt.NDArray[np.integer], weights: tuple[float, ...], sigma_pixels: float
) -> Float32:
    """Weighted sum of windows (windows, views, axial, transaxial), smoothed over each view's detector.

    Within the detector's field only: scatter does not end at its edge but its counts do, and smoothing across
    would take scatter from the outermost rows and put it where nothing was measured.
    """
    from scipy.ndimage import gaussian_filter

    total: Float64 = np.tensordot(np.asarray(weights), counts.astype(np.float64), axes=1)
    if sigma_pixels > 0 and any(weights):
        rows, bins = exposed_field(counts.sum(axis=(0, 1)))
        inside = np.s_[:, rows, bins]
        total[inside] = gaussian_filter(total[inside], (0, sigma_pixels, sigma_pixels), mode="nearest")
    return np.asarray(total, dtype=np.float32)


def exposed_field(summed: npt.NDArray[np.number]) -> tuple[slice, slice]:
    """Rows and bins of the detector that were exposed: from the first to the last that hold any count.

    Where a camera's field is smaller, it fills the matrix up with empty ones. ``summed``: counts (axial,
    transaxial) over views.
    """
    return _span((summed > 0).any(axis=1)), _span((summed > 0).any(axis=0))


def _span(there: npt.ArrayLike) -> slice:
    found = np.flatnonzero(there)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, np.size(there))


def _neighbours(windows: tuple[EnergyWindow, ...], peak: int) -> tuple[int | None, int | None]:
    """The windows that lie next to the peak, below and above."""
    low, high = windows[peak].ranges_kev[0][0], windows[peak].ranges_kev[-1][1]
    if len(windows[peak].ranges_kev) > 1:
        return None, None
    gap = WIDEST_GAP * windows[peak].width_kev
    lower = upper = None
    for index, window in enumerate(windows):
        if index == peak or len(window.ranges_kev) > 1:
            continue
        first, last = window.ranges_kev[0]
        if abs(last - low) <= gap and first < low:
            lower = index
        elif abs(first - high) <= gap and last > high:
            upper = index
    return lower, upper


def _method(wanted: ScatterMethod, lower: int | None, upper: int | None) -> ScatterMethod:
    if wanted is ScatterMethod.AUTO:
        if lower is None:
            return ScatterMethod.NONE
        return ScatterMethod.DEW if upper is None else ScatterMethod.TEW
    missing = [name for name, index in (("below", lower), ("above", upper)) if index is None]
    if (wanted is ScatterMethod.TEW and missing) or (wanted is ScatterMethod.DEW and lower is None):
        raise Inconsistent(
            f"{wanted.upper()} needs a scatter window {' and '.join(missing)} the peak, the scan has none",
            attribute="EnergyWindowInformationSequence", remedy="Choose another scatter method",
        )  # fmt: skip
    return wanted
