"""What holds in the node holds on the command line: a simulated cylinder, and what may be wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicomnode.cli import cli
from dicomnode.dicom.projections.projections import read_projections
from dicomnode.files.volumes import write_volume
from dicomnode.recon.calibration.record import SpectCalibration
from tests.cli.test_simulate_spect import SCAN, maps

QUICK = ("--collimator", "siemens-me", "--option", "subsets=4", "--option", "iterations=4",
         "--option", "bootstraps=0")  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def cylinder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cylinder")
    activity, ct = maps(folder)
    made = run("simulate", "spect", "--activity", activity, "--ct", ct, *SCAN, "--out", folder / "out")
    assert made.exit_code == 0, made.output
    return folder / "out"


@pytest.fixture
def changed(cylinder: Path, tmp_path: Path) -> Path:
    return Path(copytree(cylinder / "dicom", tmp_path / "dicom"))


def saturate(folder: Path) -> None:
    """One pixel of the photopeak is full."""
    ds = dcmread(folder / "NM.dcm")
    pixels = ds.pixel_array.copy()
    pixels[5, 20, 24] = np.iinfo(pixels.dtype).max
    ds.PixelData = pixels.tobytes()
    ds.save_as(folder / "NM.dcm")


def scan(folder: Path) -> tuple[object, ...]:
    return (folder / "NM.dcm", "--ct", folder / "CT", *QUICK)


def thin(path: Path, out: Path, share: float) -> Path:
    """Another scan of the same camera with a share of the counts."""
    ds = dcmread(path)
    counts = np.random.default_rng(1).binomial(ds.pixel_array, share)
    ds.PixelData = counts.astype(ds.pixel_array.dtype).tobytes()
    ds.save_as(out)
    return out


def calibration(folder: Path, truth: Path, out: Path) -> tuple[object, ...]:
    mbq = json.loads(truth.read_text())["total_mbq"]
    return ("recon", "calibrate", *scan(folder), "--name", "made here", "--activity-mbq", mbq,
            "--measured-at", "2026-01-05T10:00+00:00", "--out", out)  # fmt: skip


def test_full_pixels_hold_until_a_person_accepts_them(changed: Path, tmp_path: Path) -> None:
    saturate(changed)
    out = tmp_path / "a.mha"
    held = run("recon", *scan(changed), "--out", out)
    assert held.exit_code == 1
    assert "hold: saturated-pixels: 1 pixels are full" in held.output
    assert "--accept saturated-pixels" in held.output
    assert not out.exists()
    taken = run("recon", *scan(changed), "--out", out, "--accept", "saturated-pixels", "--accept",
                "view-counts", "--json", tmp_path / "r.json")  # fmt: skip
    assert taken.exit_code == 0, taken.output
    assert out.exists()
    rules = [f["rule"] for f in json.loads((tmp_path / "r.json").read_text())["findings"]]
    assert "saturated-pixels" in rules


def test_labels_of_the_same_shape_elsewhere_are_refused(cylinder: Path, tmp_path: Path) -> None:
    grid = read_projections([cylinder / "dicom" / "NM.dcm"], ZoneInfo("UTC")).grid
    x, y, z = grid.origin_mm
    elsewhere = replace(grid, origin_mm=(x, y, z + 5 * grid.spacing_mm[2]))
    write_volume(tmp_path / "labels.mha", elsewhere, np.ones(grid.shape_zyx), "label")
    told = run("recon", *scan(cylinder / "dicom"), "--regions", tmp_path / "labels.mha", "--out",
               tmp_path / "a.mha")  # fmt: skip
    assert told.exit_code == 2
    assert "the labels lie on" in told.output
    assert not (tmp_path / "a.mha").exists()


def test_a_ct_of_another_frame_of_reference_holds(changed: Path, tmp_path: Path) -> None:
    other = generate_uid()
    for path in (changed / "CT").iterdir():
        ds = dcmread(path)
        ds.FrameOfReferenceUID = other
        ds.save_as(path)
    held = run("recon", *scan(changed), "--out", tmp_path / "a.mha")
    assert held.exit_code == 1
    assert "hold: ct-frame-of-reference" in held.output


def test_limits_of_the_settings_file_are_those_of_the_checks(cylinder: Path, tmp_path: Path) -> None:
    settings = tmp_path / "s.toml"
    settings.write_text("[recon.acquisition]\naxis_pixels = 0.001\n", encoding="utf-8")
    held = run("recon", *scan(cylinder / "dicom"), "--settings", settings, "--out", tmp_path / "a.mha")
    assert held.exit_code == 1
    assert "--accept centre-of-rotation" in held.output
    settings.write_text("[recon.acquisition]\nview_count = 0.1\n", encoding="utf-8")
    told = run("recon", *scan(cylinder / "dicom"), "--settings", settings, "--out", tmp_path / "a.mha")
    assert told.exit_code == 2
    assert "view_count: Extra inputs" in told.output


def test_a_cylinder_becomes_a_record_and_a_doubtful_one_does_not(
    cylinder: Path, changed: Path, tmp_path: Path
) -> None:
    """The simulated camera's factor is in truth.json; blur, tail and scatter differ from the model: 5 %."""
    truth, out = cylinder / "truth" / "truth.json", tmp_path / "record.json"
    made = run(*calibration(cylinder / "dicom", truth, out))
    assert made.exit_code == 0, made.output
    record = SpectCalibration.model_validate_json(out.read_text())
    assert record.cps_per_mbq == pytest.approx(json.loads(truth.read_text())["cps_per_mbq"], rel=0.05)
    saturate(changed)
    held = run(*calibration(changed, truth, tmp_path / "doubtful.json"))
    assert held.exit_code == 1
    assert "hold: saturated-pixels" in held.output
    assert not (tmp_path / "doubtful.json").exists()


def test_scans_at_several_activities_give_the_dead_time(cylinder: Path, tmp_path: Path) -> None:
    """A tenth of the rate is lost at the highest activity: tau is 0.1 over the true rate there."""
    nm, truth = cylinder / "dicom" / "NM.dcm", cylinder / "truth" / "truth.json"
    mbq = json.loads(truth.read_text())["total_mbq"]
    read = read_projections([nm], ZoneInfo("UTC"))
    rate = float((read.counts.sum(axis=(0, 2, 3)) / read.seconds).mean())
    scans = [
        {"projections": [thin(nm, tmp_path / f"{n}.dcm", part * np.exp(-0.1 * part)).name],
         "activity_mbq": part * mbq, "measured_at": "2026-01-05T10:00+00:00"}
        for n, part in enumerate((0.1, 0.5, 1.0))
    ]  # fmt: skip
    (tmp_path / "levels.json").write_text(json.dumps({"scans": scans}), encoding="utf-8")
    out = tmp_path / "record.json"
    made = run(*calibration(cylinder / "dicom", truth, out), "--dead-time", tmp_path / "levels.json")
    assert made.exit_code == 0, made.output
    found = SpectCalibration.model_validate_json(out.read_text()).dead_time_us
    assert found == pytest.approx(0.1 / rate * 1e6, rel=0.05)
    twice = run(*calibration(cylinder / "dicom", truth, out), "--dead-time", tmp_path / "levels.json",
                "--dead-time-us", 1.0)  # fmt: skip
    assert "not both" in twice.output
