"""`dicomnode doctor` with real ports, folders and peers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dicomnode.archive.store import Store
from dicomnode.casebook.house import open_house
from dicomnode.config import Config, load
from dicomnode.demo.pacs import DemoPacs
from dicomnode.errors import ConfigError
from dicomnode.node.doctor import Check, Verdict, others, places, ports, programs
from dicomnode.node.receipts import ReceiptLedger
from dicomnode.receive.scp import Receiver
from tests.doctor.conftest import Authority, Configured
from tests.helpers.running_node import RunningNode, free_port

PEER = '[[delivery.peers]]\nname = "pacs"\nae_title = "{}"\nhost = "127.0.0.1"\nport = {}\n'


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dicomnode", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder)


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture
def taken() -> Any:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_new_node_with_its_pacs_fails_nowhere_and_nothing_is_made(
    configured: Configured, tmp_path: Path
) -> None:
    pacs = DemoPacs(tmp_path / "pacs")
    configured(PEER.format("PACS", pacs.port))
    done = run(tmp_path, "doctor", "--json")
    same = run(tmp_path, "check-config", "--connect", "config.toml")
    pacs.close()
    checks = json.loads(done.stdout)
    assert (done.returncode, [c for c in checks if c["verdict"] == "FAIL"]) == (0, [])
    assert {c["name"] for c in checks} >= {"disk", "clock", "dose.engine"}
    assert same.returncode == 0
    assert [line[5:].split(": ")[0] for line in same.stdout.splitlines()[1:]] == [c["name"] for c in checks]
    assert not (tmp_path / "data").exists()


def test_a_taken_port_fails_with_exit_code_1_and_serve_names_its_key(
    configured: Configured, tmp_path: Path, taken: int
) -> None:
    configured(f"[operation]\nhealth_port = {taken}\n")
    done = run(tmp_path, "doctor", "--local")
    line = next(x for x in done.stdout.splitlines() if x.startswith("FAIL"))
    assert done.returncode == 1
    assert line.startswith(f"FAIL operation.health_port: 127.0.0.1 port {taken} is taken by another program")
    ended = run(tmp_path, "serve")
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
    assert "operation.health_port: 127.0.0.1 port" in ended.stderr


def test_the_receiver_and_the_listener_for_reports_name_a_taken_port(
    configured: Configured, tmp_path: Path, taken: int
) -> None:
    for role, key, text in (
        ("receive", "receive.port", f"[receive]\nport = {taken}\n"),
        ("deliver", "delivery.commitment_listener.port", f"[delivery.commitment_listener]\nport = {taken}\n"),
    ):
        assert by_name(list(ports.ports(configured(text))))[key].verdict is Verdict.FAIL
        ended = run(tmp_path, "serve", "--role", role)
        assert ended.returncode == 2
        assert f"{key}: 127.0.0.1 port {taken} cannot be listened on" in ended.stderr
        assert "Traceback" not in ended.stderr


def test_the_ports_of_the_running_node_are_its_own(tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "node")
    try:
        node.start()
        done = node.run("doctor", "--local")
    finally:
        node.close()
    assert done.returncode == 0, done.stdout
    assert f"ok   receive.port: 127.0.0.1 port {node.port} is taken, and this node runs" in done.stdout
    assert f"port {node.health_port} is taken, and this node runs" in done.stdout


def test_an_address_of_another_machine_cannot_be_listened_on(configured: Configured) -> None:
    config = configured(f'[operation]\nhealth_address = "192.0.2.1"\nhealth_port = {free_port()}\n')
    check = by_name(list(ports.ports(config)))["operation.health_port"]
    assert check.verdict is Verdict.FAIL
    assert "it must be an address of this machine" in check.sentence


def test_folders_are_judged_by_whether_they_can_be_written_and_who_looks_in(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    (closed := tmp_path / "closed").mkdir(mode=0o700)
    (wide := tmp_path / "wide").mkdir()
    wide.chmod(0o755)
    verdicts = [places.folder("x", p).verdict for p in (file / "below", closed, wide, tmp_path / "none")]
    assert verdicts == [Verdict.FAIL, Verdict.OK, Verdict.WARN, Verdict.OK]
    assert list(closed.iterdir()) == []


def test_the_disk_is_judged_by_the_reserve(configured: Configured) -> None:
    def verdict(reserve_mb: float) -> Verdict:
        config = configured(f"[receive]\nfree_space_reserve_mb = {reserve_mb}\n")
        (check,) = places.disk(config)
        return check.verdict

    assert verdict(1e9) is Verdict.FAIL  # a petabyte
    assert verdict(0.0) is not Verdict.FAIL


def test_checkpoints_beside_the_data_without_a_key_are_a_warning(
    configured: Configured, tmp_path: Path
) -> None:
    def warned(config: Config) -> bool:
        return any("are not signed" in check.sentence for check in places.folders(config))

    assert warned(configured(""))
    assert not warned(configured(f'[audit]\ncheckpoint_folder = "{tmp_path / "elsewhere"}"\n'))
    assert not warned(configured('[audit]\ncheckpoint_key_file = "key"\n'))


def test_a_peer_that_does_not_answer_fails_and_names_where_and_our_title(configured: Configured) -> None:
    port = free_port()
    (check,) = others.peers(configured(PEER.format("PACS", port)))
    assert check.verdict is Verdict.FAIL
    assert f"does PACS at 127.0.0.1:{port} run" in check.sentence
    assert "know our AE title DICOMNODE" in check.sentence


def test_a_peer_with_tls_answers_over_tls_and_not_without(
    configured: Configured, authority: Authority
) -> None:
    theirs, ours, port = authority.table("theirs"), authority.table("ours"), free_port()
    receiver = f"[receive]\nport = {port}\naccept_unlisted_peers = true\n[receive.tls]\n{theirs}"
    config = configured(
        receiver + f'ca = "{authority.path}"\n' + PEER.format("DICOMNODE", port)
        + f'[delivery.peers.tls]\n{ours}authorities = "{authority.path}"\n'
    )  # fmt: skip
    house = open_house(config)
    store = Store(config.archive.store_folder)
    server = Receiver(config.receive, store, ReceiptLedger(house), store.incoming)
    server.start()
    (secured,) = others.peers(config)
    (plain,) = others.peers(configured(PEER.format("DICOMNODE", port)))
    server.stop(0)
    house.database.close()
    assert (secured.verdict, secured.sentence[-8:]) == (Verdict.OK, "over TLS"), secured.sentence
    assert plain.verdict is Verdict.FAIL
    assert "has it no TLS?" in plain.sentence


def test_repository_and_scheduler_that_do_not_listen_fail_and_listening_ones_are_well(
    configured: Configured, taken: int
) -> None:
    for port, verdict in ((free_port(), Verdict.FAIL), (taken, Verdict.OK)):
        (check,) = others.scheduler(configured(f'[work]\nscheduler = "tcp://127.0.0.1:{port}"\n'))
        assert check.verdict is verdict
    syslog = f'[audit]\nsyslog_host = "127.0.0.1"\nsyslog_transport = "tcp"\nsyslog_port = {free_port()}\n'
    (check,) = others.repository(configured(syslog))
    assert check.verdict is Verdict.FAIL


def test_nobody_who_may_log_in_and_a_file_that_others_read_fail(
    configured: Configured, tmp_path: Path
) -> None:
    config = configured("[web]\nenabled = true\n")
    (check,) = programs.page(config)
    assert (check.verdict, "dicomnode user add" in check.sentence) == (Verdict.FAIL, True)
    (tmp_path / "users.toml").touch(0o644)
    (check,) = programs.page(config)
    assert (check.verdict, "chmod 600" in check.sentence) == (Verdict.FAIL, True)


def test_paths_of_the_configuration_do_not_depend_on_where_one_asks(tmp_path: Path) -> None:
    text = '[receive.tls]\ncertificate = "a.pem"\nkey = "keys/a.key"\nca = "/etc/ca.pem"\n'
    peer = '[delivery.peers.tls]\ncertificate = "b.pem"\nkey = "b.key"\nauthorities = "c.pem"\n'
    path = tmp_path / "config.toml"
    path.write_text(text + PEER.format("PACS", 104) + peer, encoding="utf-8")
    config = load(path)
    assert config.receive.tls is not None
    assert config.receive.tls.key == (tmp_path / "keys/a.key").resolve()
    assert config.receive.tls.ca == Path("/etc/ca.pem")
    assert config.delivery.peers[0].tls is not None
    assert config.delivery.peers[0].tls.authorities == (tmp_path / "c.pem").resolve()
    assert config.checkpoint_folder == (tmp_path / "data/checkpoints").resolve()


def test_a_configuration_that_is_not_utf_8_is_told_with_its_byte(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'[node]\nname = "Z\xfcrich"\n')
    with pytest.raises(ConfigError, match="byte 16 is not UTF-8"):
        load(path)
