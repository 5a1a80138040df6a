"""Which structure objects of one time point count: a corrected set replaces the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.dicom.regions.rtstruct import NO_ORGANS, rois_of
from dicomnode.errors import Inconsistent
from dicomnode.model import Finding, Severity

DATES = ("StructureSet", "Content", "InstanceCreation")


def latest(objects: Sequence[Attributes]) -> tuple[list[Attributes], tuple[Finding, ...]]:
    """The objects without those that a later one replaces, and a finding for each that is replaced.

    A set replaces another where it names it in Predecessor Structure Set Sequence (3006,0018), or where it
    is later and holds a region of the same name. Sets without a common region are used side by side.

    Raises
    ------
    Inconsistent
        two sets hold the same region and neither is later.
    """
    gone: dict[str, Finding] = {}
    for one, other in combinations(objects, 2):
        older, newer, named = _in_order(one, other)
        if older is None or newer is None or older.uid in gone or newer.uid in gone:
            continue
        gone[older.uid] = _replaced(older, newer, named)
    return [o for o in objects if o.uid not in gone], tuple(gone.values())


def _in_order(one: Attributes, other: Attributes) -> tuple[Attributes | None, Attributes | None, bool]:
    """The older and the newer of two sets that compete, and whether the newer names the older."""
    if one.uid in _predecessors(other):
        return one, other, True
    if other.uid in _predecessors(one):
        return other, one, True
    common = _names(one) & _names(other)
    if not common:
        return None, None, False
    if _written(one) == _written(other) or not (_written(one) and _written(other)):
        raise Inconsistent(
            f"{_title(one)} and {_title(other)} both hold {', '.join(sorted(common))}, and neither is later",
            attribute="StructureSetDate", uid=other.uid,
            remedy="Leave out the series that does not count: dicomnode leave-out "
            f"{one.text('SeriesInstanceUID')} or {other.text('SeriesInstanceUID')}",
        )  # fmt: skip
    older, newer = sorted((one, other), key=_written)
    return older, newer, False


def _replaced(older: Attributes, newer: Attributes, named: bool) -> Finding:
    """A warning; a hold where the older set has a region that the newer lacks and does not name it."""
    lost = sorted(_names(older) - _names(newer))
    why = "which names it as its predecessor" if named else "which is later and has regions of the same names"
    sentence = f"{_title(older)} is replaced by {_title(newer)}, {why}"
    if lost:
        sentence += f"; only the older one has {', '.join(lost)}: accept that, or send one set with all"
    severity = Severity.HOLD if lost and not named else Severity.WARNING
    return Finding("structure-set-replaced", severity, sentence, float(len(lost)), 0.0, "", older.uid)


def _predecessors(obj: Attributes) -> set[str]:
    return {item.text("ReferencedSOPInstanceUID") for item in obj.items("PredecessorStructureSetSequence")}


def _names(obj: Attributes) -> set[str]:
    """Names of the organs and lesions of a set, as they are compared."""
    rois = {roi.name for roi in rois_of(obj) if roi.contours and roi.interpreted_as not in NO_ORGANS}
    labels = {item.text("SegmentLabel") for item in obj.items("SegmentSequence")}
    return {name.strip().casefold() for name in rois | labels} - {""}


def _written(obj: Attributes) -> str:
    """When a set was written: date and time to the second; empty where not stated."""
    for kind in DATES:
        date, time = obj.text(f"{kind}Date"), obj.text(f"{kind}Time")
        if date:
            return date + time.partition(".")[0].ljust(6, "0")
    return ""


def _title(obj: Attributes) -> str:
    label = obj.text("StructureSetLabel") or obj.text("SeriesDescription") or obj.uid
    written = _written(obj)
    return f"the structures {label!r}" + (f" of {written[:8]} {written[8:]}" if written else "")
