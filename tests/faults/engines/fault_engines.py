"""An engine that misbehaves as a file tells it; loaded by the node's workers in these tests only."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from dicomnode.dose.local import LocalDeposition, LocalSettings
from dicomnode.model import DoseMap


class ToldSettings(LocalSettings):
    """Where the engine is told what to do."""

    behaviour: Path = Field(description="file with one word, and what belongs to it")


class Told(LocalDeposition):
    """``local``, after doing what the file says: wait (while it says so), die, die-once, eat, full."""

    Settings = ToldSettings

    def __init__(self, settings: ToldSettings) -> None:
        super().__init__(LocalSettings())
        self.file = settings.behaviour

    def dose(self, *arguments: Any, **named: Any) -> DoseMap:
        self._behave(self.file.read_text().strip())
        return super().dose(*arguments, **named)

    def _behave(self, word: str) -> None:
        while word == "wait":
            time.sleep(0.05)
            word = self.file.read_text().strip()
        if word == "die-once":
            self.file.write_text("ok")
        if word in ("die", "die-once"):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if word == "eat":
            eaten = []
            while True:
                eaten.append(b"x" * (32 << 20))
                time.sleep(0.02)
