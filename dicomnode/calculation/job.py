"""What is sent to a worker, and what comes back. Both are plain values, so that a calculation can be
stored, repeated years later, and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from dicomnode.model import Administration, Finding, OrganDose, RegionTia, Settings, Verdict


class SeriesFiles(Settings):
    """One series: SOP Instance UID -> digest of its stored file."""

    uid: str
    instances: dict[str, str]


class TimePointJob(Settings):
    """The series of one time point."""

    label: str
    emission: SeriesFiles
    emission_frame: str
    ct: SeriesFiles | None = None
    ct_frame: str = ""
    structures: tuple[SeriesFiles, ...] = ()
    uncertainty: SeriesFiles | None = None


class AdministrationJob(Settings):
    """The administration, as it was known when the job was made."""

    nuclide: str
    activity_mbq: float
    at: datetime
    radiopharmaceutical: str = ""
    residual_mbq: float = 0.0
    source: str = ""

    @classmethod
    def of(cls, told: Administration) -> AdministrationJob:
        """As it is told."""
        return cls(**asdict(told))

    def noun(self) -> Administration:
        return Administration(**self.model_dump())


class LeftOutJob(Settings):
    """What a person left out of the cycle: a series, a time point (by its emission series) or a region."""

    kind: str
    subject: str
    by: str
    because: str


class EarlierOrgan(Settings):
    """Dose of one region in an earlier cycle, for the course."""

    region: str
    mean_gy: float
    sigma_gy: float
    bed_gy: float | None
    eqd2_gy: float | None

    @classmethod
    def of(cls, organ: OrganDose) -> EarlierOrgan:
        """What a sum over cycles uses of it."""
        return cls(
            region=organ.region,
            mean_gy=organ.mean_gy,
            sigma_gy=organ.sigma_gy,
            bed_gy=organ.bed_gy,
            eqd2_gy=organ.eqd2_gy,
        )

    def noun(self) -> OrganDose:
        """As a noun; what a sum over cycles does not use is zero."""
        return OrganDose(
            self.region,
            self.mean_gy,
            self.sigma_gy,
            d2_gy=0.0,
            d50_gy=0.0,
            d98_gy=0.0,
            max_gy=0.0,
            volume_ml=0.0,
            mass_g=0.0,
            tia_mbq_s=0.0,
            bed_gy=self.bed_gy,
            eqd2_gy=self.eqd2_gy,
        )


class Course(Settings):
    """The patient's earlier cycles, in order of time: organ doses of those that were released, and the
    administrations of which there is no dose."""

    organs: tuple[tuple[EarlierOrgan, ...], ...] = ()
    without_dose: tuple[AdministrationJob, ...] = ()


class Superseded(Settings):
    """The released revision before: its identifier, and role -> SOP Instance UID of its objects."""

    revision_id: str
    objects: dict[str, str]


class Job(Settings):
    """Everything that decides the result of a revision, apart from configuration and software.

    ``created_at`` is the instant written into the objects; repeating the job repeats their bytes.
    ``doubts`` are the findings before the computation; ``accepted`` lists (rule, subject) of findings that
    a person accepted. ``recovery``: partial volume is looked at; jobs from before that was possible say
    nothing and are repeated without, to their own bytes.
    """

    cycle_id: str
    revision_id: str
    number: int
    created_at: datetime
    administration: AdministrationJob
    time_points: tuple[TimePointJob, ...]
    accepted: tuple[tuple[str, str], ...] = ()
    doubts: tuple[Finding, ...] = ()
    left_out: tuple[LeftOutJob, ...] = ()
    supersedes: Superseded | None = None
    earlier: Course = Course()
    recovery: bool = False

    def input_digests(self) -> dict[str, str]:
        """SOP Instance UID -> digest, over all series."""
        points = self.time_points
        series = [s for p in points for s in (p.emission, p.ct, *p.structures, p.uncertainty) if s]
        return {uid: digest for s in series for uid, digest in s.instances.items()}

    def inputs_digest(self) -> str:
        """One digest over everything that came from outside: images, structures, administration, and what a
        person left out of them."""
        kept = self.model_dump(mode="json", include={"administration", "time_points"})
        kept["administration"].pop("source")
        for point in kept["time_points"]:
            if point["uncertainty"] is None:  # such a job keeps the digest that it had before these existed
                del point["uncertainty"]
        if self.left_out:
            kept["left_out"] = sorted([x.kind, x.subject] for x in self.left_out)
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    @property
    def regions_left_out(self) -> frozenset[str]:
        """Names of the regions that are not evaluated."""
        return frozenset(x.subject for x in self.left_out if x.kind == "region")


@dataclass(frozen=True)
class Product:
    """One object made, already in the store."""

    role: str
    file_sha256: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True)
class Step:
    """One step of the calculation: what went in by name, what came out by digest."""

    name: str
    engine: str
    parameters: Mapping[str, object]
    data_digests: Mapping[str, str]
    outputs: Mapping[str, str]
    seed: int
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Outcome:
    """What a worker brings back. ``products`` is empty where a finding held the cycle before the dose."""

    verdict: Verdict
    steps: tuple[Step, ...]
    products: tuple[Product, ...] = ()
    organs: tuple[OrganDose, ...] = ()
    curves: tuple[RegionTia, ...] = field(default=())
