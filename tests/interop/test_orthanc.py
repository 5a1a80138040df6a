"""Orthanc as PACS and sender: deploy/examples/route.lua sends what dosimetry needs, the node's results come
back, and Orthanc commits to them. No step by hand."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dicomnode.database.tables import Instance
from tests.helpers.running_node import RunningNode, free_port

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy/examples"
COMMITTED = """
calling_ae_title = "DICOMNODE_OUT"
storage_commitment = true
commitment_wait_s = 1.0
[delivery.commitment_listener]
port = {port}
ae_title = "DICOMNODE_OUT"
"""


class Orthanc:
    """Orthanc with the example configuration, ports and folders apart."""

    def __init__(
        self, executable: str, folder: Path, node_port: int, dicom_port: int, reports_port: int
    ) -> None:
        self.http_port, self.log_path = free_port(), folder / "orthanc.log"
        told = json.loads((EXAMPLES / "orthanc.json").read_text())
        told["DicomModalities"]["node"] |= {"Host": "127.0.0.1", "Port": node_port}
        told["DicomModalities"]["results"] |= {"Host": "127.0.0.1", "Port": reports_port}
        told["DicomModalities"]["camera"] = {
            "AET": "CAMERA",
            "Host": "127.0.0.1",
            "Port": 4,
            "AllowStore": True,
        }
        told |= {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [],
            "HttpPort": self.http_port,
            "AuthenticationEnabled": False,
            "DicomPort": dicom_port,
            "StableAge": 2,
            "LuaScripts": [str(EXAMPLES / Path(script).name) for script in told["LuaScripts"]],
        }
        (folder / "orthanc.json").write_text(json.dumps(told))
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [executable, str(folder / "orthanc.json")],
                stdout=log,
                stderr=log,
                env=os.environ | {"TCP_NODELAY": "1"},
            )

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=20) as answer:
            return json.load(answer)

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                self.ask("/system")
                return
            except OSError:
                assert self.process.poll() is None, self.log_path.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def modalities(self) -> dict[str, str]:
        """Series Instance UID -> Modality of everything it has."""
        found = [self.ask(f"/series/{s}")["MainDicomTags"] for s in self.ask("/series")]
        return {tags["SeriesInstanceUID"]: tags["Modality"] for tags in found}

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def pair(
    network: None, program: Callable[[str], str], tmp_path: Path
) -> Iterator[tuple[RunningNode, Orthanc]]:
    executable, port, reports = program("Orthanc"), free_port(), free_port()
    node = RunningNode(tmp_path / "node", pacs=port, more=COMMITTED.format(port=reports), quiet_s=4.0)
    pacs = Orthanc(executable, tmp_path, node.port, port, reports)
    try:
        node.start()
        pacs.wait()
        yield node, pacs
    finally:
        pacs.close()
        node.close()


def test_a_study_that_the_pacs_receives_comes_back_with_its_dose(
    pair: tuple[RunningNode, Orthanc], patient_files: dict[float, list[Path]], run: Any
) -> None:
    node, pacs = pair
    port = pacs.ask("/system")["DicomPort"]
    for hours in (24.0, 72.0):
        sent = run(
            "storescu", "-R", "-aet", "CAMERA", "-aec", "PACS", "127.0.0.1", port, *patient_files[hours]
        )
        assert sent.returncode == 0, sent.stderr
    done = node.wait("DELIVERED", "HELD", timeout_s=240)
    assert done["cycle"]["state"] == "DELIVERED", done["cycle"]["reasons"]

    modalities = pacs.modalities()
    assert sorted(modalities.values()) == ["CT", "CT", "NM", "NM", "RTDOSE", "SEG", "SR"]
    assert [d["state"] for d in done["deliveries"]] == ["COMMITTED", "COMMITTED"]

    # what came back is what was made, and it did not go round
    (uid,) = (r["sop_instance_uid"] for r in done["results"] if r["role"] == "rtdose")
    (instance,) = (
        i["ID"] for i in pacs.ask("/instances?expand") if i["MainDicomTags"]["SOPInstanceUID"] == uid
    )
    tags = pacs.ask(f"/instances/{instance}/simplified-tags")
    assert (tags["DoseUnits"], tags["PatientID"]) == ("GY", "DEMO-0007")
    with node.house.database.read() as session:
        received = session.scalars(select(Instance.sop_class_uid)).all()
    assert len(received) == sum(map(len, patient_files.values()))
    assert not [c for c in received if c.startswith("1.2.840.10008.5.1.4.1.1.88")]
    assert node.audit_is_whole()
