"""Certificates, their private keys, and the secrets of the audit trail."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from dicomnode.audit.pseudonym import read_key
from dicomnode.config import Config
from dicomnode.errors import ConfigError
from dicomnode.node.doctor.check import Check, fail, ok, warn

SOON = timedelta(days=30)
"""So long before a certificate ends, somebody should ask for the next."""


@dataclass(frozen=True)
class Door:
    """The TLS files of one door: what it is called in the configuration, and whatever it has of the three."""

    name: str
    certificate: Path | None
    key: Path | None
    authorities: Path | None


def tls(config: Config, now: datetime | None = None) -> Iterator[Check]:
    """Each door that has TLS: files there, key ours alone and that of the certificate, and not expired."""
    for door in doors(config):
        yield _door(door, now or datetime.now(UTC))


def doors(config: Config) -> Iterator[Door]:
    """Receiver, each peer, the listener for commitment reports, the audit repository, the page."""
    if (ours := config.receive.tls) is not None:
        yield Door("receive.tls", ours.certificate, ours.key, ours.ca)
    delivery = config.delivery
    towards = [(f"delivery.peers {peer.name} tls", peer.tls) for peer in delivery.peers]
    if delivery.commitment_listener is not None:
        towards.append(("delivery.commitment_listener.tls", delivery.commitment_listener.tls))
    for name, files in towards:
        if files is not None:
            yield Door(name, files.certificate, files.key, files.authorities)
    audit, web = config.audit, config.web
    if audit.syslog_host and audit.syslog_transport == "tls":
        yield Door("audit.syslog", audit.syslog_certificate_file, audit.syslog_key_file, audit.syslog_ca_file)
    if web.enabled and (web.certificate_file or web.key_file):
        yield Door("web", web.certificate_file, web.key_file, None)


def _door(door: Door, now: datetime) -> Check:
    for path in (door.certificate, door.key, door.authorities):
        if path is not None and (why := unreadable(path)):
            return fail(door.name, why)
    if door.key is not None and (why := _unsafe(door.key)):
        return fail(door.name, why)
    try:
        _load(door)
    except (ssl.SSLError, OSError) as error:
        named = ", ".join(str(p) for p in (door.certificate, door.key, door.authorities) if p)
        return fail(
            door.name,
            f"{named} cannot be used together ({error}): PEM files are needed, the key that of the "
            f"certificate and without a passphrase",
        )
    return _dates(door, now)


def unreadable(path: Path) -> str:
    """Why a file cannot be read, with the remedy; empty where it can."""
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        why = f"{path} cannot be read ({error.strerror})"
        return f"{why}: name the right file, or let the service's user read it"


def _unsafe(key: Path) -> str:
    mode = stat.S_IMODE(key.stat().st_mode)
    return f"others may use the private key {key} (mode {mode:o}): chmod 600 {key}" if mode & 0o077 else ""


def _load(door: Door) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if door.certificate is not None:
        # A passphrase would be asked for on the terminal, where no service sits: the empty one is refused.
        context.load_cert_chain(door.certificate, door.key, password="")
    if door.authorities is not None:
        context.load_verify_locations(door.authorities)


def _dates(door: Door, now: datetime) -> Check:
    """Of every certificate of the files, the one that ends first."""
    found = [
        (certificate, path)
        for path in (door.certificate, door.authorities)
        if path is not None
        for certificate in x509.load_pem_x509_certificates(path.read_bytes())
    ]
    if not found:
        return ok(door.name, "no certificate of ours; those of the system's authorities are trusted")
    certificate, path = min(found, key=lambda pair: pair[0].not_valid_after_utc)
    begins = max(c.not_valid_before_utc for c, _ in found)
    ends = certificate.not_valid_after_utc
    if ends < now:
        return fail(
            door.name, f"a certificate of {path} ended on {ends:%Y-%m-%d}: put a new one in its place"
        )
    if begins > now:
        return fail(
            door.name, f"a certificate is valid only from {begins:%Y-%m-%d %H:%M} UTC: is the clock right?"
        )
    if ends - now < SOON:
        return warn(door.name, f"a certificate of {path} ends on {ends:%Y-%m-%d}: ask for a new one")
    return ok(door.name, f"certificates and key are usable until {ends:%Y-%m-%d}")


def secrets(config: Config) -> Iterator[Check]:
    """The keys that sign checkpoints and make pseudonyms."""
    audit = config.audit
    for name, path in (
        ("audit.checkpoint_key_file", audit.checkpoint_key_file),
        ("audit.pseudonym_key_file", audit.pseudonym_key_file),
    ):
        if path is None:
            continue
        try:
            read_key(path)
        except ConfigError as error:
            yield fail(name, str(error))
        except OSError as error:
            yield fail(name, f"{path} cannot be read ({error.strerror}): let the service's user read it")
        else:
            yield ok(name, f"{path} is a key that its owner alone reads")
