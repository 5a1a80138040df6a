"""One constructor per thing that happens in the node.

``here`` is our own AE title; persons are named as they logged in. Which event of PS3.15 A.5.3 each one
is, is said in docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from dicomnode.audit import codes
from dicomnode.audit.about import About, Person, by_node, by_peer, by_person, made
from dicomnode.audit.codes import Code
from dicomnode.audit.event import Event, Outcome, Participant, ParticipantObject, Party

Receipt = Literal["NEW", "DUPLICATE", "CONFLICT"]
# PS3.15 A.5.3.7: C the receiver had none, R it already had the same, U the copies differ.
_RECEIPT_ACTION: dict[str, str] = {"NEW": "C", "DUPLICATE": "R", "CONFLICT": "U"}


# -- the application ----------------------------------------------------------------------------------


def application_started(here: str, *, role: str, version: str, config_digest: str) -> Event:
    """The node, or one of its roles, runs."""
    detail = {"role": role, "version": version, "config_digest": config_digest}
    return Event(
        "application-started", codes.APPLICATION_ACTIVITY, "E", (by_node(here, codes.APPLICATION),),
        type_code=codes.APPLICATION_START, actor=here, detail=detail,
    )  # fmt: skip


def application_stopped(here: str, *, role: str, because: str = "") -> Event:
    """The node, or one of its roles, ended in order."""
    return Event(
        "application-stopped", codes.APPLICATION_ACTIVITY, "E", (by_node(here, codes.APPLICATION),),
        type_code=codes.APPLICATION_STOP, actor=here, sentence=because, detail={"role": role},
    )  # fmt: skip


def configuration_changed(
    here: str, *, before: str, after: str, changes: Mapping[str, object], person: str = ""
) -> Event:
    """The configuration differs from that of the last start. ``changes``: key -> [old, new], no secrets."""
    parties = (by_node(here, requestor=not person), *((by_person(person),) if person else ()))
    return Event(
        "configuration-changed", codes.SECURITY_ALERT, "E", parties,
        type_code=codes.SOFTWARE_CONFIGURATION, actor=person or here,
        objects=(ParticipantObject(here, codes.NODE_ID, role=13),),
        sentence=f"{len(changes)} configuration keys changed",
        detail={"before": before, "after": after, "changes": changes},
    )  # fmt: skip


# -- receiving ----------------------------------------------------------------------------------------


def security_alert(
    here: str,
    *,
    sentence: str,
    peer: Party | None = None,
    alert: Code = codes.NODE_AUTHENTICATION,
    outcome: Outcome = Outcome.SERIOUS,
    detail: Mapping[str, object] | None = None,
) -> Event:
    """Something that a security officer should see: TLS failure, malformed UID, flood, ..."""
    parties = (by_node(here, requestor=True), *((by_peer(peer),) if peer else ()))
    return Event(
        "security-alert", codes.SECURITY_ALERT, "E", parties, type_code=alert, outcome=outcome,
        objects=(ParticipantObject(here, codes.NODE_ID, role=13),),
        sentence=sentence, peer=peer.ae_title or peer.address if peer else "", detail=detail or {},
    )  # fmt: skip


def association_refused(here: str, peer: Party, *, called_ae: str, reason: str) -> Event:
    """A peer was turned away."""
    return Event(
        "association-refused", codes.SECURITY_ALERT, "E", (by_node(here, requestor=True), by_peer(peer)),
        type_code=codes.NODE_AUTHENTICATION, outcome=Outcome.MINOR, sentence=reason,
        objects=(ParticipantObject(here, codes.NODE_ID, role=13),),
        peer=peer.ae_title or peer.address,
        detail={"called_ae": called_ae, "reason": reason, "address": peer.address, "subject": peer.subject},
    )  # fmt: skip


def instance_received(
    here: str, peer: Party, about: About, *, receipt: Receipt, sha256: str, size_bytes: int, association: str
) -> Event:
    """An instance came: NEW, DUPLICATE (same bytes again) or CONFLICT (same UID, other bytes)."""
    parties = (by_peer(peer, codes.SOURCE, requestor=True), by_node(here, codes.DESTINATION))
    conflict = receipt == "CONFLICT"
    return made(
        "instance-received", codes.INSTANCES_TRANSFERRED, _RECEIPT_ACTION[receipt], parties, about,
        outcome=Outcome.MINOR if conflict else Outcome.SUCCESS, peer=peer.ae_title,
        sentence="same SOP Instance UID, other bytes: both are kept, what uses the first is held"
        if conflict else "",
        detail={"receipt": receipt, "sha256": sha256, "size_bytes": size_bytes, "association": association},
    )  # fmt: skip


def quarantine_decided(person: Person | str, about: About, *, decision: str, because: str) -> Event:
    """A person looked at an instance in quarantine: it is read again, or needs no more attention."""
    return made(
        "quarantine-decided", codes.INSTANCES_ACCESSED, "U", (by_person(person),), about,
        actor=by_person(person).user_id, sentence=f"{decision}: {because}",
        detail={"decision": decision, "because": because},
    )  # fmt: skip


def instance_quarantined(here: str, about: About, *, reason: str) -> Event:
    """An instance is kept but will not be used."""
    return made(
        "instance-quarantined", codes.INSTANCES_ACCESSED, "U", (by_node(here, requestor=True),), about,
        outcome=Outcome.MINOR, sentence=reason, actor=here, detail={"reason": reason},
    )  # fmt: skip


# -- cycles -------------------------------------------------------------------------------------------


def series_used(here: str, about: About, *, role: str) -> Event:
    """A series became part of a cycle."""
    return made(
        "series-used", codes.INSTANCES_ACCESSED, "R", (by_node(here, requestor=True),), about,
        actor=here, detail={"role": role},
    )  # fmt: skip


def series_unused(here: str, about: About, *, reason_code: str, reason: str) -> Event:
    """A series arrived and is of no use; the reason is for a person."""
    return made(
        "series-unused", codes.INSTANCES_ACCESSED, "R", (by_node(here, requestor=True),), about,
        actor=here, sentence=reason, detail={"reason_code": reason_code, "reason": reason},
    )  # fmt: skip


def _cycle(
    kind: str, meaning: str, who: Participant, about: About, action: str = "U", **more: object
) -> Event:
    return made(
        kind, codes.PROCEDURE_RECORD, action, (who,), about,
        type_code=codes.private(kind, meaning), actor=who.user_id, **more,
    )  # fmt: skip


def cycle_state_changed(here: str, about: About, *, before: str, after: str, reasons: Sequence[str]) -> Event:
    """The node moved a cycle on; ``reasons`` say why it is held or waits."""
    return _cycle(
        "cycle-state-changed", "Cycle state changed", by_node(here, requestor=True), about,
        outcome=Outcome.MINOR if after == "HELD" else Outcome.SUCCESS, sentence="; ".join(reasons),
        detail={"before": before, "after": after, "reasons": list(reasons)},
    )  # fmt: skip


def administration_recorded(
    who: Person | str, about: About, *, nuclide: str, activity_mbq: float, at: datetime, source: str
) -> Event:
    """An administration was learned from an object, the configuration or a person."""
    detail = {"nuclide": nuclide, "activity_mbq": activity_mbq, "administered_at": at, "source": source}
    return _cycle(
        "administration-recorded", "Administration recorded", by_person(who), about, "C", detail=detail
    )


def administration_withdrawn(
    who: Person | str, about: About, *, because: str, administration_id: int
) -> Event:
    """A recorded administration no longer counts."""
    return _cycle(
        "administration-withdrawn", "Administration withdrawn", by_person(who), about, "D",
        sentence=because, detail={"because": because, "administration_id": administration_id},
    )  # fmt: skip


def cycle_released(person: Person | str, about: About, *, because: str) -> Event:
    """A person released a held cycle."""
    detail = {"because": because}
    return _cycle(
        "cycle-released", "Cycle released", by_person(person), about, sentence=because, detail=detail
    )


def left_out(
    person: Person | str, about: About, *, kind: str, subject: str, because: str, undone: bool
) -> Event:
    """A person left a series, a time point or a region out of a cycle, or took it in again (``undone``)."""
    name, meaning = ("taken-in", "Taken in again") if undone else ("left-out", "Left out of a cycle")
    return _cycle(
        name, meaning, by_person(person), about, sentence=f"{kind} {subject}: {because}",
        detail={"kind": kind, "subject": subject, "because": because},
    )  # fmt: skip


def cycle_held(person: Person | str, about: About, *, because: str) -> Event:
    """A person stopped a cycle."""
    detail = {"because": because}
    return _cycle("cycle-held", "Cycle held", by_person(person), about, sentence=because, detail=detail)


def sent_again(person: Person | str, about: About, *, peer: str, because: str = "") -> Event:
    """A person asked for a result to be sent (again)."""
    return _cycle(
        "cycle-sent", "Cycle sent", by_person(person), about,
        sentence=because, peer=peer, detail={"because": because},
    )  # fmt: skip


def given_up(person: Person | str, about: About, *, peer: str, because: str, objects: int) -> Event:
    """A person let objects go that a peer would not take."""
    return _cycle(
        "cycle-given-up", "Delivery given up", by_person(person), about,
        sentence=because, peer=peer, detail={"because": because, "objects": objects},
    )  # fmt: skip


# -- calculations and results -------------------------------------------------------------------------


def _calculation(kind: str, meaning: str, here: str, about: About, **more: object) -> Event:
    return made(
        kind, codes.CALCULATION, "E", (by_node(here, codes.APPLICATION, requestor=True),), about,
        type_code=codes.private(kind, meaning), actor=here, **more,
    )  # fmt: skip


def calculation_started(here: str, about: About, *, step: str, facts: Mapping[str, object]) -> Event:
    """A calculation begins; ``facts``: inputs, engine, version, config_digest, seed, ..."""
    detail = {"step": step, **facts}
    return _calculation("calculation-started", "Calculation started", here, about, detail=detail)


def calculation_ended(
    here: str, about: About, *, step: str, succeeded: bool, message: str, facts: Mapping[str, object]
) -> Event:
    """A calculation ended; ``facts``: digests of the outputs, duration, ..."""
    return _calculation(
        "calculation-ended", "Calculation ended", here, about,
        outcome=Outcome.SUCCESS if succeeded else Outcome.SERIOUS, sentence=message,
        detail={"step": step, "succeeded": succeeded, "message": message, **facts},
    )  # fmt: skip


def calculation_replayed(
    here: str, about: About, *, calculation_id: int, same: bool, differing: Sequence[str], person: str = ""
) -> Event:
    """An earlier calculation was repeated and its digests compared."""
    sentence = "every digest is the same" if same else "digests differ: " + ", ".join(differing)
    detail = {"calculation_id": calculation_id, "same": same, "differing": differing, "person": person}
    return _calculation(
        "calculation-replayed", "Calculation replayed", here, about,
        outcome=Outcome.SUCCESS if same else Outcome.SERIOUS, sentence=sentence, detail=detail,
    )  # fmt: skip


def result_created(here: str, about: About, *, role: str, sha256: str) -> Event:
    """An object was made for a revision."""
    return made(
        "result-created", codes.INSTANCES_ACCESSED, "C", (by_node(here, requestor=True),), about,
        actor=here, detail={"role": role, "sha256": sha256, "revision_id": about.revision_id},
    )  # fmt: skip


# -- delivery -----------------------------------------------------------------------------------------


def transfer_begun(here: str, peer: Party, about: About, *, attempt: int) -> Event:
    """The intent to send an object, PS3.15 A.5.3.3."""
    parties = (by_node(here, codes.SOURCE, requestor=True), by_peer(peer, codes.DESTINATION))
    return made(
        "transfer-begun", codes.BEGIN_TRANSFERRING, "E", parties, about,
        peer=peer.ae_title, detail={"attempt": attempt},
    )  # fmt: skip


def transferred(
    here: str,
    peer: Party,
    about: About,
    *,
    outcome: Outcome,
    status: str,
    comment: str = "",
    attempt: int = 1,
) -> Event:
    """An object was sent, or refused. Action R: the sender cannot know what the peer held (A.5.3.7)."""
    parties = (by_node(here, codes.SOURCE, requestor=True), by_peer(peer, codes.DESTINATION))
    return made(
        "instance-sent", codes.INSTANCES_TRANSFERRED, "R", parties, about, outcome=outcome,
        peer=peer.ae_title, sentence=f"{status} {comment}".strip(),
        detail={"status": status, "comment": comment, "attempt": attempt},
    )  # fmt: skip


def commitment(
    here: str,
    peer: Party,
    about: About,
    *,
    step: Literal["ASKED", "COMMITTED", "FAILED", "ANSWERED"],
    transaction_uid: str,
    reason: str = "",
) -> Event:
    """Storage commitment: we ASKED, the peer COMMITTED or FAILED, or we ANSWERED a peer's request."""
    return made(
        "storage-commitment", codes.STORAGE_COMMITMENT, "E",
        (by_node(here, requestor=step != "ANSWERED"), by_peer(peer, requestor=step == "ANSWERED")), about,
        outcome=Outcome.SERIOUS if step == "FAILED" else Outcome.SUCCESS, peer=peer.ae_title,
        sentence=reason, detail={"step": step, "transaction_uid": transaction_uid, "reason": reason},
    )  # fmt: skip


# -- persons, retention and the trail itself ----------------------------------------------------------


def instances_viewed(person: Person | str, about: About, *, what: str) -> Event:
    """A person looked at a patient's data (show, review page, export)."""
    return made(
        "instances-viewed", codes.INSTANCES_ACCESSED, "R", (by_person(person),), about,
        actor=by_person(person).user_id, detail={"what": what},
    )  # fmt: skip


def user_authenticated(here: str, person: Person, *, role: str, address: str, ended: str = "") -> Event:
    """A person logged in, or out (``ended`` says how)."""
    return Event(
        "logged-out" if ended else "logged-in", codes.USER_AUTHENTICATION, "E",
        (by_person(person), by_node(here)), type_code=codes.LOGOUT if ended else codes.LOGIN,
        objects=(ParticipantObject(here, codes.NODE_ID, role=13),), sentence=ended, actor=person.id,
        detail={"role": role, "address": address},
    )  # fmt: skip


def log_in_failed(here: str, user: str, *, address: str, why: str) -> Event:
    """Somebody did not get in, or did not prove again who decides."""
    return Event(
        "log-in-failed", codes.USER_AUTHENTICATION, "E", (by_person(user), by_node(here)),
        type_code=codes.LOGIN, outcome=Outcome.MINOR, sentence=why, actor=user,
        objects=(ParticipantObject(here, codes.NODE_ID, role=13),), detail={"address": address},
    )  # fmt: skip


def data_exported(person: Person, about: About, *, what: str, rows: int) -> Event:
    """A person took data out of the node as a file (PS3.15 A.5.3.5 Data Export)."""
    return made(
        "data-exported", codes.DATA_EXPORT, "R", (by_person(person),), about,
        actor=person.id, detail={"what": what, "rows": rows},
    )  # fmt: skip


def study_deleted(here: str, about: About, *, instances: Mapping[str, int], because: str) -> Event:
    """Retention removed a study's files. ``instances``: SOP Class UID -> how many."""
    study = ParticipantObject(about.study_instance_uid, codes.STUDY_INSTANCE_UID, sop_classes=instances)
    patient = tuple(item for item in about.objects() if item.type_code == 1)
    return made(
        "study-deleted", codes.STUDY_DELETED, "D", (by_node(here, requestor=True),), about,
        objects=(study, *patient), sentence=because, actor=here,
        detail={"instances": dict(instances), "because": because},
    )  # fmt: skip


def audit_log_used(
    person: Person | str, *, verb: str, query: Mapping[str, object], rows: int, uri: str
) -> Event:
    """Somebody read the trail, PS3.15 A.5.3.2. ``uri`` names the trail without a password."""
    log, who = ParticipantObject(uri, codes.URI, role=13, name="Security Audit Log"), by_person(person)
    return Event(
        "audit-log-used", codes.AUDIT_LOG_USED, "R", (who,), (log,), actor=who.user_id,
        patient_id=str(query.get("patient_id") or ""), detail={"verb": verb, "query": query, "rows": rows},
    )  # fmt: skip


def trail_verified(here: str, *, rows: int, broken_seq: int | None, why: str = "") -> Event:
    """The chain was recomputed; a break is a security alert."""
    broken = broken_seq is not None
    log = ParticipantObject(here, codes.NODE_ID, role=13, name="Security Audit Log")
    return Event(
        "audit-verified", codes.SECURITY_ALERT if broken else codes.AUDIT_LOG_USED, "E" if broken else "R",
        (by_node(here, requestor=True),), (log,), outcome=Outcome.MAJOR if broken else Outcome.SUCCESS,
        type_code=codes.TRAIL_BROKEN if broken else None, sentence=why, actor=here,
        detail={"rows": rows, "broken_seq": broken_seq, "why": why},
    )  # fmt: skip
