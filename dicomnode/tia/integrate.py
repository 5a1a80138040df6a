"""The room's one door: a registered cycle in, its time-integrated activity out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import exp, log

import numpy as np

from dicomnode.errors import Inconsistent
from dicomnode.model import (
    Finding,
    LabelMap,
    Nuclide,
    RegionRecovery,
    RegisteredCycle,
    RegisteredTimePoint,
    Severity,
    TiaFit,
    TiaMap,
)
from dicomnode.tia.curves import fastest_per_h
from dicomnode.tia.estimate import Estimate, budget, region_tia
from dicomnode.tia.measure import FIELD_OF_VIEW, REMAINDER, Measured, Partition, counted, measured, partition
from dicomnode.tia.methods import Method, method
from dicomnode.tia.select import Rising, fitted, rise
from dicomnode.tia.settings import TiaSettings
from dicomnode.tia.trapezoid import start_ratio, trapezoid
from dicomnode.tia.uncertainty import combined
from dicomnode.tia.voxels import PartWeights, Progress, linear_maps, mono_maps, without_negatives
from dicomnode.tia.wording import no_start, one_scan, reads_zero, still_rising


def no_progress(_fraction: float, _what: str) -> None:
    """A Progress that says nothing."""


def integrate(
    cycle: RegisteredCycle, nuclide: Nuclide, settings: TiaSettings, *, progress: Progress = no_progress
) -> TiaFit:
    """Time-integrated activity of a registered cycle, from administration to infinity.

    Parameters
    ----------
    cycle : all time points on one grid; activity decay-corrected to the start of each acquisition
    nuclide : gives the physical decay constant
    settings : method and its options
    progress : may raise to interrupt

    Raises
    ------
    Inconsistent : nuclides, grids or times contradict each other
    NotConverged : a curve cannot be described by the method (and ``when_rising`` refuses), or too few points
    ConfigError : a population half-life is missing
    """
    if nuclide.name != cycle.administration.nuclide:
        raise Inconsistent(
            f"the administration is of {cycle.administration.nuclide}, the calculation for {nuclide.name}",
            attribute="nuclide",
        )
    return integrate_points(cycle.points, cycle.regions, nuclide, settings, progress=progress)


def integrate_points(
    points: Sequence[RegisteredTimePoint],
    regions: LabelMap | None,
    nuclide: Nuclide,
    settings: TiaSettings,
    *,
    recovered: Mapping[str, RegionRecovery] | None = None,
    progress: Progress = no_progress,
) -> TiaFit:
    """As ``integrate``, for time points and regions alone; raises the same.

    ``recovered``: region -> its activities corrected for partial volume, which are integrated in place of
    what the images (then corrected maps) show within its contour.
    """
    _check(points, regions)
    job = Integration(points, regions, nuclide.decay_per_s * 3600.0, settings, recovered or {})
    parts = partition(points[0].activity.grid, regions)
    whole = job.estimate(measured(FIELD_OF_VIEW, points, None, None, settings))
    by_region = {name: job.region(name) for name in parts.names[1:]}
    by_part = [
        job.outside(parts, whole),
        *(job.part(parts, i, by_region) for i in range(1, len(parts.names))),
    ]
    tia, sigma = job.maps(parts, by_part, progress)
    said = (*job.said(), *job.total_rises(whole[0]), *tia[1])
    order = [n for n in (regions.names if regions else ()) if n in by_region]
    results = [region_tia(*by_region[n]) for n in order]
    if regions and by_part[0][0].name == REMAINDER:
        results.append(region_tia(*by_part[0]))
    results.append(region_tia(*whole))
    return TiaFit(tia[0], sigma, settings.method, tuple(results), said)


def _check(points: Sequence[RegisteredTimePoint], regions: LabelMap | None) -> None:
    if not points:
        raise Inconsistent("there is no time point to integrate")
    hours = [p.hours for p in points]
    if not hours[0] > 0 or any(b <= a for a, b in pairwise(hours)):
        raise Inconsistent(
            "times since administration must be positive and increasing",
            attribute="hours",
            value=", ".join(f"{h:g}" for h in hours),
            remedy="put the time points in order, or correct the administration's time",
        )
    grid = points[0].activity.grid
    for label, other in [(p.label, p.activity.grid) for p in points[1:]] + (
        [("the regions", regions.grid)] if regions else []
    ):
        if not grid.matches(other):
            raise Inconsistent(
                f"the grid of {label} differs from that of {points[0].label}: {other.shape_zyx} voxels "
                f"(z, y, x) of {other.spacing_mm} mm at {other.origin_mm}, against {grid.shape_zyx} of "
                f"{grid.spacing_mm} mm at {grid.origin_mm}",
                remedy="register and resample onto one grid first",
            )


Curve = tuple[Measured, Estimate]


@dataclass
class Integration:
    """One calculation: what it works on, and what it has to say so far."""

    points: Sequence[RegisteredTimePoint]
    regions: LabelMap | None
    physical_per_h: float
    settings: TiaSettings
    recovered: Mapping[str, RegionRecovery] = field(default_factory=dict)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)

    @cached_property
    def method(self) -> Method:
        """Of the settings."""
        return method(self.settings.method)

    def time_point(self) -> str:
        """The chosen time point, as the note names it."""
        p = self.points[self.index]
        return f", time point {p.label} at {p.hours:.2f} h"

    @property
    def index(self) -> int:
        """The time point nearest to ``time_point_hours``; of two equally near ones the later."""
        wanted = self.settings.time_point_hours
        return min(range(len(self.points)), key=lambda i: (abs(self.points[i].hours - wanted), -i))

    def say(self, *findings: Finding) -> None:
        for f in findings:
            self.findings.setdefault((f.rule, f.subject), f)

    def volume_ml(self, name: str) -> float:
        assert self.regions is not None
        return self.regions.volume_ml.get(name) or self.regions.voxel_volume_ml(name)

    def region(self, name: str) -> Curve:
        """The curve of a whole region, what smaller ones own of it included."""
        assert self.regions is not None
        share, recovered = self.regions.shares[name], self.recovered.get(name)
        curve = measured(name, self.points, share, self.volume_ml(name), self.settings, recovered)
        self.say(*reads_zero(curve))
        return self.estimate(curve)

    def part(self, parts: Partition, index: int, by_region: dict[str, Curve]) -> Curve:
        """The curve that a part's voxels follow: the region's own, or, where a smaller region took some of
        it, that of what is left to it."""
        assert self.regions is not None
        name, share = parts.names[index], parts.shares[index]
        if not share.any() or np.array_equal(share, self.regions.shares[name]):
            return by_region[name]
        return self.estimate(measured(name, self.points, share, self.volume_ml(name), self.settings))

    def outside(self, parts: Partition, whole: Curve) -> Curve:
        """The curve of voxels outside every region."""
        share = parts.shares[0]
        if (share == 1).all() or not share.any() or self.settings.outside == "field-of-view":
            return whole
        curve = measured(REMAINDER, self.points, share, None, self.settings)
        if self.settings.outside == "trapezoid" and not self.method.by_voxel:
            return curve, self.trapezoid(curve)
        return self.estimate(curve)

    def estimate(self, curve: Measured) -> Curve:
        """Integrate one curve by the settings' method."""
        estimate = self.method.estimate(curve, self)
        self.say(*estimate.findings)
        return curve, estimate

    def trapezoid(self, curve: Measured) -> Estimate:
        """The trapezoid, with A_0 as the settings say."""
        if rise(curve, self.settings.rise_sigmas) == "late" and curve.activity_mbq.max() > 0:
            self.say(
                still_rising(curve, "the physical tail of the trapezoid assumes that it only decays then")
            )
        if len(curve.hours) == 1:
            self.say(one_scan(float(curve.hours[0]), self.settings))
        unknown, first_h = self.settings.uncertainty.physical_relative, float(curve.hours[0])
        if self.settings.start != "fit":
            ratio = start_ratio(self.settings.start, first_h, self.physical_per_h)
            return trapezoid(curve, self.physical_per_h, ratio, unknown)
        if not curve.activity_mbq[0] > 0:
            self.say(no_start(curve))
            return trapezoid(curve, self.physical_per_h, 0.0, unknown)
        try:
            fit = fitted(curve, self.physical_per_h, self.settings.shape, self.settings)
        except Rising as rising:
            self.refused(rising)
            return trapezoid(curve, self.physical_per_h, 0.0, unknown)
        names = sorted(n for n in fit.parameters if n.startswith("a"))
        ratio = sum(fit.parameters[n] for n in names) / float(curve.activity_mbq[0])
        if ratio > exp(fastest_per_h(first_h, self.physical_per_h) * first_h):
            self.say(no_start(curve))
            ratio = 0.0
        return trapezoid(curve, self.physical_per_h, max(ratio, 0.0), unknown)

    def refused(self, rising: Rising) -> None:
        """Raise where the settings say that rising activity is no matter for a trapezoid."""
        if self.settings.when_rising == "refuse":
            raise rising

    def maps(
        self, parts: Partition, by_part: list[Curve], progress: Progress
    ) -> tuple[tuple[TiaMap, tuple[Finding, ...]], TiaMap]:
        """TIA map with its findings, and sigma map."""
        grid, u = self.points[0].activity.grid, self.settings.uncertainty
        if self.method.by_voxel:
            common = np.array([combined(_without(curve.common, "contour")) for curve, _ in by_part])
            fallback = self._weights([(c, self.trapezoid(c)) for c, _ in by_part])
            tia, sigma, unfitted, bounded = mono_maps(
                self.points, parts, fallback, common, self.physical_per_h, u, progress
            )
            self._voxels_said(unfitted, bounded)
        else:
            tia, sigma = linear_maps(self.points, parts, self._weights(by_part), u, progress)
        return without_negatives(tia, grid, self.settings.negative_voxels), TiaMap(grid, sigma)

    def _weights(self, by_part: list[Curve]) -> PartWeights:
        k = np.array([e.voxel_weight_h for _, e in by_part])
        shared = [combined(_without(budget(c, e), "counts", "contour")) for c, e in by_part]
        return PartWeights(k, np.array(shared))

    def _voxels_said(self, unfitted: int, bounded: int) -> None:
        if unfitted and self.settings.when_rising == "refuse":
            raise Rising(f"{unfitted} voxels do not fall with time and when_rising = 'refuse'")
        if unfitted or bounded:
            self.say(
                Finding(
                    "tia-voxels-not-fitted",
                    Severity.NOTE,
                    f"{unfitted} voxels with activity do not fall with time and were integrated by the "
                    f"trapezoid; {bounded} fitted voxels stopped at physical decay",
                    measured=float(unfitted),
                )
            )

    def total_rises(self, whole: Measured) -> tuple[Finding, ...]:
        """HOLD where the activity of the whole field of view rises: nothing is administered between scans."""
        a, s = whole.activity_mbq, whole.fit_sigma_mbq
        step = np.diff(a) - self.settings.rise_sigmas * np.hypot(s[1:], s[:-1])
        if not (step > 0).any():
            return ()
        i = int(step.argmax())
        return (
            Finding(
                "tia-total-rises",
                Severity.HOLD,
                f"the activity in the field of view rises from {a[i]:.4g} MBq at {whole.hours[i]:g} h to "
                f"{a[i + 1]:.4g} MBq at {whole.hours[i + 1]:g} h; check the calibration of each time point, "
                "its field of view and its time",
                measured=float(a[i + 1] / a[i]) if a[i] > 0 else None,
                limit=1.0,
                subject=FIELD_OF_VIEW,
                source="activity can only decay or leave after administration",
            ),
        )

    def said(self) -> tuple[Finding, ...]:
        """What was chosen, and what was found."""
        chosen = f"method {self.settings.method}{self.method.chosen(self)}"
        half_life = log(2.0) / self.physical_per_h
        note = Finding("tia-method", Severity.NOTE, f"{chosen}; physical half-life {half_life:.3f} h")
        missing = [n for n in (self.regions.names if self.regions else ()) if not self.regions_has(n)]
        return (note, *counted(self.points), *(_empty(n) for n in missing), *self.findings.values())

    def regions_has(self, name: str) -> bool:
        return self.regions is not None and bool(self.regions.shares[name].any())


def _without(shares: Mapping[str, float], *names: str) -> dict[str, float]:
    return {name: share for name, share in shares.items() if name not in names}


def _empty(name: str) -> Finding:
    sentence = f"region {name!r} covers nothing of the grid and has no result"
    return Finding("tia-empty-region", Severity.WARNING, sentence, subject=name)
