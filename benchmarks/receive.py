"""Reception beside DCMTK storescp and Orthanc, in one run: server CPU per instance and wall time.

    python benchmarks/receive.py [--instances 400] [--rounds 2]

Sends CT objects of 512 KB with storescu on 1 and on 4 associations (TCP_NODELAY=1 at every end, or
DCMTK and Orthanc look ten times slower than they are) and prints, for the best of the rounds, CPU
milliseconds of the server process per instance and the wall time, with its ratio to Orthanc's. This
node and Orthanc make every object durable before they answer; storescp does not (it is the floor).
Runs in a network namespace of its own, because storescp and Orthanc bind every interface (needs root).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PROJECT = Path(__file__).resolve().parents[1]
PORT = 11402
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def node_command(root: Path) -> list[str]:
    """The node's receiving role as a hospital runs it: store, SQLite receipts and audit trail."""
    path = root / "config.toml"
    path.write_text(
        f"""[archive]
data_folder = "data"
[receive]
ae_title = "NODE"
port = {PORT}
accept_unlisted_peers = true
free_space_reserve_mb = 100.0
max_associations_per_address = 32
"""
    )
    return [sys.executable, "-m", "dicomnode", "serve", "--config", str(path), "--role", "receive"]


def storescp_command(root: Path) -> list[str]:
    return ["storescp", "--fork", "-pdu", "131072", "-od", str(root), "+B", "-aet", "NODE", str(PORT)]


def orthanc_command(root: Path) -> list[str]:
    configuration = {
        "Name": "PACS",
        "StorageDirectory": str(root / "db"),
        "IndexDirectory": str(root / "db"),
        "Plugins": [],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpServerEnabled": False,
        "DicomAet": "NODE",
        "DicomPort": PORT,
        "DicomAlwaysAllowStore": True,
        "MaximumPduLength": 131072,
        "SyncStorageArea": True,
        "OverwriteInstances": False,
    }
    (root / "orthanc.json").write_text(json.dumps(configuration))
    return ["Orthanc", str(root / "orthanc.json")]


SERVERS: dict[str, Callable[[Path], list[str]]] = {
    "dicomnode": node_command,
    "Orthanc, durable": orthanc_command,
    "storescp, not durable": storescp_command,
}


@dataclass(frozen=True)
class Run:
    wall_s: float
    cpu_ms: float
    peak_mb: float


def make_instances(folder: Path, count: int) -> None:
    """CT objects of 512 x 512 x 16 bit, each with its own UID and noise, in four folders."""
    noise = np.random.default_rng(6)
    study, series = generate_uid(), generate_uid()
    for number in range(count):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.PatientID, image.PatientName, image.Modality = "BENCH", "Bench^Mark", "CT"
        image.Rows = image.Columns = 512
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.SamplesPerPixel, image.PixelRepresentation = 1, 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.PixelData = noise.integers(-1000, 1000, (512, 512), dtype=np.int16).tobytes()
        part = folder / str(number % 4)
        part.mkdir(exist_ok=True)
        image.save_as(part / f"{number:04d}.dcm", enforce_file_format=True)


def cpu_s(process_group: int) -> float:
    """CPU seconds of all processes of the group and of their waited-for children."""
    total = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == process_group:
            total += sum(int(value) for value in fields[11:15])
    return total * TICK_S


def peak_mb(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def wait_until_listening(process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit("the server ended at once")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("the server does not listen")


def send(folders: list[list[Path]]) -> float:
    """Seconds that storescu takes, one process and association for each list of folders."""
    command = ["storescu", "-aec", "NODE", "--max-pdu", "131072", "+sd", "127.0.0.1", str(PORT)]
    began = time.monotonic()
    senders = [subprocess.Popen([*command, *map(str, part)]) for part in folders]
    codes = [sender.wait() for sender in senders]
    if any(codes):
        raise SystemExit("storescu failed")
    return time.monotonic() - began


def measure(name: str, work: Path, data: Path, associations: int, count: int) -> Run:
    root = Path(tempfile.mkdtemp(dir=work))
    parts = sorted(data.iterdir())
    folders = [parts] if associations == 1 else [[part] for part in parts]
    environment = os.environ | {"TCP_NODELAY": "1", "PYTHONPATH": str(PROJECT)}
    os.environ["TCP_NODELAY"] = "1"
    server = subprocess.Popen(
        SERVERS[name](root),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        wait_until_listening(server)
        time.sleep(1.0)
        before = cpu_s(server.pid)
        wall = send(folders)
        used = cpu_s(server.pid) - before
        return Run(wall, used / count * 1e3, peak_mb(server.pid))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        shutil.rmtree(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        again = " ".join(["exec", sys.executable, *sys.argv, "--inside"])
        raise SystemExit(subprocess.call(["unshare", "-n", "sh", "-c", f"ip link set lo up; {again}"]))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        make_instances(data, options.instances)
        compare(Path(folder), data, options.instances, options.rounds)


def compare(work: Path, data: Path, count: int, rounds: int) -> None:
    print(f"{count} instances of 512 KB; load average {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
    print(f"{'receiver':24}{'assoc':>6}{'CPU ms/inst':>13}{'wall s':>9}{'to Orthanc':>12}{'peak MB':>9}")
    for associations in (1, 4):
        runs: dict[str, list[Run]] = {name: [] for name in SERVERS}
        for _ in range(rounds):
            for name in SERVERS:
                runs[name].append(measure(name, work, data, associations, count))
        orthanc = min(run.wall_s for run in runs["Orthanc, durable"])
        for name, of_name in runs.items():
            cpu = min(run.cpu_ms for run in of_name)
            wall = min(run.wall_s for run in of_name)
            peak = max(run.peak_mb for run in of_name)
            print(f"{name:24}{associations:>6}{cpu:>13.2f}{wall:>9.2f}{wall / orthanc:>12.2f}{peak:>9.0f}")


if __name__ == "__main__":
    main()
