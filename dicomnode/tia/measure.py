"""Each region's activity at each time, with its uncertainty; and which curve each voxel follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from dicomnode.errors import Inconsistent
from dicomnode.model import Finding, Grid, LabelMap, RegionRecovery, RegisteredTimePoint, Severity
from dicomnode.model.volumes import Float32
from dicomnode.tia.curves import Array
from dicomnode.tia.settings import TiaSettings, UncertaintySettings
from dicomnode.tia.uncertainty import contour_of_dose, contour_relative

FIELD_OF_VIEW = "field-of-view"
REMAINDER = "remainder-of-body"


@dataclass(frozen=True, eq=False)
class Measured:
    """The measured curve of one region.

    Attributes
    ----------
    hours, activity_mbq : (n,) activity, corrected for partial volume where it was recovered
    counts_mbq : (n,) standard uncertainty from counting alone, independent between time points
    time_point_relative : what one time point does not share with the others
    common : contributions that all time points share: calibration, recovery, contour (relative)
    dose_contour : what the contour contributes to a mean dose, the mass in it; None without a contour
    recovered : whether partial volume was corrected
    """

    name: str
    hours: Array
    activity_mbq: Array
    counts_mbq: Array
    time_point_relative: float
    common: Mapping[str, float]
    dose_contour: float | None = None
    recovered: bool = False

    @property
    def fit_sigma_mbq(self) -> Array:
        """Standard uncertainty that differs from time point to time point; it weighs the fit."""
        return np.asarray(np.hypot(self.counts_mbq, self.time_point_relative * np.abs(self.activity_mbq)))

    @property
    def sigma_mbq(self) -> Array:
        """Full standard uncertainty of each activity."""
        shared = np.sqrt(sum(c**2 for c in self.common.values()))
        return np.asarray(np.hypot(self.fit_sigma_mbq, shared * np.abs(self.activity_mbq)))


@dataclass(frozen=True, eq=False)
class Partition:
    """Every voxel shared out among parts, whose ``shares`` (z, y, x) add up to 1; part 0 is outside every
    region.

    Where regions overlap the smaller one owns the place (a lesion in the liver follows its own curve).
    """

    names: tuple[str, ...]
    shares: tuple[Float32, ...]

    def mixed(self, by_part: Array, z: slice) -> Array:
        """Values (parts, ...) of the parts as a slab's voxels (..., voxels) share them."""
        out = np.zeros((*by_part.shape[1:], self.shares[0][z].size))
        for value, share in zip(by_part, self.shares, strict=True):
            here = share[z].ravel()
            if here.any():
                out += np.multiply.outer(value, here)
        return out


def counts_per_mbq(u: UncertaintySettings) -> float:
    """Counts detected in one acquisition per MBq present."""
    return u.sensitivity_cps_per_mbq * u.acquisition_s


def partition(grid: Grid, regions: LabelMap | None) -> Partition:
    """Every voxel's part. Raises Inconsistent where a region bears a reserved name."""
    outside = np.ones(grid.shape_zyx, dtype=np.float32)
    if regions is None:
        return Partition((REMAINDER,), (outside,))
    reserved = {FIELD_OF_VIEW, REMAINDER} & set(regions.names)
    if reserved:
        raise Inconsistent(f"a region is named {reserved.pop()!r}, which is reserved; rename it")
    owned = {name: s for name, s in regions.disjoint().items() if regions.shares[name].any()}
    for share in owned.values():
        outside -= share
    return Partition((REMAINDER, *owned), (np.maximum(outside, 0.0), *owned.values()))


def region_mbq(points: Sequence[RegisteredTimePoint], share: Float32 | None) -> Array:
    """Activity (n,) of a region by its share of each voxel (None: everywhere), MBq, without recovery."""
    if share is None:
        return np.array([p.activity.total_mbq for p in points])
    inside, ml = share > 0, points[0].activity.grid.voxel_ml
    part = share[inside]
    return np.array([(p.activity.bq_per_ml[inside] * part).sum(dtype=np.float64) * ml / 1e6 for p in points])


def counts_mbq(
    points: Sequence[RegisteredTimePoint],
    share: Float32 | None,
    activity_mbq: Array,
    u: UncertaintySettings,
) -> Array:
    """Standard uncertainty (n,) of a region's activity from counting, MBq.

    What a time point's own reconstruction found stands in place of the estimate by sensitivity, which knows
    nothing of what reconstruction does to noise. At least one count, so that an empty region does not claim
    to be known exactly.
    """
    per_mbq = counts_per_mbq(u)
    estimated = np.sqrt(np.maximum(activity_mbq * per_mbq, 1.0)) / per_mbq
    known = [p.activity.counting for p in points]
    return np.array(
        [
            one if noise is None else max(noise.region_mbq(share), 1.0 / per_mbq)
            for one, noise in zip(estimated, known, strict=True)
        ]
    )


def measured(
    name: str,
    points: Sequence[RegisteredTimePoint],
    share: Float32 | None,
    volume_ml: float | None,
    settings: TiaSettings,
    recovered: RegionRecovery | None = None,
) -> Measured:
    """A region's curve, by its share of each voxel (None: all). ``volume_ml`` None (field of view,
    remainder): no contour. ``recovered``: its
    activities and what they are uncertain by stand in place of the image's."""
    u = settings.uncertainty
    raw = region_mbq(points, share)
    noise = counts_mbq(points, share, raw, settings.uncertainty)
    common, dose_contour = {"calibration": u.calibration_relative}, None
    if recovered is not None:
        corrected = np.array(recovered.corrected_mbq)
        # G^-1 acts on noise as on the signal: it grows by what the correction lifts.
        noise, raw = noise * np.abs(corrected) / np.maximum(recovered.measured_mbq, 1e-12), corrected
        parts = {part: value for part, value in recovered.parts.items() if part != "contour"}
        common["recovery"] = float(hypot(*parts.values(), recovered.loss))
        common["contour"] = dose_contour = recovered.parts["contour"]
    elif volume_ml is not None:
        voxel_mm = (points[0].activity.grid.voxel_ml * 1000.0) ** (1 / 3)
        common["contour"] = contour_relative(volume_ml, voxel_mm, u)
        dose_contour = contour_of_dose(volume_ml, voxel_mm, u)
    hours = np.array([p.hours for p in points])
    return Measured(
        name, hours, raw, noise, u.time_point_relative, common, dose_contour, recovered is not None
    )


def counted(points: Sequence[RegisteredTimePoint]) -> tuple[Finding, ...]:
    """Whose counting noise their reconstruction found; nothing where that is so of none."""
    known = [p.label for p in points if p.activity.counting is not None]
    if not known:
        return ()
    rest = "" if len(known) == len(points) else "; of the others it is estimated by sensitivity and time"
    said = f"the counting noise of {', '.join(known)} is what the reconstruction found by its bootstrap{rest}"
    return (Finding("tia-counting", Severity.NOTE, said, measured=float(len(known))),)
