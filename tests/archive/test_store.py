"""The content-addressed store."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicomnode.archive.store import Store, _data_set_offset
from dicomnode.errors import Inconsistent, Refused


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def arrive(store: Store, content: bytes, name: str = "a") -> Path:
    path = store.incoming / name
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def part10(path: Path) -> bytes:
    """A file written by pydicom; returns the bytes of its data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.PrivateInformationCreatorUID = generate_uid()
    meta.PrivateInformation = b"\x01\x02" * 40_000
    data_set = Dataset()
    data_set.PatientName, data_set.Rows = "Doe^Jane", 4
    data_set.file_meta = meta
    data_set.save_as(path, enforce_file_format=True)
    # (0008,...) is absent here: the data set begins at (0010,0010).
    content = path.read_bytes()
    return content[content.index(b"\x10\x00\x10\x00PN") :]


def test_a_part_10_file_is_kept_under_the_digest_of_its_bytes(store: Store) -> None:
    data_set = part10(store.incoming / "x")
    content = (store.incoming / "x").read_bytes()
    kept = store.adopt(store.incoming / "x")
    assert kept.file_sha256 == hashlib.sha256(content).hexdigest()
    assert kept.data_set_sha256 == hashlib.sha256(data_set).hexdigest()
    assert kept.size_bytes == len(content)
    path = store.path(kept.file_sha256)
    assert path.read_bytes() == content
    assert path.parent.name == kept.file_sha256[:2]
    assert not list(store.incoming.iterdir())


def test_the_same_data_set_under_other_file_meta_has_the_same_data_set_digest(store: Store) -> None:
    part10(store.incoming / "x")
    part10(store.incoming / "y")
    one, two = store.adopt(store.incoming / "x"), store.adopt(store.incoming / "y")
    assert one.file_sha256 != two.file_sha256
    assert one.data_set_sha256 == two.data_set_sha256


@given(st.binary(max_size=300))
def test_a_file_without_meta_is_all_data_set(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    store = Store(tmp_path_factory.mktemp("s"))
    kept = store.adopt(arrive(store, content))
    assert kept.file_sha256 == kept.data_set_sha256 == hashlib.sha256(content).hexdigest()


@given(st.binary(max_size=200))
def test_no_file_meta_however_damaged_does_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes
) -> None:
    store = Store(tmp_path_factory.mktemp("s"))
    content = bytes(128) + b"DICM" + tail
    path = arrive(store, content)
    try:
        kept = store.adopt(path)
    except Refused:
        assert path.read_bytes() == content
    else:
        with store.path(kept.file_sha256).open("rb") as stream:
            assert 132 <= _data_set_offset(stream) <= len(content)


def test_a_file_cut_off_in_its_meta_is_refused_and_stays_in_incoming(store: Store) -> None:
    path = arrive(store, bytes(128) + b"DICM" + b"\x02\x00\x02\x00UI\x20\x001.2.840")
    with pytest.raises(Refused, match="cut off or damaged"):
        store.adopt(path)
    assert path.exists()


def test_a_kept_file_is_for_its_owner_only_and_never_executable(store: Store) -> None:
    kept = store.adopt(arrive(store, b"#!/bin/sh\nexit 0\n"))
    assert stat.S_IMODE(store.path(kept.file_sha256).stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path(store.put(b"x")).stat().st_mode) == 0o600


def test_the_same_bytes_twice_are_one_object(store: Store) -> None:
    first = store.adopt(arrive(store, b"abc"))
    second = store.adopt(arrive(store, b"abc", "b"))
    assert first == second
    assert store.put(b"abc") == first.file_sha256
    assert list(store.digests()) == [first.file_sha256]
    assert not list(store.incoming.iterdir())


def test_a_rotten_object_is_noticed_and_healed_by_the_same_bytes(store: Store) -> None:
    digest = store.put(b"abc")
    assert store.verify(digest)
    store.path(digest).write_bytes(b"abd")
    assert not store.verify(digest)
    store.put(b"abc")
    assert store.verify(digest)


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "0" * 62 + "/x"]
)
def test_nothing_but_a_digest_becomes_a_path(store: Store, digest: str) -> None:
    with pytest.raises(Inconsistent, match="not a SHA-256 digest"):
        store.path(digest)


def test_an_absent_object_is_named_with_its_remedy(store: Store) -> None:
    with pytest.raises(Refused, match=rf"no object with this digest \[sha256={'0' * 64}\]\. Restore it"):
        store.path("0" * 64)
    assert not store.verify("0" * 64)


def test_a_link_in_incoming_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (store.incoming / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        store.adopt(store.incoming / "a")


def test_only_old_left_overs_are_swept(store: Store) -> None:
    old, new = arrive(store, b"1", "old"), arrive(store, b"2", "new")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    assert store.sweep_incoming(3600) == 1
    assert not old.exists()
    assert new.exists()


def test_a_discarded_object_is_gone_unless_it_came_again(store: Store) -> None:
    digest = store.put(b"abc")
    assert not store.discard(digest, written_before=time.time() - 60)
    assert store.verify(digest)
    assert store.discard(digest, written_before=time.time() + 60)
    assert not store.holds(digest)
    assert not store.discard(digest, written_before=time.time() + 60)


def test_free_space_is_what_the_file_system_says(store: Store) -> None:
    about = os.statvfs(store.root)
    assert store.free_bytes() == pytest.approx(about.f_bavail * about.f_frsize, rel=0.05)


def test_file_and_folder_are_synced_before_and_after_the_rename(tmp_path: Path) -> None:
    """What the kernel is asked to do, in order, as strace sees it."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs the program strace")
    code = (
        "import sys, pathlib; from dicomnode.archive.store import Store;"
        "s = Store(pathlib.Path(sys.argv[1]));"
        "p = s.incoming / 'x'; p.write_bytes(b'abc'); s.adopt(p)"
    )
    calls = "trace=fsync,rename,renameat,renameat2"
    done = subprocess.run(
        [strace, "-f", "-y", "-e", calls, sys.executable, "-c", code, str(tmp_path / "s")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0
    seen = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    digest = hashlib.sha256(b"abc").hexdigest()
    order = ["/incoming/x>", "/objects>", "/incoming/x", f"/objects/{digest[:2]}>"]
    assert [name in line for name, line in zip(order, seen, strict=True)] == [True] * 4
    assert ["fsync" in line for line in seen] == [True, True, False, True]
