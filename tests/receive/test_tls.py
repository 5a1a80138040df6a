"""Mutual TLS: who shows which certificate, which versions, and a peer that shows nothing."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dicomnode.errors import ConfigError
from dicomnode.receive import TlsSettings
from dicomnode.receive.tls import server_context, subject_of

DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority made for the test."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self.key.public_key(), ca=True)
        self.path = folder / f"{name}.ca.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name, attributes):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
        certificate, keyfile = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(
            self._sign(subject, key.public_key(), ca=False).public_bytes(serialization.Encoding.PEM)
        )
        keyfile.touch(0o600)
        keyfile.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, keyfile

    def _sign(self, subject, public_key, *, ca):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
        builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - DAY).not_valid_after(now + DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        return builder.sign(self.key, hashes.SHA256())


CAMERA = [
    (NameOID.COUNTRY_NAME, "DE"),
    (NameOID.ORGANIZATION_NAME, "Clinic, West"),
    (NameOID.COMMON_NAME, "ct1"),
]
CAMERA_SUBJECT = r"CN=ct1,O=Clinic\, West,C=DE"
OTHER = [(NameOID.COMMON_NAME, "other")]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "site")


@pytest.fixture
def secure(serve, authority):
    """Start a receiver with TLS."""
    certificate, key = authority.issue("node", [(NameOID.COMMON_NAME, "node")])
    files = {"certificate": str(certificate), "key": str(key), "ca": str(authority.path)}
    return lambda **settings: serve(tls=files, **settings)


def client(authority, issued, version=ssl.TLSVersion.TLSv1_3):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(authority.path)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_2 if version >= ssl.TLSVersion.TLSv1_2 else version
    context.maximum_version = version
    if issued:
        context.load_cert_chain(*issued)
    return {"tls_args": (context, None)}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_listed_certificate_is_served_and_recorded(secure, authority, ct, send, version):
    camera = authority.issue("camera", CAMERA)
    listed = {
        "ae_title": "GOOD",
        "addresses": ["127.0.0.1"],
        "certificate_subject": CAMERA_SUBJECT,
    }
    server = secure(peers=[listed], accept_unlisted_peers=False)
    assert send(server.port, ct(400_000), ct(), **client(authority, camera, version)) == [0, 0]
    subjects = server.rows("SELECT DISTINCT subject FROM arrivals")
    assert subjects == [(CAMERA_SUBJECT,)]


def test_another_certificate_than_the_listed_is_refused(secure, authority, ct, send):
    listed = {"ae_title": "GOOD", "addresses": ["127.0.0.1"], "certificate_subject": "CN=ct1"}
    server = secure(peers=[listed], accept_unlisted_peers=False)
    assert send(server.port, ct(), **client(authority, authority.issue("other", OTHER))) == [-1]
    assert server.told("association-refused") == "'GOOD' showed the certificate of 'CN=other'"


def test_a_certificate_of_another_authority_is_refused(secure, authority, ct, send, tmp_path):
    foreign = Authority(tmp_path, "foreign").issue("camera", CAMERA)
    server = secure()
    assert send(server.port, ct(), **client(authority, foreign)) == [-1]
    assert "CERTIFICATE_VERIFY_FAILED" in server.told("tls-failed")


def test_no_certificate_and_no_tls_are_refused(secure, authority, ct, send):
    server = secure()
    assert send(server.port, ct(), **client(authority, None)) == [-1]
    assert send(server.port, ct()) == [-1]
    assert server.told("tls-failed")
    assert server.files() == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_1_1_is_refused(secure, authority):
    server = secure()
    context = client(authority, authority.issue("camera", CAMERA), ssl.TLSVersion.TLSv1_1)["tls_args"][0]
    refused = pytest.raises(ssl.SSLError, match=r"(?i)protocol version|unsupported protocol|no protocols")
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain, refused:
        context.wrap_socket(plain)


def test_silent_tls_peers_keep_nobody_out(secure, authority, ct, send, raw):
    server = secure(max_associations_per_address=4)
    silent = [raw(server.port) for _ in range(12)]
    silent[-1].socket.sendall(b"\x16\x03\x01")
    began = time.monotonic()
    assert send(server.port, ct(), **client(authority, authority.issue("camera", CAMERA))) == [0]
    assert time.monotonic() - began < 1.0
    server.wait(lambda health: health["connections_waiting"] == 0, 3.5)
    assert server.told("tls-failed")


def test_a_stalled_peer_within_tls_is_dropped(secure, authority, raw):
    server = secure()
    peer = raw(server.port)
    peer.socket = client(authority, authority.issue("camera", CAMERA))["tls_args"][0].wrap_socket(peer.socket)
    peer.associate()
    peer.socket.sendall(peer.store("1.2.3", bytes(1000))[:100])
    server.wait(lambda health: health["associations_served"] == 0, 3.5)
    assert server.left_overs() == []


def test_dcmtk_sends_over_tls(secure, authority, ct, program, tmp_path):
    certificate, key = authority.issue("camera", CAMERA)
    server = secure()
    ct(200_000).save_as(tmp_path / "a.dcm", enforce_file_format=True)
    command = [program("storescu"), "-aec", "NODE", "+tls", key, certificate, "+cf", authority.path]
    command += ["+px", "127.0.0.1", str(server.port), tmp_path / "a.dcm"]
    sent = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=20)
    assert sent.returncode == 0, sent.stderr
    assert len(server.files()) == 1


def test_the_subject_reads_as_rfc_4514_says(authority):
    certificate, _key = authority.issue(
        "odd", [*CAMERA, (NameOID.ORGANIZATIONAL_UNIT_NAME, '#1 <"a+b">; c\\')]
    )
    parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    shown = ssl._ssl._test_decode_cert(str(certificate))
    assert subject_of(shown) == parsed.subject.rfc4514_string()


def test_a_key_that_others_can_read_is_refused(authority):
    certificate, key = authority.issue("node", OTHER)
    key.chmod(0o644)
    settings = TlsSettings(certificate=certificate, key=key, ca=authority.path)
    with pytest.raises(ConfigError, match=r"others can read .*node\.key \(mode 644\); chmod 600 it"):
        server_context(settings)


def test_a_key_of_another_certificate_is_refused(authority):
    certificate, _key = authority.issue("node", OTHER)
    _certificate, key = authority.issue("camera", CAMERA)
    with pytest.raises(ConfigError, match=r"the key that of the certificate"):
        server_context(TlsSettings(certificate=certificate, key=key, ca=authority.path))
