"""Storage commitment: reading reports, asking scripted peers, and the look-up after silence."""

import socket
import ssl
import threading
import time

import pytest
from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role
from pynetdicom.sop_class import (
    RTDoseStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from dicomnode.delivery import commitment
from dicomnode.delivery.association import NoAssociation, client_context
from dicomnode.delivery.commitment import CommitmentListener, Reference, Remedy, handle_report
from dicomnode.delivery.query import find_instances
from dicomnode.delivery.settings import ListenerSettings, TlsSettings
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported

DOSE = str(RTDoseStorage)


def report(transaction="2.25.7", stored=(), failed=()):
    dataset = Dataset()
    if transaction:
        dataset.TransactionUID = transaction
    dataset.ReferencedSOPSequence = [commitment._reference_item(Reference(DOSE, uid)) for uid in stored]
    if failed:
        dataset.FailedSOPSequence = []
        for uid, reason in failed:
            item = commitment._reference_item(Reference(DOSE, uid))
            if reason is not None:
                item.FailureReason = reason
            dataset.FailedSOPSequence.append(item)
    return dataset


def test_a_report_of_success_names_what_is_kept():
    got = handle_report(report(stored=["1.2.3", "1.2.4"]), 1)
    assert got.transaction_uid == "2.25.7"
    assert got.committed == (Reference(DOSE, "1.2.3"), Reference(DOSE, "1.2.4"))
    assert got.failed == ()


@pytest.mark.parametrize(
    ("reason", "remedy", "sentence"),
    [
        (0x0110, Remedy.ASK_AGAIN, "processing failure"),
        (0x0112, Remedy.SEND_AGAIN, "does not have the object"),
        (0x0119, Remedy.PERSON, "another SOP class"),
        (0x0122, Remedy.PERSON, "does not commit"),
        (0x0131, Remedy.ASK_AGAIN, "seen this transaction"),
        (0x0213, Remedy.ASK_AGAIN, "resource limitation"),
        (0x0999, Remedy.PERSON, "reason 0999 is not in the standard"),
        (None, Remedy.PERSON, "no reason given"),
    ],
)
def test_each_failure_reason_has_its_remedy(reason, remedy, sentence):
    (failed,) = handle_report(report(failed=[("1.2.3", reason)]), 2).failed
    assert (failed.code, failed.remedy) == (reason, remedy)
    assert sentence in failed.sentence


@pytest.mark.parametrize(
    ("dataset", "event_type", "error", "message"),
    [
        (report(), 3, Unsupported, "event 1 or 2"),
        (report(transaction=""), 1, MissingAttribute, "without its transaction"),
        (report(stored=[""]), 1, MissingAttribute, "names no object"),
        (report(failed=[("1.2.3", 0x0112)]), 1, Inconsistent, "failures are listed"),
        (report(stored=["1.2.3"], failed=[("1.2.3", 0x0112)]), 2, Inconsistent, "both stored and failed"),
    ],
)
def test_a_report_that_makes_no_sense_is_refused(dataset, event_type, error, message):
    with pytest.raises(error, match=message):
        handle_report(dataset, event_type)


def test_each_transaction_is_new_and_a_uid():
    uids = {commitment.new_transaction_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)


def test_the_request_names_transaction_and_objects(scripted, make_peer):
    pacs = scripted()
    references = [Reference(DOSE, "1.2.3"), Reference(DOSE, "1.2.4")]
    asked = commitment.ask(make_peer(pacs.port, commitment_wait_s=0), references, "2.25.8", lambda r: None)
    assert asked.accepted
    (request,) = pacs.transactions
    assert request.TransactionUID == "2.25.8"
    assert [i.ReferencedSOPInstanceUID for i in request.ReferencedSOPSequence] == ["1.2.3", "1.2.4"]


def test_a_report_on_the_same_association_is_taken(scripted, make_peer):
    pacs = scripted()
    answers = []

    def action(event):
        def later():
            status, _ = event.assoc.send_n_event_report(
                report("2.25.9", stored=["1.2.3"]),
                1,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            answers.append(status.Status)

        threading.Timer(0.2, later).start()
        return 0x0000, None

    pacs.on_action = action
    got = []
    commitment.ask(
        make_peer(pacs.port, commitment_wait_s=5), [Reference(DOSE, "1.2.3")], "2.25.9", got.append
    )
    assert [r.transaction_uid for r in got] == ["2.25.9"]
    assert answers == [0x0000]


def test_a_peer_that_refuses_the_request_is_not_accepted(scripted, make_peer):
    pacs = scripted()
    pacs.on_action = lambda event: (0x0213, None)
    asked = commitment.ask(make_peer(pacs.port), [Reference(DOSE, "1.2.3")], "2.25.10", lambda r: None)
    assert (asked.accepted, asked.status) == (False, 0x0213)


def test_a_peer_that_is_away_cannot_be_asked(make_peer):
    with pytest.raises(NoAssociation, match="no connection to the peer"):
        commitment.ask(make_peer(1), [Reference(DOSE, "1.2.3")], "2.25.11", lambda r: None)


@pytest.fixture
def listener():
    started = []

    def start(on_report, callers=("PACS",), **more):
        started.append(CommitmentListener(ListenerSettings(**more), callers, on_report))
        return started[-1].start()

    yield start
    for one in started:
        one.stop()


def send_report(port, dataset, event_type=1, calling="PACS", tls_args=None):
    ae = AE(ae_title=calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
    assoc = ae.associate("127.0.0.1", port, ae_title="DICOMNODE", ext_neg=roles, tls_args=tls_args)
    if not assoc.is_established:
        return None
    status, _ = assoc.send_n_event_report(
        dataset, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    assoc.release()
    return status.Status


def test_a_report_on_an_association_of_the_peers_own_is_taken(listener):
    got = []
    port = listener(got.append)
    assert send_report(port, report("2.25.12", stored=["1.2.3"])) == 0x0000
    assert got == [commitment.CommitmentReport("2.25.12", (Reference(DOSE, "1.2.3"),), ())]


def test_an_unknown_caller_is_rejected(listener):
    port = listener(lambda r: None)
    assert send_report(port, report(), calling="STRANGER") is None


def test_a_report_that_cannot_be_read_is_answered_with_a_failure(listener):
    got = []
    port = listener(got.append)
    assert send_report(port, report(transaction="")) == 0x0115
    assert got == []


def test_a_report_that_could_not_be_recorded_is_not_acknowledged(listener):
    def away(report):
        raise OSError("database away")

    assert send_report(listener(away), report(stored=["1.2.3"])) == 0x0110


def test_a_silent_tls_caller_does_not_keep_the_others_out(listener, tls_of):
    port = listener(lambda r: None, stall_timeout_s=2, tls=TlsSettings(**tls_of("pacs")))
    caller = client_context(TlsSettings(**tls_of("node")))
    with socket.create_connection(("127.0.0.1", port)):
        start = time.monotonic()
        status = send_report(port, report("2.25.13", stored=["1.2.3"]), tls_args=(caller, "pacs"))
        assert (status, time.monotonic() - start < 1) == (0x0000, True)


def test_connecting_and_closing_thirty_times_takes_no_place_from_a_good_peer(listener):
    port = listener(lambda r: None, stall_timeout_s=60, max_associations=10)
    for _ in range(30):
        socket.create_connection(("127.0.0.1", port)).close()
    time.sleep(0.5)
    assert send_report(port, report("2.25.14", stored=["1.2.3"])) == 0x0000


def test_a_caller_without_certificate_is_refused(listener, tls_of, authority):
    port = listener(lambda r: None, stall_timeout_s=2, tls=TlsSettings(**tls_of("pacs")))
    caller = ssl.create_default_context(cafile=authority / "ca.crt")
    assert send_report(port, report(stored=["1.2.3"]), tls_args=(caller, "pacs")) is None


def test_a_query_tells_which_objects_the_peer_has(scripted, make_peer, make_item):
    there, missing = make_item(), make_item()
    pacs = scripted()
    pacs.found = [there.sop_instance_uid]
    found = find_instances(make_peer(pacs.port), [there.path, missing.path])
    assert found == {there.sop_instance_uid}
