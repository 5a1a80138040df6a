"""Export to a real syslog server over TLS, TCP and UDP."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicomnode.audit import events, syslog, trail
from dicomnode.audit.events import About
from dicomnode.audit.settings import AuditSettings
from dicomnode.database.database import Database
from dicomnode.errors import ConfigError, DeliveryFailed


class Repository:
    """An audit record repository: takes RFC 5425 frames until the peer closes; may misbehave."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context, self.messages, self.reset_after = context, [], 0  # type: tuple[ssl.SSLContext | None, list[bytes], int]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.context:
                    connection = self.context.wrap_socket(connection, server_side=True)
                self._take(connection)
            except OSError:
                pass  # a peer that does not trust us hangs up
            finally:
                connection.close()

    def _take(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        with stream:
            while length := b"".join(iter(lambda: stream.read(1).strip(), b"")):
                self.messages.append(stream.read(int(length)))
                if self.reset_after and len(self.messages) >= self.reset_after:
                    linger = b"\x01\0\0\0\0\0\0\0"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "repository")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def server(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=["tls", "tcp"])
def repository(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Repository]:
    made = Repository(server(certificate) if request.param == "tls" else None)
    yield made
    made.close()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    database.upgrade()
    yield database
    database.close()


def settings(repository: Repository, certificate: Path) -> AuditSettings:
    return AuditSettings(
        syslog_host="127.0.0.1", syslog_port=repository.port, syslog_ca_file=certificate,
        syslog_transport="tls" if repository.context else "tcp", syslog_timeout_s=5.0,
    )  # fmt: skip


def fill(archive: Database, rows: int, text: str = "ct") -> None:
    with archive.write() as session:
        for _ in range(rows):
            trail.append(session, events.series_used("NODE", About(series_instance_uid="1.2"), role=text))


def numbers(repository: Repository) -> list[int]:
    """Row numbers as the messages carry them, after a parse of header and XML."""
    found = []
    for message in repository.messages:
        header, xml = message.split(b"\xef\xbb\xbf", 1)
        assert header.startswith(b"<85>1 ")
        details = Tree.fromstring(xml).iter("ParticipantObjectDetail")
        by_type = {d.get("type"): d.get("value") for d in details}
        found.append(int(base64.b64decode(by_type["seq"] or "")))
    return found


def test_every_row_arrives_once_and_in_order(
    repository: Repository, archive: Database, certificate: Path
) -> None:
    fill(archive, 3)
    assert syslog.export(archive, settings(repository, certificate)) == 3
    assert syslog.export(archive, settings(repository, certificate)) == 0
    # 40 KB in one message: PS3.15 A.6 wants at least 32768 octets; 600 rows are more than one batch.
    fill(archive, 1, "x" * 40_000)
    fill(archive, 600)
    assert syslog.export(archive, settings(repository, certificate)) == 601
    assert numbers(repository) == list(range(1, 605))


def test_after_a_broken_connection_nothing_is_left_out(
    repository: Repository, archive: Database, certificate: Path
) -> None:
    fill(archive, 400, "x" * 2000)
    repository.reset_after = 2
    with pytest.raises(DeliveryFailed, match=r"127.0.0.1:.*next try with the next export"):
        syslog.export(archive, settings(repository, certificate))
    with archive.read() as session:
        assert syslog.position(session, syslog.destination_of(settings(repository, certificate))) == 0
    repository.reset_after = 0
    assert syslog.export(archive, settings(repository, certificate)) == 400
    assert sorted(set(numbers(repository))) == list(range(1, 401))


def test_a_server_that_we_have_no_reason_to_trust_gets_nothing(archive: Database, certificate: Path) -> None:
    fill(archive, 1)
    repository = Repository(server(certificate))
    strict = settings(repository, certificate).model_copy(update={"syslog_ca_file": None})
    with pytest.raises(DeliveryFailed, match="certificate verify failed"):
        syslog.export(archive, strict)
    repository.close()
    assert repository.messages == []


def test_an_absent_repository_is_a_failed_delivery(archive: Database) -> None:
    fill(archive, 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeliveryFailed, match=f"tls://127.0.0.1:{port}: .*refused"):
        syslog.export(archive, AuditSettings(syslog_host="127.0.0.1", syslog_port=port))


def test_without_a_host_there_is_no_export(archive: Database) -> None:
    with pytest.raises(ConfigError, match="syslog_host is empty"):
        syslog.export(archive, AuditSettings())


def test_udp_carries_one_message_a_datagram(archive: Database) -> None:
    fill(archive, 2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        sent = syslog.export(
            archive, AuditSettings(syslog_host="127.0.0.1", syslog_port=port, syslog_transport="udp")
        )
        assert sent == 2
        assert [receiver.recv(65536)[:6] for _ in range(2)] == [b"<85>1 "] * 2
