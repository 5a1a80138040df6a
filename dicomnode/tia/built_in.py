"""The methods that need more than one scan: trapezoid, fitted curves, hybrid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dicomnode.errors import NotConverged
from dicomnode.tia.estimate import Estimate
from dicomnode.tia.integrate import Integration
from dicomnode.tia.measure import Measured
from dicomnode.tia.select import Rising, fitted
from dicomnode.tia.wording import no_activity, still_rising


@dataclass(frozen=True)
class Trapezoid:
    """Straight lines between the scans, and physical decay after the last."""

    line: str
    by_voxel: bool = False

    def chosen(self, work: Integration) -> str:
        return f", activity at administration: {work.settings.start}"

    def estimate(self, curve: Measured, work: Integration) -> Estimate:
        return work.trapezoid(curve)


@dataclass(frozen=True)
class FittedCurve:
    """Sums of exponentials through the scans, chosen or averaged by AICc.

    Attributes
    ----------
    shape : family of curves
    """

    line: str
    shape: str
    by_voxel: bool = False

    def chosen(self, work: Integration) -> str:
        return f", activity at administration: {work.settings.start}" if self.by_voxel else ""

    def estimate(self, curve: Measured, work: Integration) -> Estimate:
        return _fitted(curve, self.shape, work) or work.trapezoid(curve)


@dataclass(frozen=True)
class Hybrid:
    """The region's fitted curve, shared among voxels as they share its activity at one time point."""

    line: str
    by_voxel: bool = False

    def chosen(self, work: Integration) -> str:
        return f"{work.time_point()}, shape {work.settings.shape}"

    def estimate(self, curve: Measured, work: Integration) -> Estimate:
        estimate = _fitted(curve, work.settings.shape, work)
        if estimate is None:
            return work.trapezoid(curve)
        amount = float(curve.activity_mbq[work.index])
        if not amount > float(curve.counts_mbq[work.index]):
            raise NotConverged(
                f"{curve.name} holds no activity at {curve.hours[work.index]:g} h beyond its counting noise, "
                "so the hybrid method cannot scale its voxels; choose another time_point_hours"
            )
        weight = np.zeros(len(curve.hours))
        weight[work.index] = estimate.tia_mbq_h / amount
        return replace(estimate, voxel_weight_h=weight)


def _fitted(curve: Measured, shape: str, work: Integration) -> Estimate | None:
    """A fitted curve; None where the trapezoid takes its place: there is no activity, or it rises and
    ``when_rising`` allows that."""
    if not curve.activity_mbq.max() > 0:
        work.say(no_activity(curve))
        return None
    try:
        return fitted(curve, work.physical_per_h, shape, work.settings)
    except Rising as rising:
        work.refused(rising)
        work.say(still_rising(curve, "it was integrated by the trapezoid with a physical tail instead"))
        return None


TRAPEZOID = Trapezoid("straight lines between scans, physical decay after the last; no model of the patient")
VOXEL_MONO_EXPONENTIAL = FittedCurve("a mono-exponential for each voxel", "mono-exponential", by_voxel=True)
MONO_EXPONENTIAL = FittedCurve("one exponential for each region", "mono-exponential")
BI_EXPONENTIAL = FittedCurve("two exponentials (uptake or two clearances), by AICc", "bi-exponential")
TRI_EXPONENTIAL = FittedCurve("three exponentials, by AICc", "tri-exponential")
MODEL_AVERAGE = FittedCurve("all of these, averaged by their Akaike weights", "model-average")
HYBRID = Hybrid("a curve for each region, its voxels by their activity at one time point")
