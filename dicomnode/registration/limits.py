"""What registration has to say: one function per rule, each limit with its source."""

from __future__ import annotations

from math import acos, cos, degrees, sin

from dicomnode.model import Finding, RegistrationQuality, Severity
from dicomnode.model.findings import apart
from dicomnode.registration.settings import TG132, RegistrationSettings

LOOK = "look at both time points one upon the other, and release the cycle only if they fit"


def alignment(
    label: str, quality: RegistrationQuality, settings: RegistrationSettings
) -> tuple[Finding, ...]:
    """Overlap, residual shift and rotation against their limits; SPECT to SPECT gives a warning."""
    rules = [
        overlap(label, quality, settings),
        residual(label, quality, settings),
        rotation(label, quality, settings),
    ]
    if quality.method == "spect-spect":
        rules.append(without_ct(label))
    return tuple(rule for rule in rules if rule is not None)


def overlap(label: str, quality: RegistrationQuality, settings: RegistrationSettings) -> Finding | None:
    """Dice coefficient of the body outlines."""
    # A SPECT shows uptake, not the outline: its "body" follows the activity, which changes with time.
    if quality.method == "spect-spect" or quality.dice_body >= settings.dice_min:
        return None
    found, wanted = apart(quality.dice_body, settings.dice_min, 2)
    return Finding(
        "registration-body-overlap",
        Severity.HOLD,
        f"{label}: the body outlines overlap by {found} only ({wanted} is wanted); {LOOK}",
        quality.dice_body,
        settings.dice_min,
        "1",
        label,
        TG132,
    )


def residual(label: str, quality: RegistrationQuality, settings: RegistrationSettings) -> Finding | None:
    """Shift that remains between blocks of the registered images."""
    by_ct = quality.method == "ct-ct"
    limit = settings.residual_max_mm if by_ct else settings.spect_residual_max_mm
    if quality.residual_mm <= limit:
        return None
    found, most = apart(quality.residual_mm, limit)
    return Finding(
        "registration-residual",
        Severity.HOLD,
        f"{label}: a quarter of the anatomy lies {found} mm or more off after registration, {most} mm is "
        f"tolerated (another patient, a mirrored or an empty image look like this); {LOOK}",
        quality.residual_mm,
        limit,
        "mm",
        label,
        TG132 if by_ct else "the resolution of 177Lu SPECT (12 mm); our choice",
    )


def spect_follows(label: str, residual_mm: float, settings: RegistrationSettings) -> Finding:
    """Shift that remains between the SPECTs where the CTs were registered."""
    off = residual_mm > settings.spect_residual_max_mm
    return Finding(
        "registration-spect-residual",
        Severity.HOLD if off else Severity.NOTE,
        f"{label}: its SPECT lies {residual_mm:.1f} mm off the reference's though the CTs were registered; "
        f"the SPECT may not fit its own CT, {LOOK}"
        if off
        else f"{label}: its SPECT fits the reference's within {residual_mm:.1f} mm",
        residual_mm,
        settings.spect_residual_max_mm,
        "mm",
        label,
        "the resolution of 177Lu SPECT (12 mm); our choice",
    )


def rotation_deg(quality: RegistrationQuality) -> float:
    """Angle of the rotation as a whole, degrees, from the Euler angles (trace of the matrix)."""
    x, y, z = quality.transform[:3]
    trace = cos(y) * cos(z) + cos(x) * cos(z) + cos(x) * cos(y) - sin(x) * sin(y) * sin(z)
    return degrees(acos(max(-1.0, min(1.0, (trace - 1.0) / 2.0))))


def rotation(label: str, quality: RegistrationQuality, settings: RegistrationSettings) -> Finding | None:
    """Rotation of the patient between two visits."""
    angle = rotation_deg(quality)
    if angle <= settings.rotation_max_deg:
        return None
    found, most = apart(angle, settings.rotation_max_deg)
    return Finding(
        "registration-rotation",
        Severity.HOLD,
        f"{label}: registration turned the patient by {found} degrees, {most} are tolerated; "
        f"check the patient's position, {LOOK}",
        angle,
        settings.rotation_max_deg,
        "deg",
        label,
        "a supine patient on a flat couch; our choice",
    )


def without_ct(label: str) -> Finding:
    """SPECT to SPECT is less certain than CT to CT. It states that and asks nobody; its residual may hold."""
    return Finding(
        "registration-without-ct",
        Severity.WARNING,
        f"{label}: registered by its SPECT because a CT is missing, which is less certain: uptake that "
        f"changes place moves it",
        subject=label,
    )


def total(label: str, before_mbq: float, within_mbq: float, after_mbq: float) -> Finding:
    """Total activity before and after resampling."""
    change = after_mbq / within_mbq - 1.0 if within_mbq > 0 else 0.0
    return Finding(
        "registration-total-activity",
        Severity.NOTE,
        f"{label}: {before_mbq:.1f} MBq in its own field of view, {within_mbq:.1f} MBq of it within the "
        f"reference's, {after_mbq:.1f} MBq after resampling ({100 * change:+.2f} %)",
        100.0 * change,
        None,
        "%",
        label,
    )


def unseen(label: str, fraction: float, settings: RegistrationSettings) -> tuple[Finding, ...]:
    """Part of the reference's activity that lies outside the field of view of a time point."""
    if fraction <= settings.outside_warn_fraction:
        return ()
    hold = fraction > settings.outside_hold_fraction
    return (
        Finding(
            "registration-field-of-view",
            Severity.HOLD if hold else Severity.WARNING,
            f"{label}: its field of view misses {100 * fraction:.1f} % of the activity seen at the "
            "reference; it is taken as zero there, so limit the evaluation to what all time points show",
            fraction,
            settings.outside_hold_fraction if hold else settings.outside_warn_fraction,
            "1",
            label,
            "our choice: the remainder's TIA is wrong by as much",
        ),
    )


def cut_region(name: str, label: str, fraction: float, settings: RegistrationSettings) -> Finding:
    """A region that a time point does not show whole."""
    return Finding(
        "registration-region-cut",
        Severity.HOLD,
        f"{label}: its field of view cuts off {100 * fraction:.3g} % of {name}; leave the time point or the "
        "region out with `dicomnode leave-out`",
        fraction,
        settings.region_cut_fraction,
        "1",
        name,
        "our choice: one hundredth of a region is within its contour's uncertainty",
    )


def ct_reach(label: str, fraction: float, settings: RegistrationSettings) -> tuple[Finding, ...]:
    """Part of the reference's activity where its CT shows nothing, so that density is unknown."""
    if fraction <= settings.outside_warn_fraction:
        return ()
    hold = fraction > settings.outside_hold_fraction
    return (
        Finding(
            "registration-ct-reach",
            Severity.HOLD if hold else Severity.WARNING,
            f"{label}: the CT does not reach {100 * fraction:.1f} % of the activity; density there counts as "
            "air, so limit the evaluation to what the CT shows",
            fraction,
            settings.outside_hold_fraction if hold else settings.outside_warn_fraction,
            "1",
            label,
            "our choice",
        ),
    )


def duplicate_region(name: str, label: str, reference: str) -> Finding:
    """The same name drawn at two time points."""
    return Finding(
        "registration-region-twice",
        Severity.NOTE,
        f"{name} is drawn at {label} and at {reference}; the one at {reference} is used",
        subject=name,
    )
