"""DCMTK at both doors: storescu sends a study, storescp gets the results, and others read what it got."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from tests.helpers.network_namespace import own_network
from tests.helpers.running_node import RunningNode, free_port

TPS = """
[[delivery.peers]]
name = "tps"
ae_title = "TPS"
host = "127.0.0.1"
port = {port}
objects = ["rtdose", "tia-map", "sigma-map", "sr", "pdf"]
rtdose_bits = 16
plan_reference = "companion"
"""
RECEIVERS = ("PACS", "TPS")


class Delivered:
    """What two storescp got: peer -> modality or kind -> file."""

    def __init__(self, folders: dict[str, Path], facts: dict[str, Any]) -> None:
        self.facts = facts
        self.files = {peer: sorted(folder.iterdir()) for peer, folder in folders.items()}

    def one(self, peer: str, modality: str) -> Path:
        (path,) = (p for p in self.files[peer] if dcmread(p, specific_tags=["Modality"]).Modality == modality)
        return path


def listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def delivered(
    program: Callable[[str], str],
    patient_files: dict[float, list[Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Delivered:
    """A study sent by storescu in two associations, its results received by two storescp."""
    folder = tmp_path_factory.mktemp("dcmtk")
    storescu, storescp = program("storescu"), program("storescp")
    environment = os.environ | {"TCP_NODELAY": "1"}  # Debian's DCMTK waits 44 ms per object without it
    folders = {peer: folder / peer for peer in RECEIVERS}
    with own_network():
        ports = {peer: free_port() for peer in RECEIVERS}
        node = RunningNode(folder / "node", pacs=ports["PACS"], more=TPS.format(port=ports["TPS"]))
        peers = []
        for peer in RECEIVERS:
            folders[peer].mkdir()
            command = [storescp, "-pm", "-aet", peer, "-od", str(folders[peer]), str(ports[peer])]
            peers.append(subprocess.Popen(command, env=environment))
            listening(ports[peer])
        try:
            node.start()
            for files in patient_files.values():
                command = [storescu, "-R", "-aec", "DICOMNODE", "127.0.0.1", str(node.port), *map(str, files)]
                subprocess.run(command, env=environment, check=True, timeout=60)
            facts = node.wait("DELIVERED", "HELD", timeout_s=240)
            assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]
            assert node.audit_is_whole()
        finally:
            node.close()
            for process in peers:
                process.terminate()
                process.wait(10)
    return Delivered(folders, facts)


def test_each_receiver_has_what_it_is_to_get(delivered: Delivered) -> None:
    kinds = {
        peer: sorted(dcmread(p, specific_tags=["Modality"]).Modality for p in files)
        for peer, files in delivered.files.items()
    }
    assert kinds["PACS"] == ["RTDOSE", "SR"]
    assert len(kinds["TPS"]) == 6  # two maps, dose, its plan, report, PDF
    assert {"RTDOSE", "RTPLAN", "SR", "DOC"} <= set(kinds["TPS"])


def test_dcmdump_shows_a_dose_in_gray(delivered: Delivered, run: Any) -> None:
    said = run("dcmdump", delivered.one("PACS", "RTDOSE")).stdout
    assert re.search(r"\(3004,0002\) CS \[GY\]", said)
    assert re.search(r"\(0028,0100\) US 32", said)
    largest = max(o["max_gy"] for o in delivered.facts["organ_doses"])
    scaling = float(re.search(r"\(3004,000e\) DS \[(\S+)\s*\]", said)[1])
    assert scaling == pytest.approx(largest / (2**32 - 1), rel=1e-6)


def test_dciodvfy_finds_no_error_in_any_delivered_object(delivered: Delivered, run: Any) -> None:
    """The 16-bit dose stands for the 32-bit one, whose header is the same: dciodvfy of 2022 dies of 32."""
    for path in delivered.files["TPS"]:
        said = run("dciodvfy", path)
        assert [line for line in said.stderr.splitlines() if line.startswith("Error")] == [], path.name
    sr = run("dciodvfy", delivered.one("PACS", "SR"))
    assert "Error" not in sr.stderr


def test_plastimatch_reads_the_same_dose_in_the_same_place(
    delivered: Delivered, run: Any, tmp_path: Path
) -> None:
    import SimpleITK as sitk  # noqa: N813

    for peer, bits in (("PACS", 32), ("TPS", 16)):
        path = delivered.one(peer, "RTDOSE")
        said = run("plastimatch", "convert", "--input", path, "--output-dose-img", tmp_path / "dose.mha")
        assert said.returncode == 0, said.stderr
        image, ours = sitk.ReadImage(str(tmp_path / "dose.mha")), dcmread(path)
        gy = ours.pixel_array * float(ours.DoseGridScaling)
        step = gy.max() / (2**bits - 1)
        np.testing.assert_allclose(sitk.GetArrayFromImage(image), gy, atol=step + 1e-6 * gy.max())
        assert image.GetOrigin() == pytest.approx([float(v) for v in ours.ImagePositionPatient], abs=1e-3)
        assert image.GetSpacing()[2] == pytest.approx(float(ours.GridFrameOffsetVector[1]), abs=1e-3)
        largest = max(o["max_gy"] for o in delivered.facts["organ_doses"])
        assert gy.max() == pytest.approx(largest, rel=1e-5)


ASK_DICOMPYLER = """
import json, sys
from dicompylercore import dicomparser
dose = dicomparser.DicomParser(sys.argv[1])
data = dose.GetDoseData()
plane = dose.GetDoseGrid(float(sys.argv[2]))
print(json.dumps({"max": float(dose.ds.pixel_array.max()) * float(data["dosegridscaling"]),
                  "plane": float(plane.max()) * float(data["dosegridscaling"]),
                  "units": data["doseunits"], "rows": data["rows"],
                  "position": list(map(float, data["position"]))}))
"""


@pytest.mark.long
def test_dicompyler_core_reads_the_same_dose(delivered: Delivered, tmp_path: Path) -> None:
    python = _dicompyler(tmp_path)
    path = delivered.one("PACS", "RTDOSE")
    ours = dcmread(path)
    gy = ours.pixel_array * float(ours.DoseGridScaling)
    k = int(np.argmax(gy.max(axis=(1, 2))))
    z = float(ours.ImagePositionPatient[2]) + float(ours.GridFrameOffsetVector[k])
    done = subprocess.run(
        [python, "-c", ASK_DICOMPYLER, str(path), str(z)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["units"], said["rows"]) == ("GY", ours.Rows)
    assert [said["max"], said["plane"]] == pytest.approx([gy.max(), gy.max()], rel=1e-6)
    assert said["position"] == pytest.approx([float(v) for v in ours.ImagePositionPatient])


def _dicompyler(folder: Path) -> str:
    """Python of an environment with dicompyler-core, which needs pydicom < 3: it cannot be ours."""
    given = os.environ.get("DICOMNODE_DICOMPYLER_VENV")
    place = Path(given) if given else folder / "venv"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=120)
        packages = ["dicompyler-core==0.5.6", "pydicom<3", "numpy<2", "setuptools<81"]
        command = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            pytest.skip(f"needs a package index, or DICOMNODE_DICOMPYLER_VENV: {done.stderr[-200:]}")
    return str(python)
