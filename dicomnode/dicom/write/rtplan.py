"""The companion plan: the least RT Plan that an RT Dose may refer to (PS3.3 A.20, C.8.8.9).

Some planning systems refuse a dose whose plan they do not hold. Molecular radiotherapy has no beams, so
the plan says nothing but that a treatment took place: unapproved, geometry of the device, no fraction
group. It is written only for peers whose configuration asks for it, and is sent before the dose.
"""

from __future__ import annotations

from dicomnode.dicom.reference import PatientStudy, SourceImage
from dicomnode.dicom.write.modules import ObjectIdentity, encoded, new_object, put_frame_of_reference

RT_PLAN_STORAGE = "1.2.840.10008.5.1.4.1.1.481.5"


def write_companion_plan(
    patient: PatientStudy, identity: ObjectIdentity, *, label: str, description: str = ""
) -> bytes:
    """The plan as a DICOM file.

    Parameters
    ----------
    label : RTPlanLabel, cut at 16 characters (VR SH): "Lu-177 cycle 2"
    description : RTPlanDescription: radiopharmaceutical, activity, date
    """
    ds = new_object(RT_PLAN_STORAGE, "RTPLAN", patient, identity)
    ds.OperatorsName = ""
    del ds.ContentDate, ds.ContentTime  # not of this IOD
    put_frame_of_reference(ds, patient)
    ds.RTPlanLabel = label[:16]
    if description:
        ds.RTPlanDescription = description[:1024]
    ds.RTPlanDate, ds.RTPlanTime = identity.date, identity.time
    ds.RTPlanGeometry = "TREATMENT_DEVICE"
    ds.ApprovalStatus = "UNAPPROVED"
    return encoded(ds)


def plan_reference(patient: PatientStudy, identity: ObjectIdentity) -> SourceImage:
    """What a dose refers to where this plan is its companion."""
    return SourceImage(RT_PLAN_STORAGE, identity.sop_instance_uid, identity.series_uid, patient.study_uid)
