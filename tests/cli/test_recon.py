"""``dicomnode recon`` on the synthetic 177Lu NEMA set."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.dicom.projections.projections import read_projections
from dicomnode.files.volumes import read_volume, write_volume
from dicomnode.recon.calibration.record import SpectCalibration, windows_of
from dicomnode.recon.protocol import Protocol

QUICK = ("--collimator", "siemens-me", "--option", "iterations=3", "--option", "bootstraps=0")


@pytest.fixture(scope="module")
def nema(shared: Path) -> Path:
    return shared / "real/spect_raw/synthetic_nema_lu177"


@pytest.fixture
def record(nema: Path, tmp_path: Path) -> Path:
    """The set's own sensitivity, 9.4 counts/s per MBq and head (its README), for three iterations."""
    scan = read_projections([nema / "nm_tomo.dcm"], ZoneInfo("UTC"))
    made = SpectCalibration(
        name="its README", manufacturer=scan.facts["manufacturer"], model=scan.facts["model"],
        collimator="siemens-me", nuclide="Lu-177", windows_kev=windows_of(scan),
        protocol=Protocol(iterations=3).digest(scan.grid), cps_per_mbq=9.4, measured_on=date(2026, 1, 1),
        radius_mm=float(scan.radius_mm.mean()),
    )  # fmt: skip
    path = tmp_path / "record.json"
    path.write_text(made.model_dump_json(), encoding="utf-8")
    return path


def run(*arguments: object) -> object:
    return CliRunner().invoke(cli, ["recon", *map(str, arguments)])


def test_the_synthetic_set_gives_its_activity_within_one_per_cent(nema, record, tmp_path):
    """487.3 MBq (truth.json). The region is the hottest hundredth of the image."""
    out = tmp_path / "a.mha"
    first = run(nema / "nm_tomo.dcm", "--ct", nema / "CT", *QUICK, "--calibration", record, "--out", out)
    assert first.exit_code == 0, first.output
    grid, image = read_volume(out, "Bq/mL")
    write_volume(tmp_path / "hot.mha", grid, image > np.percentile(image, 99), "label")
    again = run(nema / "nm_tomo.dcm", "--ct", nema / "CT", *QUICK, "--calibration", record, "--out", out,
                "--regions", tmp_path / "hot.mha", "--json", tmp_path / "r.json")  # fmt: skip
    assert again.exit_code == 0, again.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["total_mbq"] == pytest.approx(487.3, rel=0.01)
    assert float(image.sum()) * grid.voxel_ml / 1e6 == pytest.approx(report["total_mbq"], rel=1e-4)
    assert report["method"] == "OSEM 3i10s AC SC TEW RR"
    assert 0.3 < report["regions"]["label-1"]["recovery"] < 1.1


def test_a_record_of_another_protocol_is_refused(nema, record, tmp_path):
    told = run(nema / "nm_tomo.dcm", "--ct", nema / "CT", *QUICK, "--option", "iterations=4",
               "--calibration", record, "--out", tmp_path / "a.mha")  # fmt: skip
    assert told.exit_code == 2
    assert "protocol digest" in told.output
    assert not (tmp_path / "a.mha").exists()


def test_without_a_record_the_image_holds_counts(nema, tmp_path):
    out = tmp_path / "a.mha"
    settings = tmp_path / "s.toml"
    settings.write_text("[recon.protocol]\niterations = 1\nbootstraps = 0\n", encoding="utf-8")
    told = run(nema / "nm_tomo.dcm", "--ct", nema / "CT", "--collimator", "siemens-me",
               "--settings", settings, "--out", out)  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "not calibrated" in told.output
    assert read_volume(out, "counts")[1].sum() == pytest.approx(487.3 * 9.4 * 40.0, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--option", "iterations"], "write KEY=VALUE"),
        (["--option", "iteration=3"], "iteration: Extra inputs"),
        (["--algorithm", "fbp"], "algorithm: Input should be"),
    ],
)
def test_a_wrong_choice_is_told(nema, tmp_path, arguments, said):
    told = run(nema / "nm_tomo.dcm", "--collimator", "siemens-me", "--out", tmp_path / "a.mha", *arguments)
    assert told.exit_code == 2
    assert said in told.output


def test_collimators_are_listed_with_their_source():
    told = run("collimators")
    assert told.exit_code == 0
    assert "siemens-me: hole 2.94 mm" in told.output
    assert "SIMIND" in told.output
