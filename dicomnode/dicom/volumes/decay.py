"""To which instant the values of a PET (or PET-stored SPECT) series are decay-corrected.

DecayCorrection (0054,1102), PS3.3 C.8.9.1.1.5: START, to the start of the scan; ADMIN, to the
administration; NONE, each slice still stands at its own acquisition. NONE is brought to the start of the
scan here, slice by slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, expm1, log

import numpy as np
import numpy.typing as npt

from dicomnode.model import Finding, Severity
from dicomnode.model.statements import LONGEST_SCAN, Fact, Statement

FACTOR_LIMIT = 0.005
"""Relative difference of stated and expected DecayFactor that is still taken for rounding."""
ROUNDED = timedelta(seconds=2)
"""Siemens writes SeriesTime in whole seconds beside AcquisitionTime: it may come out a second later."""


CORRECTION, CORRECTED = "DecayCorrection (0054,1102)", "CorrectedImage (0028,0051)"
DECAY_CORRECTED = Fact(
    name="whether decay is corrected",
    rule="decay-correction-contradicts",
    places=(CORRECTION, CORRECTED),
    agree=bool.__eq__,
    tolerance="none; a CorrectedImage without DECY says that it is not",
    absent="held until [[cycle.calibration]] states decay_reference; DecayFactor is compared apart "
    "(decay-reference-contradiction)",
    remedy="release the cycle only where this camera corrects as that says; else settle it with "
    "`[[cycle.calibration]] decay_reference`",
    show=lambda corrected: "corrected" if corrected else "not corrected",
    standard="PS3.3 C.8.9.1",
)


def corrected(correction: str, corrections: tuple[str, ...], uid: str) -> tuple[Finding, ...]:
    """Whether DecayCorrection and CorrectedImage agree that decay is corrected."""
    by_list = "DECY" in {word.upper() for word in corrections} if corrections else None
    by_word = correction.upper() != "NONE" if correction else None
    return DECAY_CORRECTED.settle(
        [Statement(CORRECTION, by_word), Statement(CORRECTED, by_list)], uid
    ).findings


@dataclass(frozen=True)
class SliceTimes:
    """When one slice was acquired. ``acquired``: instant; the rest in seconds, None where not stated."""

    acquired: datetime
    frame_reference_s: float | None
    duration_s: float | None
    decay_factor: float | None


@dataclass(frozen=True)
class Decay:
    """Result: the reference, the factor for each slice that makes it true, and what was assumed."""

    label: str
    at: datetime | None
    origin: str
    factors: npt.NDArray[np.float64]
    findings: tuple[Finding, ...] = ()


def bed_offsets_s(slices: list[SliceTimes]) -> list[float]:
    """Start of each slice's bed position after the start of the scan, s.

    By the acquisition times where they differ; else by FrameReferenceTime (GE writes the start of the scan
    into every slice); else 0.
    """
    first = min(s.acquired for s in slices)
    offsets = [(s.acquired - first).total_seconds() for s in slices]
    references = [s.frame_reference_s for s in slices]
    known = [r for r in references if r is not None]
    if max(offsets) > 0 or len(known) < len(slices) or max(known) - min(known) < 1.0:
        return offsets
    return [r - min(known) for r in known]


def scan_start(
    slices: list[SliceTimes], series_at: datetime | None, ge_scan_at: datetime | None
) -> tuple[datetime, str]:
    """The instant that START means, and where it came from.

    GE's private scan time (0009,100D), else SeriesDate and SeriesTime where no acquisition began before
    (Siemens corrects to SeriesTime, also where a late window was reconstructed), else the first
    AcquisitionTime: post-processing rewrites SeriesTime.
    """
    first = min(s.acquired for s in slices)
    if ge_scan_at is not None and first - LONGEST_SCAN <= ge_scan_at <= first + ROUNDED:
        return ge_scan_at, "GE scan date and time (0009,100D)"
    if series_at is not None and first - LONGEST_SCAN <= series_at <= first + ROUNDED:
        return min(series_at, first), "SeriesDate and SeriesTime"
    return first, "first AcquisitionTime"


def decay_of(
    correction: str,
    slices: list[SliceTimes],
    start: tuple[datetime, str],
    administered_at: datetime | None,
    half_life_s: float | None,
    uid: str,
) -> Decay:
    """Decay reference of a series, from what it states and from its times."""
    ones = np.ones(len(slices))
    correction = correction.upper()
    zero, origin = start
    if correction == "NONE":
        return _brought_to_start(slices, start, half_life_s, uid)
    if correction == "START":
        offsets = [(min(s.acquired for s in slices) - zero).total_seconds() + b for s, b in
                   zip(slices, bed_offsets_s(slices), strict=True)]  # fmt: skip
        findings = _check_factors("START", slices, offsets, half_life_s, uid)
        return Decay("START", zero, f"DecayCorrection START; {origin}", ones, findings)
    if correction == "ADMIN":
        findings = _without_administration(uid) if administered_at is None else ()
        if administered_at is not None:
            offsets = [(s.acquired - administered_at).total_seconds() for s in slices]
            findings = _check_factors("ADMIN", slices, offsets, half_life_s, uid)
        return Decay("ADMIN", administered_at, "DecayCorrection ADMIN", ones, findings)
    sentence = (
        "the series does not say to which instant it is decay-corrected (DecayCorrection): set "
        '`[[cycle.calibration]] decay_reference = "START"`, "ADMIN" or "NONE" for this camera'
    )
    return Decay(
        "", None, "not stated", ones, (Finding("decay-reference", Severity.HOLD, sentence, subject=uid),)
    )


def frame_factor(rate_per_s: float, duration_s: float) -> float:
    """Mean over a frame to its start: x / (1 - exp(-x)) with x = rate * duration; 1 for no duration."""
    x = rate_per_s * duration_s
    return x / -expm1(-x) if x > 1e-12 else 1.0


def _brought_to_start(
    slices: list[SliceTimes], start: tuple[datetime, str], half_life_s: float | None, uid: str
) -> Decay:
    """Decay correction of each slice to the start of the scan. Without a half-life it holds."""
    if not half_life_s or half_life_s <= 0:
        sentence = (
            "the series is not decay-corrected (DecayCorrection NONE) and states no half-life, so its slices "
            "cannot be brought to one instant: give the half-life in the header or send a corrected series"
        )
        finding = Finding("decay-reference", Severity.HOLD, sentence, subject=uid)
        return Decay("NONE", None, "DecayCorrection NONE", np.ones(len(slices)), (finding,))
    rate, first = log(2.0) / half_life_s, min(s.acquired for s in slices)
    factors = np.array([
        exp(rate * offset) * frame_factor(rate, s.duration_s or 0.0)
        for s, offset in zip(slices, bed_offsets_s(slices), strict=True)
    ])  # fmt: skip
    sentence = (
        f"the series was not decay-corrected; its slices were corrected here to the start of the acquisition "
        f"by factors of {factors.min():.4f} to {factors.max():.4f} (half-life {half_life_s:g} s)"
    )
    finding = Finding("decay-corrected-here", Severity.NOTE, sentence, float(factors.max()), subject=uid)
    return Decay("START", first, "DecayCorrection NONE; corrected here per slice", factors, (finding,))


def _check_factors(
    label: str, slices: list[SliceTimes], offsets_s: list[float], half_life_s: float | None, uid: str
) -> tuple[Finding, ...]:
    """Hold where DecayFactor (0054,1321) contradicts the reference under every convention in use.

    ``offsets_s``: start of each slice's frame after the reference. Conventions: to the start of the frame;
    to its mean activity time (GE); by FrameReferenceTime, which is that instant (Siemens).
    """
    if not half_life_s or half_life_s <= 0:
        return ()
    rate, worst, stated, wanted = log(2.0) / half_life_s, 0.0, 0.0, 0.0
    for s, offset in zip(slices, offsets_s, strict=True):
        if s.decay_factor is None or s.decay_factor <= 0:
            continue
        mean = exp(rate * offset) * frame_factor(rate, s.duration_s or 0.0)
        expected = [mean, exp(rate * offset)]
        if label == "START" and s.frame_reference_s is not None:
            expected.append(exp(rate * s.frame_reference_s))
        off = min(abs(s.decay_factor / e - 1.0) for e in expected)
        if off > worst:
            worst, stated, wanted = off, s.decay_factor, mean
    if worst <= FACTOR_LIMIT:
        return ()
    sentence = (
        f"DecayCorrection says {label}, for which a DecayFactor of {wanted:.4f} is expected, but {stated:.4f}"
        f" is stated; find out to which instant this camera corrects and settle it with "
        f'`[[cycle.calibration]] decay_reference = "START"` (or "ADMIN", "NONE") for that camera'
    )
    rule = "decay-reference-contradiction"
    return (Finding(rule, Severity.HOLD, sentence, stated, wanted, "", uid, "PS3.3 C.8.9.4"),)


def _without_administration(uid: str) -> tuple[Finding, ...]:
    sentence = (
        "the series is decay-corrected to an administration whose date and time it does not state: enter it "
        "with `dicomnode administer` or `[[administration]]`"
    )
    return (Finding("decay-reference", Severity.WARNING, sentence, subject=uid),)
