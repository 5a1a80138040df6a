"""The clock: time is what dosimetry integrates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from dicomnode.node.doctor.check import Check, ok, warn

WAIT_S = 5.0


def clock() -> Iterator[Check]:
    """Whether the system says that its clock follows a time server (systemd's timedatectl)."""
    said = _synchronised()
    if said == "yes":
        yield ok("clock", "it follows a time server")
    elif said == "no":
        yield warn("clock", "it follows no time server: run NTP (chrony, systemd-timesyncd)")
    else:
        yield warn(
            "clock", "whether it follows a time server is not to be seen here: look with `chronyc tracking`"
        )


def _synchronised() -> str:
    """ "yes", "no", or empty where nobody says (a container)."""
    program = shutil.which("timedatectl")
    if program is None:
        return ""
    command = [program, "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip()
