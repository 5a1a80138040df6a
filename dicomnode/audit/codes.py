"""Codes of audit events: DICOM PS3.16 CID 400 to 404, and our own where the standard has none.

The values were compared with PS3.16 as pydicom carries it (a test repeats that).
"""

from __future__ import annotations

from dataclasses import dataclass

# PS3.16 section 8: designators of private schemes begin with 99.
PRIVATE_SCHEME = "99DICOMNODE"


@dataclass(frozen=True)
class Code:
    """A coded value: code, meaning, coding scheme designator."""

    code: str
    meaning: str
    scheme: str = "DCM"


# CID 400 Audit Event ID
APPLICATION_ACTIVITY = Code("110100", "Application Activity")
AUDIT_LOG_USED = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
DATA_EXPORT = Code("110106", "Export")
PROCEDURE_RECORD = Code("110111", "Procedure Record")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

# CID 401 Audit Event Type Code, CID 403 Security Alert Type Code
APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")

# CID 402 Audit Active Participant Role ID Code
APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")

# CID 404 Audit Participant Object ID Type Code; RFC 3881 (PS3.15 A.5.1.2.4) for the two numbers
STUDY_INSTANCE_UID = Code("110180", "Study Instance UID")
NODE_ID = Code("110182", "Node ID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
URI = Code("12", "URI", "RFC-3881")

# Ours: the standard has no words for a calculation or a course of therapy.
CALCULATION = Code("calculation", "Calculation", PRIVATE_SCHEME)
STORAGE_COMMITMENT = Code("storage-commitment", "Storage Commitment", PRIVATE_SCHEME)
TRAIL_BROKEN = Code("audit-trail-broken", "Audit Trail Broken", PRIVATE_SCHEME)
SERIES_INSTANCE_UID = Code("series-instance-uid", "Series Instance UID", PRIVATE_SCHEME)
SOP_INSTANCE_UID = Code("sop-instance-uid", "SOP Instance UID", PRIVATE_SCHEME)
CYCLE_ID = Code("cycle", "Cycle of a radionuclide therapy", PRIVATE_SCHEME)
REVISION_ID = Code("revision", "Revision of a cycle's result", PRIVATE_SCHEME)


def private(code: str, meaning: str) -> Code:
    """A code of our own scheme."""
    return Code(code, meaning, PRIVATE_SCHEME)
