"""A node that a shell started with nohup outlives the shell; a role does not outlive its supervisor."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

WAITS = """
import sys, time
from pathlib import Path
from dicomnode.node.serve import stop_on_signals
stop = stop_on_signals()
Path(sys.argv[1]).write_text("ready")
time.sleep(0.5)
Path(sys.argv[1]).write_text("stopped" if stop.wait(2) else "runs on")
"""


@pytest.mark.parametrize(("supervisor", "says"), [("", "runs on"), ("DICOMNODE_SUPERVISOR=$$", "stopped")])
def test_it_ends_with_its_supervisor_and_not_with_its_shell(
    tmp_path: Path, supervisor: str, says: str
) -> None:
    said = tmp_path / "said"
    (tmp_path / "waits.py").write_text(WAITS)
    wait = f"while [ ! -s {said} ]; do sleep 0.1; done"
    start = f"{supervisor} nohup {sys.executable} {tmp_path / 'waits.py'} {said}"
    subprocess.run(["sh", "-c", f"{start} > {tmp_path / 'out'} 2>&1 & {wait}"], check=True, timeout=120)
    until = time.monotonic() + 60
    while said.read_text() in ("", "ready") and time.monotonic() < until:
        time.sleep(0.1)
    assert said.read_text() == says
