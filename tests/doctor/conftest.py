"""A configuration file in a folder, and certificates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dicomnode.config import Config, load
from tests.helpers.running_node import free_port

Configured = Callable[[str], Config]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Writes config.toml: free ports, a database and a peer unless the text has others."""

    def write(text: str = "") -> Config:
        ports = f"[receive]\nport = {free_port()}\naccept_unlisted_peers = true\n"
        health = f"[operation]\nhealth_port = {free_port()}\n"
        parts = [part for part in (ports, health) if part.partition("\n")[0] not in text.splitlines()]
        path = tmp_path / "config.toml"
        path.write_text("".join((*parts, text)), encoding="utf-8")
        return load(path)

    return write


class Authority:
    """Signs certificates for the name localhost and the address 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._signed(self.name, self.key, days=900, ca=True))

    def issue(self, name: str, days: float = 400, passphrase: bytes = b"") -> tuple[Path, Path]:
        """Certificate and key (mode 600) of ``name``; the certificate ends after ``days``."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate, file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key, days=days, ca=False))
        how = (
            serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        )
        file.touch(0o600)
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
        )
        return certificate, file

    def table(self, name: str, days: float = 400) -> str:
        """The keys certificate and key of a [tls] table."""
        certificate, key = self.issue(name, days)
        return f'certificate = "{certificate}"\nkey = "{key}"\n'

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: float, ca: bool) -> bytes:
        now = datetime.now(UTC)
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        )
        made = (
            x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=500))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
