"""Who runs the node, the folders it writes, and their disk."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dicomnode.config import Config
from dicomnode.node.doctor.check import Check, fail, ok, warn

ROOM_MB = 10_000.0
"""Ten cycles of four SPECT/CT (docs/operation.md): with less above the reserve, somebody should look."""


def user() -> Iterator[Check]:
    """Root sees and writes everything: then the other checks say nothing of the service's user."""
    if os.geteuid() == 0:
        yield warn(
            "user",
            "root may read and write everything; ask as the service's user: "
            "sudo -u dicomnode dicomnode doctor",
        )


def folders(config: Config) -> Iterator[Check]:
    """Data folder, checkpoints, and the folder of compiled code."""
    data, marks = config.archive.data_folder, config.checkpoint_folder
    yield folder("archive.data_folder", data)
    yield folder("audit.checkpoint_folder", marks)
    if marks.resolve().is_relative_to(data.resolve()) and config.audit.checkpoint_key_file is None:
        yield warn(
            "audit.checkpoint_folder",
            "the trail's checkpoints lie in the data folder and are not signed: who can change the trail can "
            "change them; set audit.checkpoint_folder to another machine, or audit.checkpoint_key_file",
        )


def folder(name: str, path: Path) -> Check:
    """Whether a folder can be written, or made; others should not look into it."""
    there = existing(path)
    try:
        # Linux makes it without a name: nothing is left, whatever happens.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return fail(
            name,
            f"{path} cannot be written ({error.strerror}): make it and give it to the service's user "
            f"(chown), and name it in ReadWritePaths of a systemd unit",
        )
    if there != path:
        return ok(name, f"{path} is not there yet and can be made")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return warn(name, f"others may look into {path} (mode {mode:o}): chmod 700 {path}")
    return ok(name, f"{path} can be written, by its owner alone")


def existing(path: Path) -> Path:
    """The folder itself or the nearest above it that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def disk(config: Config) -> Iterator[Check]:
    """Free space against the reserve below which nothing is received."""
    free_mb = shutil.disk_usage(existing(config.archive.data_folder)).free / 1e6
    reserve_mb = config.receive.free_space_reserve_mb
    figures = (
        f"{free_mb:.0f} MB are free on the disk of the data folder, {reserve_mb:.0f} MB are kept in reserve"
    )
    remedy = "make room, add a disk, or set archive.keep_received_days"
    if free_mb <= reserve_mb:
        yield fail("disk", f"{figures}: every object is answered A700; {remedy}")
    elif free_mb < reserve_mb + ROOM_MB:
        yield warn("disk", f"{figures}: soon no object is taken; {remedy}")
    else:
        yield ok("disk", figures)
