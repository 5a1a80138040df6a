"""Repeat an earlier calculation from what is on record, and compare digests step by step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from dicomnode.audit import events, trail
from dicomnode.audit.about import About
from dicomnode.calculation.cycle_dose import Progress, compute
from dicomnode.calculation.job import Job, Outcome
from dicomnode.casebook.house import House
from dicomnode.casebook.views import find_cycle
from dicomnode.database.tables import Calculation, Revision
from dicomnode.errors import Refused


@dataclass(frozen=True)
class Comparison:
    """One output of one step, then and now."""

    step: str
    output: str
    then: str
    now: str

    @property
    def same(self) -> bool:
        return self.then == self.now


@dataclass(frozen=True)
class Replay:
    """What repeating a revision gave."""

    revision_id: str
    comparisons: tuple[Comparison, ...]
    version_then: str
    configuration_same: bool

    @property
    def same(self) -> bool:
        return bool(self.comparisons) and all(c.same for c in self.comparisons)


def replay(house: House, cycle_id: str, number: int | None, progress: Progress) -> Replay:
    """Repeat a revision (the latest computed one by default) with the present software and configuration.

    Nothing of the original is changed; the comparison is recorded as an audit event.
    """
    revision_id, then = _steps_on_record(house, cycle_id, number)
    job = Job.model_validate_json(next(c.inputs for c in then if c.step == "read"))
    outcome = compute(job, house.config, house.store, progress)
    result = Replay(
        revision_id,
        tuple(_compare(then, outcome)),
        then[0].version,
        then[0].config_digest == house.config.digest(),
    )
    differing = [f"{c.step}/{c.output}" for c in result.comparisons if not c.same]
    which = About(cycle_id=job.cycle_id, revision_id=revision_id)
    event = events.calculation_replayed(
        house.config.node.name, which, calculation_id=then[0].id, same=result.same, differing=differing
    )
    with house.database.write() as session:
        trail.append(session, event)
    return result


def _steps_on_record(house: House, cycle_id: str, number: int | None) -> tuple[str, Sequence[Calculation]]:
    with house.database.read() as session:
        row = find_cycle(session, cycle_id)
        revisions = session.scalars(
            select(Revision).where(Revision.cycle_id == row.id).order_by(Revision.number.desc())
        ).all()
        for revision in revisions:
            steps = session.scalars(
                select(Calculation).where(Calculation.revision_id == revision.id).order_by(Calculation.id)
            ).all()
            if steps and number in (None, revision.number):
                last_read = max(i for i, s in enumerate(steps) if s.step == "read")
                return revision.id, steps[last_read:]
    raise Refused("no such revision has been computed", uid=cycle_id, remedy="`dicomnode show` lists them")


def _compare(then: Sequence[Calculation], outcome: Outcome) -> list[Comparison]:
    now = {step.name: step.outputs for step in outcome.steps}
    return [
        Comparison(c.step, name, digest, now.get(c.step, {}).get(name, ""))
        for c in then
        for name, digest in json.loads(c.outputs).items()
    ]
