"""What a series says of itself, read from headers alone, and a decoded emission volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from dicomnode.model.counting_noise import CountingNoise
from dicomnode.model.findings import Finding
from dicomnode.model.grid import Grid


class Role(StrEnum):
    """What a series is for."""

    EMISSION = "emission"
    """Reconstructed SPECT or PET volume (NM RECON TOMO, PT, enhanced PT)."""
    PROJECTIONS = "projections"
    """Raw SPECT projections (NM TOMO)."""
    CT = "ct"
    UNCERTAINTY = "uncertainty"
    """Counting noise of an emission volume, as this node writes it (Parametric Map)."""
    STRUCTURES = "structures"
    """RTSTRUCT or SEG."""
    ADMINISTRATION = "administration"
    """SR that reports an administered activity."""
    REGISTRATION = "registration"
    PLAN = "plan"
    UNUSED = "unused"
    """Received and kept, but of no use to a cycle; ``unused_because`` says why."""


@dataclass(frozen=True)
class Differences:
    """How an object differs from the one that came before under its UID."""

    keywords: tuple[str, ...]
    """Attributes that differ, pixels apart."""
    same_pixels: bool


@dataclass(frozen=True)
class InstanceHeader:
    """What one instance says, as the worker that parsed it reports. Empty string: not stated.

    Times are aware datetimes: the stated UTC offset (0008,0201) or the site's zone.
    ``facts`` keeps further attributes that rules need, by keyword (collimator, image type, ...).
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    role: Role
    modality: str
    patient_id: str
    patient_name: str
    patient_birth_date: str = ""
    patient_sex: str = ""
    frame_of_reference_uid: str = ""
    series_description: str = ""
    acquired_at: datetime | None = None
    frames: int = 1
    units: str = ""
    nuclide: str = ""
    half_life_s: float | None = None
    radiopharmaceutical: str = ""
    administered_mbq: float | None = None
    administered_at: datetime | None = None
    referenced_series_uids: tuple[str, ...] = ()
    unused_because: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class EmissionVolume:
    """A decoded SPECT or PET volume, before calibration.

    Attributes
    ----------
    grid : Grid
    values : float32 (z, y, x)
    unit : "Bq/mL", or "counts" (needs a calibration record), or "counts/s"
    started_at : aware datetime of the start of the acquisition
    duration_s : whole acquisition, s; None where not stated
    decay_reference : "START", "ADMIN", "NONE" or "" where the object does not say
    decay_reference_at : the instant to which values are decay-corrected, where it could be determined
    nuclide, half_life_s : as the object states them; "" and None where it does not
    origin : quantity -> where it came from ("unit": "RealWorldValueMapping UCUM Bq/ml", ...)
    facts : what a calibration record is chosen by: manufacturer, model, station, collimator,
        reconstruction, and what checks need
    counting : noise by counting, where the reconstruction states it; of a volume in Bq/mL
    """

    grid: Grid
    values: npt.NDArray[np.float32]
    unit: str
    started_at: datetime
    duration_s: float | None
    decay_reference: str
    decay_reference_at: datetime | None
    nuclide: str
    half_life_s: float | None
    series_uid: str
    frame_of_reference_uid: str
    origin: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    counting: CountingNoise | None = None


@dataclass(frozen=True)
class SeriesSummary:
    """One series as the sum of its instances' headers.

    ``administered`` holds what the objects themselves say of the administration: activity (MBq) and
    time, either of which may be None. ``instances`` maps SOP Instance UID to the digest of its file.
    ``span_mm`` is from where to where the slices lie along the patient's axis (z), None where not stated.
    """

    series_uid: str
    study_uid: str
    role: Role
    modality: str
    patient_id: str
    frame_of_reference_uid: str
    description: str
    acquired_at: datetime | None
    nuclide: str
    half_life_s: float | None
    administered_mbq: float | None
    administered_at: datetime | None
    radiopharmaceutical: str
    referenced_series_uids: tuple[str, ...]
    instances: Mapping[str, str]
    last_received_at: datetime
    facts: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    span_mm: tuple[float, float] | None = None
