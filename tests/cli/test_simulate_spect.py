"""`dicomnode simulate spect`, and back through `dicomnode recon`: the truth comes out."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread

from dicomnode.cli import cli
from dicomnode.dicom.projections.projections import read_projections
from dicomnode.dicom.volumes import read_ct
from dicomnode.files.volumes import read_volume, write_volume
from dicomnode.model import Grid

GRID = Grid((30, 40, 40), (6.0, 6.0, 6.0), (-117.0, -117.0, -87.0))
SCAN = ["--option", "views=24", "--option", "bins=48", "--option", "rows=40", "--option", "pixel_mm=6"]


def maps(folder: Path) -> tuple[Path, Path]:
    """A cylinder of water, 20 cm wide and 14 cm long, with 0.2 MBq/mL of 177Lu."""
    z, y, x = np.indices(GRID.shape_zyx) - np.array([14.5, 19.5, 19.5])[:, None, None, None]
    inside = (np.hypot(x, y) * 6 < 100) & (np.abs(z) * 6 < 70)
    write_volume(folder / "activity.mha", GRID, 0.2e6 * inside.astype(np.float32), "Bq/mL")
    write_volume(folder / "ct.mha", GRID, np.where(inside, 0, -1000).astype(np.float32), "HU")
    return folder / "activity.mha", folder / "ct.mha"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    activity, ct = maps(folder)
    run("simulate", "spect", "--activity", activity, "--ct", ct, *SCAN, "--out", folder / "out")
    return folder / "out"


def test_what_is_written_is_a_scan_and_its_ct_in_one_frame_of_reference(simulated: Path) -> None:
    read = read_projections([simulated / "dicom" / "NM.dcm"], ZoneInfo("UTC"))
    assert read.counts.shape == (3, 24, 40, 48)
    assert (read.peak, read.nuclide, read.collimator, read.findings) == (0, "Lu-177", "siemens-me", ())
    ct, findings = read_ct(sorted((simulated / "dicom" / "CT").iterdir()))
    assert (ct.grid.shape_zyx, findings) == ((30, 40, 40), ())
    assert ct.hu.max() == pytest.approx(0.0)
    truth = json.loads((simulated / "truth" / "truth.json").read_text())
    assert truth["total_mbq"] == pytest.approx(0.2 * np.pi * 10**2 * 14, rel=0.03)


def test_the_reconstruction_of_it_has_its_activity(simulated: Path, tmp_path: Path) -> None:
    """Counts times the stated sensitivity; blur, tail, scatter and the CT's place differ from the model."""
    truth = json.loads((simulated / "truth" / "truth.json").read_text())
    out = tmp_path / "image.mha"
    run(
        "recon", simulated / "dicom" / "NM.dcm", "--ct", simulated / "dicom" / "CT",
        "--collimator", "siemens-me",
        "--option", "subsets=4", "--option", "iterations=4", "--option", "bootstraps=0", "--out", out,
    )  # fmt: skip
    _, counts = read_volume(out, "counts")
    mbq = float(counts.sum(dtype=float)) / (truth["seconds_per_view"] * truth["cps_per_mbq"])
    assert mbq == pytest.approx(truth["total_mbq"], rel=0.05)


def test_other_images_have_other_uids_and_the_same_scan_its_own(simulated: Path, tmp_path: Path) -> None:
    """The same options and seed: other activity, other collimator, other CT. One of them again."""
    activity, ct = maps(tmp_path)
    for name, value, unit, factor in (("hot", activity, "Bq/mL", 1.1), ("dense", ct, "HU", 0.9)):
        write_volume(tmp_path / f"{name}.mha", GRID, read_volume(value, unit)[1] * factor, unit)
    runs = [
        (activity, ct, "siemens-me"), (tmp_path / "hot.mha", ct, "siemens-me"),
        (activity, tmp_path / "dense.mha", "siemens-me"), (activity, ct, "siemens-he"),
    ]  # fmt: skip
    found: list[set[str]] = []
    for n, (a, b, collimator) in enumerate(runs):
        out = tmp_path / str(n)
        run("simulate", "spect", "--activity", a, "--ct", b, "--collimator", collimator, *SCAN, "--out", out)
        heads = [dcmread(path, stop_before_pixels=True) for path in sorted((out / "dicom").rglob("*.dcm"))]
        found.append({str(ds.SOPInstanceUID) for ds in heads})
    assert len(set().union(*found)) == sum(map(len, found))
    first = (simulated / "dicom" / "NM.dcm").read_bytes()
    assert first == (tmp_path / "0" / "dicom" / "NM.dcm").read_bytes()


def test_what_is_missing_is_told() -> None:
    result = CliRunner().invoke(cli, ["simulate", "spect", "--out", "/tmp/never"])
    assert result.exit_code == 2
    assert "give --phantom, or --activity and --ct" in result.output
