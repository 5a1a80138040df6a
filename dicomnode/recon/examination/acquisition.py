"""Is the acquisition what a reconstruction assumes: a still patient, every view whole, the axis where it is
said, a CT over all of the activity. Everything comes back as findings; some hold.

What is looked at are jumps between neighbouring views and the mean over a whole turn. Slow drift of the
patient looks like attenuation in these numbers and is not found here.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.model import Finding, Settings, Severity
from dicomnode.model.projections import Projections
from dicomnode.recon.camera.attenuation import AttenuationMap

Float64 = npt.NDArray[np.float64]

SIGMAS = 5.0
"""A deviation within this many of its own standard deviations is counting noise."""
UNEVEN = 0.25
"""Part of a step by which the next may differ; our own choice, half of what a missing view would make."""


class AcquisitionLimits(Settings):
    """From where on a quality check speaks, and from where on it holds. All limits are our own choice."""

    view_counts: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="a view's counts off the mean of its neighbours: warning; four times: hold",
    )
    jump_pixels: float = Field(
        0.5, gt=0, description="jump of the patient between two views, pixels: warning; twice: hold"
    )
    axis_pixels: float = Field(
        0.5, gt=0, description="centre of rotation off the middle, pixels: warning; twice: hold"
    )
    uncovered_counts: float = Field(
        0.02, ge=0, lt=1, description="part of the counts in rows that the CT does not reach: hold above"
    )
    ct_gap_hours: float = Field(4.0, gt=0, description="time between CT and SPECT: warning above, hours")


DEFAULT_LIMITS = AcquisitionLimits()


def acquisition_findings(
    projections: Projections, limits: AcquisitionLimits = DEFAULT_LIMITS
) -> tuple[Finding, ...]:
    """Counts per view, jumps of the patient along and across, and the centre of rotation."""
    peak = projections.counts[projections.peak].astype(np.float64)
    uid = projections.series_uid
    if not peak.sum():
        sentence = "the photopeak window is empty: there is nothing to reconstruct"
        return (Finding("no-counts", Severity.HOLD, sentence, 0.0, unit="counts", subject=uid),)
    arcs = _arcs(projections)
    found = [
        _view_counts(peak.sum(axis=(1, 2)), arcs, limits, uid),
        _jump("along the axis", peak.sum(axis=2), arcs, limits, uid),
        _jump("across the axis", peak.sum(axis=1), arcs, limits, uid),
        _axis(projections, peak.sum(axis=1), limits),
    ]
    return tuple(f for f in found if f is not None)


def coverage_findings(
    projections: Projections, attenuation: AttenuationMap, limits: AcquisitionLimits = DEFAULT_LIMITS
) -> tuple[Finding, ...]:
    """Holds where more than a small part of the counts lies in rows that the CT does not reach."""
    rows = projections.counts[projections.peak].sum(axis=(0, 2), dtype=np.float64)
    share = float(rows[~attenuation.covered].sum() / max(rows.sum(), 1.0))
    if share == 0.0:
        return ()
    severity = Severity.HOLD if share > limits.uncovered_counts else Severity.NOTE
    sentence = (
        f"{100 * share:.1f} % of the counts lie in rows that the CT does not reach; its end slices were "
        f"repeated there for attenuation"
    )
    return (
        Finding(
            "ct-coverage", severity, sentence, share, limits.uncovered_counts, "", projections.series_uid
        ),
    )


def pairing_findings(
    projections: Projections,
    ct_frame_of_reference_uid: str | None,
    ct_acquired_at: datetime | None,
    limits: AcquisitionLimits = DEFAULT_LIMITS,
) -> tuple[Finding, ...]:
    """Holds where CT and projections share no frame of reference; warns of a long time between them, and
    where the CT cannot state a frame of reference (None: a plain file)."""
    uid = projections.series_uid
    found: tuple[Finding, ...] = ()
    if ct_frame_of_reference_uid is None:
        sentence = (
            "the CT is a file without frame of reference: that it lies where the projections do is taken on "
            "trust"
        )
        found += (Finding("ct-frame-of-reference", Severity.WARNING, sentence, subject=uid),)
    elif not ct_frame_of_reference_uid or ct_frame_of_reference_uid != projections.frame_of_reference_uid:
        sentence = (
            "the CT and the projections do not share a frame of reference: where the CT lies is not known. "
            "Send the CT of the same SPECT/CT examination"
        )
        found += (Finding("ct-frame-of-reference", Severity.HOLD, sentence, subject=uid),)
    if ct_acquired_at is not None:
        hours = abs((ct_acquired_at - projections.started_at).total_seconds()) / 3600
        if hours > limits.ct_gap_hours:
            sentence = f"{hours:.1f} hours lie between the CT and the SPECT: the patient may have moved"
            found += (Finding("ct-time", Severity.WARNING, sentence, hours, limits.ct_gap_hours, "h", uid),)
    return found


def _arcs(projections: Projections) -> list[npt.NDArray[np.intp]]:
    """Views of one detector in even steps, one after the other in time: a new arc begins where time goes back
    (the next detector) or the angle's step changes (the next rotation, a missing view)."""
    steps = (np.diff(projections.angle_deg) + 180.0) % 360.0 - 180.0
    back = np.diff(projections.started_s) <= 0
    begins: list[int] = []
    pace: float | None = None  # of the arc, known from its second view on
    for view, (step, goes_back) in enumerate(zip(steps.tolist(), back.tolist(), strict=True), start=1):
        if goes_back or (pace is not None and abs(step - pace) > UNEVEN * abs(pace)):
            begins.append(view)
            pace = None
        elif pace is None:
            pace = step
    return np.split(np.arange(len(projections.started_s)), begins)


def _largest(off: Float64, sigma: Float64, views: npt.NDArray[np.intp]) -> tuple[float, int]:
    """The largest deviation beyond its noise (0 where there is none) and the number of its view."""
    certain = np.where(np.abs(off) > SIGMAS * sigma, off, 0.0)
    k = int(np.abs(certain).argmax())
    return float(certain[k]), int(views[k]) + 1


def _view_counts(
    counts: Float64, arcs: list[npt.NDArray[np.intp]], limits: AcquisitionLimits, uid: str
) -> Finding | None:
    """The view whose counts are farthest off the mean of its two neighbours."""
    found = []
    for arc in arcs:
        if len(arc) >= 3:
            middle = (counts[arc[:-2]] + counts[arc[2:]]) / 2
            off = counts[arc[1:-1]] / np.maximum(middle, 1.0) - 1
            found.append(_largest(off, np.sqrt(1.5 / np.maximum(middle, 1.0)), arc[1:]))
    worst, where = max(found, key=lambda one: abs(one[0]), default=(0.0, 0))
    if abs(worst) <= limits.view_counts:
        return None
    severity = Severity.HOLD if abs(worst) > 4 * limits.view_counts else Severity.WARNING
    sentence = (
        f"view {where} has {100 * worst:+.0f} % of counts beside the mean of its neighbours: it was cut "
        f"short, or the patient moved. Look at the projections"
    )
    return Finding("view-counts", severity, sentence, abs(worst), limits.view_counts, "", uid)


def _jump(
    direction: str, profiles: Float64, arcs: list[npt.NDArray[np.intp]], limits: AcquisitionLimits, uid: str
) -> Finding | None:
    """The largest step of the counts' centre between two views, beside the steps before and after it."""
    bins = np.arange(profiles.shape[1])
    total = np.maximum(profiles.sum(axis=1), 1.0)
    centre = profiles @ bins / total
    variance = np.maximum(profiles @ bins**2 / total - centre**2, 0.0) / total
    found = []
    for arc in arcs:
        if len(arc) >= 4:
            step = np.diff(centre[arc])
            # a jump shows in three of them, as itself and as half of it with the other sign
            off = step[1:-1] - (step[:-2] + step[2:]) / 2
            sigma = np.sqrt(10 / 4 * (variance[arc[1:-2]] + variance[arc[2:-1]]))
            found.append(_largest(off, sigma, arc[1:]))
    worst, where = max(found, key=lambda one: abs(one[0]), default=(0.0, 0))
    if abs(worst) <= limits.jump_pixels:
        return None
    severity = Severity.HOLD if abs(worst) > 2 * limits.jump_pixels else Severity.WARNING
    sentence = (
        f"between views {where} and {where + 1} the counts jump by {abs(worst):.1f} pixels {direction}: the "
        f"patient moved. Look at the projections; correct the motion or acquire again"
    )
    return Finding("patient-motion", severity, sentence, abs(worst), limits.jump_pixels, "pixels", uid)


def centre_of_rotation_pixels(angle_deg: Float64, profiles: Float64) -> float | None:
    """Offset of the axis from the middle of the bins, pixels, from transaxial ``profiles`` (views, bins).

    The centre of counts runs as a sum of harmonics of the angle; its mean over a whole turn is the offset,
    to first order also with attenuation. None where the views are not evenly spread over a turn.
    """
    t = np.deg2rad(angle_deg)
    if abs(np.exp(1j * t).mean()) > 0.02 or abs(np.exp(2j * t).mean()) > 0.02 or len(t) < 12:
        return None
    bins = np.arange(profiles.shape[1]) - (profiles.shape[1] - 1) / 2
    centre = profiles @ bins / np.maximum(profiles.sum(axis=1), 1.0)
    return float(centre.mean())


def _axis(projections: Projections, profiles: Float64, limits: AcquisitionLimits) -> Finding | None:
    uid, stated = projections.series_uid, projections.facts.get("centre_of_rotation_mm", "")
    offsets = [float(text) for text in stated.split("\\") if text]
    measured = centre_of_rotation_pixels(projections.angle_deg, profiles)
    if measured is not None and abs(measured) > limits.axis_pixels:
        severity = Severity.HOLD if abs(measured) > 2 * limits.axis_pixels else Severity.WARNING
        sentence = (
            f"the counts turn about a point {measured:+.2f} pixels off the middle of the detector: rings and "
            f"blur come of it. Correct the centre of rotation at the camera and send the projections again"
        )
        return Finding(
            "centre-of-rotation", severity, sentence, abs(measured), limits.axis_pixels, "pixels", uid
        )
    if not any(offsets):
        return None
    largest = max(offsets, key=abs)
    known = "could not be measured" if measured is None else f"is {measured:+.2f} pixels as measured"
    sentence = (
        f"the object states a centre of rotation {largest:g} mm off the middle and not whether that was "
        f"corrected; what remains {known}"
    )
    severity = Severity.WARNING if measured is None else Severity.NOTE
    return Finding("centre-of-rotation", severity, sentence, abs(largest), 0.0, "mm", uid)
