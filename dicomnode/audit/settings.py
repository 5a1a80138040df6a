"""How the trail is proved, signed and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dicomnode.model.settings import Settings


class AuditSettings(Settings):
    """Checkpoints, pseudonyms and syslog."""

    checkpoint_folder: Path = Field(
        Path("checkpoints"),
        description="Where the trail's heads are kept, outside the database; best on another machine.",
    )
    checkpoint_every_s: float = Field(3600.0, description="Time between two checkpoints.", gt=0)
    checkpoint_key_file: Path | None = Field(
        None, description="Secret that signs the checkpoints; keep a copy where the node cannot change it."
    )
    pseudonym_key_file: Path | None = Field(
        None, description="Secret for the patients' pseudonyms in log files; without it logs name no patient."
    )
    source_id: str = Field("dicomnode", description="AuditSourceID in exported messages.", min_length=1)
    enterprise_site_id: str = Field("", description="AuditEnterpriseSiteID in exported messages.")
    syslog_host: str = Field("", description="Audit record repository; empty: the trail is not exported.")
    syslog_port: int = Field(6514, description="Its port (RFC 5425: 6514).", gt=0, lt=65536)
    syslog_transport: Literal["tls", "tcp", "udp"] = Field(
        "tls", description="tls (PS3.15 A.6); tcp and udp carry patient data in clear: loopback only."
    )
    syslog_ca_file: Path | None = Field(
        None, description="Certificates that may sign the repository's; empty: those of the system."
    )
    syslog_certificate_file: Path | None = Field(
        None, description="Our certificate, where the repository asks for one."
    )
    syslog_key_file: Path | None = Field(None, description="Key of our certificate.")
    syslog_timeout_s: float = Field(10.0, description="How long the repository may take.", gt=0)
    syslog_every_s: float = Field(10.0, description="Time between two exports.", gt=0)
