"""A cycle from folders, without a database or processes: what the node computes, digest by digest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode import api
from dicomnode.calculation.cycle_dose import compute
from dicomnode.errors import NotReady, Refused
from tests.helpers.node_in_one_process import Desk
from tests.helpers.small_patient import write_small_patient

ROOT = Path(__file__).resolve().parents[2]
AT = "2026-06-01T08:30:00+00:00"
GIVEN_AT = datetime.fromisoformat("2026-03-02T08:30:00+00:00")
QUICK = "[registration]\nsamples = 5000\niterations = 30\nresidual_max_mm = 100.0\n"
"""As the node's (``node_in_one_process``)."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration's patient, small: SPECT and CT at 24 and 96 h, organs at 24 h."""
    folder = tmp_path_factory.mktemp("patient")
    write_small_patient(folder, (24.0, 96.0))
    (folder / "notes.txt").write_text("not DICOM")
    return folder


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, folder: Path):
    """The same files through a node with its database: its job and what it computed."""
    desk = Desk(tmp_path_factory.mktemp("node"))
    desk.arrive([dcmread(path) for path in sorted(folder.rglob("*.dcm"))])
    job = desk.start(desk.rows()[0]["cycle"]["id"])
    yield desk.house.config, job, compute(job, desk.house.config, desk.house.store)
    desk.close()


def test_the_node_and_the_library_compute_the_same_bytes(folder: Path, node) -> None:
    config, job, theirs = node
    found = api.find_cycles(folder, config, created_at=job.created_at)
    assert [path.name for path in found.unread] == ["notes.txt"]
    (cycle,) = found.cycles
    assert cycle.job.inputs_digest() == job.inputs_digest()
    assert cycle.job.doubts == job.doubts
    same = cycle.job.model_copy(update={"cycle_id": job.cycle_id, "revision_id": job.revision_id})
    ours = api.run(replace(cycle, job=same), config)
    assert ours.verdict == theirs.verdict
    assert [(s.name, s.outputs) for s in ours.steps] == [(s.name, s.outputs) for s in theirs.steps]
    assert {"read", "registration", "tia", "recovery", "dose", "objects"} == {s.name for s in ours.steps}


def test_the_page_on_the_library_runs_and_reaches_the_same_dose(
    folder: Path, node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, theirs = node
    (tmp_path / "config.toml").write_text(QUICK, encoding="utf-8")
    (tmp_path / "patient").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/library.md").read_text(encoding="utf-8")
    known: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, known)
    answer = known["answer"]
    steps = {s.name: s.outputs for s in theirs.steps}
    assert {s.name: s.outputs for s in answer.steps}.items() <= steps.items()
    assert [s.name for s in answer.steps] == ["read", "registration", "tia", "recovery", "dose"]
    assert api.regions(answer)["liver"] == {o.region: o for o in theirs.organs}["liver"]
    assert api.curves(answer)["liver"].hours == pytest.approx((24.0, 96.0), abs=0.5)
    assert (tmp_path / "dose.png").read_bytes().startswith(b"\x89PNG")
    assert {"rtdose", "sr", "pdf"} <= set(api.objects(known["found"].cycles[0], known["outcome"]))


def test_arrays_of_your_own_are_a_cycle(folder: Path, node) -> None:
    config, _, theirs = node
    points = api.read_time_points(folder, config).cycle
    halved = replace(points, administration=replace(points.administration, activity_mbq=3700.0))
    twice = tuple(
        replace(p, activity=replace(p.activity, bq_per_ml=p.activity.bq_per_ml * np.float32(0.5)))
        for p in halved.time_points
    )
    answer = api.dose_of_cycle(replace(halved, time_points=twice), config)
    whole = {o.region: o.mean_gy for o in theirs.organs}
    assert api.regions(answer)["liver"].mean_gy == pytest.approx(whole["liver"] / 2, rel=1e-3)


def test_what_holds_raises_and_gives_no_object(folder: Path, node) -> None:
    config, _, _ = node
    impossible = api.Administration("Lu-177", 100.0, GIVEN_AT, source="person:AB")
    told = {"DEMO-0007": [impossible]}
    with pytest.raises(NotReady, match="administer"):
        api.dose_of_cycle(api.read_time_points(folder, config, administered=told), config)
    (cycle,) = api.find_cycles(folder, config, administered=told).cycles
    outcome = api.run(cycle, config)
    assert not outcome.verdict.release
    assert api.objects(cycle, outcome) == {}


def test_no_cycle_is_an_error_that_says_why(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(Refused, match="no DICOM object"):
        api.read_time_points(tmp_path)
    with pytest.raises(Refused, match=r"0 cycles.*no emission series of its frame"):
        api.read_time_points(sorted(folder.rglob("CT*.dcm")))


def test_what_there_is_has_a_line_each() -> None:
    assert {"vsv", "montecarlo", "local"} <= set(api.engines())
    assert {"trapezoid", "hybrid", "stp-haenscheid"} <= set(api.methods())
    assert all(len(line) > 10 for line in (*api.engines().values(), *api.methods().values()))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dicomnode", "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_what_the_node_computes(folder: Path, node, tmp_path: Path) -> None:
    _, _, theirs = node
    (tmp_path / "config.toml").write_text(QUICK, encoding="utf-8")
    done = run(folder, "--config", tmp_path / "config.toml", "--out", tmp_path / "out", "--created-at", AT)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out/record.json").read_text(encoding="utf-8"))
    steps = {s["name"]: s["outputs"] for s in record["steps"]}
    then = {s.name: dict(s.outputs) for s in theirs.steps}
    assert all(steps[name] == then[name] for name in ("read", "registration", "tia", "recovery", "dose"))
    dose = dcmread(tmp_path / "out/rtdose.dcm")
    liver = {o.region: o for o in theirs.organs}["liver"]
    assert dose.pixel_array.max() * dose.DoseGridScaling >= liver.max_gy * (1 - 1e-6)
    assert (tmp_path / "out/report.pdf").read_bytes().startswith(b"%PDF")
    assert "liver" in done.stdout
    # outputs are checked before the work, and never written over
    again = run(folder, "--out", tmp_path / "out")
    assert (again.returncode, "is not empty" in again.stderr) == (2, True)


def test_a_command_that_holds_ends_with_one_and_no_file(folder: Path, tmp_path: Path) -> None:
    one = sorted(folder.glob("*_24h"))[0]
    held = run(one, "--out", tmp_path / "out", "--created-at", AT)
    assert held.returncode == 1, held.stderr
    assert "tia-one-scan" in held.stderr
    assert list((tmp_path / "out").iterdir()) == []
    assert "--accept tia-one-scan" in held.stderr
    taken = run(one, "--out", tmp_path / "out", "--created-at", AT, "--accept", "tia-one-scan")
    assert taken.returncode == 0, taken.stderr
    assert (tmp_path / "out/rtdose.dcm").exists()
