"""The sender against scripted peers and DCMTK's storescp."""

import ssl
import time
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.delivery.association import scrub
from dicomnode.delivery.policy import Outcome
from dicomnode.delivery.scu import send


def dataset_bytes(path):
    """What follows the file meta information."""
    with path.open("rb") as file:
        file.seek(132 + 8)
        file.seek(132)
        meta = dcmread(path, stop_before_pixels=True).file_meta
        file.seek(132 + 12 + meta.FileMetaInformationGroupLength)
        return file.read()


def outcomes(answers):
    return [(a.item.role, a.answer.outcome, a.status) for a in answers]


def test_the_bytes_of_the_file_arrive_unchanged_in_order_over_one_association(scripted, make_peer, make_item):
    pacs = scripted()
    items = [make_item("rtplan", 0), make_item("rtdose-companion", 1), make_item("sr", 3)]
    answers = list(send(make_peer(pacs.port), items))
    assert outcomes(answers) == [
        ("rtplan", Outcome.DELIVERED, "0000"),
        ("rtdose-companion", Outcome.DELIVERED, "0000"),
        ("sr", Outcome.DELIVERED, "0000"),
    ]
    assert [got.uid for got in pacs.got] == [item.sop_instance_uid for item in items]
    assert [got.data for got in pacs.got] == [dataset_bytes(item.path) for item in items]
    assert len({got.association for got in pacs.got}) == 1


def test_sent_again_it_is_the_same_object_byte_by_byte(scripted, make_peer, make_item):
    pacs = scripted()
    item = make_item()
    for _ in range(2):
        list(send(make_peer(pacs.port), [item]))
    assert pacs.got[0].data == pacs.got[1].data
    assert pacs.got[0].uid == pacs.got[1].uid == item.sop_instance_uid


def test_a_peer_with_implicit_vr_only_gets_the_same_values(scripted, make_peer, make_item):
    pacs = scripted(syntaxes=(ImplicitVRLittleEndian,))
    item = make_item()
    (answered,) = send(make_peer(pacs.port), [item])
    assert answered.answer.outcome is Outcome.DELIVERED
    assert pacs.got[0].syntax == ImplicitVRLittleEndian
    arrived = dcmread(DicomBytesIO(pacs.got[0].data), force=True)
    # Element by element; the file meta information is not part of what travels.
    sent = dcmread(item.path)
    assert [(e.tag, e.value) for e in arrived] == [(e.tag, e.value) for e in sent]
    assert arrived.SOPInstanceUID == item.sop_instance_uid


def test_explicit_vr_is_preferred_where_the_peer_takes_both(scripted, make_peer, make_item):
    pacs = scripted(syntaxes=(ImplicitVRLittleEndian, ExplicitVRLittleEndian))
    list(send(make_peer(pacs.port), [make_item()]))
    assert pacs.got[0].syntax == ExplicitVRLittleEndian


def test_each_object_has_its_own_answer_and_the_comment_is_scrubbed(
    scripted, make_peer, make_item, status_with
):
    pacs = scripted()
    pacs.answers = [0xB007, status_with(0xA700, "disk\x00 full\r\nFAKE LOG LINE"), 0xA900, 0x0000]
    items = [make_item("sr", position) for position in (0, 2, 4, 6)]
    answers = list(send(make_peer(pacs.port), items))
    assert [(a.answer.outcome, a.status) for a in answers] == [
        (Outcome.DELIVERED_WITH_WARNING, "B007"),
        (Outcome.TRANSIENT, "A700"),
        (Outcome.PERMANENT, "A900"),
        (Outcome.DELIVERED, "0000"),
    ]
    assert answers[1].comment == "disk<U+0000> full FAKE LOG LINE"
    assert all(a.counted for a in answers)


def test_a_comment_is_one_printable_line():
    assert scrub("a\x1b[31m\u2028b\x7f" + "x" * 500, 32) == "a<U+001B>[31m b<U+007F>xxxxxxxx…"


def test_a_dose_is_not_offered_when_its_plan_was_refused(scripted, make_peer, make_item):
    pacs = scripted()
    pacs.answers = [0xA700]
    items = [make_item("rtplan", 0), make_item("rtdose-companion", 1), make_item("sr", 3)]
    assert outcomes(send(make_peer(pacs.port), items)) == [
        ("rtplan", Outcome.TRANSIENT, "A700"),
        ("rtdose-companion", Outcome.WAITING, "waiting"),
        ("sr", Outcome.DELIVERED, "0000"),
    ]
    assert len(pacs.got) == 2


def test_a_peer_that_dies_after_receiving_leaves_that_object_unknown(scripted, make_peer, make_item):
    pacs = scripted()
    pacs.answers = [0x0000, lambda event: event.assoc.abort() or 0x0000]
    items = [make_item("sr", position) for position in (0, 2, 4)]
    answers = list(send(make_peer(pacs.port), items))
    assert [(a.answer.outcome, a.status, a.counted) for a in answers] == [
        (Outcome.DELIVERED, "0000", True),
        (Outcome.UNKNOWN, "no answer", True),
        (Outcome.TRANSIENT, "aborted", False),
    ]
    assert len(pacs.got) == 2


def test_an_answer_that_does_not_come_in_time_is_unknown(scripted, make_peer, make_item):
    pacs = scripted()
    pacs.answers = [lambda event: time.sleep(3) or 0x0000]
    peer = make_peer(pacs.port, response_timeout_s=0.5)
    start = time.monotonic()
    (answered,) = send(peer, [make_item()])
    assert (answered.answer.outcome, answered.status) == (Outcome.UNKNOWN, "no answer")
    assert time.monotonic() - start < 2.5


def test_a_slow_peer_within_its_time_is_waited_for(scripted, make_peer, make_item):
    pacs = scripted()
    pacs.answers = [lambda event: time.sleep(0.7) or 0x0000]
    (answered,) = send(make_peer(pacs.port, response_timeout_s=3), [make_item()])
    assert answered.status == "0000"


def association_fault(peer, item):
    (answered,) = send(peer, [item])
    assert not answered.counted
    return answered.answer.outcome, answered.status


def test_a_wrong_called_ae_title_is_a_configuration_fault(scripted, make_peer, make_item):
    peer = make_peer(scripted().port, ae_title="WRONG")
    assert association_fault(peer, make_item()) == (Outcome.CONFIGURATION, "rejected-permanent")


def test_a_full_peer_is_transient(raw_peer, make_peer, make_item):
    # A-ASSOCIATE-RJ (PS3.8 9.3.4): result 2 transient, source 3, reason 2 local limit exceeded.
    port = raw_peer(bytes.fromhex("03 00 00000004 00 02 03 02"))
    assert association_fault(make_peer(port), make_item()) == (Outcome.TRANSIENT, "rejected-transient")


def test_nobody_at_the_port_is_transient(raw_peer, make_peer, make_item):
    assert association_fault(make_peer(1), make_item()) == (Outcome.TRANSIENT, "unreachable")


def test_a_name_that_does_not_resolve_is_transient(make_peer, make_item):
    peer = make_peer(104, host="no-such-host.invalid")
    assert association_fault(peer, make_item()) == (Outcome.TRANSIENT, "unreachable")


def test_a_peer_that_says_nothing_is_left_in_time(raw_peer, make_peer, make_item):
    start = time.monotonic()
    fault = association_fault(make_peer(raw_peer(), association_timeout_s=1), make_item())
    assert fault == (Outcome.TRANSIENT, "aborted")
    assert time.monotonic() - start < 4


def test_half_an_answer_does_not_hold_the_sender(raw_peer, make_peer, make_item):
    port = raw_peer(bytes.fromhex("02 00 000000b8 00"))
    start = time.monotonic()
    fault = association_fault(make_peer(port, stall_timeout_s=1, association_timeout_s=1), make_item())
    assert fault == (Outcome.TRANSIENT, "aborted")
    assert time.monotonic() - start < 5


def test_half_an_answer_to_an_object_does_not_hold_the_sender(scripted, stalling_proxy, make_peer, make_item):
    # The answer to the association passes, of the answer to the object only 3 bytes.
    port = stalling_proxy(scripted().port)
    start = time.monotonic()
    (answered,) = send(make_peer(port, stall_timeout_s=1, response_timeout_s=1), [make_item()])
    assert (answered.answer.outcome, answered.status) == (Outcome.UNKNOWN, "no answer")
    assert time.monotonic() - start < 6


def test_a_peer_that_hangs_up_is_transient(raw_peer, make_peer, make_item):
    fault = association_fault(make_peer(raw_peer(close=True)), make_item())
    assert fault == (Outcome.TRANSIENT, "aborted")


def test_a_class_that_the_peer_does_not_take_is_a_configuration_fault(scripted, make_peer, make_item):
    item = replace(make_item("sr"), role="tia-map")
    pacs = scripted()
    pacs.ae._supported_contexts = {}
    pacs.server._contexts = []
    pacs.ae.add_supported_context("1.2.840.10008.1.1")
    pacs.server.contexts = pacs.ae.supported_contexts
    (answered,) = send(make_peer(pacs.port), [item])
    assert (answered.answer.outcome, answered.status) == (Outcome.CONFIGURATION, "no context")


def test_a_file_that_changed_since_it_was_made_does_not_leave(scripted, make_peer, make_item):
    pacs = scripted()
    damaged, whole = make_item("rtdose", 0), make_item("sr", 2)
    with damaged.path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    answers = list(send(make_peer(pacs.port), [damaged, whole]))
    assert answers[0].answer.outcome is Outcome.PERMANENT
    assert "digest" in answers[0].comment
    assert [got.uid for got in pacs.got] == [whole.sop_instance_uid]


def test_a_file_that_is_not_there_is_tried_again(scripted, make_peer, make_item):
    item = make_item()
    item.path.unlink()
    (answered,) = send(make_peer(scripted().port), [item])
    assert (answered.answer.outcome, answered.status) == (Outcome.TRANSIENT, "file")


def test_large_objects_get_time_for_their_transfer(scripted, make_peer, make_item):
    pacs = scripted()
    peer = make_peer(pacs.port, response_timeout_s=0.05, slowest_kb_per_s=100)
    # 1 MiB of pixels: 10 s at 100 kB/s on top of 50 ms, while the peer takes 0.5 s.
    pacs.answers = [lambda event: time.sleep(0.5) or 0x0000]
    (answered,) = send(peer, [make_item(pixels=512)])
    assert answered.status == "0000"


# -- DCMTK --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("+B",), ("+xi",)])
def test_storescp_writes_what_was_sent(storescp, make_peer, make_item, options):
    port, folder = storescp(*options)
    items = [make_item("rtplan", 0), make_item("rtdose-companion", 1)]
    answers = list(send(make_peer(port, response_timeout_s=10), items))
    assert [a.status for a in answers] == ["0000", "0000"]
    files = {dcmread(path).SOPInstanceUID: path for path in folder.iterdir()}
    for item in items:
        got, sent = dcmread(files[item.sop_instance_uid]), dcmread(item.path)
        assert [(e.tag, e.value) for e in got] == [(e.tag, e.value) for e in sent]
    syntax = {dcmread(path).file_meta.TransferSyntaxUID for path in files.values()}
    assert syntax == {ImplicitVRLittleEndian if options == ("+xi",) else ExplicitVRLittleEndian}


def test_twenty_objects_do_not_wait_for_delayed_acknowledgements(storescp, make_peer, make_item):
    port, _ = storescp("--ignore")
    items = [make_item("rtdose", 2 * n) for n in range(20)]
    start = time.monotonic()
    assert {a.status for a in send(make_peer(port, response_timeout_s=10), items)} == {"0000"}
    # Without TCP_NODELAY on our side each waits 40 ms or more: 0.8 s plus the work.
    assert time.monotonic() - start < 5


def test_storescp_that_aborts_after_receiving_leaves_it_unknown(storescp, make_peer, make_item):
    port, _ = storescp("--ignore", "--abort-after")
    (answered,) = send(make_peer(port, response_timeout_s=5), [make_item()])
    assert answered.answer.outcome is Outcome.UNKNOWN


# -- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def tls_peer(scripted, authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority / "ca.crt")
    context.load_cert_chain(authority / "pacs.crt", authority / "pacs.key")
    return scripted(tls=context)


def test_mutual_tls_delivers(tls_peer, tls_of, make_peer, make_item):
    peer = make_peer(tls_peer.port, tls=tls_of("node"))
    assert [a.status for a in send(peer, [make_item("rtdose", 0), make_item("sr", 2)])] == ["0000", "0000"]


def test_a_certificate_that_the_peer_does_not_trust_is_a_tls_fault(tls_peer, tls_of, make_peer, make_item):
    peer = make_peer(tls_peer.port, tls=tls_of("stranger"))
    assert association_fault(peer, make_item()) == (Outcome.CONFIGURATION, "tls")
    assert tls_peer.got == []


def test_a_missing_certificate_is_a_tls_fault_of_that_peer_alone(
    tls_peer, tls_of, make_peer, make_item, tmp_path
):
    peer = make_peer(tls_peer.port, tls=tls_of("node", certificate=tmp_path / "gone.crt"))
    assert association_fault(peer, make_item()) == (Outcome.CONFIGURATION, "tls")


def test_a_peer_with_another_name_in_its_certificate_gets_nothing(tls_peer, tls_of, make_peer, make_item):
    peer = make_peer(tls_peer.port, tls=tls_of("node", server_name="tps"))
    (answered,) = send(peer, [make_item()])
    assert (answered.answer.outcome, answered.status) == (Outcome.CONFIGURATION, "tls")
    assert "Hostname mismatch" in answered.comment
    assert tls_peer.got == []


def test_a_peer_without_tls_is_a_tls_fault(scripted, tls_of, make_peer, make_item):
    pacs = scripted()
    fault = association_fault(make_peer(pacs.port, tls=tls_of("node")), make_item())
    assert fault == (Outcome.CONFIGURATION, "tls")
    assert pacs.got == []
