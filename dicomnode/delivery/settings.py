"""Settings of the door out, and the pure question which objects a peer gets, in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dicomnode.model import Settings

ObjectKind = Literal[
    "rtdose", "tia-map", "sigma-map", "sr", "pdf",
    "spect-pt", "spect-osem", "spect-nm", "spect-sigma", "spect-noise",
]  # fmt: skip

FAMILIES: tuple[ObjectKind, ...] = ("spect-pt", "spect-osem", "spect-nm", "spect-sigma", "spect-noise")
"""Kinds of which a revision has many objects or none: one for each SPECT that the node reconstructed, of
PT each slice, of noise each replicate. Their roles are ``<kind>-<time point>[-<number>]``."""

# A UID as PS3.5 9.1 has it, at most 64 characters (checked apart).
_UID = r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+"


class TlsSettings(Settings):
    """Mutual TLS towards one peer (PS3.15 Annex B, BCP 195: TLS 1.2 or newer)."""

    certificate: Path = Field(description="our certificate (PEM), shown to the peer")
    key: Path = Field(description="our private key (PEM); readable by the service user only")
    authorities: Path = Field(description="certificates (PEM) that may have signed the peer's certificate")
    server_name: str = Field(
        "", description="name that the peer's certificate must carry; empty means the host's name"
    )


class PeerSettings(Settings):
    """One receiving system."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$", description="our name for this peer")
    ae_title: str = Field(min_length=1, max_length=16, description="called AE title, as the peer has it")
    host: str = Field(min_length=1, description="name or address of the peer")
    port: int = Field(104, gt=0, lt=65536, description="its DICOM port")
    calling_ae_title: str = Field(
        "DICOMNODE", min_length=1, max_length=16, description="our AE title, as the peer has it on its list"
    )
    tls: TlsSettings | None = Field(None, description="mutual TLS; left out means plain TCP")
    objects: tuple[ObjectKind, ...] = Field(
        ("rtdose", "sr"), min_length=1, description="what this peer gets, in this order"
    )
    rtdose_bits: Literal[16, 32] = Field(
        32, description="16 only for old planning systems: low doses beside hot spots lose precision"
    )
    plan_reference: str = Field(
        "none",
        pattern=rf"^(none|companion|existing:{_UID})$",
        description="none, companion (a plan leaves before the dose) or existing:<UID of a plan at the peer>",
    )
    storage_commitment: bool = Field(
        False, description="ask the peer to confirm that it keeps each object (PS3.4 Annex J)"
    )
    commitment_timeout_h: float = Field(
        6.0, gt=0, description="no report after this many hours: ask again with a new transaction"
    )
    commitment_tries: int = Field(
        3, ge=1, description="unanswered requests before the objects are looked up by C-FIND"
    )
    commitment_wait_s: float = Field(
        2.0, ge=0, description="how long the asking association stays open for a report on it"
    )
    max_age_days: float = Field(
        7.0, gt=0, description="an object that could not be sent for so long is parked for a person"
    )
    retry_delays_min: tuple[float, ...] = Field(
        (1.0, 5.0, 15.0, 60.0), min_length=1, description="waiting before each next try; the last one repeats"
    )
    slow_delays_min: tuple[float, ...] = Field(
        (15.0, 60.0, 240.0),
        min_length=1,
        description="the single slow series after 'cannot understand' (C000 to CFFF), then parked",
    )
    limited_tries: int = Field(
        5, ge=1, description="tries after 'processing failure' or 'resource limitation', then parked"
    )
    retry_jitter: float = Field(
        0.2, ge=0, lt=1, description="random part of every delay, so that nodes do not come back in step"
    )
    breaker_failures: int = Field(
        3, ge=1, description="failures in a row after which the peer is left alone for a while"
    )
    connect_timeout_s: float = Field(10.0, gt=0, description="TCP and TLS connection")
    association_timeout_s: float = Field(30.0, gt=0, description="answer to the association request")
    response_timeout_s: float = Field(120.0, gt=0, description="answer to one object, on top of its transfer")
    stall_timeout_s: float = Field(60.0, gt=0, description="a half-sent message or a full socket, in all")
    slowest_kb_per_s: float = Field(
        100.0, gt=0, description="slowest transfer that is still waited for; sets the time for large objects"
    )

    @field_validator("plan_reference")
    @classmethod
    def _uid_is_short_enough(cls, value: str) -> str:
        if len(value.removeprefix("existing:")) > 64:
            raise ValueError("the UID after 'existing:' is longer than 64 characters")
        return value

    @field_validator("objects")
    @classmethod
    def _each_object_once(cls, value: tuple[ObjectKind, ...]) -> tuple[ObjectKind, ...]:
        if len(set(value)) != len(value):
            raise ValueError("an object is listed twice")
        return value

    @field_validator("retry_delays_min", "slow_delays_min")
    @classmethod
    def _delays_are_positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(delay <= 0 for delay in value):
            raise ValueError("every delay must be greater than 0 minutes")
        return value


class ListenerSettings(Settings):
    """A port of our own for storage commitment reports, where the receiver does not take them."""

    host: str = Field("127.0.0.1", description="address to listen on, never all of them by default")
    port: int = Field(0, ge=0, lt=65536, description="port; 0 picks a free one (tests)")
    ae_title: str = Field("DICOMNODE", min_length=1, max_length=16, description="our AE title for reports")
    stall_timeout_s: float = Field(
        30.0, gt=0, description="a silent or half-sending peer is dropped after this"
    )
    max_associations: int = Field(10, ge=1, description="associations at a time")
    tls: TlsSettings | None = Field(None, description="mutual TLS; left out means plain TCP")


class DeliverySettings(Settings):
    """The door out."""

    peers: tuple[PeerSettings, ...] = Field((), description="receiving systems, one table each")
    poll_s: float = Field(2.0, gt=0, description="how often the outbox is looked at")
    lease_s: float = Field(
        900.0, gt=0, description="after this a sender that no longer answers loses its objects to another"
    )
    objects_per_association: int = Field(50, ge=1, description="most objects sent over one association")
    commitment_listener: ListenerSettings | None = Field(
        None,
        description="own port for commitment reports; left out, only reports on the asking association are "
        "taken",
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [peer.name for peer in self.peers]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise ValueError(f"two peers are named {', '.join(double)}")
        return self


@dataclass(frozen=True)
class DoseVariant:
    """One encoding of the dose: other bytes, so another role and another SOP Instance UID."""

    role: str
    bits: Literal[16, 32]
    plan: Literal["none", "companion", "existing"]
    plan_uid: str = ""


def dose_variant(peer: PeerSettings) -> DoseVariant:
    """The RTDOSE that ``peer`` wants.

    Its role is ``rtdose[-16][-companion | -existing-<8 hex digits of the plan UID's SHA-256>]``.
    """
    role = "rtdose" if peer.rtdose_bits == 32 else "rtdose-16"
    if peer.plan_reference == "none":
        return DoseVariant(role, peer.rtdose_bits, "none")
    if peer.plan_reference == "companion":
        return DoseVariant(f"{role}-companion", peer.rtdose_bits, "companion")
    uid = peer.plan_reference.removeprefix("existing:")
    mark = hashlib.sha256(uid.encode("ascii")).hexdigest()[:8]
    return DoseVariant(f"{role}-existing-{mark}", peer.rtdose_bits, "existing", uid)


def report_role(peer: PeerSettings) -> str:
    """The role of the SR that ``peer`` gets: one that refers to the RTDOSE that it gets, too."""
    variant = dose_variant(peer).role if "rtdose" in peer.objects else "rtdose"
    return f"sr{variant.removeprefix('rtdose')}"


def reported_doses(peers: Iterable[PeerSettings]) -> dict[str, str]:
    """Role of each SR that has to be made -> role of the RTDOSE that it refers to."""
    wanted = {"sr", *(report_role(peer) for peer in peers if "sr" in peer.objects)}
    return {role: f"rtdose{role.removeprefix('sr')}" for role in sorted(wanted)}


def dose_variants(peers: Iterable[PeerSettings]) -> tuple[DoseVariant, ...]:
    """Every RTDOSE that some peer wants, each once, by role: what has to be made."""
    wanted = {dose_variant(peer) for peer in peers if "rtdose" in peer.objects}
    return tuple(sorted(wanted, key=lambda variant: variant.role))


def expanded(roles: Iterable[tuple[str, int]], made: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Roles with each family replaced by those of its objects that were ``made``, at its position."""
    return tuple(
        (name, position)
        for role, position in roles
        for name in ([m for m in made if m.startswith(f"{role}-")] if role in FAMILIES else [role])
    )


def roles_for(peer: PeerSettings) -> tuple[tuple[str, int], ...]:
    """Roles of the results that ``peer`` gets, each with its position, in sending order.

    Positions n and n + 1 form a chain: the second never leaves before the first was taken (a companion
    plan before the dose that refers to it). A gap breaks the chain, so that a refused report does not
    hold back a dose.
    """
    roles: list[tuple[str, int]] = []
    position = 0
    for kind in peer.objects:
        if kind == "rtdose":
            variant = dose_variant(peer)
            if variant.plan == "companion":
                roles.append(("rtplan", position))
                position += 1
            roles.append((variant.role, position))
        elif kind == "sr":
            roles.append((report_role(peer), position))
        else:
            roles.append((kind, position))
        position += 2
    return tuple(roles)
