"""The configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import Config, example, load
from dicomnode.errors import ConfigError

HERE = Path(__file__).resolve().parents[1]


def test_the_example_is_what_the_code_says() -> None:
    """Regenerate with: dicomnode check-config --example > config.toml"""
    assert (HERE / "config.toml").read_text(encoding="utf-8") == example()


def test_the_example_is_the_default_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(example(), encoding="utf-8")
    archive = Config().archive.model_copy(update={"data_folder": (tmp_path / "data").resolve()})
    web = Config().web.model_copy(update={"users_file": (tmp_path / "users.toml").resolve()})
    assert load(path) == Config().model_copy(update={"archive": archive, "web": web})


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[node]\nzone = "Mars/Olympus"\ntypo = 1\n\n[[cycle.calibration]]\nname = "a"\n\n'
        "[[cycle.calibration]]\nsensitivity_cps_per_mbq = -1\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    faults = [f.removeprefix(f"{path}:") for f in caught.value.faults]
    assert faults == [
        "2: node.zone: is not an IANA time zone, for example Europe/Zurich, got 'Mars/Olympus'",
        "3: node.typo: unknown key",
        "8: cycle.calibration.1.name: Field required",
        "9: cycle.calibration.1.sensitivity_cps_per_mbq: Input should be greater than 0, got -1",
    ]


def test_an_engine_that_is_not_there_or_does_not_take_its_options_is_told_before_the_first_cycle(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[node]\ntypo = 1\n[dose]\nengine = "vvs"\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, engine=True)
    assert caught.value.faults[0] == f"{path}:2: node.typo: unknown key"
    assert caught.value.faults[1].startswith(f"{path}:4: dose.engine: no engine is called 'vvs' (near: vsv")
    path.write_text("[dose]\n[dose.options]\nfoo = 1\nworkers = 0\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, engine=True)
    assert [f.removeprefix(f"{path}:") for f in caught.value.faults] == [
        "4: dose.options.workers: Input should be greater than or equal to 1, got 0",
        "3: dose.options.foo: unknown key",
    ]
    assert load(path).dose.options == {"foo": 1, "workers": 0}


def test_a_reconstruction_that_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[recon]\nreconstruct = true\n", encoding="utf-8")
    monkeypatch.setattr("dicomnode.config.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"2: recon\.reconstruct: torch is not installed"):
        load(path, engine=True)


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[node\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path)


def test_the_digest_changes_with_every_value() -> None:
    changed = Config.model_validate({"cycle": {"expected_time_points": 3}})
    assert changed.digest() != Config().digest()
