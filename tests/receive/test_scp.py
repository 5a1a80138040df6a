"""Objects that arrive as they should: stored unread, recorded, then acknowledged."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import threading
import time

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    NuclearMedicineImageStorage,
)
from pynetdicom import AE

UID = "1.2.826.0.1.3680043.8.498.1"


def data_set_bytes(image):
    """The data set as pynetdicom puts it on the wire."""
    from pynetdicom.dsutils import encode

    return encode(image, False, True)


def test_an_object_is_stored_bit_by_bit_and_recorded_before_success(serve, ct, send):
    server, image = serve(), ct(262_144)
    assert send(server.port, image) == [0x0000]
    [(uid, digest, file, calling, address)] = server.rows(
        "SELECT uid, data_set, file, calling, address FROM arrivals"
    )
    assert (uid, calling, address) == (image.SOPInstanceUID, "GOOD", "127.0.0.1")
    assert digest == hashlib.sha256(data_set_bytes(image)).hexdigest()
    [path] = server.files()
    assert path.name == file == hashlib.sha256(path.read_bytes()).hexdigest()
    kept = pydicom.dcmread(path)
    assert kept == image
    assert kept.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert server.left_overs() == []


def test_the_same_object_again_is_success_without_a_second_copy(serve, ct, send):
    server, image = serve(), ct()
    assert send(server.port, image, image, calling="ONE") == [0, 0]
    assert send(server.port, image, calling="TWO") == [0]
    assert len(server.rows("SELECT * FROM arrivals")) == len(server.files()) == 1
    health = server.health()
    assert (health["instances_new"], health["instances_duplicate"]) == (1, 2)


@pytest.mark.parametrize(("setting", "status"), [("success", 0x0000), ("failure", 0x0111)])
def test_other_bytes_under_a_known_uid_are_kept_beside_the_first(serve, ct, send, setting, status):
    server = serve(conflict_status=setting)
    assert send(server.port, ct(uid=UID, pixel=1), ct(uid=UID, pixel=2)) == [0, status]
    assert len(server.files()) == 2
    [(kind, uid)] = server.rows("SELECT kind, uid FROM incidents")
    assert (kind, uid) == ("conflict", UID)


def test_two_senders_of_one_object_at_once_make_one_copy(serve, ct, send):
    server, image = serve(), ct(100_000)
    statuses: list[int] = []
    senders = [
        threading.Thread(target=lambda: statuses.extend(send(server.port, *[image] * 10))) for _ in range(4)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [0] * 40
    assert len(server.rows("SELECT * FROM arrivals")) == len(server.files()) == 1


def test_dcmtk_sends_and_verifies(serve, ct, program, tmp_path):
    server = serve()
    echo = [program("echoscu"), "-aec", "NODE", "127.0.0.1", str(server.port)]
    subprocess.run(echo, check=True, timeout=20)
    for number in range(3):
        ct(200_000).save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    store = [program("storescu"), "-aec", "NODE", "+sd", "127.0.0.1", str(server.port), str(tmp_path)]
    subprocess.run(store, check=True, timeout=20)
    assert len(server.files()) == 3
    for path in server.files():
        subprocess.run([program("dcmftest"), str(path)], check=True, timeout=20, capture_output=True)


def test_dcmtk_hears_that_another_called_title_is_refused(serve, program):
    server = serve()
    echo = [program("echoscu"), "-aec", "OTHER", "127.0.0.1", str(server.port)]
    answer = subprocess.run(echo, capture_output=True, text=True, timeout=20)
    assert answer.returncode != 0
    assert "Called AE Title Not Recognized" in answer.stdout + answer.stderr
    assert server.told("association-refused") == "called AE title 'OTHER' is not ours (NODE)"


def test_only_listed_classes_in_two_transfer_syntaxes_are_accepted(serve):
    server = serve()
    ae = AE("GOOD")
    ae.add_requested_context(NuclearMedicineImageStorage, [ImplicitVRLittleEndian])
    ae.add_requested_context(MRImageStorage)
    for syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless):
        ae.add_requested_context(CTImageStorage, [syntax])
    association = ae.associate("127.0.0.1", server.port, ae_title="NODE")
    try:
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        refused = {context.abstract_syntax: context.result for context in association.rejected_contexts}
    finally:
        association.release()
    assert accepted == [NuclearMedicineImageStorage]
    # PS3.8 9.3.3.2: 3 abstract syntax not supported, 4 transfer syntaxes not supported
    assert refused == {MRImageStorage: 3, CTImageStorage: 4}


def test_the_asynchronous_window_is_answered_with_one(serve, raw):
    server = serve()
    peer = raw(server.port)
    answer = peer.associate("1.2.840.10008.5.1.4.1.1.2", "NODE", b"\x53\x00\x00\x04" + bytes(4))
    assert b"\x53\x00\x00\x04\x00\x01\x00\x01" in answer


def test_an_implicit_object_in_many_small_fragments_is_put_together(serve, raw):
    server = serve()
    peer = raw(server.port)
    peer.associate()
    command = peer.store_command(UID)
    data = bytes(range(256)) * 40
    peer.socket.sendall(peer.pdata(command[:7], 1) + peer.pdata(command[7:], 3))
    for start in range(0, len(data), 100):
        peer.socket.sendall(peer.pdata(data[start : start + 100], 2 if start + 100 >= len(data) else 0))
    assert peer.status() == 0
    [(digest,)] = server.rows("SELECT data_set FROM arrivals")
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_clean_stop_lets_a_running_transfer_end(serve, raw):
    server = serve(stop_grace_s=5.0)
    peer = raw(server.port)
    peer.associate()
    whole = peer.store(UID, b"x" * 10_000)
    peer.socket.sendall(whole[:5000])
    server.wait(lambda health: health["associations_served"] == 1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(OSError, match=r"refused|reset"):
        raw(server.port)
    peer.socket.sendall(whole[5000:])
    assert peer.status() == 0
    peer.socket.sendall(b"\x05\x00\x00\x00\x00\x04" + bytes(4))
    assert peer.read_pdu()[0] == 6
    assert server.stop() == 0
    assert len(server.files()) == 1


def test_a_clean_stop_aborts_what_outlasts_the_grace(serve, raw):
    server = serve(stop_grace_s=0.5)
    peer = raw(server.port)
    peer.associate()
    peer.socket.sendall(peer.store(UID, b"x" * 10_000)[:5000])
    server.wait(lambda health: health["associations_served"] == 1)
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert peer.ending() == "abort"
    assert server.stop() == 0
    assert time.monotonic() - began < 3
    assert server.left_overs() == []


def test_no_identifier_reaches_the_log(serve, ct, send):
    server = serve()
    send(server.port, ct(uid=UID), ct(uid=UID, pixel=3), ct())
    server.stop()
    log = (server.root / "log").read_text()
    assert "conflict" in log
    assert "Secret" not in log
    assert "SECRET" not in log


def test_no_content_of_an_object_can_disturb_its_reception(serve, raw, shared):
    """Each odd file, whole, as the data set of a CT: nothing is decoded, so each is stored."""
    server = serve()
    peer = raw(server.port)
    peer.associate()
    digests = set()
    for number, path in enumerate(sorted((shared / "real" / "odd_files").iterdir())):
        data = path.read_bytes()
        blocks = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
        peer.socket.sendall(peer.pdata(peer.store_command(f"{UID}.{number}"), 3))
        for block in blocks[:-1]:
            peer.socket.sendall(peer.pdata(block, 0))
        peer.socket.sendall(peer.pdata(blocks[-1], 2))
        assert peer.status() == 0, path.name
        digests.add(hashlib.sha256(data).hexdigest())
    assert {digest for (digest,) in server.rows("SELECT data_set FROM arrivals")} == digests
    assert server.incidents() == {}


def test_dcmtk_may_offer_any_odd_file(serve, program, shared):
    """storescu sends what it can read and we accept, and aborts where we accept nothing."""
    server = serve()
    for path in sorted((shared / "real" / "odd_files").glob("pydicom*"))[:25]:
        command = [program("storescu"), "-aec", "NODE", "-R", "127.0.0.1", str(server.port), str(path)]
        subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert server.incidents().keys() == {"association-refused", "aborted"}
    assert server.told("association-refused").startswith("nothing it offers is accepted (1.2.840.10008.")
    echo = [program("echoscu"), "-aec", "NODE", "127.0.0.1", str(server.port)]
    subprocess.run(echo, check=True, timeout=20)
