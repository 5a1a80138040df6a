"""TIA methods by name: ours, and those of an installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dicomnode.errors import ConfigError
from dicomnode.tia import TiaSettings, integrate_points
from dicomnode.tia.methods import BUILT_IN, available, described, method

MINE = '''
from dicomnode.tia.built_in import Trapezoid

class Half(Trapezoid):
    """Half of the trapezoid: a toy."""

    def estimate(self, curve, work):
        from dataclasses import replace

        whole = super().estimate(curve, work)
        halved = {name: getattr(whole, name) / 2 for name in ("tia_mbq_h", "sensitivity_h", "voxel_weight_h")}
        return replace(whole, method="half-trapezoid", **halved)

HALF = Half("half of the trapezoid")
'''


def make_distribution(folder: Path, name: str) -> None:
    """A real, installed distribution: a module and its dist-info."""
    (folder / "other_method.py").write_text(MINE, encoding="utf-8")
    info = folder / "other_method-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-method\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dicomnode.tia_methods]\n{name} = other_method:HALF\n")


def test_every_method_has_a_line_and_says_whether_it_works_by_voxel():
    assert all(len(described(name)) > 20 for name in BUILT_IN)
    assert [name for name in BUILT_IN if method(name).by_voxel] == ["voxel-mono-exponential"]


def test_an_unknown_method_is_a_fault_of_the_settings_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no TIA method is called 'trapezoids' \(near: trapezoid\)"):
        TiaSettings(method="trapezoids")


def test_another_package_adds_a_method(tmp_path, monkeypatch, make_points, lu177):
    make_distribution(tmp_path, "half-trapezoid")
    monkeypatch.syspath_prepend(tmp_path)
    assert available()["half-trapezoid"] == "other_method:HALF"
    points = make_points((4.0, 24.0, 96.0), [np.full((3, 3, 3), v, np.float32) for v in (3e5, 2e5, 1e5)])
    whole, half = (
        integrate_points(points, None, lu177, TiaSettings(method=name))
        for name in ("trapezoid", "half-trapezoid")
    )
    assert half.tia.total_mbq_s == pytest.approx(whole.tia.total_mbq_s / 2, rel=1e-6)
    assert half.regions[-1].tia_mbq_s == pytest.approx(whole.regions[-1].tia_mbq_s / 2, rel=1e-9)
    assert half.method == "half-trapezoid"


def test_another_package_may_not_take_our_name(tmp_path, monkeypatch):
    make_distribution(tmp_path, "hybrid")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="'hybrid' is offered twice"):
        available()


def test_naming_methods_imports_none_of_them():
    code = (
        "import dicomnode.config, dicomnode.tia.methods as m, sys; m.available(); "
        "sys.exit('dicomnode.tia.built_in' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
