"""Raw projections and their CT over DICOM to the RTDOSE: the activity of the synthetic NEMA phantom."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.dicom.projections.projections import read_projections
from dicomnode.dicom.volumes import read_emission
from dicomnode.recon.protocol import Protocol
from tests.helpers.running_node import RunningNode

LU177_H = 6.647 * 24

MORE = """
objects = ["rtdose", "sr", "tia-map", "spect-pt", "spect-nm", "spect-sigma", "spect-noise"]
[tia]
method = "stp-physical"
[[administration]]
patient_id = "SYNTH-NEMA-LU177"
nuclide = "Lu-177"
activity_mbq = 600.0
at = 2025-12-31T12:00:00+01:00
[recon]
reconstruct = {on}
[recon.protocol]
iterations = 3
subsets = 10
bootstraps = 2
[[recon.camera]]
manufacturer = "synthetic"
grid_name = "ME"
collimator = "siemens-me"
[[recon.calibration]]
name = "made with the set"
manufacturer = "SYNTHETIC (not a camera)"
model = "fastspect analytic"
collimator = "siemens-me"
nuclide = "Lu-177"
windows_kev = [[[166.4, 187.2]], [[187.2, 228.8]], [[228.8, 249.6]]]
protocol = "{digest}"
cps_per_mbq = 9.4
relative_uncertainty = 0.01
measured_on = 2026-01-01
radius_mm = 210.0
"""


@pytest.fixture
def nema(shared: Path) -> Path:
    return shared / "real" / "spect_raw" / "synthetic_nema_lu177"


@pytest.fixture
def files(nema: Path) -> list[Path]:
    return [nema / "nm_tomo.dcm", *sorted((nema / "CT").iterdir())]


def running(folder: Path, nema: Path, on: bool) -> Iterator[RunningNode]:
    grid = read_projections([nema / "nm_tomo.dcm"], ZoneInfo("UTC")).grid
    digest = Protocol(iterations=3, subsets=10, bootstraps=2).digest(grid)
    more = MORE.format(on=str(on).lower(), digest=digest)
    node = RunningNode(folder, expected=1)
    node.configure(more=more)
    # the peer's objects are stated in ``more``
    node.config_path.write_text(node.config_path.read_text().replace('objects = ["rtdose", "sr"]\n', "", 1))
    node.start()
    yield node
    node.close()


@pytest.fixture
def node(tmp_path: Path, nema: Path) -> Iterator[RunningNode]:
    yield from running(tmp_path / "node", nema, True)


@pytest.fixture
def node_without(tmp_path: Path, nema: Path) -> Iterator[RunningNode]:
    yield from running(tmp_path / "without", nema, False)


def test_projections_go_the_whole_way_with_their_activity(
    node: RunningNode, files: list[Path], nema: Path, tmp_path: Path
) -> None:
    node.send(files)
    facts = node.wait("DELIVERED", "HELD")
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]
    truth = json.loads((nema / "truth.json").read_text())["total_MBq"]  # 487.28

    # the image, the time-integrated activity and what is on record of the step
    step = node.measured("reconstruction T1")
    assert step["total_mbq"] == pytest.approx(truth, rel=0.01)
    assert step["method"].startswith("OSEM 3i10s AC SC")
    assert step["parameters"]["scatter"] == "tew"
    assert node.measured("read")["T1"]["total_mbq"] == pytest.approx(truth, rel=0.01)
    whole = truth * LU177_H * 3600 / math.log(2)  # MBq s, all decays after the scan began, by decay alone
    before = whole * (2 ** (24 / LU177_H) - 1)  # from the administration, 24 h before

    # what the PACS got
    received = [dcmread(path) for path in node.pacs.received.values()]
    (tia,) = (
        ds for ds in received if "activity" in ds.get("SeriesDescription", "") and "FloatPixelData" in ds
    )
    spacing = tia.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    voxel_ml = float(np.prod([*spacing.PixelSpacing, spacing.SpacingBetweenSlices])) / 1000
    decays = float(np.frombuffer(tia.FloatPixelData, "<f4").sum(dtype=np.float64)) * voxel_ml
    assert decays == pytest.approx(whole + before, rel=0.01)
    slices = [ds for ds in received if ds.Modality == "PT"]
    assert len(slices) == 64
    noise = [ds for ds in received if ds.get("ContentLabel") == "ACTIVITY_NOISE"]
    assert len(noise) == 2  # bootstraps
    for ds in noise:
        assert slices[0].SeriesInstanceUID in {s.SeriesInstanceUID for s in ds.ReferencedSeriesSequence}
    assert {ds.SeriesInstanceUID for ds in slices} == {slices[0].SeriesInstanceUID}
    kept = tmp_path / "pt"
    kept.mkdir()
    for k, ds in enumerate(slices):
        ds.save_as(kept / f"{k}.dcm")
    back = read_emission(sorted(kept.iterdir()), ZoneInfo("Europe/Zurich"))
    total = float(back.values.sum(dtype=np.float64)) * back.grid.voxel_ml / 1e6
    assert total == pytest.approx(truth, rel=0.01)
    assert back.unit == "Bq/mL"
    assert back.frame_of_reference_uid == dcmread(files[0], stop_before_pixels=True).FrameOfReferenceUID
    assert {ds.Modality for ds in received} >= {"PT", "NM", "RTDOSE", "SR"}
    (dose,) = (ds for ds in received if ds.Modality == "RTDOSE")
    gy = dose.pixel_array * float(dose.DoseGridScaling)
    # electrons of 177Lu: 147.9 keV per decay (ICRP 107); what the grid holds, as water, takes most of it
    energy_j = (whole + before) * 1e6 * 0.1479 * 1.602177e-13
    offsets = np.diff(dose.GridFrameOffsetVector)[0]
    kg = np.prod([*dose.PixelSpacing, offsets]) * 1e-6
    inside = gy > 0.02 * gy.max()
    assert 0.7 < float(gy[inside].sum()) * kg / energy_j < 1.4

    # repeating it gives the same bytes, and the image that comes back from the PACS changes nothing
    replayed = node.run("replay", facts["cycle"]["id"], "--json")
    compared = json.loads(replayed.stdout)["comparisons"]
    assert [f"{c['step']} {c['output']}" for c in compared if c["then"] != c["now"]] == []
    assert replayed.returncode == 0
    for k, ds in enumerate(noise):
        ds.save_as(kept / f"noise-{k}.dcm")
    node.send(sorted(kept.iterdir()))
    again = node.wait("DELIVERED", "HELD")
    assert again["revision"]["number"] == 1


@pytest.mark.long
def test_projections_are_unused_and_it_is_said_what_to_switch_on(
    node_without: RunningNode, files: list[Path]
) -> None:
    node_without.send(files)
    time.sleep(4)
    assert node_without.cycles() == []
    story: Any = node_without.run("audit", "query", "--json", "--kind", "series-unused")
    assert "switch on `reconstruct` in [recon]" in story.stdout
