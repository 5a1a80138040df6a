"""Run inside a network namespace: Orthanc sends to a receiver and asks it for storage commitment.

    orthanc_scenario.py FOLDER IMAGE.dcm

Prints JSON: status of Orthanc's commitment report with the object there, and after its file was lost.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

SCP_PORT, PACS_PORT, HTTP_PORT = 11402, 11404, 11480
HERE = Path(__file__).resolve().parent


def rest(path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{HTTP_PORT}{path}", data=body)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def wait(what: Any, seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while True:
        try:
            value = what()
        except OSError:
            value = None
        if value:
            return value
        if time.monotonic() > until:
            raise SystemExit("no answer in time")
        time.sleep(0.1)


def listening() -> bool:
    with socket.create_connection(("127.0.0.1", SCP_PORT), timeout=1):
        return True


def configuration(folder: Path) -> dict[str, Any]:
    node = {"AET": "NODE", "Host": "127.0.0.1", "Port": SCP_PORT, "AllowStorageCommitment": True}
    return {
        "Name": "PACS",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "HttpPort": HTTP_PORT,
        "DicomAet": "PACS",
        "DicomPort": PACS_PORT,
        "DicomModalities": {"node": node},
    }


def commitment(series: str) -> str:
    instance = rest(f"/series/{series}")["Instances"][0]
    tags = rest(f"/instances/{instance}/simplified-tags")
    body = json.dumps({"DicomInstances": [[tags["SOPClassUID"], tags["SOPInstanceUID"]]]}).encode()
    path = rest("/modalities/node/storage-commitment", body)["Path"]

    def report() -> Any:
        answer = rest(path)
        return None if answer["Status"] == "Pending" else answer

    return str(wait(report)["Status"])


def main(folder: Path, image: Path) -> None:
    peer = {"ae_title": "PACS", "addresses": ["127.0.0.1"], "commitment_host": "127.0.0.1"}
    settings = {"ae_title": "NODE", "port": SCP_PORT, "free_space_reserve_mb": 1}
    settings["peers"] = [peer | {"commitment_port": PACS_PORT}]
    (folder / "orthanc.json").write_text(json.dumps(configuration(folder)))
    log = (folder / "log").open("wb")
    os.environ["TCP_NODELAY"] = "1"
    commands = [
        [sys.executable, str(HERE / "serve.py"), str(folder), json.dumps(settings)],
        ["Orthanc", str(folder / "orthanc.json")],
    ]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) for command in commands
    ]
    try:
        wait(lambda: rest("/system"))
        wait(listening)
        rest("/instances", image.read_bytes())
        [series] = rest("/series")
        rest("/modalities/node/store", json.dumps({"Resources": [series], "Synchronous": True}).encode())
        first = commitment(series)
        for path in (folder / "store").rglob("*"):
            if path.is_file():
                path.unlink()
        sys.stdout.write(json.dumps({"there": first, "lost": commitment(series)}))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
