"""Several series that could serve, and one that does: chosen by what each states, or left to a person. Pure.

Each sieve keeps the candidates of which something is stated, where that leaves any. What it drops is not
used, with the sieve's own words as the reason; two that pass every sieve hold the cycle.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Finding, Severity
from dicomnode.model.series import Role, SeriesSummary

Unused = tuple[str, str]
"""Reason code and sentence."""

COVERED = 0.95
"""Part of the emission's length that a CT has to show to count as covering it; slices end where they end."""
_CONTRAST = {"contrast", "kontrast", "kontrastmittel", "portal", "arterial", "venous", "angio", "cta", "ce"}
_WITHOUT = {"without", "wo", "no", "non", "none", "ohne", "sans", "nativ", "native", "plain", "unenhanced"}
_ATTENUATION = {"ac", "ctac", "acct", "attenuation", "lowdose", "mumap"}
_SHARP = {"lung", "lunge", "bone", "knochen", "edge", "sharp"}
_SHARP_SIEMENS = re.compile(r"^[BHUI][a-z]?([6-9]\d)", re.IGNORECASE)
_UNCORRECTED = {"nac", "noac", "nonac", "uncorrected"}


@dataclass(frozen=True)
class Choice:
    """The series that is used, why each other candidate is not, and what holds."""

    series: SeriesSummary | None
    unused: Mapping[str, Unused] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def name_of(series: SeriesSummary) -> str:
    """A series as a sentence names it."""
    return f"'{series.description}'" if series.description else f"an unnamed {series.modality} series"


def names_of(series: Iterable[SeriesSummary]) -> str:
    """Several series in one sentence, each by description, and by UID where two have one description."""
    listed = list(series)
    names = [name_of(s) for s in listed]
    return ", ".join(
        f"{n} ({s.series_uid})" if names.count(n) > 1 else n for n, s in zip(names, listed, strict=True)
    )


def time_of(series: SeriesSummary) -> datetime:
    """When an emission series was acquired."""
    assert series.acquired_at is not None  # gather() places no emission series without a time
    return series.acquired_at


def described(
    emission: SeriesSummary, settings: CycleSettings, kind: str
) -> Callable[[SeriesSummary], bool] | None:
    """Whether a description is the one that the site names for this camera; None where it names none.

    A [[cycle.camera]] record that fits the emission series comes before the key of [cycle].
    """
    facts = emission.facts
    fitting = [
        c
        for c in settings.camera
        if c.manufacturer.casefold() in facts.get("Manufacturer", "").casefold()
        and c.model.casefold() in facts.get("ManufacturerModelName", "").casefold()
        and (not c.station or c.station == facts.get("StationName", ""))
    ]
    wanted = [w for c in fitting if (w := getattr(c, kind))] or [getattr(settings, kind)]
    if not any(wanted):
        return None
    return lambda series: any(re.search(w, series.description) for w in wanted)


def _words(*texts: str) -> set[str]:
    return set(re.findall(r"[a-z]+", " ".join(texts).casefold()))


def has_contrast(ct: SeriesSummary) -> bool:
    """Whether a CT states a contrast agent, by its attribute (0018,0010) or in its description."""
    agent = _words(ct.facts.get("ContrastBolusAgent", ""))
    said = _words(ct.description)
    return bool(agent and not agent & _WITHOUT) or bool(said & _CONTRAST and not said & _WITHOUT)


def is_for_attenuation(ct: SeriesSummary) -> bool:
    """Whether a CT calls itself one for attenuation correction."""
    said = _words(ct.description, ct.facts.get("ProtocolName", ""))
    return bool(said & _ATTENUATION) or {"low", "dose"} <= said


def is_sharp(ct: SeriesSummary) -> bool:
    """Whether a CT names a kernel for lung or bone, whose numbers overshoot at edges."""
    kernel = ct.facts.get("ConvolutionKernel", "")
    return bool(_words(ct.description, kernel) & _SHARP or _SHARP_SIEMENS.match(kernel))


def says_uncorrected(emission: SeriesSummary) -> bool:
    """Whether a SPECT calls itself not corrected for attenuation."""
    said = _words(emission.description)
    return bool(said & _UNCORRECTED) or bool({"ac", "attenuation"} & said and said & _WITHOUT)


def covers(ct: SeriesSummary, emission: SeriesSummary) -> bool:
    """Whether a CT shows the whole length of the emission; True where either does not say where it lies."""
    if ct.span_mm is None or emission.span_mm is None:
        return True
    low, high = max(ct.span_mm[0], emission.span_mm[0]), min(ct.span_mm[1], emission.span_mm[1])
    return high - low >= COVERED * (emission.span_mm[1] - emission.span_mm[0])


def session(
    emission: SeriesSummary, cts: Sequence[SeriesSummary], settings: CycleSettings
) -> list[SeriesSummary]:
    """The CTs of one visit: those acquired within ``time_point_gap_min`` of the emission or without a time,
    else the nearest and what was acquired about then. Frames of reference may outlive a visit."""
    gap = timedelta(minutes=settings.time_point_gap_min)
    timed = [(abs(s.acquired_at - time_of(emission)), s) for s in cts if s.acquired_at is not None]
    nearest = min((far for far, _ in timed), default=timedelta(0))
    reach = max(gap, nearest + gap if nearest >= gap else gap)
    return [s for s in cts if s.acquired_at is None] + [s for far, s in timed if far < reach]


def choose_ct(
    emission: SeriesSummary,
    cts: Sequence[SeriesSummary],
    structures: Sequence[SeriesSummary],
    settings: CycleSettings,
) -> Choice:
    """The CT of an emission series among those of its visit."""
    drawn_on = {uid for s in structures for uid in s.referenced_series_uids}
    sieves: list[tuple[str, Callable[[SeriesSummary], bool]]] = [
        ("structures refer to it", lambda ct: ct.series_uid in drawn_on),
        ("it shows the whole length of the emission", lambda ct: covers(ct, emission)),
        ("it states no contrast agent", lambda ct: not has_contrast(ct)),
        ("it states to be for attenuation correction", is_for_attenuation),
        ("its kernel is not one for lung or bone", lambda ct: not is_sharp(ct)),
    ]
    named = described(emission, settings, "ct_description")
    if named is not None:
        sieves.insert(0, ("its description is the one that ct_description names", named))
    left = sorted(cts, key=lambda s: (_far(s, emission), s.series_uid))
    dropped: list[tuple[SeriesSummary, str]] = []
    for words, keeps in sieves:
        kept = [s for s in left if keeps(s)]
        if kept:
            dropped += [(s, words) for s in left if s not in kept]
            left = kept
    if not left:
        return Choice(None)
    chosen = left[0]
    unused = {
        s.series_uid: ("other-ct", f"the CT {name_of(chosen)} is used instead: {words}")
        for s, words in dropped
    }
    equals = {s.series_uid: ("other-ct", f"the CT {name_of(chosen)} stands for it") for s in left[1:]}
    findings = [_several_cts(left, chosen)] if len(left) > 1 else []
    findings += [_contrast(chosen)] if has_contrast(chosen) else []
    return Choice(chosen, {**unused, **equals}, tuple(findings))


def _far(ct: SeriesSummary, emission: SeriesSummary) -> float:
    return abs((ct.acquired_at - time_of(emission)).total_seconds()) if ct.acquired_at else float("inf")


def _several_cts(equals: Sequence[SeriesSummary], chosen: SeriesSummary) -> Finding:
    return Finding(
        "several-cts",
        Severity.HOLD,
        f"{len(equals)} CTs of its visit could give density and outlines: {names_of(equals)}; name the one "
        f"to use with ct_description in [cycle] or [[cycle.camera]], or leave the others out with "
        f"`dicomnode leave-out`",
        measured=float(len(equals)),
        limit=1.0,
        subject=chosen.series_uid,
    )


def _contrast(ct: SeriesSummary) -> Finding:
    return Finding(
        "ct-with-contrast",
        Severity.WARNING,
        f"the CT {name_of(ct)} states a contrast agent: density, and with it mass, is too high where the "
        f"agent was, by up to about a tenth, and the dose too low by as much",
        subject=ct.series_uid,
    )


def choose_emission(group: Sequence[SeriesSummary], settings: CycleSettings) -> Choice:
    """The one to use of the emission series of one acquisition; projections come before reconstructions of
    them where the node reconstructs (else they are not among the group)."""
    raw = [s for s in group if s.role is Role.PROJECTIONS]
    unused: dict[str, Unused] = {}
    if raw:
        why = f"its projections, {name_of(raw[0])}, are here and are reconstructed by this node"
        unused = {s.series_uid: ("other-reconstruction", why) for s in group if s not in raw}
    left = list(raw or group)
    named = described(left[0], settings, "emission_description")
    wanted = [s for s in left if named is not None and named(s)]
    pick = (wanted or left)[0]
    findings = []
    if len(left) > 1 and len(wanted) != 1:
        findings.append(_beds(left, pick) if _lie_apart(left) else _several_reconstructions(left, pick))
    elif says_uncorrected(pick) and pick.role is Role.EMISSION and not wanted:
        findings.append(_not_corrected(pick))
    for s in left:
        if s is not pick:
            why = f"another series of the acquisition, {name_of(pick)}, is used"
            unused[s.series_uid] = ("other-reconstruction", why)
    return Choice(pick, unused, tuple(findings))


def _lie_apart(group: Sequence[SeriesSummary]) -> bool:
    """Whether together they show clearly more of the body than each by itself."""
    spans = [s.span_mm for s in group if s.span_mm is not None]
    if len(spans) < len(group):
        return False
    whole = max(high for _, high in spans) - min(low for low, _ in spans)
    return whole > 1.2 * max(high - low for low, high in spans)


def _several_reconstructions(group: Sequence[SeriesSummary], pick: SeriesSummary) -> Finding:
    return Finding(
        "several-reconstructions",
        Severity.HOLD,
        f"{len(group)} emission series belong to one acquisition: {names_of(group)}; name the one to use "
        f"with emission_description in [cycle] or [[cycle.camera]], or leave the others out with "
        f"`dicomnode leave-out`",
        measured=float(len(group)),
        limit=1.0,
        subject=pick.series_uid,
    )


def _beds(group: Sequence[SeriesSummary], pick: SeriesSummary) -> Finding:
    where = ", ".join(
        f"{name_of(s)} z {s.span_mm[0]:.0f} to {s.span_mm[1]:.0f} mm" for s in group if s.span_mm is not None
    )
    return Finding(
        "several-beds",
        Severity.HOLD,
        f"{len(group)} emission series of one acquisition show different parts of the body ({where}), and "
        f"this node does not join beds: send the camera's joined reconstruction and leave these out with "
        f"`dicomnode leave-out`, or leave out the beds that are not needed",
        measured=float(len(group)),
        limit=1.0,
        subject=pick.series_uid,
    )


def _not_corrected(emission: SeriesSummary) -> Finding:
    return Finding(
        "not-attenuation-corrected",
        Severity.HOLD,
        f"{name_of(emission)} calls itself not corrected for attenuation, so that its activity is far too "
        f"low: send the corrected reconstruction and leave this one out with `dicomnode leave-out`, or "
        f"release the cycle where the name is wrong",
        subject=emission.series_uid,
    )
