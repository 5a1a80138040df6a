"""One row of the trail as the XML message of DICOM PS3.15 A.5.1 and as a syslog message (A.6)."""

from __future__ import annotations

import base64
import ipaddress
import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as Tree

from dicomnode.audit.codes import NODE_ID

# RFC 5424 6.2.1 and PS3.15 A.6: facility 10 (security/authorization), severity 5 notice or 4 warning.
_FACILITY = 10
_NOTICE, _WARNING = 5, 4
# PS3.15 A.5.1.2.1: an application server process.
_SOURCE_TYPE = "4"


def to_xml(
    *, seq: int, at: str, row_hash: str, body: str, source_id: str, enterprise_site_id: str = ""
) -> bytes:
    """The AuditMessage of one row, UTF-8. Elements and attributes in the order of the schema.

    ``detail`` goes along as ParticipantObjectDetail of the first object (the node itself where the event
    has none), with the row's number and hash, so that the repository can check our chain.
    """
    said = json.loads(body)
    message = Tree.Element("AuditMessage")
    _identify(message, said, at)
    for participant in said["participants"]:
        _participant(message, participant)
    source = Tree.SubElement(message, "AuditSourceIdentification")
    if enterprise_site_id:
        source.set("AuditEnterpriseSiteID", enterprise_site_id)
    source.set("AuditSourceID", source_id)
    Tree.SubElement(source, "AuditSourceTypeCode", {"csd-code": _SOURCE_TYPE})
    detail = {**said["detail"], "seq": seq, "hash": row_hash, "kind": said["kind"]}
    for number, item in enumerate(said["objects"] or [_ourselves(source_id)]):
        _object(message, item, detail if number == 0 else {})
    xml: bytes = Tree.tostring(message, encoding="utf-8", xml_declaration=True)
    return xml


def to_syslog(xml: bytes, *, at: str, outcome: int, host: str, process_id: int) -> bytes:
    """The RFC 5424 message around ``xml``: HEADER, no STRUCTURED-DATA, BOM and XML as MSG."""
    priority = _FACILITY * 8 + (_NOTICE if outcome == 0 else _WARNING)
    header = f"<{priority}>1 {at} {_field(host, 255)} dicomnode {process_id} DICOM+RFC3881 - "
    return header.encode("ascii") + b"\xef\xbb\xbf" + xml


def _identify(message: Tree.Element, said: Mapping[str, Any], at: str) -> None:
    event = Tree.SubElement(
        message,
        "EventIdentification",
        EventActionCode=said["action"],
        EventDateTime=at,
        EventOutcomeIndicator=str(said["outcome"]),
    )
    _code(event, "EventID", said["event_id"])
    if said["type_code"]:
        _code(event, "EventTypeCode", said["type_code"])
    if said["sentence"]:
        Tree.SubElement(event, "EventOutcomeDescription").text = said["sentence"]


def _participant(message: Tree.Element, said: Mapping[str, Any]) -> None:
    element = Tree.SubElement(message, "ActiveParticipant", UserID=said["user_id"])
    if said["ae_title"]:
        element.set("AlternativeUserID", f"AETITLES={said['ae_title']}")
    if said["name"]:
        element.set("UserName", said["name"])
    element.set("UserIsRequestor", "true" if said["requestor"] else "false")
    if said["address"]:
        element.set("NetworkAccessPointID", said["address"])
        element.set("NetworkAccessPointTypeCode", "2" if _is_address(said["address"]) else "1")
    if said["role"]:
        _code(element, "RoleIDCode", said["role"])


def _object(message: Tree.Element, said: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    element = Tree.SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=said["id"],
        ParticipantObjectTypeCode=str(said["type_code"]),
        ParticipantObjectTypeCodeRole=str(said["role"]),
    )
    _code(element, "ParticipantObjectIDTypeCode", said["id_type"])
    # The schema wants a name or a query; what has no name of its own is named by its identifier.
    Tree.SubElement(element, "ParticipantObjectName").text = said["name"] or said["id"]
    for key, value in sorted(detail.items()):
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        coded = base64.b64encode(text.encode()).decode("ascii")
        Tree.SubElement(element, "ParticipantObjectDetail", type=key, value=coded)
    if said["sop_classes"]:
        description = Tree.SubElement(element, "ParticipantObjectDescription")
        for uid, count in sorted(said["sop_classes"].items()):
            sop_class = Tree.SubElement(description, "SOPClass", UID=uid, NumberOfInstances=str(count))
            if len(said["sop_classes"]) == 1:
                for instance in said["instances"]:
                    Tree.SubElement(sop_class, "Instance", UID=instance)


def _ourselves(source_id: str) -> Mapping[str, Any]:
    # PS3.16 CID 404 Node ID; role 13: security resource.
    node = {"code": NODE_ID.code, "scheme": NODE_ID.scheme, "meaning": NODE_ID.meaning}
    return {"id": source_id, "id_type": node, "type_code": 2, "role": 13, "name": "", "sop_classes": {}}


def _code(parent: Tree.Element, name: str, code: Mapping[str, str]) -> None:
    Tree.SubElement(
        parent,
        name,
        {"csd-code": code["code"], "codeSystemName": code["scheme"], "originalText": code["meaning"]},
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _field(text: str, longest: int) -> str:
    # RFC 5424 6: header fields are printable ASCII without spaces, "-" where there is nothing.
    return "".join(c for c in text if "!" <= c <= "~")[:longest] or "-"
