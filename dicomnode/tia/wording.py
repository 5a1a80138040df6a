"""What the room has to say of a curve: one function per finding."""

from __future__ import annotations

from dicomnode.model import Finding, Severity
from dicomnode.tia.measure import Measured
from dicomnode.tia.settings import TiaSettings


def still_rising(curve: Measured, what: str) -> Finding:
    return Finding(
        "tia-rising",
        Severity.WARNING,
        f"{curve.name}: activity rises ("
        + ", ".join(f"{a:.3g} MBq at {t:g} h" for t, a in zip(curve.hours, curve.activity_mbq, strict=True))
        + f"); {what}",
        subject=curve.name,
    )


def one_scan(hours: float, settings: TiaSettings) -> Finding:
    return Finding(
        "tia-one-scan",
        Severity.HOLD,
        f"one scan at {hours:g} h says nothing of clearance: the trapezoid takes physical decay alone, "
        f"perhaps several times too high ({settings.uncertainty.physical_relative:.0%} of it stands as its "
        "uncertainty); send another scan, choose a single-time-point method in [tia] or "
        "[[tia.by_agent]] (a permanent implant there decays physically alone), or release it",
        measured=1.0,
        limit=2.0,
        unit="scans",
    )


def reads_zero(curve: Measured) -> tuple[Finding, ...]:
    """HOLD where a scan shows nothing at all of a region that holds activity at another: no nuclide and no
    organ clears to nothing, and a zero would be trusted to a count while it bends the whole curve."""
    a, hours = curve.activity_mbq, curve.hours
    empty = [float(t) for t, value in zip(hours, a, strict=True) if value == 0.0]
    if not empty or a.max() <= 0.0:
        return ()
    most = int(a.argmax())
    when = " and ".join(f"{t:g}" for t in empty)
    sentence = (
        f"{curve.name}: exactly 0 MBq at {when} h, {a[most]:.4g} MBq at {hours[most]:g} h: there the region "
        f"lies outside what was scanned, or was cut away; leave the scan or the region out"
    )
    return (Finding("tia-reads-zero", Severity.HOLD, sentence, 0.0, unit="MBq", subject=curve.name),)


def no_activity(curve: Measured) -> Finding:
    sentence = (
        f"{curve.name}: no positive activity at any time, so no curve was fitted; integrated by the trapezoid"
    )
    return Finding("tia-no-activity", Severity.NOTE, sentence, subject=curve.name)


def no_start(curve: Measured) -> Finding:
    sentence = (
        f"{curve.name}: the first scan shows no activity to scale a fitted start by, or the curve falls too "
        "fast to be carried back to it; activity at administration is taken as zero"
    )
    return Finding("tia-no-start", Severity.NOTE, sentence, subject=curve.name)
