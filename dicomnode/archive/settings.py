"""Where the archive lies and how long it keeps what it was sent."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from dicomnode.model.settings import Settings


class ArchiveSettings(Settings):
    """Store and database."""

    data_folder: Path = Field(
        Path("data"),
        description="Received files, results and (with SQLite) the database; on a disk with room, backed up.",
    )
    database_url: str = Field(
        "",
        description="Empty: SQLite in data_folder. PostgreSQL: postgresql+psycopg://USER@HOST/NAME, with "
        "the password in ~/.pgpass.",
    )
    lock_timeout_s: float = Field(
        30.0, description="How long a writer waits for another before it gives up.", gt=0
    )
    sweep_incoming_after_s: float = Field(
        3600.0, description="Age from which an unfinished file in incoming/ is removed.", gt=0
    )
    keep_received_days: int = Field(
        0,
        description="Age from which received files of delivered cycles are removed (their rows stay); "
        "0 keeps them for ever.",
        ge=0,
    )

    @property
    def store_folder(self) -> Path:
        """Root of the content-addressed store."""
        return self.data_folder / "store"

    @property
    def url(self) -> str:
        """The database's address, with the default filled in."""
        return self.database_url or f"sqlite:///{self.data_folder / 'dicomnode.sqlite3'}"
