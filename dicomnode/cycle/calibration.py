"""From a decoded emission volume to an activity map at the start of its acquisition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp, expm1, log

from dicomnode.cycle.settings import CALIBRATION, CalibrationRecord
from dicomnode.errors import Refused
from dicomnode.model import ActivityMap, Finding, Severity
from dicomnode.model.series import EmissionVolume


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Activity at ``at``; ``origin`` says where unit, factor and decay reference came from."""

    activity: ActivityMap
    at: datetime
    relative_uncertainty: float
    origin: dict[str, str]
    findings: tuple[Finding, ...]


DEFAULT_RELATIVE_UNCERTAINTY = 0.05
"""Of a camera that delivers Bq/mL itself: our choice, near the 6 % between calibration
geometries of Zhao 2018. Between sites, cylinders differed by up to 20 % (Claeys 2026, arXiv 2601.20549)."""


def matching(
    volume: EmissionVolume, nuclide: str, records: Sequence[CalibrationRecord]
) -> CalibrationRecord | None:
    """The record that fits camera, collimator, nuclide, reconstruction and date; of several the one with the
    latest ``valid_from``. Raises Inconsistent where two of one day fit and differ."""
    facts = volume.facts
    day = volume.started_at.date()

    def fits(record: CalibrationRecord) -> bool:
        texts = (
            (record.manufacturer, facts.get("manufacturer", "")),
            (record.model, facts.get("model", "")),
            (record.collimator, facts.get("collimator", "")),
            (record.reconstruction, facts.get("series_description", "")),
        )
        return (
            all(wanted.casefold() in found.casefold() for wanted, found in texts)
            and (not record.station or record.station == facts.get("station", ""))
            and (not record.nuclide or record.nuclide == nuclide)
            and (record.valid_from is None or record.valid_from <= day)
            and (record.valid_to is None or day <= record.valid_to)
        )

    fitting = [r for r in records if fits(r)]
    return CALIBRATION.among(fitting, day, volume.series_uid) if fitting else None


def calibrate(
    volume: EmissionVolume,
    *,
    nuclide: str,
    half_life_s: float,
    administered_at: datetime | None,
    records: Sequence[CalibrationRecord],
) -> Calibrated:
    """Activity concentration (Bq/mL) at the start of the acquisition.

    Counts: A = N / (T S) with T the whole acquisition and S the sensitivity (cps/MBq). The mean over
    the acquisition is brought to its start by lambda T / (1 - exp(-lambda T)) where the values are not
    decay-corrected (NONE), and by exp(-lambda (start - administration)) where they are corrected to the
    administration (ADMIN), at the time that the object states for it, whatever else is known.
    MIRD pamphlets 23 and 26 (JNM 2012;53:1310, 2016;57:151).

    Raises
    ------
    Refused : counts without a record that fits, or a duration or administration time that is missing
    """
    record = matching(volume, nuclide, records)
    origin = dict(volume.origin)
    findings = list(volume.findings)
    factor = _bq_per_ml_factor(volume, record, origin)
    reference = _decay_reference(volume, record, origin, findings)
    decay_per_s = log(2.0) / half_life_s
    correction = _to_start(volume, reference, decay_per_s, administered_at)
    origin["decay_correction"] = f"x {correction:.6g} to the start of the acquisition"
    settled = record is not None and record.decay_reference
    return Calibrated(
        activity=ActivityMap(
            volume.grid,
            volume.values * (factor * correction),
            volume.counting and volume.counting.scaled(factor * correction),
        ),
        at=volume.started_at,
        relative_uncertainty=record.relative_uncertainty if record else DEFAULT_RELATIVE_UNCERTAINTY,
        origin=origin,
        findings=tuple(f for f in findings if not (settled and f.rule.startswith("decay-reference"))),
    )


def _bq_per_ml_factor(
    volume: EmissionVolume, record: CalibrationRecord | None, origin: dict[str, str]
) -> float:
    if volume.unit == "Bq/mL":
        return 1.0
    if record is None or record.sensitivity_cps_per_mbq is None:
        raise Refused(
            f"the volume holds {volume.unit} and no calibration record fits it",
            attribute="Units",
            value=volume.unit,
            uid=volume.series_uid,
            remedy="Add a [[cycle.calibration]] record with sensitivity_cps_per_mbq for "
            f"{volume.facts.get('manufacturer', '?')} {volume.facts.get('model', '?')}, "
            f"collimator {volume.facts.get('collimator', '?')}",
        )
    seconds = 1.0 if volume.unit == "counts/s" else volume.duration_s
    if not seconds:
        raise Refused(
            "the acquisition duration is not stated, so counts cannot become activity",
            attribute="ActualFrameDuration",
            uid=volume.series_uid,
            remedy="Ask the sender to keep ActualFrameDuration and NumberOfFramesInRotation",
        )
    origin["calibration"] = f"record {record.name!r}: {record.sensitivity_cps_per_mbq} cps/MBq, {seconds:g} s"
    return 1e6 / (record.sensitivity_cps_per_mbq * seconds * volume.grid.voxel_ml)


def _decay_reference(
    volume: EmissionVolume,
    record: CalibrationRecord | None,
    origin: dict[str, str],
    findings: list[Finding],
) -> str:
    if record is not None and record.decay_reference:
        origin["decay_reference"] = f"{record.decay_reference} by calibration record {record.name!r}"
        # a series that says NONE was brought to its start by the reader, slice by slice: not twice
        corrected = any(f.rule == "decay-corrected-here" for f in volume.findings)
        return "START" if corrected and record.decay_reference == "NONE" else record.decay_reference
    if volume.decay_reference:
        return volume.decay_reference
    origin["decay_reference"] = "START, assumed: the object does not say"
    findings.append(
        Finding(
            "decay-reference-unstated",
            Severity.NOTE,
            "the object does not say to which instant its values are decay-corrected; the start of the "
            "acquisition is assumed: settle it with decay_reference in [[cycle.calibration]]",
            subject=volume.series_uid,
            source="PS3.3 has no attribute for it in NM",
        )
    )
    return "START"


def _to_start(
    volume: EmissionVolume, reference: str, decay_per_s: float, administered_at: datetime | None
) -> float:
    """Factor that brings the values to the start of the acquisition."""
    if reference == "NONE":
        x = decay_per_s * (volume.duration_s or 0.0)
        return x / -expm1(-x) if x > 0 else 1.0
    # where the record overrules the object, the instant that the object states does not count either
    corrected_to = volume.decay_reference_at if volume.decay_reference == reference else None
    if reference == "ADMIN":
        # the camera took the administration that the object states, right or wrong: undone with the same
        corrected_to = corrected_to or administered_at
        if corrected_to is None:
            raise Refused(
                "values are decay-corrected to the administration, whose time is not known",
                attribute="DecayCorrection",
                value="ADMIN",
                uid=volume.series_uid,
                remedy="Tell the administration with `dicomnode administer`",
            )
    moved: timedelta = volume.started_at - (corrected_to or volume.started_at)
    return exp(-decay_per_s * moved.total_seconds())
