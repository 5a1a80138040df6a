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
