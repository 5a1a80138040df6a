"""What lies in deploy/: checked as far as it goes without a container engine and without root."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicomnode.config import load
from tests.helpers.running_node import RunningNode

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.name)
def test_systemd_takes_the_unit(unit: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("needs systemd-analyze")
    said = subprocess.run(
        [program, "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in said.stderr.splitlines() if unit.stem.rstrip("@") in line]
    not_installed = "Command /opt/dicomnode/bin/dicomnode is not executable: No such file or directory"
    assert [line for line in complaints if not_installed not in line] == []


@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda p: p.name)
def test_every_command_of_a_unit_exists_with_these_options(unit: Path) -> None:
    commands = re.findall(r"^ExecStart(?:Pre)?=-?(\S+) (.*)$", unit.read_text(), flags=re.MULTILINE)
    assert commands
    for program, text in commands:
        assert program == "/opt/dicomnode/bin/dicomnode"
        words = shlex.split(text)
        verbs = [w for w in words[:2] if w.isalpha() or w == "check-config"]
        told = subprocess.run(
            [sys.executable, "-m", "dicomnode", *verbs, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert {w for w in words if w.startswith("--")} <= set(re.findall(r"--[a-z-]+", told)), text


def test_the_compose_file_hangs_together() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(services), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), volume
            else:
                assert source in compose["volumes"], volume
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "nothing is open to the network by default"
    assert (DEPLOY / services["node"]["build"]["context"] / services["node"]["build"]["dockerfile"]).is_file()


@pytest.fixture
def compose_schema(tmp_path: Path) -> Any:
    """The schema that docker-compose 1.29 carries: it has no package of its own."""
    command = [
        sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
        "--only-binary=:all:", "--dest", str(tmp_path), "docker-compose==1.29.2",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"needs a package index: {done.stderr[-200:]}")
    (wheel,) = tmp_path.glob("docker_compose-*.whl")
    with zipfile.ZipFile(wheel) as book:
        return json.loads(book.read("compose/config/compose_spec.json"))


def test_the_compose_file_follows_its_schema(compose_schema: Any) -> None:
    from jsonschema import Draft201909Validator

    found = Draft201909Validator(compose_schema).iter_errors(
        yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    )
    assert [e.message for e in found] == []


def test_the_example_configurations_load() -> None:
    compose, hospital = (load(DEPLOY / "examples" / f"{n}.toml") for n in ("compose", "hospital"))
    assert hospital.receive.tls is not None
    assert [p.name for p in hospital.delivery.peers] == ["pacs", "planning"]
    assert len(hospital.cycle.calibration) == 3
    # compose.toml, compose.yaml and orthanc.json name one another rightly
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    orthanc = json.loads((DEPLOY / "examples/orthanc.json").read_text())
    (pacs,) = compose.delivery.peers
    assert (pacs.host in services, pacs.ae_title, pacs.port) == (
        True,
        orthanc["DicomAet"],
        orthanc["DicomPort"],
    )
    assert "@database/" in compose.archive.database_url
    to_node, results = (orthanc["DicomModalities"][n] for n in ("node", "results"))
    assert (to_node["Host"], to_node["AET"]) == ("node", compose.receive.ae_title)
    assert to_node["Port"] == compose.receive.port
    assert compose.delivery.commitment_listener is not None
    assert (results["AET"], results["Port"]) == (
        pacs.calling_ae_title, compose.delivery.commitment_listener.port,
    )  # fmt: skip
    assert f"'{pacs.calling_ae_title}'" in (DEPLOY / "examples/route.lua").read_text()


def container_lines() -> dict[str, Any]:
    """ENTRYPOINT, CMD and the health check's command of the Containerfile."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    last = text.rpartition("FROM ")[2]
    lines = {
        k: json.loads(v) for k, v in re.findall(r"^(ENTRYPOINT|CMD) (\[.*\])$", last, flags=re.MULTILINE)
    }
    lines["HEALTHCHECK"] = json.loads(
        re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", last, flags=re.MULTILINE)[1]
    )
    return lines


def test_entry_point_and_health_check_of_the_image_work(tmp_path: Path) -> None:
    lines = container_lines()
    assert lines["ENTRYPOINT"] == ["dicomnode"]
    node = RunningNode(tmp_path / "node")
    check = [w.replace("11180", str(node.health_port)) for w in lines["HEALTHCHECK"]]
    assert check != lines["HEALTHCHECK"], "the port is that of config.toml"
    check[0] = sys.executable
    before = subprocess.run(check, capture_output=True, check=False, timeout=20)
    assert before.returncode != 0
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *lines["ENTRYPOINT"], *lines["CMD"]],
            stdout=log,
            stderr=log,
            env=os.environ | {"DICOMNODE_CONFIG": str(node.config_path)},
        )
    try:
        deadline = time.monotonic() + 40
        while subprocess.run(check, capture_output=True, check=False, timeout=20).returncode != 0:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, "a container stops in order"
        node.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{node.health_port}/health", timeout=2)
