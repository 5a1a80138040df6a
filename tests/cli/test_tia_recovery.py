"""`dicomnode tia --recovery`: files in, both values out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.files.volumes import write_volume
from dicomnode.model import Grid
from tests.recovery.conftest import SHAPE, SPACING, make_toy

HOURS = (4.0, 24.0, 72.0, 168.0)
HALF_LIFE_H = 60.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory):
    folder, toy = tmp_path_factory.mktemp("recovery"), make_toy()
    grid = Grid(SHAPE, SPACING, (0.0, 0.0, 0.0))
    for hours in HOURS:
        scan = toy.image * np.float32(1e5 * 2 ** (-hours / HALF_LIFE_H))
        write_volume(folder / f"A{hours:g}.mha", grid, scan, "Bq/mL")
    labels = np.zeros(SHAPE, np.float32)
    for value, share in enumerate(toy.shares.values(), start=1):
        labels[share >= 0.5] = value
    write_volume(folder / "L.mha", grid, labels, "label")
    (folder / "N.json").write_text(json.dumps({"1": "organ", "2": "lesion", "3": "node"}))
    return folder, toy


def run(folder, *options: str):
    arguments = ["tia", "--nuclide", "Lu-177", "--method", "hybrid", "--out", str(folder / "T.mha")]
    for hours in HOURS:
        arguments += ["--activity", str(folder / f"A{hours:g}.mha"), "--hours", f"{hours:g}"]
    return CliRunner().invoke(cli, [*arguments, *options])


def test_both_values_stand_side_by_side(files):
    """Concentration times half-life over ln 2; masks in place of shares cost the small ones some per cent."""
    folder, toy = files
    regions = ["--regions", str(folder / "L.mha"), "--region-names", str(folder / "N.json")]
    report, out = folder / "R.json", folder / "C.mha"
    result = run(folder, *regions, "--recovery", "12", "--recovered-out", str(out), "--json", str(report))
    assert result.exit_code == 0, result.output
    assert "corrected" in result.output
    assert "limited by" in result.output
    told = json.loads(report.read_text())
    before = {r["region"]: r["tia_mbq_s"] for r in told["regions"]}
    after = {r["region"]: r["tia_mbq_s"] for r in told["recovery"]["regions"]}
    volume = {r["region"]: r["volume_ml"] for r in told["recovery"]["found"]}
    for name, tolerance in (("organ", 0.02), ("lesion", 0.05), ("node", 0.12)):
        true = toy.true[name] * 0.1 * volume[name] * HALF_LIFE_H / np.log(2) * 3600
        assert after[name] == pytest.approx(true, rel=tolerance), name
    assert before["lesion"] < 0.65 * after["lesion"]
    assert told["recovery"]["total_mbq_s"] == pytest.approx(told["total_mbq_s"], rel=0.02)
    assert {f["rule"] for f in told["recovery"]["findings"]} >= {"recovery-reported", "partial-volume"}


def test_recovery_needs_regions(files):
    result = run(files[0], "--recovery", "12")
    assert result.exit_code == 2
    assert "--recovery corrects regions; give them with --regions" in result.output
