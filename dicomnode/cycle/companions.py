"""What belongs to an emission series: its CT, its structures, its noise. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass

from dicomnode.cycle.candidates import Unused, choose_ct, name_of, names_of, session, time_of
from dicomnode.cycle.settings import CycleSettings
from dicomnode.model import Finding, Severity
from dicomnode.model.series import Role, SeriesSummary


@dataclass(frozen=True)
class Companions:
    """What an emission series is used with, why other CTs of its visit are not, and what is found."""

    ct: SeriesSummary | None
    structures: tuple[SeriesSummary, ...]
    uncertainty: SeriesSummary | None
    unused: Mapping[str, Unused]
    findings: tuple[Finding, ...]


def companions(
    emission: SeriesSummary,
    acquisition: Collection[str],
    series: Sequence[SeriesSummary],
    settings: CycleSettings,
) -> Companions:
    """Those of an emission series among the series that may serve; ``acquisition``: the UIDs of all emission
    series of its acquisition, any of which structures may be drawn on."""
    cts = [s for s in series if s.role is Role.CT]
    frame = emission.frame_of_reference_uid
    aligned = [s for s in cts if frame and s.frame_of_reference_uid == frame]
    if not aligned and settings.same_study_ct:
        aligned = [s for s in cts if s.study_uid == emission.study_uid]
    visit = session(emission, aligned, settings)
    own_images = {*acquisition, *(ct.series_uid for ct in visit)}
    structures = tuple(
        s for s in series if s.role is Role.STRUCTURES and _is_of(s, emission, own_images, series)
    )
    choice = choose_ct(emission, visit, structures, settings)
    own = {emission.series_uid, choice.series.series_uid if choice.series else ""}
    elsewhere = [
        _drawn_elsewhere(s, choice.series, visit)
        for s in structures
        if s.referenced_series_uids and not own & set(s.referenced_series_uids)
    ]
    return Companions(
        choice.series,
        structures,
        _uncertainty(emission, series),
        choice.unused,
        (*choice.findings, *elsewhere),
    )


def _is_of(
    structures: SeriesSummary,
    emission: SeriesSummary,
    own_images: Set[str],
    series: Sequence[SeriesSummary],
) -> bool:
    """Whether structures belong to an emission series: they refer to it or to a CT of its visit, or lie in
    its frame of reference and refer to nothing of another visit."""
    refers = set(structures.referenced_series_uids)
    if refers & own_images:
        return True
    frame = emission.frame_of_reference_uid
    in_frame = [s for s in series if frame and s.frame_of_reference_uid == frame]
    drawn_on = [s for s in in_frame if s.series_uid in refers]
    if not drawn_on:
        known = {s.series_uid for s in series}
        return structures in in_frame and not refers & known
    scans = [s for s in in_frame if s.role in (Role.EMISSION, Role.PROJECTIONS)]
    return any(emission in _scans_nearest_to(s, scans) for s in drawn_on)


def _scans_nearest_to(image: SeriesSummary, scans: Sequence[SeriesSummary]) -> list[SeriesSummary]:
    """The scans of the visit at which an image was made; all where it states no time."""
    if image.acquired_at is None or not scans:
        return list(scans)
    nearest = min(abs(time_of(s) - image.acquired_at) for s in scans)
    return [s for s in scans if abs(time_of(s) - image.acquired_at) == nearest]


def _drawn_elsewhere(
    structures: SeriesSummary, ct: SeriesSummary | None, visit: Sequence[SeriesSummary]
) -> Finding:
    """Structures drawn on an image that is not used: their frame of reference alone puts them in place."""
    on = [s for s in visit if s.series_uid in structures.referenced_series_uids]
    image = f"the CT {names_of(on)}" if on else "an image that has not arrived or is not used"
    used = f"the CT {name_of(ct)} is used" if ct is not None else "no CT is used"
    return Finding(
        "structures-on-another-image",
        Severity.WARNING,
        f"{name_of(structures)} is drawn on {image}, while {used}: its contours are taken as they lie in the "
        f"frame of reference of both",
        subject=structures.series_uid,
    )


def _uncertainty(emission: SeriesSummary, series: Sequence[SeriesSummary]) -> SeriesSummary | None:
    """The noise of an image that this node once reconstructed: the series that refers to it. Of projections
    the noise is found anew. The first of several: they are copies, since UIDs name the revision."""
    if emission.role is not Role.EMISSION:
        return None
    found = [
        s for s in series
        if s.role is Role.UNCERTAINTY and emission.series_uid in s.referenced_series_uids
    ]  # fmt: skip
    return min(found, key=lambda s: s.series_uid, default=None)
