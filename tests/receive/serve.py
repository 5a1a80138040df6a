"""A receiver in a process of its own: ``serve.py ROOT SETTINGS_JSON``.

Prints its port; then answers each line of standard input with its health as JSON; stops cleanly on
SIGTERM or at the end of input.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import resource
import signal
import sys
from pathlib import Path

from keeping import FileStore, SqliteLedger

from dicomnode.receive import Receiver, ReceiveSettings


def main(root: Path, settings: str) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    store = FileStore(root)
    receiver = Receiver(
        ReceiveSettings.model_validate_json(settings), store, SqliteLedger(root), store.incoming
    )
    receiver.start()

    def stop(_signal: int, _frame: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    try:
        sys.stdout.write(f"{receiver.port}\n")
        sys.stdout.flush()
        for _line in sys.stdin:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            health = dataclasses.asdict(receiver.health()) | {
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "peak_mb": usage.ru_maxrss / 1024,
            }
            sys.stdout.write(json.dumps(health, default=str) + "\n")
            sys.stdout.flush()
    finally:
        receiver.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
