"""Settings of the receiver: the ``[receive]`` table of config.toml."""

from __future__ import annotations

import ipaddress
from itertools import combinations, product
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dicomnode.model import Settings

AE_TITLE = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
"""PS3.5 6.2: up to 16 characters without backslash and control characters; outer spaces do not count."""


class PeerSettings(Settings):
    """One sender that may connect: calling AE title, address and certificate belong together."""

    ae_title: str = Field(description="calling AE title of the sender", pattern=AE_TITLE)
    addresses: tuple[str, ...] = Field(
        description="addresses or networks (CIDR) from which this AE title may call", min_length=1
    )
    certificate_subject: str = Field(
        "",
        description="subject its certificate must have (openssl x509 -noout -subject -nameopt RFC2253); "
        "empty: any certificate of the configured authority",
    )
    commitment_host: str = Field(
        "", description="where storage commitment reports go if the sender has released its association"
    )
    commitment_port: int = Field(104, description="port of commitment_host", gt=0, lt=65536)

    @field_validator("addresses")
    @classmethod
    def _networks(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            ipaddress.ip_network(address, strict=False)
        return addresses


def _overlap(one: PeerSettings, other: PeerSettings) -> bool:
    """True where both may be meant by one caller."""
    networks = [[ipaddress.ip_network(a, strict=False) for a in peer.addresses] for peer in (one, other)]
    return one.ae_title == other.ae_title and any(
        a.version == b.version and a.overlaps(b) for a, b in product(*networks)
    )


class TlsSettings(Settings):
    """TLS 1.2 or newer with certificates on both sides (PS3.15 B, BCP 195)."""

    certificate: Path = Field(description="certificate chain of this node (PEM)")
    key: Path = Field(description="private key of this node (PEM), readable by its user only")
    ca: Path = Field(description="authority that signed the senders' certificates (PEM)")


class ReceiveSettings(Settings):
    """What the receiver listens to, whom it serves, and how much of it anyone may take."""

    ae_title: str = Field("DICOMNODE", description="our AE title; others are refused", pattern=AE_TITLE)
    bind_address: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(
        11112,
        description="port to listen on (2762 is customary with TLS); 0: any",
        ge=0,
        lt=65536,
    )
    peers: tuple[PeerSettings, ...] = Field((), description="who may send; everyone else is refused")
    accept_unlisted_peers: bool = Field(
        False, description="serve senders that are not listed; for a closed test network only"
    )
    tls: TlsSettings | None = Field(None, description="certificates; without it nothing is encrypted")
    max_pdu_bytes: int = Field(
        131072, description="largest P-DATA we announce; 128 KiB is DCMTK's maximum too", ge=4096, le=1048576
    )
    max_associations: int = Field(32, description="associations served at one time", ge=1, le=1024)
    max_associations_per_address: int = Field(
        8,
        description="how many of these one address may hold, so that others find a place",
        ge=1,
        le=1024,
    )
    associate_timeout_s: float = Field(
        10.0, description="time for TLS handshake and association request together", gt=0, le=300
    )
    idle_timeout_s: float = Field(60.0, description="longest silence between messages", gt=0, le=3600)
    stall_timeout_s: float = Field(20.0, description="longest silence within a message", gt=0, le=600)
    minimum_bytes_per_s: float = Field(
        1024.0, description="average rate a message must keep, once stall_timeout_s has passed", ge=0
    )
    message_deadline_s: float = Field(1800.0, description="longest time one message may take", gt=0)
    max_instance_mb: float = Field(2048.0, description="largest object accepted", gt=0)
    free_space_reserve_mb: float = Field(
        2048.0, description="free space kept on the store's disk; below it objects are answered 0xA700", ge=0
    )
    conflict_status: Literal["success", "failure"] = Field(
        "success",
        description="answer to a known SOP Instance UID with other bytes; both are kept, an alert is raised",
    )
    commitment_attempts: int = Field(
        3, description="attempts to deliver a commitment report on an association of our own", ge=1, le=20
    )
    commitment_retry_s: float = Field(30.0, description="pause between those attempts", gt=0)
    stop_grace_s: float = Field(10.0, description="time for associations to end when we stop", ge=0)

    @field_validator("peers")
    @classmethod
    def _each_caller_once(cls, peers: tuple[PeerSettings, ...]) -> tuple[PeerSettings, ...]:
        for one, other in combinations(peers, 2):
            if _overlap(one, other):
                raise ValueError(
                    f"{one.ae_title} is listed twice for one address: join the two entries, one certificate "
                    f"subject and one place for commitment reports to a caller"
                )
        return peers

    @field_validator("bind_address")
    @classmethod
    def _address(cls, address: str) -> str:
        return str(ipaddress.ip_address(address))

    @model_validator(mode="after")
    def _subjects_need_tls(self) -> Self:
        if self.tls is None and any(peer.certificate_subject for peer in self.peers):
            raise ValueError("certificate_subject needs the table tls: no certificate is asked for")
        return self
