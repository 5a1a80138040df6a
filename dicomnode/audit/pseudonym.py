"""Names for patients in log files: the same patient, the same word; nobody without the key knows who."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from dicomnode.errors import ConfigError

# 64 bits: no two of a hospital's patients share one (10^6 patients: chance 3e-8), and it reads in a log.
_LENGTH = 16
_SHORTEST_KEY = 16


def pseudonym(patient_id: str, key: bytes) -> str:
    """``patient_id`` as a keyed pseudonym for log files, "p-" and 16 hexadecimal digits."""
    if len(key) < _SHORTEST_KEY:
        raise ConfigError([f"the pseudonym key has {len(key)} bytes; at least {_SHORTEST_KEY} are needed"])
    return "p-" + hmac.new(key, patient_id.strip().encode(), hashlib.sha256).hexdigest()[:_LENGTH]


def read_key(path: Path) -> bytes:
    """A secret key from a file that only its owner may read. Raises ``ConfigError`` otherwise."""
    if not path.is_file():
        raise ConfigError([f"{path}: key file not found; make one with: openssl rand -hex 32 > FILE"])
    if path.stat().st_mode & 0o077:
        raise ConfigError([f"{path}: others may read this key; run chmod 600 on it"])
    key = path.read_bytes().strip()
    if len(key) < _SHORTEST_KEY:
        raise ConfigError([f"{path}: the key has {len(key)} bytes; at least {_SHORTEST_KEY} are needed"])
    return key
