"""The record that a calculation keeps of itself: steps with digests, and findings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from dicomnode.calculation.job import Step
from dicomnode.dose.engine import EngineIdentity
from dicomnode.errors import NotReady
from dicomnode.model import Finding, Severity, Verdict


@dataclass
class Recording:
    """Filled while a step runs."""

    results: dict[str, str] = field(default_factory=dict)
    measures: dict[str, object] = field(default_factory=dict)

    def measured(self, measures: Mapping[str, object]) -> None:
        """Keep what the step found on its way (totals, quality, where numbers came from), by subject."""
        self.measures.update(measures)

    def outputs(self, arrays: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> None:
        """Keep the SHA-256 of each array's bytes (C order, little endian float32)."""
        for name, array in arrays.items():
            self.results[name] = hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()

    def digests(self, digests: Mapping[str, str]) -> None:
        """Keep digests that are known already."""
        self.results.update(digests)


class Steps:
    """Collects steps and findings of one calculation; ``accepted`` lists (rule, subject) of findings that a
    person accepted."""

    def __init__(self, accepted: Sequence[tuple[str, str]] = ()) -> None:
        self.accepted = tuple(accepted)
        self.done: tuple[Step, ...] = ()
        self.findings: list[Finding] = []

    def copy(self) -> Steps:
        """The same record so far, to be continued apart."""
        twin = Steps(self.accepted)
        twin.done, twin.findings = self.done, list(self.findings)
        return twin

    @contextmanager
    def step(
        self, name: str, engine: EngineIdentity | None = None, seed: int = 0, **parameters: object
    ) -> Iterator[Recording]:
        """Record one step, before those that run within it; an exception passes through and leaves no
        record of a result."""
        recording, place = Recording(), len(self.done)
        started = datetime.now(UTC)
        yield recording
        step = Step(
            name,
            f"{engine.name} {engine.version}" if engine else "",
            json.loads(json.dumps({**parameters, "measured": recording.measures}, default=str)),
            dict(engine.digests) if engine else {},
            recording.results,
            seed,
            started,
            datetime.now(UTC),
        )
        self.done = (*self.done[:place], step, *self.done[place:])

    def found(self, findings: Iterable[Finding]) -> None:
        """Add findings, each once."""
        self.findings += [f for f in findings if f not in self.findings]

    def verdict(self) -> Verdict:
        """All findings; what a person accepted no longer holds, but stays visible."""
        return Verdict.of(
            replace(f, severity=Severity.WARNING, sentence=f"{f.sentence} (accepted by a person)")
            if f.severity is Severity.HOLD and (f.rule, f.subject) in self.accepted
            else f
            for f in self.findings
        )

    def stop_if_held(self) -> None:
        """Raise NotReady, with the sentences, where going on makes no sense until a person has decided."""
        holds = self.verdict().holds
        if holds:
            raise NotReady([f.sentence for f in holds])
