"""``dicomnode tia`` on files."""

from __future__ import annotations

import json
from math import exp, log

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import VERBS, cli
from dicomnode.files.volumes import read_activity, read_labels, read_tia, write_volume
from dicomnode.model import Grid, RegisteredTimePoint
from dicomnode.physics import nuclides
from dicomnode.tia import TiaSettings, integrate_points

HOURS = (4.0, 24.0, 96.0)
GRID = Grid((4, 5, 6), (4.42, 4.42, 4.42), (-7.0, 3.0, 11.0))


@pytest.fixture
def files(tmp_path):
    labels = np.zeros(GRID.shape_zyx)
    labels[1:3, 1:4, 1:4] = 1
    labels[1:3, 1:4, 4:6] = 2
    write_volume(tmp_path / "labels.mha", GRID, labels, "label")
    (tmp_path / "names.json").write_text(json.dumps({"1": "kidney", "2": "spleen"}))
    for i, t in enumerate(HOURS, start=1):
        a = 1e4 + labels * 5e5 * exp(-log(2) * t / 51)
        write_volume(tmp_path / f"a{i}.nii.gz", GRID, a * exp(-log(2) * t / 159), "Bq/mL")
    return tmp_path


def run(folder, *options: str, hours=HOURS, scans=(1, 2, 3), nuclide="Lu-177"):
    arguments = ["tia", "--nuclide", nuclide, "--out", str(folder / "tia.mha")]
    for i in scans:
        arguments += ["--activity", str(folder / f"a{i}.nii.gz")]
    for t in hours:
        arguments += ["--hours", str(t)]
    return CliRunner().invoke(cli, [*arguments, *options])


def test_the_files_give_the_numbers_of_the_room(files):
    """The same volumes through integrate_points, bit for bit."""
    options = ["--method", "mono-exponential", "--regions", str(files / "labels.mha")]
    options += ["--region-names", str(files / "names.json"), "--json", str(files / "r.json")]
    result = run(files, *options, "--sigma-out", str(files / "sigma.mha"))
    assert result.exit_code == 0, result.output
    points = [
        RegisteredTimePoint(f"T{i}", t, read_activity(files / f"a{i}.nii.gz"), None)
        for i, t in enumerate(HOURS, 1)
    ]
    regions = read_labels(files / "labels.mha", {1: "kidney", 2: "spleen"})
    fit = integrate_points(
        points, regions, nuclides.nuclide("Lu-177"), TiaSettings(method="mono-exponential")
    )
    assert np.array_equal(read_tia(files / "tia.mha").mbq_s_per_ml, fit.tia.mbq_s_per_ml)
    assert np.array_equal(read_tia(files / "sigma.mha").mbq_s_per_ml, fit.sigma.mbq_s_per_ml)
    report = json.loads((files / "r.json").read_text())
    assert [r["region"] for r in report["regions"]] == [
        "kidney",
        "spleen",
        "remainder-of-body",
        "field-of-view",
    ]
    assert report["regions"][0]["tia_mbq_s"] == fit.regions[0].tia_mbq_s
    assert report["settings"]["method"] == "mono-exponential"
    assert "kidney" in result.output


def test_settings_come_from_the_table_of_config_toml(files):
    (files / "c.toml").write_text(
        '[tia]\nmethod = "stp-population"\n[tia.populations.default]\n'
        'effective_half_life_hours = 51\nsource = "site"\n'
    )
    result = run(files, "--settings", str(files / "c.toml"), "--at-hours", "24", "--json", "-")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["method"] == "stp-population"
    assert report["settings"]["time_point_hours"] == 24
    assert report["regions"][-1]["effective_half_life_h"] == pytest.approx(51)


@pytest.mark.parametrize(
    ("options", "changes", "sentence"),
    [
        (
            [],
            {"hours": (24.0, 4.0, 96.0)},
            "must be positive and increasing [hours=24, 4, 96]",
        ),
        ([], {"hours": (4.0, 24.0)}, "3 --activity but 2 --hours; give one of each per time point"),
        (["--method", "guess"], {}, "no TIA method is called 'guess'; there are: trapezoid"),
        (["--method", "bi-exponential"], {}, "bi-exponential needs at least 4 time points, the cycle has 3"),
        ([], {"scans": (1, 2, 9)}, "there is no such file in"),
        ([], {"nuclide": "Xx-999"}, "Xx-999"),
        (["--region-names", "n.json"], {}, "--region-names needs --regions"),
        (["--settings", "no.toml"], {}, "no.toml: [Errno 2] No such file or directory"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_exit_code_two(files, options, changes, sentence):
    result = run(files, *options, **changes)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert not (files / "tia.mha").exists()


def test_grids_that_differ_are_refused(files):
    other = Grid(GRID.shape_zyx, GRID.spacing_mm, (0.0, 0.0, 0.0))
    write_volume(files / "a3.nii.gz", other, np.ones(GRID.shape_zyx), "Bq/mL")
    result = run(files)
    assert result.exit_code == 2
    assert "the grid of a3.nii.gz differs from that of a1.nii.gz" in result.stderr
    assert "register and resample onto one grid first" in result.stderr


def test_the_uncalibrated_rising_series_is_not_passed_over(files, shared):
    """lu177_fap_multitime: 39, 151, 138, 252 \"MBq\" at 4 to 168 h: a HOLD, and no curve is fitted."""
    folder = shared / "real/lu177_fap_multitime/input"
    arguments = ["tia", "--nuclide", "Lu-177", "--out", str(files / "t.mha"), "--method", "model-average"]
    arguments += ["--assume-unit", "Bq/mL"]
    for name, hours in (("004", 4), ("024", 24), ("048", 48), ("168", 168)):
        arguments += ["--activity", str(folder / f"SPECT-{name}H_reg.nii.gz"), "--hours", str(hours)]
    result = CliRunner().invoke(cli, [*arguments, "--json", str(files / "r.json")])
    assert result.exit_code == 0, result.output
    assert (
        "hold: the activity in the field of view rises from 39.14 MBq at 4 h to 151.1 MBq at 24 h"
        in result.stderr
    )
    report = json.loads((files / "r.json").read_text())
    assert report["regions"][-1]["method"] == "trapezoid"
    (files / "c.toml").write_text('[tia]\nwhen_rising = "refuse"\n')
    refused = CliRunner().invoke(cli, [*arguments, "--settings", str(files / "c.toml")])
    assert refused.exit_code == 2
    assert "activity does not fall at the end" in refused.stderr


def test_every_verb_that_is_listed_loads():
    for verb in VERBS:
        assert CliRunner().invoke(cli, [verb, "--help"]).exit_code == 0
    assert CliRunner().invoke(cli, ["--help"]).exit_code == 0
    assert CliRunner().invoke(cli, ["no-such-verb"]).exit_code == 2
