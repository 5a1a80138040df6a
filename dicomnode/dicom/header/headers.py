"""What one instance is for, read from its header alone."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

from dicomnode.dicom import sop_classes as sop
from dicomnode.dicom.header.administration import administrations_of, reports_administration
from dicomnode.dicom.header.dataset import NATIVE, Attributes, open_object, quiet
from dicomnode.dicom.header.instants import acquired_at
from dicomnode.dicom.header.orientation import stated_position
from dicomnode.dicom.header.radiopharmaceutical import Injected, clock_of, read_injected
from dicomnode.errors import Refused
from dicomnode.model import Finding, Severity
from dicomnode.model.series import InstanceHeader, Role
from dicomnode.model.text import shortened

# Attributes that rules of other rooms need, kept as text by keyword.
FACTS = (
    "ImageType", "SeriesType", "Manufacturer", "ManufacturerModelName", "StationName", "DeviceSerialNumber",
    "SoftwareVersions", "InstitutionName", "StudyDescription", "ProtocolName", "BodyPartExamined",
    "AccessionNumber", "StudyDate", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime",
    "TimezoneOffsetFromUTC", "InstanceNumber", "SeriesNumber", "NumberOfSlices", "Rows", "Columns",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SpacingBetweenSlices",
    "PatientPosition", "DecayCorrection", "DecayFactor", "CorrectedImage", "AttenuationCorrectionMethod",
    "ScatterCorrectionMethod", "ReconstructionMethod", "ConvolutionKernel", "ActualFrameDuration",
    "PatientWeight", "PatientSize", "KVP", "PatientName", "PatientBirthDate", "PatientSex",
    "IssuerOfPatientID", "ContrastBolusAgent", "SliceThickness",
)  # fmt: skip

LONGEST_CODE = 16
"""Characters of a code string (PS3.5 6.2, CS)."""
_UID = re.compile(r"[0-9.]{1,64}")
"""PS3.5 9.1; other makers' UIDs may carry leading zeros."""
NOISE_LABEL = "ACTIVITY_NOISE"
"""ContentLabel of replicates of a SPECT that was reconstructed here (``parametric_map``)."""

_NOT_RECON = {
    "GATEDTOMO": "gated projections are not used",
    "RECONGATEDTOMO": "a gated reconstruction is not used: reconstruct all gates together",
    "GATED": "a gated acquisition holds no volume",
    "DYNAMIC": "a dynamic planar acquisition holds no volume",
    "STATIC": "a planar image holds no volume",
    "WHOLEBODY": "a planar whole-body image holds no volume",
}


@quiet()
def read_header(path: Path, zone: ZoneInfo) -> InstanceHeader:
    """What the instance at ``path`` says of itself; ``zone`` is the site's, for times without an offset.

    An object that parses is never an error: where it is of no use its role is ``Role.UNUSED`` and
    ``unused_because`` says why. Raises Refused for what cannot be parsed as DICOM, and for a Patient ID or
    a UID that nothing could be kept apart by.
    """
    obj = open_object(path, pixels=False)
    patient_id = obj.identity("PatientID")
    for keyword in (*_IDENTITY, "FrameOfReferenceUID"):
        _check_uid(obj, keyword)
    role, because = role_of(obj)
    clock = clock_of(obj, zone)
    acquired = acquired_at(obj, clock)
    injected = _injected_of_report(obj, zone) if role is Role.ADMINISTRATION else read_injected(obj, clock)
    lies = stated_position(obj)
    is_scan = role in (Role.EMISSION, Role.PROJECTIONS, Role.CT)
    findings = (*(acquired.findings + lies.findings if is_scan else ()), *injected.findings)
    facts = {key: text for key in FACTS if (text := obj.text(key))} | _nm_facts(obj)
    facts |= {"PatientPosition": lies.value} if lies.value else {}
    return InstanceHeader(
        sop_instance_uid=obj.uid,
        sop_class_uid=obj.text("SOPClassUID"),
        series_instance_uid=obj.text("SeriesInstanceUID"),
        study_instance_uid=obj.text("StudyInstanceUID"),
        role=role,
        modality=shortened(obj.text("Modality"), LONGEST_CODE),
        patient_id=patient_id,
        patient_name=obj.text("PatientName"),
        patient_birth_date=obj.text("PatientBirthDate"),
        patient_sex=obj.text("PatientSex"),
        frame_of_reference_uid=frame_of_reference(obj),
        series_description=obj.text("SeriesDescription"),
        acquired_at=acquired.at,
        frames=max(1, obj.integer("NumberOfFrames") or 1),
        units=obj.text("Units"),
        nuclide=injected.nuclide,
        half_life_s=injected.half_life_s,
        radiopharmaceutical=injected.radiopharmaceutical,
        administered_mbq=injected.administered_mbq,
        administered_at=injected.administered_at,
        referenced_series_uids=referenced_series(obj),
        unused_because=because,
        facts=facts,
        findings=findings + _unreadable(obj),
    )


def role_of(obj: Attributes) -> tuple[Role, str]:
    """Role of an object, and why it is unused where it is.

    Decided by SOP class and image type, never by Modality: SPECT is stored as PT, too, and a screen
    capture as NM.
    """
    missing = [k for k in _IDENTITY if not obj.text(k)]
    if missing:
        return Role.UNUSED, f"it has no {', '.join(missing)}, so it can be neither kept apart nor referred to"
    kind = obj.text("SOPClassUID")
    role, because = _role_of_class(obj, kind)
    if role is not Role.UNUSED and obj.transfer_syntax not in NATIVE:
        syntax = obj.transfer_syntax or "unknown"
        return Role.UNUSED, f"it is in transfer syntax {syntax}; send it uncompressed, little endian"
    return role, because


def _check_uid(obj: Attributes, keyword: str) -> None:
    uid = obj.text(keyword)
    if uid and not _UID.fullmatch(uid):
        raise Refused(
            f"{keyword} is no UID: at most 64 digits and dots (PS3.5 9.1)", attribute=keyword,
            value=shortened(uid, 80), remedy="Have the sender write a UID and send the object again",
        )  # fmt: skip


_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


def _role_of_class(obj: Attributes, kind: str) -> tuple[Role, str]:
    if kind == sop.NM:
        return nm_role(obj)
    if kind in sop.PET_CLASSES:
        return pet_role(obj)
    if kind in sop.CT_CLASSES:
        return ct_role(obj)
    if kind == sop.RTSTRUCT or kind in sop.SEGMENTATIONS:
        return Role.STRUCTURES, ""
    if kind in (sop.REGISTRATION, sop.DEFORMABLE_REGISTRATION):
        return Role.REGISTRATION, ""
    if kind == sop.RTPLAN:
        return Role.PLAN, ""
    if kind == sop.PARAMETRIC_MAP and obj.text("ContentLabel") == NOISE_LABEL:
        return Role.UNCERTAINTY, ""
    if kind.startswith(sop.STRUCTURED_REPORTS):
        if kind == sop.RADIOPHARMACEUTICAL_DOSE_SR or reports_administration(obj):
            return Role.ADMINISTRATION, ""
        return Role.UNUSED, "the structured report states no administered activity"
    return Role.UNUSED, f"objects of SOP class {kind} are of no use to a dose calculation"


def image_type(obj: Attributes) -> tuple[str, ...]:
    """ImageType in capitals, without blanks or underscores in its values."""
    return tuple(re.sub(r"[\s_-]", "", value.upper()) for value in obj.texts("ImageType"))


def nm_role(obj: Attributes) -> tuple[Role, str]:
    """RECON TOMO is an emission volume, TOMO raw projections (PS3.3 C.8.4.9.1.1); the rest is unused."""
    values = image_type(obj)
    if "TRANSMISSION" in values:
        return Role.UNUSED, "a transmission image holds no activity"
    kind = values[2] if len(values) > 2 else ""
    if kind == "RECONTOMO" or (kind.startswith("RECON") and "GATED" not in kind):
        return Role.EMISSION, ""
    if kind in ("TOMO", "TOMOGRAPHIC"):
        return Role.PROJECTIONS, "raw projections; reconstruct first"
    if kind in _NOT_RECON:
        return Role.UNUSED, _NOT_RECON[kind]
    return Role.UNUSED, f"ImageType {obj.text('ImageType') or '(empty)'} is not that of a reconstruction"


def pet_role(obj: Attributes) -> tuple[Role, str]:
    """A PET (or SPECT) volume; gated, dynamic, re-projected and uncorrected series are unused."""
    series_type = {value.upper() for value in obj.texts("SeriesType")}
    if "TRANSMISSION" in image_type(obj):
        return Role.UNUSED, "a transmission image holds no activity"
    for value, what in (("GATED", "gated"), ("DYNAMIC", "dynamic"), ("REPROJECTION", "re-projected")):
        if value in series_type:
            return Role.UNUSED, f"a {what} series is not used"
    corrected = {value.upper() for value in obj.texts("CorrectedImage")}
    if corrected and "ATTN" not in corrected:
        return Role.UNUSED, "the series is not corrected for attenuation (CorrectedImage has no ATTN)"
    return Role.EMISSION, ""


def ct_role(obj: Attributes) -> tuple[Role, str]:
    """A CT image; localisers and derived parameter maps are unused."""
    values = image_type(obj)
    if "LOCALIZER" in values or "SCOUT" in values:
        return Role.UNUSED, "a localiser is no slice of the volume"
    if "PERFUSION" in values or "MIP" in values or "MINIP" in values:
        return Role.UNUSED, f"ImageType {obj.text('ImageType')} is no CT number image"
    return Role.CT, ""


def frame_of_reference(obj: Attributes) -> str:
    """Frame of Reference UID; of an RTSTRUCT, that of its structures where it is a single one."""
    if obj.text("SOPClassUID") != sop.RTSTRUCT:
        return obj.text("FrameOfReferenceUID")
    rois = obj.items("StructureSetROISequence")
    uids = {uid for r in rois if (uid := r.text("ReferencedFrameOfReferenceUID"))}
    if not uids:
        frames = obj.items("ReferencedFrameOfReferenceSequence")
        uids = {uid for f in frames if (uid := f.text("FrameOfReferenceUID"))}
    return uids.pop() if len(uids) == 1 else ""


def referenced_series(obj: Attributes) -> tuple[str, ...]:
    """Series that the object refers to (RTSTRUCT, SEG, REG, SR), each once, in order."""
    found = [s.text("SeriesInstanceUID") for s in obj.items("ReferencedSeriesSequence")]
    for frame in obj.items("ReferencedFrameOfReferenceSequence"):
        for study in frame.items("RTReferencedStudySequence"):
            found += [s.text("SeriesInstanceUID") for s in study.items("RTReferencedSeriesSequence")]
    for other in ("StudiesContainingOtherReferencedInstancesSequence",
                  "CurrentRequestedProcedureEvidenceSequence"):  # fmt: skip
        for study in obj.items(other):
            found += [s.text("SeriesInstanceUID") for s in study.items("ReferencedSeriesSequence")]
    return tuple(dict.fromkeys(uid for uid in found if uid))


def _nm_facts(obj: Attributes) -> dict[str, str]:
    """Collimator, place and energy windows, wherever the object keeps them (NM: in its sequences)."""
    detector = obj.first("DetectorInformationSequence")
    facts = {
        key: text
        for key in ("CollimatorGridName", "CollimatorType", "ImagePositionPatient", "ImageOrientationPatient")
        if (text := detector.text(key) or obj.text(key))
    }
    windows = obj.items("EnergyWindowInformationSequence")
    ranges = [r for w in windows for r in w.items("EnergyWindowRangeSequence")]
    ranges += obj.items("EnergyWindowRangeSequence")
    spans = [f"{r.text('EnergyWindowLowerLimit')}-{r.text('EnergyWindowUpperLimit')}" for r in ranges]
    return facts | ({"EnergyWindows": "\\".join(spans)} if spans else {})


def _injected_of_report(obj: Attributes, zone: ZoneInfo) -> Injected:
    """The one administration that a report states; nothing where it states several or not all of one."""
    try:
        stated, findings = administrations_of(obj, zone)
    except Refused as refusal:
        finding = Finding("report-not-usable", Severity.WARNING, str(refusal), subject=obj.uid)
        return Injected(findings=(finding,))
    if len(stated) != 1:
        return Injected(findings=findings)
    one = stated[0]
    return Injected(one.nuclide, None, one.radiopharmaceutical, one.activity_mbq, one.at, findings)


def _unreadable(obj: Attributes) -> tuple[Finding, ...]:
    if not obj.faults:
        return ()
    sentence = f"values that cannot be read count as absent: {', '.join(sorted(set(obj.faults)))}"
    return (Finding("unreadable-attribute", Severity.WARNING, sentence, subject=obj.uid),)
