"""TLS of the receiver: 1.2 or newer, certificates on both sides (PS3.15 B; RFC 8996, RFC 9325)."""

from __future__ import annotations

import ssl
import stat
from typing import Any

from dicomnode.errors import ConfigError
from dicomnode.receive.settings import TlsSettings

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""RFC 9325 4.2: forward secrecy and authenticated encryption only (TLS 1.3 suites are all of that kind)."""

# RFC 4514 3; the last as openssl writes it
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def server_context(settings: TlsSettings) -> ssl.SSLContext:
    """The context for accepted connections. Raises ``ConfigError`` where a file is missing, unusable, or
    the key can be read by others."""
    _check_key(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        # A passphrase would be asked for on the terminal, where no service sits.
        context.load_cert_chain(settings.certificate, settings.key, password="")
        context.load_verify_locations(settings.ca)
    except OSError as error:
        raise ConfigError(
            [
                f"receive.tls: certificate {settings.certificate}, key {settings.key} or ca {settings.ca} "
                f"cannot be used ({error}). They must be PEM, and the key that of the certificate, without "
                f"a passphrase."
            ]
        ) from error
    return context


def _check_key(settings: TlsSettings) -> None:
    try:
        mode = settings.key.stat().st_mode
    except OSError as error:
        raise ConfigError([f"receive.tls.key: {settings.key} cannot be read ({error.strerror})"]) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            [f"receive.tls.key: others can read {settings.key} (mode {stat.S_IMODE(mode):o}); chmod 600 it"]
        )


def subject_of(certificate: dict[str, Any] | None) -> str:
    """The subject in the form of RFC 4514, from what ``SSLSocket.getpeercert`` returns; empty without one."""
    names = (certificate or {}).get("subject", ())
    return ",".join("+".join(_attribute(*pair) for pair in rdn) for rdn in reversed(names))


def _attribute(name: str, value: str) -> str:
    escaped = "".join("\\" + character if character in ',+"\\<>;=' else character for character in value)
    if escaped.startswith(("#", " ")):
        escaped = "\\" + escaped
    if escaped.endswith(" ") and not escaped.endswith("\\ "):
        escaped = escaped[:-1] + "\\ "
    return f"{_SHORT_NAMES.get(name, name)}={escaped}"
