"""The disk of store and database fills up and is emptied again, under a running node."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"needs leave to mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError:
                continue
    return filler


# With a reserve the receiver refuses in good time; without one every write really fails.
@pytest.mark.long
@pytest.mark.parametrize("reserve_mb", [1.0, 0.0])
def test_a_full_disk_is_answered_a700_and_nothing_is_lost(
    small_disk: Path, reserve_mb: float, new_stand: Any, new_pacs: Any, stands: Any, tiny: Any, rounds_: Any
) -> None:
    pacs = new_pacs()
    stand = new_stand(
        stands.peer("pacs", pacs.port), data=small_disk / "data", reserve_mb=reserve_mb, quiet_s=4.0
    )
    before = stand.pids()
    objects = tiny.Tiny("disk").cycle()
    first, rest = objects[:25], objects[25:]  # the second CT is cut in two
    assert stand.send(first) == [0] * 25
    filler = fill(small_disk)
    refused = stand.send(rest)
    assert refused == [0xA700] * len(rest)
    assert stand.health()["well"] is False
    time.sleep(8.0)  # twice the quiet time
    assert {r["state"] for r in stand.cycles()} <= {"COLLECTING"}, "half a CT is not computed"

    filler.unlink()
    assert stand.send(rest) == [0] * len(rest)
    facts = stand.wait("DELIVERED", "HELD")
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]
    assert len(facts["revisions"]) == 1
    assert stand.health()["well"] is True
    assert stand.pids() == before, "no role had to be restarted"
    acknowledged = {str(ds.SOPInstanceUID): tiny.digest_of(ds) for ds in objects}
    rounds_.assert_nothing_was_lost(stand, acknowledged)
    rounds_.assert_the_trail_is_whole(stand)
