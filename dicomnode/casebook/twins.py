"""Another patient who looks like this one: a scan sent under a mistyped Patient ID makes two short cycles.

Two statements have to agree: the name, and the birth date, or a Patient ID one character off, or nuclide and
minute of the administration. Of patients without names all three others have to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from dicomnode.casebook.intake import SUMMARY
from dicomnode.check import rules
from dicomnode.cycle.gather import CyclePlan
from dicomnode.database.tables import Series
from dicomnode.model import Finding
from dicomnode.model.series import Role


@dataclass(frozen=True)
class _Scan:
    """What one emission series says of whose it is."""

    series_uid: str
    patient_id: str
    name: tuple[str, ...]
    born: str
    given: tuple[str, datetime] | None


def near_twins(session: Session, plan: CyclePlan, window_d: float) -> tuple[Finding, ...]:
    """A finding where scans of another patient, about the time of this cycle, may be this one's."""
    window = timedelta(days=window_d)
    start, end = plan.time_points[0].acquired_at - window, plan.time_points[-1].acquired_at + window
    scans = [
        _scan(row)
        for row in session.scalars(
            select(Series).where(
                Series.role.in_((Role.EMISSION.value, Role.PROJECTIONS.value)),
                Series.acquired_at.between(start, end),
            )
        )
    ]
    mine = [s for s in scans if s.patient_id == plan.patient_id]
    others = [s for s in scans if s.patient_id != plan.patient_id]
    alike = {o.series_uid: found for one in mine for o in others if (found := likeness(one, o))}
    if not alike:
        return ()
    first = min(alike)
    return (rules.near_twin(len(alike), alike[first], first),)


def _scan(row: Series) -> _Scan:
    summary = SUMMARY.validate_json(row.summary)
    at = summary.administered_at
    return _Scan(
        row.series_instance_uid,
        row.patient_id,
        tuple(sorted(re.findall(r"\w+", row.patient_name.casefold()))),
        summary.facts.get("PatientBirthDate", ""),
        (summary.nuclide, at.replace(second=0, microsecond=0)) if summary.nuclide and at else None,
    )


def likeness(one: _Scan, other: _Scan) -> tuple[str, ...]:
    """In what two scans of different patients agree, where that is enough to think of one; else nothing."""
    reasons = []
    if one.name and one.name == other.name:
        reasons.append("the same name")
    if one.born and one.born == other.born:
        reasons.append("the same birth date")
    if one_off(one.patient_id.casefold(), other.patient_id.casefold()):
        reasons.append("Patient IDs one character apart")
    if one.given is not None and one.given == other.given:
        reasons.append("the same nuclide and minute of administration")
    named = "the same name" in reasons
    unnamed = not one.name or not other.name
    enough = len(reasons) >= 2 if named else len(reasons) == 3 and unnamed
    return tuple(reasons) if enough else ()


def one_off(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether one character was replaced, left out or added, or two neighbours changed places."""
    if len(a) > len(b):
        a, b = b, a
    i = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return len(b) - len(a) == 1 and a[i:] == b[i + 1 :]
    swapped = a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :]
    return a != b and (a[i + 1 :] == b[i + 1 :] or swapped)
