"""The house, wired in one place: what the parts of the node share."""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.archive.store import Store
from dicomnode.audit.pseudonym import read_key
from dicomnode.config import Config
from dicomnode.database.database import Database


@dataclass(frozen=True)
class House:
    """Configuration, database and store of one node, and the key of its pseudonyms in
    log files (empty: logs name no patient at all)."""

    config: Config
    database: Database
    store: Store
    pseudonym_key: bytes

    @property
    def checkpoint_key(self) -> bytes:
        """Secret that signs them, empty where none is configured."""
        path = self.config.audit.checkpoint_key_file
        return read_key(path) if path is not None else b""


def open_house(config: Config, *, upgrade: bool = False) -> House:
    """Open database and store. Raises ArchiveOutdated where the tables need `dicomnode db upgrade`,
    unless ``upgrade`` or the database is new."""
    config.archive.data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = Database(config.archive.url, lock_timeout_s=config.archive.lock_timeout_s)
    if upgrade or not database.current():
        database.upgrade()
    database.check_current()
    key_file = config.audit.pseudonym_key_file
    key = read_key(key_file) if key_file is not None else b""
    return House(config, database, Store(config.archive.store_folder), key)
