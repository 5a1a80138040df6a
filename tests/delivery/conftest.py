"""Real peers for delivery: DCMTK, Orthanc, scripted ones, and a database."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    EncapsulatedPDFStorage,
    RTDoseStorage,
    RTPlanStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicomnode.archive import outbox as sql
from dicomnode.database.tables import Base, CycleRow, Result, Revision
from dicomnode.delivery.outbox import Item
from dicomnode.delivery.settings import PeerSettings

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
CLASSES = {"rtplan": RTPlanStorage, "rtdose": RTDoseStorage, "rtdose-companion": RTDoseStorage}


def _load_adapter():
    path = Path(__file__).with_name("sql_outbox.py")
    spec = importlib.util.spec_from_file_location("delivery_sql_outbox", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def adapter():
    """The module sql_outbox.py."""
    return _load_adapter()


@pytest.fixture(scope="session")
def program():
    """Finds an independent program, or skips with the reason."""

    def find(name):
        for folder in (os.environ.get("PATH", ""), "/usr/sbin:/usr/lib/postgresql/15/bin"):
            if path := shutil.which(name, path=folder):
                return path
        pytest.skip(f"needs the program {name}: run deploy/test-peers.sh")

    return find


def write_object(folder, role, study="1.2.826.0.1.3680043.10.543.1", pixels=64):
    """A small RTDOSE, RTPLAN or PDF object, named by its digest; returns what the archive knows of it."""
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CLASSES.get(role, EncapsulatedPDFStorage)
    dataset.SOPInstanceUID = generate_uid(prefix=None)
    dataset.PatientName, dataset.PatientID = "Phantom^Delivery", "DELIVERY-1"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyID = dataset.AccessionNumber = ""
    dataset.StudyDate, dataset.StudyTime, dataset.ReferringPhysicianName = "20260302", "080000", ""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, generate_uid(prefix=None)
    dataset.Modality = {"rtplan": "RTPLAN"}.get(role, "RTDOSE" if "dose" in role else "DOC")
    if "dose" in role:
        dataset.Rows = dataset.Columns = pixels
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 32
        dataset.HighBit, dataset.PixelRepresentation = 31, 0
        dataset.DoseGridScaling = "1e-6"
        dose = np.arange(pixels * pixels, dtype="<u4")
        dataset.PixelData = dose.tobytes()
    path = folder / "new"
    dataset.save_as(path, enforce_file_format=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.rename(folder / digest)
    return SimpleNamespace(
        role=role,
        sha256=digest,
        path=folder / digest,
        sop_class=str(dataset.SOPClassUID),
        uid=str(dataset.SOPInstanceUID),
    )


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def make_object(store):
    return lambda role="rtdose", **more: write_object(store, role, **more)


@pytest.fixture
def make_item(make_object):
    """A leased object as the sender sees it."""
    numbers = iter(range(1, 1000))

    def make(role="rtdose", position=0, **more):
        made = make_object(role, **more)
        return Item(
            next(numbers),
            1,
            "revision-1",
            role,
            position,
            made.sop_class,
            made.uid,
            made.sha256,
            made.path,
            START,
        )

    return make


@pytest.fixture
def make_peer():
    """Settings of a peer with times short enough for tests."""

    def make(port, name="pacs", **more):
        values = {
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "connect_timeout_s": 2,
            "association_timeout_s": 2,
            "response_timeout_s": 1,
            "stall_timeout_s": 2,
            "retry_jitter": 0,
        }
        return PeerSettings(name=name, port=port, **(values | more))

    return make


class ScriptedPeer:
    """A pynetdicom SCP that answers as told and remembers what it got."""

    def __init__(self, syntaxes=(ExplicitVRLittleEndian, ImplicitVRLittleEndian), tls=None, **entity):
        self.answers, self.got, self.found, self.transactions = [], [], None, []
        self.on_action = None
        self.ae = AE(ae_title="PACS")
        self.ae.require_called_aet = True
        for name, value in entity.items():
            setattr(self.ae, name, value)
        for sop_class in (RTPlanStorage, RTDoseStorage, EncapsulatedPDFStorage):
            self.ae.add_supported_context(sop_class, list(syntaxes))
        for sop_class in (
            StorageCommitmentPushModel,
            StudyRootQueryRetrieveInformationModelFind,
            Verification,
        ):
            self.ae.add_supported_context(sop_class)
        self.server = self.ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            ssl_context=tls,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_N_ACTION, self._action),
                (evt.EVT_C_FIND, self._find),
            ],
        )
        self.port = self.server.server_address[1]

    def _store(self, event):
        self.got.append(
            SimpleNamespace(
                uid=str(event.request.AffectedSOPInstanceUID),
                data=event.request.DataSet.getvalue(),
                syntax=str(event.context.transfer_syntax),
                association=id(event.assoc),
            )
        )
        answer = self.answers.pop(0) if self.answers else 0x0000
        return answer(event) if callable(answer) else answer

    def _action(self, event):
        self.transactions.append(event.action_information)
        return self.on_action(event) if self.on_action else (0x0000, None)

    def _find(self, event):
        uid = str(event.identifier.SOPInstanceUID)
        if uid in (self.found or ()):
            yield 0xFF00, event.identifier
        yield 0x0000, None


@pytest.fixture(scope="session")
def closing():
    """Closes servers beside the tests: each takes half a second to notice."""
    threads = []

    def later(close):
        threads.append(threading.Thread(target=close))
        threads[-1].start()

    yield later
    for thread in threads:
        thread.join()


@pytest.fixture
def scripted(closing):
    peers = []

    def start(**more):
        peers.append(ScriptedPeer(**more))
        return peers[-1]

    yield start
    for peer in peers:
        closing(peer.ae.shutdown)


@pytest.fixture
def raw_peer():
    """A TCP peer that answers the first bytes with ``reply`` and then does nothing."""
    ends = contextlib.ExitStack()

    def start(reply=b"", close=False):
        server = ends.enter_context(socket.create_server(("127.0.0.1", 0)))

        def run():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    ends.callback(connection.close)
                    connection.recv(65536)
                    connection.sendall(reply)
                    if close:
                        connection.close()

        threading.Thread(target=run, daemon=True).start()
        return server.getsockname()[1]

    yield start
    ends.close()


@pytest.fixture
def private_network():
    """Moves the test's thread (and what it starts) into a network namespace with loopback only, for peers
    that cannot be told to bind one address."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
            pytest.skip("needs the right to make a network namespace (root)")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(home, 0x40000000) == 0
    finally:
        os.close(home)


def wait_until(condition, seconds=20.0, what="the condition"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true in {seconds} s")


@pytest.fixture
def eventually():
    return wait_until


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def running(command, **more):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Orthanc:
    """Orthanc as the PACS; keeps its data over stop and start."""

    port, http, report_port = 11404, 11480, 11402

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        modality = {
            "AET": "DICOMNODE",
            "Host": "127.0.0.1",
            "Port": self.report_port,
            "AllowStorageCommitment": True,
        }
        configuration = {
            "Name": "PACS",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [],
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "HttpPort": self.http,
            "DicomAet": "PACS",
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomModalities": {"node": modality},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self._stack = contextlib.ExitStack()

    def start(self):
        command = [self.binary, str(self.folder / "orthanc.json")]
        self._stack.enter_context(running(command, env=os.environ | {"TCP_NODELAY": "1"}))
        wait_until(lambda: listens(self.port) and listens(self.http), 30, "Orthanc")

    def stop(self):
        self._stack.close()

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
            return json.load(answer)

    def uids(self):
        return sorted(
            self.get(f"/instances/{i}")["MainDicomTags"]["SOPInstanceUID"] for i in self.get("/instances")
        )


@pytest.fixture
def orthanc(program, private_network, tmp_path):
    folder = tmp_path / "orthanc"
    folder.mkdir()
    pacs = Orthanc(program("Orthanc"), folder)
    yield pacs
    pacs.stop()


@pytest.fixture
def storescp(program, private_network, tmp_path):
    """DCMTK's storescp with the options given; returns port and folder."""
    stack = contextlib.ExitStack()

    def start(*options):
        folder = tmp_path / "storescp"
        folder.mkdir()
        command = [program("storescp"), "-aet", "PACS", *options, "-od", str(folder), "11405"]
        stack.enter_context(running(command, env=os.environ | {"TCP_NODELAY": "1"}))
        wait_until(lambda: listens(11405), 10, "storescp")
        return 11405, folder

    yield start
    stack.close()


@pytest.fixture(scope="session")
def postgres_url(program, tmp_path_factory):
    """A PostgreSQL cluster of our own on a Unix socket."""
    binary = program("initdb")
    folder = tmp_path_factory.mktemp("pg")
    for part in [folder, *folder.parents]:
        if part.stat().st_uid == os.getuid() and part != Path("/") and part != Path("/tmp"):
            part.chmod(0o755)
    data = folder / "data"
    data.mkdir()
    become = {}
    if os.getuid() == 0:
        shutil.chown(data, "nobody")
        become = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
    options = ["-D", str(data), "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([binary, *options], check=True, **quiet, **become)
    settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(data)]
    with running([str(Path(binary).with_name("postgres")), "-D", str(data), *settings], cwd="/", **become):
        wait_until(lambda: (data / ".s.PGSQL.5432").exists(), 20, "PostgreSQL")
        url = f"postgresql+psycopg://test@/postgres?host={data}"
        yield url


@pytest.fixture
def engine(request, adapter, tmp_path):
    """An empty archive; parametrise indirectly with "sqlite" or "postgresql"."""
    if getattr(request, "param", "sqlite") == "postgresql":
        engine = adapter.engine_of(request.getfixturevalue("postgres_url"))
        Base.metadata.drop_all(engine)
    else:
        engine = adapter.engine_of(f"sqlite:///{tmp_path}/archive.db")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def add_revision(make_object):
    """Writes a revision with its results; returns (revision id, result rows)."""
    numbers = iter(range(1, 1000))

    def add(session, roles=("rtplan", "rtdose-companion", "sr"), created_at=START):
        number = next(numbers)
        cycle, revision = f"cycle-{number}", f"revision-{number}"
        session.add(
            CycleRow(
                id=cycle,
                patient_id="P",
                nuclide="Lu-177",
                state="RELEASED",
                state_since=START,
                opened_at=START,
            )
        )
        session.flush()
        session.add(
            Revision(
                id=revision, cycle_id=cycle, number=1, state="RELEASED", inputs_digest="0", created_at=START
            )
        )
        session.flush()
        results = []
        for role in roles:
            made = make_object(role)
            results.append(
                Result(
                    revision_id=revision,
                    role=role,
                    sop_class_uid=made.sop_class,
                    sop_instance_uid=made.uid,
                    file_sha256=made.sha256,
                    created_at=created_at,
                )
            )
        session.add_all(results)
        session.flush()
        return revision, results

    return add


@pytest.fixture
def queue(engine, add_revision):
    """Queues a revision for peers; returns its results' SOP Instance UIDs by role."""
    from sqlalchemy.orm import Session

    def put(roles=(("rtplan", 0), ("rtdose-companion", 1), ("sr", 3)), peers=("pacs",), now=START):
        with Session(engine) as session, session.begin():
            revision, results = add_revision(session, [role for role, _ in roles], created_at=now)
            sql.enqueue(session, revision, results, dict.fromkeys(peers, roles), now)
            return {result.role: result.sop_instance_uid for result in results}

    return put


@pytest.fixture
def status_with():
    """A status with an error comment."""

    def make(code, comment):
        status = Dataset()
        status.Status = code
        status.ErrorComment = comment
        return status

    return make


@pytest.fixture
def stalling_proxy():
    """Passes the peer's first message and 3 bytes of its second, then nothing more."""
    ends = contextlib.ExitStack()

    def start(port):
        server = ends.enter_context(socket.create_server(("127.0.0.1", 0)))

        def upwards(client, peer):
            with contextlib.suppress(OSError):
                while data := client.recv(65536):
                    peer.sendall(data)

        def run():
            with contextlib.suppress(OSError):
                client = ends.enter_context(server.accept()[0])
                peer = ends.enter_context(socket.create_connection(("127.0.0.1", port)))
                threading.Thread(target=upwards, args=(client, peer), daemon=True).start()
                client.sendall(peer.recv(65536))
                client.sendall(peer.recv(3))

        threading.Thread(target=run, daemon=True).start()
        return server.getsockname()[1]

    yield start
    ends.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Makes certificates signed by one authority of the tests' own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)

    def make(name, signer=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer, issuer_key = signer or (subject, key)
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))
        builder = builder.add_extension(
            x509.BasicConstraints(ca=signer is None, path_length=None), critical=True
        )
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return subject, key

    ca = make("ca")
    for name in ("pacs", "node"):
        make(name, ca)
    make("stranger")
    return folder


@pytest.fixture
def tls_of(authority):
    def make(name, **more):
        values = {"certificate": f"{name}.crt", "key": f"{name}.key", "authorities": "ca.crt"}
        return {k: authority / v for k, v in values.items()} | {"server_name": "pacs"} | more

    return make
