"""Events and the XML messages made of them."""

from __future__ import annotations

import base64
import inspect
import json
from dataclasses import replace
from datetime import UTC, datetime
from xml.etree import ElementTree as Tree

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts

from dicomnode.audit import codes, events, trail
from dicomnode.audit.about import Person
from dicomnode.audit.codes import Code
from dicomnode.audit.event import Event, Outcome, Party, instant
from dicomnode.audit.events import About
from dicomnode.audit.message import to_syslog, to_xml
from dicomnode.audit.tables import KEYS
from dicomnode.database.database import Database

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HERE = "NODE"
PEER = Party("PACS", "10.0.0.7", "CN=pacs")
CT = About(
    patient_id="P1", study_instance_uid="1.9", series_instance_uid="1.9.1", sop_instance_uid="1.9.1.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2", cycle_id="c1", revision_id="r1",
)  # fmt: skip

EVERY: dict[str, Event] = {
    "application_started": events.application_started(HERE, role="receive", version="1", config_digest="ab"),
    "application_stopped": events.application_stopped(HERE, role="receive", because="asked"),
    "configuration_changed": events.configuration_changed(
        HERE, before="a", after="b", changes={"dose.engine": ["local", "vsv"]}, person="eva"
    ),
    "security_alert": events.security_alert(HERE, sentence="a malformed UID", peer=PEER),
    "association_refused": events.association_refused(HERE, PEER, called_ae="X", reason="unknown peer"),
    "instance_received": events.instance_received(
        HERE, PEER, CT, receipt="NEW", sha256="a" * 64, size_bytes=5, association="x"
    ),
    "instance_quarantined": events.instance_quarantined(HERE, CT, reason="cannot be parsed"),
    "quarantine_decided": events.quarantine_decided(
        "eva", CT, decision="dismissed", because="a phantom without a number"
    ),
    "series_used": events.series_used(HERE, CT, role="ct"),
    "series_unused": events.series_unused(HERE, CT, reason_code="localizer", reason="a localizer"),
    "cycle_state_changed": events.cycle_state_changed(
        HERE, CT, before="READY", after="HELD", reasons=["no CT"]
    ),
    "administration_recorded": events.administration_recorded(
        "eva", CT, nuclide="Lu-177", activity_mbq=7400.0, at=NOON, source="person:eva"
    ),
    "administration_withdrawn": events.administration_withdrawn(
        "eva", CT, because="typed twice", administration_id=3
    ),
    "cycle_released": events.cycle_released("eva", CT, because="checked by hand"),
    "left_out": events.left_out(
        "eva", CT, kind="region", subject="liver", because="drawn on another scan", undone=False
    ),
    "cycle_held": events.cycle_held("eva", CT, because="wrong patient?"),
    "sent_again": events.sent_again("eva", CT, peer="PACS"),
    "given_up": events.given_up("eva", CT, peer="PACS", because="it takes no SR", objects=2),
    "calculation_started": events.calculation_started(HERE, CT, step="dose", facts={"engine": "vsv"}),
    "calculation_ended": events.calculation_ended(
        HERE, CT, step="dose", succeeded=False, message="no memory", facts={}
    ),
    "calculation_replayed": events.calculation_replayed(
        HERE, CT, calculation_id=7, same=False, differing=["dose"]
    ),
    "result_created": events.result_created(HERE, CT, role="dose", sha256="b" * 64),
    "transfer_begun": events.transfer_begun(HERE, PEER, CT, attempt=2),
    "transferred": events.transferred(HERE, PEER, CT, outcome=Outcome.MINOR, status="B000"),
    "commitment": events.commitment(HERE, PEER, CT, step="FAILED", transaction_uid="1.7", reason="0112"),
    "user_authenticated": events.user_authenticated(
        "DICOMNODE", Person("eva", "Eva E."), role="physicist", address="127.0.0.1"
    ),
    "log_in_failed": events.log_in_failed("DICOMNODE", "eva", address="127.0.0.1", why="wrong password"),
    "data_exported": events.data_exported(Person("eva", "Eva E."), CT, what="question 9", rows=3),
    "instances_viewed": events.instances_viewed("eva", CT, what="show"),
    "study_deleted": events.study_deleted(HERE, CT, instances={"1.2": 3, "1.3": 1}, because="30 years"),
    "audit_log_used": events.audit_log_used(
        "eva", verb="query", query={"patient_id": "P1"}, rows=3, uri="sqlite:///x"
    ),
    "trail_verified": events.trail_verified(HERE, rows=3, broken_seq=2, why="prev_hash"),
}

# PS3.15 A.5.3: event -> code, action, type code (where the standard fixes one).
STANDARD = {
    "application_started": ("110100", "E", "110120"),
    "application_stopped": ("110100", "E", "110121"),
    "configuration_changed": ("110113", "E", "110131"),
    "security_alert": ("110113", "E", "110126"),
    "association_refused": ("110113", "E", "110126"),
    "instance_received": ("110104", "C", None),
    "result_created": ("110103", "C", None),
    "series_used": ("110103", "R", None),
    "transfer_begun": ("110102", "E", None),
    "transferred": ("110104", "R", None),
    "study_deleted": ("110105", "D", None),
    "audit_log_used": ("110101", "R", None),
    "administration_recorded": ("110111", "C", "administration-recorded"),
}


def public_constructors() -> set[str]:
    found = inspect.getmembers(events, inspect.isfunction)
    return {name for name, item in found if item.__module__ == events.__name__ and not name.startswith("_")}


def xml_of(event: Event) -> Tree.Element:
    body = event.body()
    raw = to_xml(seq=7, at=instant(NOON), row_hash="ab", body=body, source_id="n1", enterprise_site_id="H")
    return Tree.fromstring(raw)


def test_every_constructor_is_tried_here() -> None:
    assert set(EVERY) == public_constructors()


def test_every_event_is_recorded_on_both_databases(database: Database) -> None:
    """PostgreSQL refuses a text longer than its column, SQLite never: the code "storage-commitment" has 18
    characters, and its column had 16."""
    far = "\N{MUSICAL SYMBOL G CLEF}" * 3000
    with database.write() as session:
        for event in EVERY.values():
            trail.append(session, event)
            keys = dict.fromkeys(KEYS, far)
            trail.append(session, replace(event, **keys, sentence=far))
    with database.read() as session:
        assert trail.verify(session).whole
        assert trail.count(session) == 2 * len(EVERY)


def test_our_codes_are_those_of_ps3_16() -> None:
    dcm = {code: meaning for entry in concepts["DCM"].values() for code, (meaning, _) in entry.items()}
    ours = [item for item in vars(codes).values() if isinstance(item, Code) and item.scheme == "DCM"]
    assert len(ours) == 21
    assert {code.code: code.meaning for code in ours} == {code.code: dcm[code.code] for code in ours}


def test_event_and_type_codes_are_in_the_context_groups_that_a_5_asks_for() -> None:
    def members(cid: int) -> set[str]:
        return {code for name in cid_concepts[cid]["DCM"] for code in concepts["DCM"][name]}

    for event in EVERY.values():
        assert event.event_id.scheme == codes.PRIVATE_SCHEME or event.event_id.code in members(400)
        if event.type_code and event.type_code.scheme == "DCM":
            assert event.type_code.code in members(401) | members(403)
        for role in (p.role for p in event.participants if p.role):
            assert role.code in members(402)


@pytest.mark.parametrize("name", STANDARD)
def test_an_event_is_coded_as_the_standard_says(name: str) -> None:
    event = EVERY[name]
    type_code = event.type_code.code if event.type_code else None
    assert (event.event_id.code, event.action, type_code) == STANDARD[name]


@pytest.mark.parametrize(
    ("receipt", "action", "outcome"), [("NEW", "C", 0), ("DUPLICATE", "R", 0), ("CONFLICT", "U", 4)]
)
def test_new_duplicate_and_conflict_are_create_read_and_update(
    receipt: events.Receipt, action: str, outcome: int
) -> None:
    event = events.instance_received(HERE, PEER, CT, receipt=receipt, sha256="", size_bytes=1, association="")
    assert (event.action, event.outcome) == (action, outcome)


# The audit schema of PS3.15 A.5.1: element -> (children in order with how often, attributes: needed or not).
SCHEMA: dict[str, tuple[list[tuple[str, str]], dict[str, bool]]] = {
    "AuditMessage": (
        [
            ("EventIdentification", "1"),
            ("ActiveParticipant", "+"),
            ("AuditSourceIdentification", "1"),
            ("ParticipantObjectIdentification", "*"),
        ],
        {},
    ),
    "EventIdentification": (
        [("EventID", "1"), ("EventTypeCode", "*"), ("EventOutcomeDescription", "?")],
        {"EventActionCode": False, "EventDateTime": True, "EventOutcomeIndicator": True},
    ),
    "ActiveParticipant": (
        [("RoleIDCode", "*"), ("MediaIdentifier", "?")],
        {
            "UserID": True,
            "AlternativeUserID": False,
            "UserName": False,
            "UserIsRequestor": True,
            "NetworkAccessPointID": False,
            "NetworkAccessPointTypeCode": False,
        },
    ),
    "AuditSourceIdentification": (
        [("AuditSourceTypeCode", "*")],
        {"AuditEnterpriseSiteID": False, "AuditSourceID": True},
    ),
    "AuditSourceTypeCode": ([], {"csd-code": True}),
    "ParticipantObjectIdentification": (
        [
            ("ParticipantObjectIDTypeCode", "1"),
            ("ParticipantObjectName", "1"),
            ("ParticipantObjectDetail", "*"),
            ("ParticipantObjectDescription", "*"),
        ],
        {
            "ParticipantObjectID": True,
            "ParticipantObjectTypeCode": False,
            "ParticipantObjectTypeCodeRole": False,
        },
    ),
    "ParticipantObjectDetail": ([], {"type": True, "value": True}),
    "ParticipantObjectDescription": ([("SOPClass", "*")], {}),
    "SOPClass": ([("Instance", "*")], {"UID": False, "NumberOfInstances": True}),
    "Instance": ([], {"UID": True}),
    **{
        name: ([], {"csd-code": True, "codeSystemName": True, "originalText": True, "displayName": False})
        for name in ("EventID", "EventTypeCode", "RoleIDCode", "ParticipantObjectIDTypeCode")
    },
    "EventOutcomeDescription": ([], {}),
    "ParticipantObjectName": ([], {}),
}


def check_structure(element: Tree.Element) -> None:
    children, attributes = SCHEMA[element.tag]
    assert set(element.attrib) <= set(attributes), element.tag
    assert {name for name, needed in attributes.items() if needed} <= set(element.attrib), element.tag
    order = [name for name, _ in children]
    places = [order.index(child.tag) for child in element]
    assert places == sorted(places), f"{element.tag}: children out of order"
    for name, often in children:
        count = len(element.findall(name))
        assert {"1": count == 1, "?": count <= 1, "+": count >= 1, "*": True}[often], (
            element.tag,
            name,
            count,
        )
    for child in element:
        check_structure(child)


@pytest.mark.parametrize("name", EVERY)
def test_every_event_makes_a_message_of_the_schemas_structure(name: str) -> None:
    message = xml_of(EVERY[name])
    check_structure(message)
    details = {detail.get("type") for detail in message.iter("ParticipantObjectDetail")}
    assert {"seq", "hash", "kind", *EVERY[name].detail} == details
    identification = message.find("EventIdentification")
    assert identification is not None
    assert identification.get("EventActionCode") in {"C", "R", "U", "D", "E"}
    assert identification.get("EventOutcomeIndicator") in {"0", "4", "8", "12"}
    assert identification.get("EventDateTime") == "2026-03-01T12:00:00.000000Z"


def test_a_received_instance_names_sender_receiver_study_and_patient() -> None:
    message = xml_of(EVERY["instance_received"])
    them, us = message.findall("ActiveParticipant")
    assert them.attrib == {
        "UserID": "CN=pacs",
        "AlternativeUserID": "AETITLES=PACS",
        "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.7",
        "NetworkAccessPointTypeCode": "2",
    }
    assert [p.find("RoleIDCode").get("csd-code") for p in (them, us)] == ["110153", "110152"]
    objects = message.findall("ParticipantObjectIdentification")
    kinds = {item.get("ParticipantObjectID"): item[0].get("csd-code") for item in objects}
    assert kinds["1.9"] == "110180"
    assert kinds["P1"] == "2"
    sop_class = objects[0].find("ParticipantObjectDescription/SOPClass")
    assert sop_class is not None
    assert sop_class.get("UID") == "1.2.840.10008.5.1.4.1.1.2"
    detail = {
        d.get("type"): base64.b64decode(d.get("value") or "")
        for d in objects[0].iter("ParticipantObjectDetail")
    }
    assert detail["seq"] == b"7"
    assert detail["receipt"] == b"NEW"


def test_the_body_is_canonical_json() -> None:
    body = EVERY["configuration_changed"].body()
    assert json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")) == body


def test_a_syslog_message_has_the_header_of_rfc_5424_and_the_msgid_of_ps3_15() -> None:
    made = to_syslog(b"<x/>", at=instant(NOON), outcome=0, host="a host\u00e9", process_id=12)
    assert made == b"<85>1 2026-03-01T12:00:00.000000Z ahost dicomnode 12 DICOM+RFC3881 - \xef\xbb\xbf<x/>"
    assert to_syslog(b"", at=instant(NOON), outcome=8, host="", process_id=1).startswith(b"<84>1 2026")
