"""The pure parts: who may send what, places, command sets, file heads, settings."""

from __future__ import annotations

import io
import re

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.uid import RE_VALID_UID, UID
from pynetdicom import sop_class
from pynetdicom.dsutils import encode

from dicomnode.receive import ReceiveSettings
from dicomnode.receive.acceptance import (
    STORAGE_CLASSES,
    address_may_connect,
    is_uid,
    judge,
    plain_address,
    printable,
    refuse_store,
)
from dicomnode.receive.command import Command, encode_command, parse_command, split_pdvs, to_pdus
from dicomnode.receive.places import Places
from dicomnode.receive.spool import file_head
from dicomnode.receive.wire import PeerMisbehaved

CT = "1.2.840.10008.5.1.4.1.1.2"
LISTED = ReceiveSettings(
    ae_title="NODE",
    peers=[
        {"ae_title": "CT1", "addresses": ["10.1.0.0/16"]},
        {"ae_title": "CT1", "addresses": ["192.0.2.7"]},
        {"ae_title": "NM1", "addresses": ["10.1.2.3", "2001:db8::/32"]},
    ],
)


def test_every_listed_class_is_a_storage_class_of_the_standard_under_this_name():
    of_2024 = "1.2.840.10008.5.1.4.1.1.66.7"  # Supplement 243, Label Map Segmentation: not in pydicom's list
    for uid, name in STORAGE_CLASSES.items():
        if uid == of_2024:
            continue
        assert UID(uid).name.startswith(name), (uid, UID(uid).name)
        assert sop_class.uid_to_service_class(uid).__name__ == "StorageServiceClass"


@pytest.mark.parametrize(
    ("calling", "called", "address", "reason"),
    [
        ("CT1", "NODE", "10.1.9.9", None),
        ("CT1", "NODE", "192.0.2.7", None),
        ("NM1", "NODE", "2001:db8::5", None),
        ("CT1", "OTHER", "10.1.9.9", 7),
        ("CT2", "NODE", "10.1.9.9", 3),
        ("NM1", "NODE", "10.1.9.9", 3),
        ("CT1", "NODE", "192.0.2.8", 3),
    ],
)
def test_title_and_address_must_belong_together(calling, called, address, reason):
    rejection = judge(calling, called, address, "", LISTED)
    assert (rejection and rejection.reason) == reason


def test_without_a_list_nobody_is_served():
    assert not address_may_connect("127.0.0.1", ReceiveSettings())
    assert judge("ANY", "DICOMNODE", "127.0.0.1", "", ReceiveSettings()) is not None
    assert not address_may_connect("10.2.0.1", LISTED)


def test_mapped_and_scoped_addresses_are_made_plain():
    assert plain_address("::ffff:10.1.2.3") == "10.1.2.3"
    assert plain_address("fe80::1%eth0") == "fe80::1"


@given(st.one_of(st.text(max_size=70), st.from_regex(RE_VALID_UID), st.text("0123456789./", max_size=70)))
def test_what_is_called_a_uid_can_be_no_path_and_every_valid_one_is_called_so(text):
    if is_uid(text):
        assert set(text) <= set("0123456789.")
        assert not {"", ".", ".."} & set(text.split("/"))
        assert len(text) <= 64
    else:
        assert len(text) > 64 or "\n" in text or re.fullmatch(RE_VALID_UID, text) is None


def test_leading_zeros_are_let_through_and_foreign_digits_are_not():
    assert is_uid("1.02.3")
    assert not is_uid("1.٣")


@given(st.text())
def test_what_is_logged_has_no_control_characters(text):
    assert all(" " <= character <= "~" for character in printable(text))


def test_a_store_is_refused_for_its_command():
    assert refuse_store(CT, "1.2.3", CT) is None
    assert refuse_store(CT, "", CT) == (0xA900, "SOP Instance UID of the command is not a UID")


def test_a_command_set_reads_as_pydicom_encodes_it():
    sent = pydicom.Dataset()
    sent.CommandGroupLength = 0
    sent.AffectedSOPClassUID, sent.CommandField, sent.MessageID = CT, 1, 513
    sent.CommandDataSetType, sent.AffectedSOPInstanceUID = 1, "1.2.345"
    command = parse_command(encode(sent, True, True))
    assert (command.field, command.number(0x0110), command.has_data_set) == (1, 513, True)
    assert (command.uid(0x0002), command.uid(0x1000)) == (CT, "1.2.345")


def test_a_command_set_of_ours_reads_in_pydicom():
    encoded = encode_command(
        {0x0002: CT, 0x0100: 0x8001, 0x0120: 7, 0x0800: 0x0101, 0x0900: 0xA700, 0x0902: "odd"}
    )
    read = pydicom.dcmread(io.BytesIO(encoded), force=True)
    assert read.CommandGroupLength == len(encoded) - 12
    assert (read.Status, read.MessageIDBeingRespondedTo, read.ErrorComment) == (0xA700, 7, "odd")
    assert read.AffectedSOPClassUID == CT


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_are_refused(data):
    try:
        command = parse_command(data)
    except PeerMisbehaved:
        return
    assert isinstance(command, Command)


@given(st.binary(max_size=200))
def test_any_bytes_are_pdvs_or_are_refused(data):
    try:
        parts = list(split_pdvs(memoryview(data)))
    except PeerMisbehaved:
        return
    assert sum(len(fragment) + 6 for _context, _header, fragment in parts) == len(data)


@given(st.binary(max_size=2000), st.sampled_from([0, 128, 129, 16384]))
def test_what_we_send_is_cut_to_what_the_peer_takes(payload, limit):
    encoded, got, headers = to_pdus(5, payload, limit, command=False), b"", []
    while encoded:
        length = int.from_bytes(encoded[2:6], "big")
        assert limit == 0 or length <= limit
        for context, header, fragment in split_pdvs(memoryview(encoded)[6 : 6 + length]):
            assert context == 5
            headers.append(header)
            got += fragment
        encoded = encoded[6 + length :]
    assert got == payload
    assert headers == [0] * (len(headers) - 1) + [2]


@pytest.mark.parametrize("uid", ["1.2.34", "1.2.345", "1." + "2" * 62])
def test_the_file_head_is_a_file_meta_group_and_the_same_each_time(uid):
    head = file_head(CT, uid, "1.2.840.10008.1.2.1")
    meta = pydicom.dcmread(io.BytesIO(head)).file_meta
    assert meta.MediaStorageSOPClassUID == CT
    assert meta.MediaStorageSOPInstanceUID == uid
    assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.FileMetaInformationGroupLength == len(head) - 144
    assert UID(meta.ImplementationClassUID).is_valid
    assert file_head(CT, uid, "1.2.840.10008.1.2.1") == head


class Cut:
    """Remembers who was cut."""

    def __init__(self):
        self.names = []

    def __call__(self, name):
        return lambda: self.names.append(name)


def test_a_newer_waiting_connection_takes_the_place_of_the_oldest_of_its_address():
    places, cut = Places(total=10, per_address=2), Cut()
    for name in "abc":
        places.wait("bad", cut(name))
    good = places.wait("good", cut("good"))
    assert cut.names == ["a"]
    assert places.serve(good)


def test_where_all_wait_the_most_crowded_address_loses():
    places, cut = Places(total=4, per_address=3), Cut()
    for address, name in [("one", "one"), ("bad", "bad1"), ("bad", "bad2"), ("bad", "bad3"), ("new", "new")]:
        places.wait(address, cut(name))
    assert cut.names == ["bad1"]


def test_a_served_association_is_never_cut_for_another():
    places, cut = Places(total=3, per_address=2), Cut()
    held = [places.wait("one", cut(name)) for name in "ab"]
    assert [places.serve(place) for place in held] == [True, True]
    third = places.wait("one", cut("c"))
    assert not places.serve(third)  # its address holds two already
    other = places.wait("other", cut("d"))
    assert places.serve(other)
    assert not places.serve(places.wait("more", cut("e")))  # three in all
    assert cut.names == []
    places.leave(held[0])
    assert places.serve(third)


def test_a_place_that_was_lost_cannot_be_served():
    places, cut = Places(total=1, per_address=1), Cut()
    first = places.wait("one", cut("a"))
    places.wait("one", cut("b"))
    assert not places.serve(first)
    places.leave(first)
    assert len(places.holders()) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ae_title": "SEVENTEEN LETTERS"}, "ae_title"),
        ({"ae_title": "BACK\\SLASH"}, "ae_title"),
        ({"bind_address": "everywhere"}, "bind_address"),
        ({"peers": [{"ae_title": "A", "addresses": ["10.0.0.300"]}]}, "does not appear to be an IPv4"),
        ({"peers": [{"ae_title": "A", "addresses": []}]}, "addresses"),
        (
            {"peers": [{"ae_title": "A", "addresses": ["::1"], "certificate_subject": "CN=x"}]},
            "needs the table tls",
        ),
        ({"max_pdu": 5}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        ReceiveSettings.model_validate(wrong)


def test_every_setting_says_why():
    for name, field in ReceiveSettings.model_fields.items():
        assert field.description, name
