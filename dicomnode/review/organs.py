"""The organ table of a cycle beside the patient's earlier cycles, with the sum of the course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from dicomnode.casebook.house import House
from dicomnode.database.tables import AdministrationRow, CycleRow, OrganDoseRow
from dicomnode.model import OrganDose
from dicomnode.results.course import CourseDose, course_doses
from dicomnode.results.wording import (
    corrected_dose,
    dose_interval,
    recovery_limit,
    significant,
    with_sigma,
)

LARGE = 0.2
"""Relative uncertainty beyond which it is said beside the dose."""


@dataclass(frozen=True)
class PartialVolume:
    """What the blur of the image took from a region: text as a person reads it.

    Attributes
    ----------
    interval : of the true mean dose, k = 2
    recovery : what the image shows of the region over what is there
    corrected : mean dose and standard uncertainty, or a dash
    limit : what limits the corrected dose, or why there is none
    """

    interval: str
    recovery: str
    corrected: str
    limit: str


@dataclass(frozen=True)
class Line:
    """One region: this cycle, the cycles before it, and the sum; text as a person reads it. All doses but
    the one in ``blur`` are uncorrected; ``blur`` is None where partial volume was not looked at."""

    region: str
    dose: str
    relative: str
    per_gbq: str
    d98: str
    d50: str
    d2: str
    volume: str
    bed: str
    alpha: str
    earlier: tuple[str, ...]
    course: str
    course_note: str
    blur: PartialVolume | None


@dataclass(frozen=True)
class Table:
    """Lines, and when each earlier cycle was administered."""

    lines: tuple[Line, ...]
    earlier: tuple[datetime, ...]

    @property
    def knows_blur(self) -> bool:
        """Whether partial volume was looked at for any region."""
        return any(line.blur is not None for line in self.lines)


def table(
    house: House, cycle_id: str, patient_id: str, activity_mbq: float | None, at: datetime | None,
    organs: Sequence[Mapping[str, Any]],
) -> Table:  # fmt: skip
    """Organ doses of the revision shown, beside released ones of cycles administered before ``at``."""
    before = _earlier(house, cycle_id, patient_id, at)
    nouns = [_noun(o) for o in organs]
    sums = {
        s.region: s
        for s in course_doses(
            [*before.values(), nouns], common_relative=house.config.results.course_common_relative
        )
    }
    by_cycle = [{o.region: o for o in cycle} for cycle in before.values()]
    lines = tuple(_line(o, activity_mbq, by_cycle, sums[o.region]) for o in nouns)
    return Table(lines, tuple(before))


def _line(
    organ: OrganDose,
    activity_mbq: float | None,
    before: Sequence[Mapping[str, OrganDose]],
    course: CourseDose,
) -> Line:
    relative = organ.sigma_gy / organ.mean_gy if organ.mean_gy > 0 else 0.0
    earlier = tuple(
        with_sigma(c[organ.region].mean_gy, c[organ.region].sigma_gy) if organ.region in c else "–"
        for c in before
    )
    missing = course.of_cycles - course.cycles
    return Line(
        organ.region,
        with_sigma(organ.mean_gy, organ.sigma_gy),
        f"{100 * relative:.0f} %" if relative > LARGE else "",
        significant(1000.0 * organ.mean_gy / activity_mbq) if activity_mbq else "–",
        significant(organ.d98_gy),
        significant(organ.d50_gy),
        significant(organ.d2_gy),
        significant(organ.volume_ml),
        significant(organ.bed_gy) if organ.bed_gy is not None else "",
        significant(organ.alpha_gy) if organ.alpha_gy is not None else "",
        earlier,
        with_sigma(course.mean_gy, course.sigma_gy) if before else "",
        f"without {missing} of {course.of_cycles} cycles: too low" if before and missing else "",
        _blur(organ),
    )


def _blur(organ: OrganDose) -> PartialVolume | None:
    if organ.recovery is None:
        return None
    return PartialVolume(
        dose_interval(organ), f"{organ.recovery:.2f}", corrected_dose(organ), recovery_limit(organ)
    )


def _earlier(
    house: House, cycle_id: str, patient_id: str, at: datetime | None
) -> dict[datetime, list[OrganDose]]:
    """Released doses of the patient's cycles before ``at``, by administration."""
    if at is None:
        return {}
    found: dict[datetime, list[OrganDose]] = {}
    query = text(
        "SELECT DISTINCT cycle_id, revision_id FROM v_organ_doses "
        "WHERE patient_id = :patient AND cycle_id <> :cycle"
    )
    with house.database.read() as session:
        for other, revision in session.execute(query, {"patient": patient_id, "cycle": cycle_id}):
            when = _administered(session, other)
            rows = session.scalars(select(OrganDoseRow).where(OrganDoseRow.revision_id == revision))
            if when is not None and when < at:
                found[when] = [_noun(vars(row)) for row in rows]
    return dict(sorted(found.items()))


def _administered(session: Session, cycle_id: str) -> datetime | None:
    return session.scalar(
        select(AdministrationRow.administered_at)
        .join(CycleRow, CycleRow.administration_id == AdministrationRow.id)
        .where(CycleRow.id == cycle_id)
    )


def _noun(row: Mapping[str, Any]) -> OrganDose:
    names = ("region", "mean_gy", "sigma_gy", "d2_gy", "d50_gy", "d98_gy", "max_gy", "volume_ml", "mass_g",
             "tia_mbq_s", "bed_gy", "eqd2_gy", "alpha_gy", "low_gy", "high_gy", "recovery", "recovered_gy",
             "recovered_sigma_gy")  # fmt: skip
    return OrganDose(**{name: row[name] for name in names}, recovery_limit=row["recovery_limit"] or "")
