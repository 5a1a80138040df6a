"""What a person leaves out of a cycle, and what is said of everything that it does not use. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dicomnode.cycle.candidates import Unused, name_of, names_of
from dicomnode.model import Finding, Severity
from dicomnode.model.series import Role, SeriesSummary


class Kind(StrEnum):
    """What may be left out."""

    SERIES = "series"
    TIME_POINT = "time-point"
    REGION = "region"


@dataclass(frozen=True)
class LeftOut:
    """A person's word: ``subject`` is a series UID (of a time point that of its emission series, since labels
    move when a scan joins) or the name of a region."""

    kind: Kind
    subject: str
    by: str
    because: str

    @property
    def reason(self) -> Unused:
        """Why it is not used."""
        return "left-out", f"left out by {self.by}: {self.because}"


NO_PARTNER = "no emission series of its frame of reference has arrived yet"
REGISTERED_HERE = "registrations are not used: this node registers the scans itself"
NO_PLAN = "treatment plans are not used"
UNPAIRED = ("no-image", "the SPECT whose noise this is, is not here or not used")


def left_over(
    series: SeriesSummary,
    everything: Sequence[SeriesSummary],
    unused: Mapping[str, Unused],
    used: Mapping[str, SeriesSummary],
) -> Unused:
    """Why a series that could have served is in no time point."""
    if series.role is Role.UNCERTAINTY:
        return UNPAIRED
    scans = [s for s in everything if s.role in (Role.EMISSION, Role.PROJECTIONS)]
    related = [s for s in scans if _are_related(series, s, everything)]
    in_use = [s for s in related if s.series_uid in used]
    if in_use and series.role is Role.CT:
        return "other-ct", f"a CT nearer in time to {names_of(in_use)} is used"
    if in_use:
        return "other-visit", f"it is drawn on an image of another visit than {names_of(in_use)}"
    if related:
        _, why = unused.get(related[0].series_uid, ("", "it is in no cycle"))
        return "emission-not-used", f"its emission series {name_of(related[0])} is not used: {why}"
    absent = [u for u in series.referenced_series_uids if u not in {s.series_uid for s in everything}]
    if absent and series.role is Role.STRUCTURES:
        return "no-partner", f"the series that it is drawn on, {', '.join(absent)}, has not arrived"
    near = [s for s in scans if s.study_uid == series.study_uid]
    if near and series.role is Role.CT:
        return (
            "other-frame",
            f"its study has the emission series {names_of(near)} in another frame of reference; where both "
            f"are aligned, set same_study_ct = true in [cycle]",
        )
    return "no-partner", NO_PARTNER


def _are_related(one: SeriesSummary, scan: SeriesSummary, everything: Sequence[SeriesSummary]) -> bool:
    """Whether a series lies in the frame of a scan, or refers to it or to what lies there."""
    frame, refers = scan.frame_of_reference_uid, one.referenced_series_uids
    same = bool(frame) and one.frame_of_reference_uid == frame
    in_frame = {s.series_uid for s in everything if frame and s.frame_of_reference_uid == frame}
    return same or scan.series_uid in refers or bool(in_frame & set(refers))


def notes(unused: Iterable[SeriesSummary], why: Mapping[str, Unused]) -> list[Finding]:
    """What arrived and is not used, one note for each reason."""
    by_reason: dict[str, list[SeriesSummary]] = defaultdict(list)
    for series in sorted(unused, key=lambda s: s.series_uid):
        by_reason[why[series.series_uid][1]].append(series)
    return [
        Finding(
            "series-not-used",
            Severity.NOTE,
            f"not used: {_listed(group)}: {reason}",
            subject=group[0].series_uid,
        )
        for reason, group in by_reason.items()
    ]


def _listed(group: Sequence[SeriesSummary]) -> str:
    return ", ".join(
        f"{name_of(s)} ({s.modality}, {n} object{'s' if n > 1 else ''})"
        for s in group
        for n in (max(1, len(s.instances)),)
    )
