"""Organs and lesions that arrive as RTSTRUCT or SEG, on the grid of an emission volume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.dataset import Attributes, open_object, quiet
from dicomnode.dicom.header.headers import role_of
from dicomnode.dicom.regions.rtstruct import Roi, rois_of, slabs_of, usual_distance
from dicomnode.dicom.regions.seg import segments_of
from dicomnode.dicom.regions.slabs import Share, Slabs, share_on
from dicomnode.errors import Inconsistent, MissingAttribute, Refused, Unsupported
from dicomnode.model import Finding, Grid, LabelMap, Severity
from dicomnode.model.series import Role

VOLUME_LIMIT = 0.10
"""Relative change of volume on the grid that is reported as a warning."""
SMALL_ML = 0.5
"""Below this difference a change of volume is the grid's grain, not a loss."""
MAX_REGIONS = 1_000

Region = tuple[int, str, Slabs | None, tuple[Finding, ...]]


@quiet()
def read_structures(
    paths: Sequence[Path], grid: Grid, frame_of_reference_uid: str
) -> tuple[LabelMap, tuple[Finding, ...]]:
    """Regions of RTSTRUCT and SEG objects on ``grid``, as the part of each voxel that they fill.

    The rule: each contour plane (or segmentation frame) is a slab from half-way to the plane before to
    half-way to the plane after; within a plane a point is inside where it lies within an odd number of the
    ROI's contours (holes, keyholes). ``LabelMap.volume_ml`` holds the volume before, by contours or
    segmentation voxels; ``LabelMap.voxel_volume_ml`` that on the grid; each region's finding states both.

    Regions may overlap. Names that occur twice get their number: "kidney", "kidney (ROI 7)". Points and
    open contours are skipped, and a region that cannot be read left out, with a finding. Raises Inconsistent
    where an object's frame of reference is another one, Refused for objects that hold no usable region.
    """
    shares: dict[str, Share] = {}
    volumes: dict[str, float] = {}
    findings: list[Finding] = []
    for path in paths:
        obj = open_object(path, pixels=True)
        for number, label, slabs, about in _regions(obj, frame_of_reference_uid):
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
    if not shares:
        why = "; ".join(f.sentence for f in findings) or "they hold none"
        raise Unsupported(f"no region could be read from the structures ({why})")
    return LabelMap(grid, shares, volumes), tuple(findings)


def _regions(obj: Attributes, frame_of_reference_uid: str) -> Iterator[Region]:
    """Number, label, slabs and findings of each region. Raises Refused as :func:`read_structures`."""
    role, because = role_of(obj)
    if role is not Role.STRUCTURES:
        raise Unsupported(because or f"an object of role {role} holds no structures", uid=obj.uid)
    if obj.text("SOPClassUID") == sop.RTSTRUCT:
        yield from _contoured(obj, frame_of_reference_uid)
        return
    _require_frame(obj.text("FrameOfReferenceUID"), frame_of_reference_uid, obj.uid)
    for number, label, slabs in segments_of(obj):
        about = () if slabs else (_empty(label or f"segment {number}", "it has no pixels", obj.uid),)
        yield number, label, slabs, about


def _contoured(obj: Attributes, frame_of_reference_uid: str) -> Iterator[Region]:
    rois = list(rois_of(obj))
    uids = [roi.frame_of_reference_uid for roi in rois if roi.contours]
    if frame_of_reference_uid not in uids:
        _require_frame(uids[0] if uids else "", frame_of_reference_uid, obj.uid)
    usual = usual_distance(rois)
    for roi in rois:
        slabs, about = _roi_slabs(roi, usual, frame_of_reference_uid, obj.uid)
        yield roi.number, roi.name, slabs, about


def _roi_slabs(
    roi: Roi, usual_mm: float, frame_of_reference_uid: str, uid: str
) -> tuple[Slabs | None, tuple[Finding, ...]]:
    """Slabs of one ROI, or the finding that says why it is left out."""
    name = roi.name or f"ROI {roi.number}"
    about: tuple[Finding, ...] = ()
    if roi.skipped:
        kinds = ", ".join(sorted(set(roi.skipped)))
        sentence = f"{len(roi.skipped)} contours of {name} enclose no area and were skipped ({kinds})"
        about = (Finding("contour-skipped", Severity.NOTE, sentence, subject=uid),)
    if not roi.contours:
        return None, (*about, _empty(name, "it has no closed contour", uid))
    if roi.frame_of_reference_uid != frame_of_reference_uid:
        return None, (*about, _empty(name, "it lies in another frame of reference", uid))
    if usual_mm <= 0:
        return None, (*about, _empty(name, "a single contour plane states no thickness", uid))
    try:
        slabs, about_gaps = slabs_of(roi, usual_mm)
    except Inconsistent as fault:
        return None, (*about, _empty(name, fault.reason, uid))
    return slabs, about + about_gaps


def _require_frame(stated: str, wanted: str, uid: str) -> None:
    if not stated:
        raise MissingAttribute(
            "the structures do not name their frame of reference", attribute="FrameOfReferenceUID", uid=uid,
            remedy="Without it their place is unknown: export them with it",
        )  # fmt: skip
    if stated != wanted:
        raise Inconsistent(
            f"the structures lie in another frame of reference than the volume ({wanted or 'not stated'})",
            attribute="FrameOfReferenceUID", value=stated, uid=uid,
            remedy="They are not moved silently: send them drawn on this study's CT, or with a REG object",
        )  # fmt: skip


def _unique(label: str, number: int, taken: dict[str, Share]) -> str:
    name = label if label not in taken else f"{label} (ROI {number})"
    count = 2
    while name in taken:
        name, count = f"{label} (ROI {number}, {count})", count + 1
    return name


def _empty(name: str, why: str, uid: str) -> Finding:
    return Finding("region-left-out", Severity.WARNING, f"region {name} was left out: {why}", subject=uid)


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
