"""Engines by name, by import string, and from another package's entry point."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dicomnode.dose.local import LocalDeposition
from dicomnode.dose.registry import available, build, settings_class
from dicomnode.errors import ConfigError, EngineUnavailable


def test_the_names_there_are():
    assert {"local", "vsv"} <= set(available())
    assert isinstance(build("dicomnode.dose.local:LocalDeposition"), LocalDeposition)


def test_an_unknown_name_lists_the_known_ones():
    there_are = "there are: denoise, gate, local, montecarlo, multi-vsv, vsv"
    with pytest.raises(ConfigError, match=rf"no engine is called 'vsx' \(near: vsv\); {there_are}"):
        build("vsx")


def test_every_wrong_option_is_named():
    with pytest.raises(ConfigError) as caught:
        build("vsv", {"density_scalling": "none", "workers": 0, "precision": "half"})
    assert len(caught.value.faults) == 3
    assert build("vsv", {"workers": "1"}).settings.workers == 1


def test_every_setting_says_why():
    for name in available():
        for field in settings_class(name).model_fields.values():
            assert field.description


def test_what_cannot_be_imported_says_what_to_install():
    with pytest.raises(EngineUnavailable, match="no_such_package"):
        build("no_such_package.engine:Engine")
    with pytest.raises(EngineUnavailable, match="has no Nothing"):
        build("dicomnode.dose.local:Nothing")


def make_distribution(folder: Path, engine_name: str) -> None:
    """A real, installed distribution: a module and its dist-info."""
    (folder / "other_engine.py").write_text(
        textwrap.dedent("""
        from dicomnode.dose.local import LocalDeposition

        class Mine(LocalDeposition):
            pass
        """)
    )
    info = folder / "other_engine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dicomnode.engines]\n{engine_name} = other_engine:Mine\n")


def test_another_package_adds_an_engine(tmp_path, monkeypatch):
    make_distribution(tmp_path, "mine")
    monkeypatch.syspath_prepend(tmp_path)
    entry = available()["mine"]
    assert (entry.target, entry.package) == ("other_engine:Mine", "other-engine")
    assert type(build("mine")).__name__ == "Mine"


def test_another_package_may_not_take_our_name(tmp_path, monkeypatch):
    make_distribution(tmp_path, "vsv")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="offered by dicomnode and by other-engine"):
        available()


def test_listing_engines_imports_none_of_them():
    code = (
        "import sys; from dicomnode.dose.registry import available; available(); "
        "print([m for m in ('scipy', 'dicomnode.dose.vsv', 'torch', 'numba') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
