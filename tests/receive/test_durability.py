"""Acknowledged means recorded and on disk: full disks, failing databases, kills, memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time

import pytest
from pydicom.uid import generate_uid

UID = "1.2.826.0.1.3680043.8.498.3"


def test_what_cannot_be_kept_or_recorded_is_answered_a700_and_taken_later(serve, ct, send):
    server, image = serve(), ct()
    for fault in ("adopt:ENOSPC", "adopt:EDQUOT", "adopt:EIO", "record:database", "record:EIO"):
        server.fault(fault)
        assert send(server.port, image, image) == [0xA700, 0xA700], fault
        assert server.rows("SELECT * FROM arrivals") == []
        assert server.left_overs() == []
    server.fault("")
    assert send(server.port, image) == [0]
    assert len(server.files()) == 1


def test_a_fault_of_our_own_aborts_that_association_only(serve, ct, send):
    server, image = serve(), ct()
    server.fault("record:bug")
    assert send(server.port, image) == [-1]
    server.fault("")
    assert send(server.port, image) == [0]
    server.wait(lambda health: health["associations_served"] == 0)
    assert server.left_overs() == []


def test_a_slow_database_slows_its_own_sender_only(serve, ct, send, raw):
    server = serve(stall_timeout_s=0.5)
    server.fault("record:1.5")
    peer = raw(server.port)
    peer.associate()
    peer.socket.sendall(peer.store(UID, b"x" * 100))
    time.sleep(0.2)
    server.fault("")
    began = time.monotonic()
    assert send(server.port, ct()) == [0]
    assert time.monotonic() - began < 1.0
    # Our own slowness is not held against the peer (its stall limit is 0.5 s).
    assert peer.status() == 0


def test_below_the_reserve_nothing_more_is_written(serve, ct, send):
    server = serve(free_space_reserve_mb=1e9)
    assert send(server.port, ct(100_000)) == [0xA700]
    assert server.left_overs() == []
    assert server.told("not-stored") == "free space is below the reserve"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_answered_a700_and_recovers(serve, ct, send, small_disk):
    server = serve(small_disk, free_space_reserve_mb=0)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(5_000_000))
    assert send(server.port, ct(4_000_000)) == [0xA700]
    assert server.left_overs() == []
    assert server.files() == []
    filler.unlink()
    assert send(server.port, ct(4_000_000)) == [0]
    assert len(server.files()) == 1
    server.stop()


def test_left_overs_of_a_crash_are_swept_at_the_start(serve, raw, tmp_path):
    root = tmp_path / "node"
    server = serve(root, stall_timeout_s=60.0, idle_timeout_s=60.0)  # the neighbour may start slowly
    peer = raw(server.port)
    peer.associate()
    peer.socket.sendall(peer.pdata(peer.store_command(UID), 3) + peer.pdata(bytes(50_000), 0))
    deadline = time.monotonic() + 2
    while not server.left_overs():
        assert time.monotonic() < deadline
    neighbour = serve(root)
    assert neighbour.health()["swept_files"] == 0  # it is being written: its lock is held
    server.kill()
    assert len(server.left_overs()) == 1
    assert serve(root).health()["swept_files"] == 1
    assert server.left_overs() == []


def kill_round(serve, raw, root, seconds):
    """Store without pause on two associations, kill the receiver; UIDs that were acknowledged."""
    server = serve(root)
    acknowledged = {}

    def store(peer):
        try:
            while True:
                uid, data = generate_uid(), os.urandom(30_000)
                peer.socket.sendall(peer.pdata(peer.store_command(uid), 3) + peer.pdata(data, 2))
                if peer.status() == 0:
                    acknowledged[uid] = hashlib.sha256(data).hexdigest()
        except (OSError, EOFError, AssertionError):
            return

    peers = [raw(server.port) for _ in range(2)]
    for peer in peers:
        peer.associate()
    threads = [threading.Thread(target=store, args=(peer,)) for peer in peers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    server.kill()
    for thread in threads:
        thread.join()
    return server, acknowledged


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.long)])
def test_kill_9_loses_nothing_that_was_acknowledged(serve, raw, tmp_path, rounds):
    root, acknowledged = tmp_path / "node", {}
    for number in range(rounds):
        server, more = kill_round(serve, raw, root, 0.3 + 0.037 * (number % 10))
        assert more
        acknowledged |= more
    after = serve(root)
    recorded = dict(after.rows("SELECT uid, data_set FROM arrivals"))
    assert acknowledged.items() <= recorded.items()
    for _uid, file in after.rows("SELECT uid, file FROM arrivals"):
        path = root / "store" / file[:2] / file
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file
    assert server.left_overs() == []


def test_memory_does_not_grow_with_the_object(serve, raw):
    grow(serve, raw, 60_000_000)


@pytest.mark.long
def test_memory_grows_less_than_100_mb_for_an_object_of_500_mb(serve, raw):
    grow(serve, raw, 500_000_000)


def grow(serve, raw, size_bytes):
    server = serve(stall_timeout_s=30.0)
    peer = raw(server.port)
    peer.associate()
    peer.socket.sendall(peer.store("1.2.3", b"x"))
    assert peer.status() == 0
    before = server.health()["peak_mb"]
    peer.socket.settimeout(60)
    peer.socket.sendall(peer.pdata(peer.store_command(UID), 3))
    block = peer.pdata(os.urandom(100_000), 0)
    for _ in range(size_bytes // 100_000):
        peer.socket.sendall(block)
    peer.socket.sendall(peer.pdata(b"x", 2))
    assert peer.status() == 0
    assert server.health()["peak_mb"] - before < 10
