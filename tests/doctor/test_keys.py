"""Certificates, keys and secrets, as the doctor finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import Config
from dicomnode.delivery.association import client_context
from dicomnode.delivery.settings import TlsSettings
from dicomnode.errors import ConfigError
from dicomnode.node.doctor import Check, Verdict, keys
from tests.doctor.conftest import Authority, Configured


def receiver(configured: Configured, authority: Authority, certificate: Path, key: Path) -> Config:
    return configured(
        f'[receive.tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "{authority.path}"\n'
    )


def only(config: Config) -> Check:
    (check,) = keys.tls(config)
    return check


def test_a_key_of_ours_alone_with_its_certificate_is_good(
    configured: Configured, authority: Authority
) -> None:
    check = only(receiver(configured, authority, *authority.issue("node")))
    assert (check.name, check.verdict) == ("receive.tls", Verdict.OK), check.sentence


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660])
def test_a_key_that_others_may_use_fails_with_the_command_that_mends_it(
    configured: Configured, authority: Authority, mode: int
) -> None:
    certificate, key = authority.issue("node")
    key.chmod(mode)
    check = only(receiver(configured, authority, certificate, key))
    assert check.verdict is Verdict.FAIL
    assert f"mode {mode:o}" in check.sentence
    assert check.sentence.endswith(f"chmod 600 {key}")
    key.chmod(0o600)  # the remedy
    assert only(receiver(configured, authority, certificate, key)).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("days", "verdict"), [(-1, Verdict.FAIL), (10, Verdict.WARN), (29, Verdict.WARN), (31, Verdict.OK)]
)
def test_a_certificate_fails_when_it_has_ended_and_warns_30_days_before(
    configured: Configured, authority: Authority, days: int, verdict: Verdict
) -> None:
    check = only(receiver(configured, authority, *authority.issue("node", days)))
    assert check.verdict is verdict, check.sentence


def test_a_missing_file_a_foreign_key_and_a_passphrase_each_fail(
    configured: Configured, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("node")
    _, foreign = authority.issue("foreign")
    secret, locked = authority.issue("locked", passphrase=b"secret")
    (noise := tmp_path / "noise.pem").write_bytes(b"\x00no PEM at all")
    for wrong in ((tmp_path / "none.pem", key), (certificate, foreign), (secret, locked), (noise, key)):
        check = only(receiver(configured, authority, *wrong))
        assert check.verdict is Verdict.FAIL, wrong
        assert str(wrong[0]) in check.sentence


def test_a_key_with_a_passphrase_is_refused_rather_than_asked_for_on_the_terminal(
    authority: Authority,
) -> None:
    certificate, key = authority.issue("locked", passphrase=b"secret")
    tls = TlsSettings(certificate=certificate, key=key, authorities=authority.path)
    with pytest.raises(ConfigError, match="cannot be used"):
        client_context(tls)


def test_every_door_with_tls_is_looked_at(configured: Configured, authority: Authority) -> None:
    pair, ca = authority.table("node"), f'"{authority.path}"'
    page = pair.replace("certificate", "certificate_file").replace("key =", "key_file =")
    config = configured(
        f"[receive.tls]\n{pair}ca = {ca}\n"
        f'[[delivery.peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "h"\n'
        f"[delivery.peers.tls]\n{pair}authorities = {ca}\n"
        f"[delivery.commitment_listener.tls]\n{pair}authorities = {ca}\n"
        f'[audit]\nsyslog_host = "h"\nsyslog_ca_file = {ca}\n'
        f"[web]\nenabled = true\n{page}"
    )
    assert [(c.name, c.verdict) for c in keys.tls(config)] == [
        ("receive.tls", Verdict.OK),
        ("delivery.peers pacs tls", Verdict.OK),
        ("delivery.commitment_listener.tls", Verdict.OK),
        ("audit.syslog", Verdict.OK),
        ("web", Verdict.OK),
    ]


def test_the_secrets_of_the_trail_are_read_and_ours_alone(configured: Configured, tmp_path: Path) -> None:
    good, open_to_all, short = (tmp_path / name for name in ("good", "open", "short"))
    for path, text, mode in ((good, "k" * 32, 0o600), (open_to_all, "k" * 32, 0o644), (short, "k", 0o600)):
        path.write_text(text)
        path.chmod(mode)
    for path, verdict in (
        (good, Verdict.OK),
        (open_to_all, Verdict.FAIL),
        (short, Verdict.FAIL),
        (tmp_path / "none", Verdict.FAIL),
    ):
        (check,) = keys.secrets(configured(f'[audit]\ncheckpoint_key_file = "{path}"\n'))
        assert check.verdict is verdict, check.sentence
