"""Calibration of one camera for one protocol: the record, which scan it fits, and how it is measured.

The image that a protocol gives counts the photons emitted in a voxel towards one view (``camera.model``), so

    c [Bq/mL] = x / (T F V),

x counts per voxel, T live time of a view (s), F the factor of the record (counts per second and Bq of one
view), V the voxel's volume (mL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dicomnode.errors import Inconsistent, OutOfDomain, Refused
from dicomnode.model import Finding, Settings, Severity
from dicomnode.model.choice import Choice
from dicomnode.model.projections import Projections
from dicomnode.recon.protocol import Protocol

Float64 = npt.NDArray[np.float64]

WINDOW_TOLERANCE_KEV = 0.5
"""Two statements of one window's edges may differ by this much; our choice, below the 1 keV of a camera's
energy calibration."""
CURVE_REACH = 10.0
"""A recovery curve must be at its half within this factor of the spheres' volumes; our own choice."""
CURVE_RESIDUAL = 0.15
"""A recovery curve may miss a sphere by this much; our own choice, beyond edge artefacts and noise."""
RATE_RESIDUAL = 0.02
"""A dead-time curve may miss a count rate by this much; our own choice, beyond noise and decay between."""
OLD_DAYS = 400
"""A calibration that is older is told: measured once a year, and a month late; our own choice."""


@dataclass(frozen=True)
class Recovery:
    """RC(V) = 1 / (1 + (a/V)^b) and how well it was fitted.

    Attributes
    ----------
    ml, power : a (mL) and b
    largest_residual : of the points that it was fitted to
    """

    ml: float
    power: float
    largest_residual: float = 0.0

    def at(self, volume_ml: npt.ArrayLike) -> Float64:
        """Recovery coefficient of volumes, mL."""
        return np.asarray(1.0 / (1.0 + (self.ml / np.asarray(volume_ml, dtype=np.float64)) ** self.power))


class SpectCalibration(Settings):
    """What turns counts of one camera, collimator, nuclide, window set and protocol into activity."""

    name: str = Field(description="a name of your own; it is recorded with every image that used it")
    manufacturer: str = Field(description="Manufacturer (0008,0070) of the projections, exactly")
    model: str = Field(description="ManufacturerModelName (0008,1090), exactly")
    station: str = Field("", description="StationName (0008,1010), exactly; empty: any")
    collimator: str = Field(description="name of the collimator model used (`dicomnode recon --collimator`)")
    nuclide: str = Field(description="nuclide as ICRP 107 writes it, e.g. Lu-177")
    windows_kev: tuple[tuple[tuple[float, float], ...], ...] = Field(
        description="ranges of every energy window of the acquisition, in any order"
    )
    protocol: str = Field(description="digest of the protocol and voxel size it was made with")
    cps_per_mbq: float = Field(gt=0, description="counts per second and MBq of one view (one head)")
    relative_uncertainty: float = Field(
        0.05, ge=0, lt=1, description="standard uncertainty of the factor, relative, activity meter included"
    )
    measured_on: date = Field(description="day of the calibration scan")
    radius_mm: float = Field(gt=0, description="mean radius of rotation of the calibration scan")
    dead_time_us: float | None = Field(
        None, ge=0, description="paralysable dead time for the count rate over all windows of the set"
    )
    recovery_ml: float | None = Field(
        None, gt=0, description="a of RC(V) = 1 / (1 + (a/V)^b), from a sphere phantom"
    )
    recovery_power: float | None = Field(None, gt=0, description="b of the same curve")
    traceability: str = Field("", description="activity meter, its certificate and date")

    @property
    def recovery(self) -> Recovery | None:
        """The curve of the sphere phantom, None without one."""
        if self.recovery_ml is None or self.recovery_power is None:
            return None
        return Recovery(self.recovery_ml, self.recovery_power)


SPECT_CALIBRATION: Choice[SpectCalibration] = Choice(
    table="[[recon.calibration]]",
    name=lambda r: r.name,
    effect=lambda r: (
        r.cps_per_mbq, r.relative_uncertainty, r.dead_time_us, r.recovery_ml, r.recovery_power,
    ),
    reach=lambda r: (
        r.manufacturer, r.model, r.station, r.collimator, r.nuclide, r.windows_kev, r.protocol,
    ),
    since=lambda r: r.measured_on,
)  # fmt: skip


def windows_of(projections: Projections) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Ranges of every window, in the order of energy, as a record states them."""
    ranges = (tuple(sorted(window.ranges_kev)) for window in projections.windows)
    return tuple(sorted(ranges))


def choose(
    records: Sequence[SpectCalibration], projections: Projections, protocol: Protocol, collimator: str
) -> SpectCalibration:
    """The record of this camera, collimator, nuclide, window set and protocol: of several the latest that was
    measured before the scan, or on its day; where all are later, the first (``age_findings`` then holds).

    Raises
    ------
    Refused : none fits; the sentence says of the nearest record what differs. Several of one day that differ
    """
    fit = fitting(records, projections, protocol, collimator)
    return SPECT_CALIBRATION.among(fit, projections.started_at.date(), projections.series_uid)


def fitting(
    records: Sequence[SpectCalibration], projections: Projections, protocol: Protocol, collimator: str
) -> list[SpectCalibration]:
    """All records of this camera, collimator, nuclide, window set and protocol. Raises Refused for none."""
    if not records:
        raise Refused(
            "no calibration record exists, so counts cannot become activity",
            uid=projections.series_uid,
            remedy="Scan a cylinder of known activity and make a record with `dicomnode recon calibrate`",
        )
    misfits = [_misfit(record, projections, protocol, collimator) for record in records]
    found = [record for record, misfit in zip(records, misfits, strict=True) if not misfit]
    if found:
        return found
    nearest = min(range(len(records)), key=lambda i: len(misfits[i]))
    attribute, sentence = misfits[nearest][0]
    raise Refused(
        f"no calibration record fits; of the nearest, {records[nearest].name!r}, {sentence}",
        attribute=attribute,
        uid=projections.series_uid,
        remedy="Reconstruct with the protocol of the record, or make a record for this one with "
        "`dicomnode recon calibrate`",
    )


def age_findings(record: SpectCalibration, projections: Projections) -> tuple[Finding, ...]:
    """Warns of an old record, holds for one that was measured after the scan."""
    days, uid = (projections.started_at.date() - record.measured_on).days, projections.series_uid
    if days < 0:
        sentence = (
            f"the calibration {record.name!r} was measured {-days} days after the scan: who accepts that "
            f"vouches that the camera was not changed in between"
        )
        return (Finding("recon-calibration-later", Severity.HOLD, sentence, days, 0.0, "d", uid),)
    if days <= OLD_DAYS:
        return ()
    sentence = f"the calibration {record.name!r} is {days} days old: measure the cylinder again"
    return (
        Finding("recon-calibration-age", Severity.WARNING, sentence, days, OLD_DAYS, "d", uid,
                "our own choice"),
    )  # fmt: skip


def _misfit(
    record: SpectCalibration, projections: Projections, protocol: Protocol, collimator: str
) -> list[tuple[str, str]]:
    """(attribute, what differs) for everything in which scan and record differ."""
    facts, digest = projections.facts, protocol.digest(projections.grid)
    pairs = [
        ("Manufacturer", record.manufacturer, facts.get("manufacturer", "")),
        ("ManufacturerModelName", record.model, facts.get("model", "")),
        ("StationName", record.station, facts.get("station", "") if record.station else ""),
        ("CollimatorGridName", record.collimator, collimator),
        ("RadionuclideCodeSequence", record.nuclide, projections.nuclide),
        ("protocol digest", record.protocol, digest),
    ]
    found = [(name, f"{name} is {has!r}, here {is_!r}") for name, has, is_ in pairs if has != is_]
    if not _same_windows(record.windows_kev, windows_of(projections)):
        found.append(
            ("EnergyWindowRangeSequence", f"windows are {record.windows_kev}, here {windows_of(projections)}")
        )
    return found


def _same_windows(
    one: Sequence[Sequence[tuple[float, float]]], two: Sequence[Sequence[tuple[float, float]]]
) -> bool:
    """True where each window has one of its own on the other side, in whatever order they stand."""
    left = list(two)
    for window in one:
        same = next((other for other in left if _same_ranges(window, other)), None)
        if same is None:
            return False
        left.remove(same)
    return not left


def _same_ranges(one: Sequence[tuple[float, float]], two: Sequence[tuple[float, float]]) -> bool:
    if len(one) != len(two):
        return False
    return bool(
        np.abs(np.array(sorted(one)) - np.array(sorted(two))).max(initial=0.0) <= WINDOW_TOLERANCE_KEV
    )


def dead_time_factor(observed_cps: npt.ArrayLike, dead_time_us: float) -> Float64:
    """True over observed rate of a paralysable detector, for each observed rate.

    The detector observes m = n exp(-n tau) of n. Its lower solution is n = -W0(-m tau) / tau (Heemskerk and
    Defrise, EJNMMI Physics 2020, doi 10.1186/s40658-020-00296-w).

    Raises
    ------
    OutOfDomain : a rate above 1 / (e tau), which such a detector cannot show
    """
    from scipy.special import lambertw

    busy = np.asarray(observed_cps, dtype=np.float64) * dead_time_us * 1e-6
    if busy.max(initial=0.0) > np.exp(-1.0):
        raise OutOfDomain(
            "the count rate of a view",
            f"{float(np.max(observed_cps)):.4g}",
            "counts/s",
            f"below {1e6 / (np.e * dead_time_us):.4g} counts/s for a dead time of {dead_time_us:g} us",
        )
    true = np.array([-lambertw(-complex(b)).real for b in busy.flat]).reshape(busy.shape)
    return np.asarray(np.where(busy > 0, true / np.where(busy > 0, busy, 1.0), 1.0))


def mean_decay(started_s: npt.ArrayLike, seconds: npt.ArrayLike, half_life_s: float) -> Float64:
    """Mean activity during each view over that at the first start: exp(-l t) (1 - exp(-l T)) / (l T)."""
    rate = np.log(2.0) / half_life_s
    span = rate * np.asarray(seconds, dtype=np.float64)
    during = np.divide(-np.expm1(-span), span, out=np.ones_like(span), where=span > 0)
    return np.asarray(np.exp(-rate * np.asarray(started_s, dtype=np.float64)) * during)


def fit_recovery(volume_ml: Sequence[float], recovery: Sequence[float]) -> Recovery:
    """Least squares of RC(V) = 1 / (1 + (a/V)^b) to spheres of known volume.

    Raises
    ------
    Inconsistent : fewer than three spheres, a recovery that is not between 0 and 1.1, or recoveries that do
        not rise with the volume as such a curve does
    """
    from scipy.optimize import least_squares

    volume, measured = np.asarray(volume_ml, dtype=float), np.asarray(recovery, dtype=float)
    if len(volume) < 3 or volume.shape != measured.shape:
        raise Inconsistent(f"a recovery curve needs three spheres or more, got {len(volume)}")
    if measured.min() <= 0 or measured.max() > 1.1:
        raise Inconsistent(
            f"recoveries must lie between 0 and 1.1, got {measured.min():.3f} to {measured.max():.3f}; check "
            f"the positions of the spheres and the factor of the cylinder"
        )

    def residual(logs: Float64) -> Float64:
        curve = Recovery(float(np.exp(logs[0])), float(np.exp(logs[1])))
        return np.asarray(curve.at(volume) - measured)

    found = least_squares(residual, [np.log(np.median(volume)), 0.0])
    ml, power = np.exp(found.x)
    curve = Recovery(float(ml), float(power), float(np.abs(found.fun).max()))
    lowest, highest = float(volume.min()) / CURVE_REACH, float(volume.max()) * CURVE_REACH
    if not lowest < curve.ml < highest or curve.largest_residual > CURVE_RESIDUAL:
        points = ", ".join(f"{r:.2f} of {v:.3g} mL" for r, v in zip(measured, volume, strict=True))
        raise Inconsistent(
            f"the recoveries {points} make no curve: it would be half at {curve.ml:.3g} mL (must lie between "
            f"{lowest:.3g} and {highest:.3g}) and miss a sphere by {curve.largest_residual:.2f} (at most "
            f"{CURVE_RESIDUAL:g})",
            remedy="Check the positions of the spheres, their concentration and the background",
        )
    return curve


def fit_dead_time(activity_mbq: Sequence[float], observed_cps: Sequence[float]) -> tuple[float, float]:
    """(dead time in us, counts/s per MBq without loss) of m = k A exp(-k A tau), by least squares.

    Raises
    ------
    Inconsistent : fewer than three activities; rates that the curve misses by more than 2 %
    """
    from scipy.optimize import least_squares

    activity, rate = np.asarray(activity_mbq, dtype=float), np.asarray(observed_cps, dtype=float)
    if len(activity) < 3 or activity.shape != rate.shape:
        raise Inconsistent(f"a dead time needs three activities or more, got {len(activity)}")
    slope = float((rate / activity).max())

    def residual(p: Float64) -> Float64:
        true = slope * p[0] * activity
        return np.asarray((true * np.exp(-true * p[1] * 1e-6) - rate) / rate, dtype=np.float64)

    found = least_squares(residual, [1.0, 1.0], bounds=([0.1, 0.0], [10.0, np.inf]))
    if np.abs(found.fun).max() > RATE_RESIDUAL:
        raise Inconsistent(
            f"the count rates {', '.join(f'{r:.4g}' for r in rate)} counts/s do not follow the activities: a "
            f"paralysable detector's curve misses one by {np.abs(found.fun).max():.1%}",
            remedy="Check activities and times; source, orbit and windows must be the same in every scan",
        )
    return float(found.x[1]), float(slope * found.x[0])
