"""What the gates add up to."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from dicomnode.compare.classical.organs import RegionError, State
from dicomnode.compare.judgement.gates import (
    Gate,
    displacement_gate,
    moment_gate,
    noise_gate,
    region_gate,
    sanity_gate,
    scan_gate,
)
from dicomnode.compare.judgement.thresholds import VERSION, VerdictSettings
from dicomnode.compare.pair import Mass, Pair


@dataclass(frozen=True)
class Judgement:
    """Pass, fail or undecided.

    Attributes
    ----------
    state : undecided where the reference is too noisy; else fail where a gate fails, undecided where one
        is, or pass
    sentence : in words, with the further decays that would decide
    gates, regions : what it rests on
    more : further decays in multiples of those made; 0 where decided, inf where none would do
    further_decays : the same in decays, where the reference's number is known
    thresholds : version of ``thresholds``
    """

    state: State
    sentence: str
    gates: tuple[Gate, ...]
    regions: tuple[RegionError, ...]
    more: float
    further_decays: float | None
    thresholds: str = VERSION


def verdict(pair: Pair, settings: VerdictSettings | None = None, *, kind: Mass | None = None) -> Judgement:
    """Judge the evaluated map by the reference.

    ``kind`` of mass for total and displacement: energy where the density is known, else dose. Gamma is
    no gate: at a limit of 95 % it passes five of six planted faults. Without stated noise only sanity,
    regions and displacement are judged, and the answer is undecided unless one of them fails.
    """
    settings = settings or VerdictSettings()
    mass: Mass = kind or ("dose" if pair.density is None else "energy")
    regions, errors = region_gate(pair, settings)
    noise = noise_gate(pair, settings)
    gates = [sanity_gate(pair, settings, mass), noise, regions]
    if pair.noisy:
        gates += [moment_gate(pair, settings), scan_gate(pair, settings)]
    gates.append(displacement_gate(pair, settings, mass))
    state = next(s for s in (State.FAIL, State.UNDECIDED, State.PASS) if any(g.state is s for g in gates))
    if pair.noisy and noise.state is State.UNDECIDED:
        state = State.UNDECIDED  # so few histories that no gate's law holds
    more = max((g.more for g in gates), default=0.0) if state is State.UNDECIDED else 0.0
    further = pair.decays * more if pair.decays is not None and isfinite(more) and more else None
    return Judgement(state, _sentence(state, gates, more, further), tuple(gates), errors, more, further)


def _sentence(state: State, gates: list[Gate], more: float, further: float | None) -> str:
    if state is State.PASS:
        return "pass: no gate finds a difference beyond noise and tolerance"
    names = [g for g in gates if g.state is state]
    why = "; ".join(f"{g.name}: {g.sentence}" for g in names)
    if state is State.FAIL:
        return f"fail: {why}"
    if further is not None:
        return f"undecided: {why}. {further:.2g} further decays would decide"
    if isfinite(more):
        return f"undecided: {why}. {more:.1f} times the decays made, in addition, would decide"
    return f"undecided: {why}. No number of further decays would decide"
