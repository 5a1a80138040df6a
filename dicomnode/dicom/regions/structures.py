"""Organs and lesions that arrive as RTSTRUCT or SEG, on the grid of an emission volume."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes, open_object, quiet
from dicomnode.dicom.header.headers import role_of
from dicomnode.dicom.regions.rtstruct import NO_ORGANS, Roi, rois_of, slabs_of, undescribed, usual_distance
from dicomnode.dicom.regions.seg import segments_of
from dicomnode.dicom.regions.slabs import Share, Slabs, share_on
from dicomnode.dicom.regions.versions import latest
from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported
from dicomnode.model import Finding, Grid, LabelMap, Severity
from dicomnode.model.series import Role

VOLUME_LIMIT = 0.10
"""Relative change of volume on the grid that is reported as a warning."""
SMALL_ML = 0.5
"""Below this difference a change of volume is the grid's grain, not a loss."""
MAX_REGIONS = 1_000
EXPLAINED = frozenset({"region-no-organ", "region-contradiction"})
"""Findings after which structures may hold no region at all: they say all that is to be said."""

Region = tuple[int, str, Slabs | None, tuple[Finding, ...]]


@quiet()
def read_structures(
    paths: Sequence[Path], grid: Grid, frame_of_reference_uid: str, *, aligned_frame: str = ""
) -> tuple[LabelMap, tuple[Finding, ...]]:
    """Regions of RTSTRUCT and SEG objects on ``grid``, as the part of each voxel that they fill.

    The rule: each contour plane (or segmentation frame) is a slab from half-way to the plane before to
    half-way to the plane after; within a plane ``outlines.enclosed`` says what a ROI's contours enclose
    (holes, keyholes). ``LabelMap.volume_ml`` holds the volume before, by contours or segmentation voxels;
    ``LabelMap.voxel_volume_ml`` that on the grid; each region's finding states both.

    Regions may overlap. Names that occur twice get their number: "kidney", "kidney (ROI 7)". Of two sets
    with the same region the later one counts. Points and open contours are skipped, and what is no organ is
    left out, with a note; a region whose source contradicts itself is left out with a finding that holds.

    ``aligned_frame``: a second frame of reference whose coordinates are the volume's (the CT's, where SPECT
    and CT are taken as aligned).

    Raises
    ------
    Inconsistent : an object's frame of reference is another one; two sets compete and neither is later
    Refused : objects that hold no usable region
    """
    shares: dict[str, Share] = {}
    volumes: dict[str, float] = {}
    objects, replaced = latest([open_object(path, pixels=True) for path in paths])
    findings: list[Finding] = list(replaced)
    frames = {frame_of_reference_uid, aligned_frame or frame_of_reference_uid}
    for obj in objects:
        for number, label, slabs, about in _regions(obj, frames):
            findings.extend(about)
            if slabs is None:
                continue
            if len(shares) >= MAX_REGIONS:
                raise Refused(f"more than {MAX_REGIONS} regions", uid=obj.uid)
            name = _unique(label or f"region {number}", number, shares)
            share = share_on(slabs, grid)
            if not share.any():
                findings.append(_lost(name, slabs.volume_ml, obj.uid))
                continue
            shares[name], volumes[name] = share, slabs.volume_ml
            on_grid = float(share.sum(dtype=np.float64)) * grid.voxel_ml
            findings.append(_volumes(name, slabs.volume_ml, on_grid, obj.uid))
    if not shares and not any(f.rule in EXPLAINED for f in findings):
        why = "; ".join(f.sentence for f in findings) or "they hold none"
        raise Unsupported(f"no region could be read from the structures ({why})")
    return LabelMap(grid, shares, volumes), tuple(findings)


def _regions(obj: Attributes, frames: Collection[str]) -> Iterator[Region]:
    """Number, label, slabs and findings of each region. Raises Refused as :func:`read_structures`."""
    role, because = role_of(obj)
    if role is not Role.STRUCTURES:
        raise Unsupported(because or f"an object of role {role} holds no structures", uid=obj.uid)
    if obj.text("SOPClassUID") == sop.RTSTRUCT:
        yield from _contoured(obj, frames)
        return
    _require_frame(obj.text("FrameOfReferenceUID"), frames, obj.uid)
    segments, about_all = segments_of(obj)
    yield 0, "", None, about_all
    for segment in segments:
        name = segment.label or f"segment {segment.number}"
        if segment.contradiction:
            yield segment.number, name, None, (_contradicted(name, segment.contradiction),)
            continue
        about = () if segment.slabs else (_empty(name, "it has no pixels", obj.uid),)
        yield segment.number, name, segment.slabs, about


def _contoured(obj: Attributes, frames: Collection[str]) -> Iterator[Region]:
    rois = list(rois_of(obj))
    uids = [r.frame_of_reference_uid for r in sorted(rois, key=lambda r: not r.contours)]
    if not set(uids) & set(frames):
        _require_frame(next(filter(None, uids), ""), frames, obj.uid)
    usual = usual_distance(rois)
    yield 0, "", None, tuple(_strangers(obj))
    for roi in rois:
        slabs, about = _roi_slabs(roi, usual, frames, obj.uid)
        yield roi.number, roi.name, slabs, about


def _strangers(obj: Attributes) -> Iterator[Finding]:
    numbers = ", ".join("none" if n is None else str(n) for n in undescribed(obj))
    if numbers:
        sentence = (
            f"the structure set has contours of the ROI Numbers {numbers}, which it does not describe: "
            "send it with every region described"
        )
        yield Finding("contours-not-described", Severity.HOLD, sentence, subject=obj.uid)


def _roi_slabs(
    roi: Roi, usual_mm: float, frames: Collection[str], uid: str
) -> tuple[Slabs | None, tuple[Finding, ...]]:
    """Slabs of one ROI, or the finding that says why it is left out."""
    name = roi.name or f"ROI {roi.number}"
    about: tuple[Finding, ...] = ()
    if roi.interpreted_as in NO_ORGANS:
        return None, (_no_organ(name, roi.interpreted_as),)
    if roi.contradiction:
        return None, (_contradicted(name, roi.contradiction),)
    if roi.skipped:
        kinds = ", ".join(sorted(set(roi.skipped)))
        sentence = f"{len(roi.skipped)} contours of {name} enclose no area and were skipped ({kinds})"
        about = (Finding("contour-skipped", Severity.NOTE, sentence, subject=uid),)
    if not roi.contours:
        return None, (*about, _empty(name, "it has no closed contour", uid))
    if roi.frame_of_reference_uid not in frames:
        return None, (*about, _empty(name, "it lies in another frame of reference", uid))
    if usual_mm <= 0:
        return None, (*about, _empty(name, "a single contour plane states no thickness", uid))
    try:
        slabs, about_contours = slabs_of(roi, usual_mm)
    except Inconsistent as fault:
        return None, (*about, _contradicted(name, fault.reason))
    return slabs, about + about_contours


def _require_frame(stated: str, wanted: Collection[str], uid: str) -> None:
    if not stated:
        raise MissingAttribute(
            "the structures do not name their frame of reference", attribute="FrameOfReferenceUID", uid=uid,
            remedy="Without it their place is unknown: export them with it",
        )  # fmt: skip
    if stated not in wanted:
        raise Inconsistent(
            "the structures lie in another frame of reference than the volume "
            f"({' or '.join(filter(None, wanted)) or 'not stated'})",
            attribute="FrameOfReferenceUID", value=stated, uid=uid,
            remedy="They are not moved silently: draw them on the SPECT or on the CT that it is used with",
        )  # fmt: skip


def _unique(label: str, number: int, taken: dict[str, Share]) -> str:
    name = label if label not in taken else f"{label} (ROI {number})"
    count = 2
    while name in taken:
        name, count = f"{label} (ROI {number}, {count})", count + 1
    return name


def _empty(name: str, why: str, uid: str) -> Finding:
    return Finding("region-left-out", Severity.WARNING, f"region {name} was left out: {why}", subject=uid)


def _contradicted(name: str, why: str) -> Finding:
    """A region whose source contradicts itself is missing from the organ table: a person decides."""
    sentence = (
        f"region {name} was left out: {why}; send the structures corrected, or leave the region out "
        "(dicomnode leave-out)"
    )
    return Finding("region-contradiction", Severity.HOLD, sentence, subject=name)


def _no_organ(name: str, kind: str) -> Finding:
    sentence = f"region {name} is no organ but {kind} by its RT ROI Interpreted Type, and was left out"
    return Finding("region-no-organ", Severity.NOTE, sentence, subject=name)


def _lost(name: str, volume_ml: float, uid: str) -> Finding:
    sentence = f"region {name} ({volume_ml:.2f} mL) lies outside the image"
    return Finding("region-left-out", Severity.WARNING, sentence, volume_ml, None, "mL", uid)


def _volumes(name: str, before_ml: float, after_ml: float, uid: str) -> Finding:
    """Volume before and after; a warning where they differ by more than ``VOLUME_LIMIT``."""
    apart = abs(after_ml - before_ml)
    loud = apart > VOLUME_LIMIT * before_ml and apart > SMALL_ML
    sentence = f"region {name}: {before_ml:.2f} mL as drawn, {after_ml:.2f} mL on the grid"
    if loud:
        sentence += ": it reaches beyond the image; judge its dose with care"
    severity = Severity.WARNING if loud else Severity.NOTE
    return Finding("region-volume", severity, sentence, after_ml, before_ml, "mL", uid)
