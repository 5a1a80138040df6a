"""From the last received object to the delivered RTDOSE: the demonstration's cycle, step by step.

Prints seconds per step as the audit records them, the whole against its limit (60 s on 2 cores with the
engine `vsv`), and the largest memory of any process of the node.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

from dicomnode.demo.run import demonstrate

LIMIT_S = 60.0


class Watch(threading.Thread):
    """Largest resident memory (MiB) of this process's descendants, by command."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak: dict[int, float] = {}

    def run(self) -> None:
        while True:
            for pid in descendants(os.getpid()):
                self.peak[pid] = max(self.peak.get(pid, 0.0), resident_mib(pid))
            time.sleep(0.2)


def descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(") ", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    load = os.getloadavg()[0]
    watch = Watch()
    watch.start()
    with tempfile.TemporaryDirectory() as folder:
        result = demonstrate(Path(folder) / "demo", seed=1, size="full", say=lambda _what, _fraction: None)
        database = sqlite3.connect(Path(folder) / "demo/data/dicomnode.sqlite3")
        seconds = "(julianday({1}) - julianday({0})) * 86400"
        print(f"one cycle, 4 SPECT/CT; load average before {load:.1f}; {os.cpu_count()} cores")
        (received,) = database.execute(
            f"select {seconds.format('min(received_at)', 'max(received_at)')} from instances"
        ).fetchone()
        print(f"{'receive':<14}{received:7.1f} s")
        for step, took in database.execute(
            f"select step, {seconds.format('started_at', 'ended_at')} from calculations order by id"
        ):
            print(f"{step:<14}{took:7.1f} s")
        whole = result.seconds_after_last_object
        share = whole / LIMIT_S
        print(f"last object to delivered {whole:.1f} s: {share:.2f} of the limit of {LIMIT_S:g} s")
    print(f"largest process of the node {max(watch.peak.values()):.0f} MiB")
    sys.exit(0 if whole <= LIMIT_S else 1)


if __name__ == "__main__":
    main()
