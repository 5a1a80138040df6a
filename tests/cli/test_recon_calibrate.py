"""From a cylinder's scan to a record, to activity and to its uncertainty, all by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dicomnode.cli import cli
from dicomnode.files.volumes import read_volume, write_volume
from dicomnode.model import Grid
from dicomnode.recon.calibration.record import SpectCalibration

GRID = Grid((40, 40, 40), (6.0, 6.0, 6.0), (-117.0, -117.0, -117.0))
SCAN = ("views=24", "bins=48", "rows=40", "pixel_mm=6", "seconds_per_view=60")
CPS_PER_MBQ = 9.4
QUICK = ("--collimator", "siemens-me", "--option", "iterations=4", "--option", "subsets=4")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def simulated(folder: Path, hot: float, seed: int) -> Path:
    """Water, 20 cm wide and 17 cm long, 0.1 MBq/mL of 177Lu, with a ball of 5 cm of ``hot`` times that."""
    z, y, x = np.indices(GRID.shape_zyx) - np.array([19.5, 19.5, 19.5])[:, None, None, None]
    inside = (np.hypot(x, y) * 6 < 100) & (np.abs(z) * 6 < 85)
    ball = (x - 8) ** 2 + y**2 + z**2 < (25 / 6) ** 2
    write_volume(folder / "a.mha", GRID, 0.1e6 * inside * np.where(ball, hot, 1.0), "Bq/mL")
    write_volume(folder / "ct.mha", GRID, np.where(inside, 0, -1000).astype(np.float32), "HU")
    options = [part for option in SCAN for part in ("--option", option)]
    done("simulate", "spect", "--activity", folder / "a.mha", "--ct", folder / "ct.mha", *options,
         "--seed", seed, "--out", folder / "scan")  # fmt: skip
    write_volume(folder / "ball.mha", GRID, ball.astype(np.float32), "label")
    return folder / "scan"


def files(scan: Path) -> tuple[Path | str, ...]:
    return scan / "dicom" / "NM.dcm", "--ct", scan / "dicom" / "CT"


@pytest.fixture(scope="module")
def cylinder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("cylinder"), 1.0, 1)


@pytest.fixture(scope="module")
def record(cylinder: Path) -> Path:
    """As a site makes it: activity measured three hours before the scan of 2026-01-05 10:00 UTC."""
    truth = json.loads((cylinder / "truth" / "truth.json").read_text())
    earlier = truth["total_mbq"] * 2 ** (3 / (6.647 * 24))
    said = done("recon", "calibrate", *files(cylinder), *QUICK,
                "--name", "NM1", "--activity-mbq", earlier, "--measured-at", "2026-01-05T08:00+01:00",
                "--volume-ml", truth["total_mbq"] / 0.1, "--uncertainty", 0.03, "--out",
                cylinder / "record.json")  # fmt: skip
    assert "NM1: " in said
    return cylinder / "record.json"


def test_the_factor_is_the_cameras(record: Path) -> None:
    """9.4 counts/s per MBq and head by construction; the model's blur, tail and scatter differ a little."""
    made = SpectCalibration.model_validate_json(record.read_text())
    assert made.cps_per_mbq == pytest.approx(CPS_PER_MBQ, rel=0.04)
    assert 0.03 <= made.relative_uncertainty < 0.035
    assert (made.nuclide, made.collimator, str(made.measured_on)) == ("Lu-177", "siemens-me", "2026-01-05")
    assert len(made.windows_kev) == 3


def test_another_scan_of_the_camera_has_its_activity_and_its_noise(record: Path, tmp_path: Path) -> None:
    """A ball of 4 times the concentration: total within 2 %, and its noise in the budget of the TIA."""
    scan = simulated(tmp_path, 4.0, 2)
    truth = json.loads((scan / "truth" / "truth.json").read_text())
    out, noise = tmp_path / "spect.mha", tmp_path / "noise.mha"
    done("recon", *files(scan), *QUICK, "--option", "bootstraps=6", "--calibration", record,
         "--out", out, "--noise-out", noise, "--json", tmp_path / "r.json")  # fmt: skip
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["total_mbq"] == pytest.approx(truth["total_mbq"], rel=0.02)
    assert report["calibration"] == "NM1"
    grid, image = read_volume(out, "Bq/mL")
    write_volume(tmp_path / "regions.mha", grid, (image > 0.25e6).astype(np.float32), "label")
    common = ("tia", "--activity", out, "--hours", 24, "--nuclide", "Lu-177", "--method", "stp-physical",
              "--regions", tmp_path / "regions.mha", "--out", tmp_path / "t.mha")  # fmt: skip
    done(*common, "--noise", noise, "--json", tmp_path / "with.json")
    done(*common, "--json", tmp_path / "without.json")
    budgets = [
        {r["region"]: r["budget"] for r in json.loads((tmp_path / name).read_text())["regions"]}
        for name in ("with.json", "without.json")
    ]
    hot = [b["label-1"] for b in budgets]
    # one scan: the integral is as noisy as the activity
    assert 0.002 < hot[0]["counts"] < 0.03
    assert hot[0]["counts"] != hot[1]["counts"]
    assert hot[0]["calibration"] == hot[1]["calibration"]


@pytest.mark.parametrize("changed", [("--option", "iterations=5"), ("--option", "filter_fwhm_mm=5")])
def test_the_record_is_refused_with_another_protocol(
    record: Path, cylinder: Path, tmp_path: Path, changed: tuple[str, str]
) -> None:
    told = run("recon", *files(cylinder), *QUICK, *changed,
               "--calibration", record, "--out", tmp_path / "x.mha")  # fmt: skip
    assert told.exit_code == 2
    assert "protocol digest" in told.output
    assert "dicomnode recon calibrate" in told.output
    assert not (tmp_path / "x.mha").exists()


def test_a_cylinder_of_another_volume_is_refused(cylinder: Path, tmp_path: Path) -> None:
    """Total and middle must agree within 5 %: with a tenth of volume too much they do not."""
    truth = json.loads((cylinder / "truth" / "truth.json").read_text())
    told = run("recon", "calibrate", *files(cylinder), *QUICK,
               "--name", "NM1", "--activity-mbq", truth["total_mbq"], "--measured-at", "2026-01-05T10:00",
               "--volume-ml", 1.1 * truth["total_mbq"] / 0.1, "--out", tmp_path / "r.json")  # fmt: skip
    assert told.exit_code == 2
    assert "by the concentration in the middle" in told.output
    assert not (tmp_path / "r.json").exists()
