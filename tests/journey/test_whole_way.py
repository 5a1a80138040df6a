"""From C-STORE to the RTDOSE in the PACS, through real processes."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

Files = dict[float, list[Path]]


def test_a_cycle_goes_the_whole_way_and_everything_is_on_record(node: Any, patient_files: Files) -> None:
    node.send(patient_files[24.0] + patient_files[72.0])
    facts = node.wait("DELIVERED", "HELD")
    assert facts["cycle"]["state"] == "DELIVERED", facts["cycle"]["reasons"]

    # what the PACS got is what SQL says, and the dose is that of the organ table
    received = {uid: dcmread(path) for uid, path in node.pacs.received.items()}
    assert {r["sop_instance_uid"] for r in facts["results"] if r["role"] in ("rtdose", "sr")} == set(received)
    (dose,) = (ds for ds in received.values() if ds.Modality == "RTDOSE")
    gy = dose.pixel_array * float(dose.DoseGridScaling)
    assert gy.max() == pytest.approx(max(o["max_gy"] for o in facts["organ_doses"]), rel=1e-6)
    organs = {o["region"]: o["mean_gy"] for o in facts["organ_doses"]}
    # liver of the simulated patient: 0.30 Gy/GBq x 7.4 GBq aimed at (two time points, no late one)
    assert organs["liver"] == pytest.approx(0.30 * 7.4, rel=0.35)
    assert np.isfinite(gy).all()

    # the record
    verified = node.run("audit", "verify")
    assert verified.returncode == 0, verified.stderr
    story = node.run("audit", "story", facts["cycle"]["id"], "--json")
    kinds = [json.loads(line)["kind"] for line in story.stdout.splitlines()]
    for kind in ("cycle-state-changed", "calculation-started", "calculation-ended", "result-created",
                 "transfer-begun", "instance-sent"):  # fmt: skip
        assert kind in kinds
    assert "TORSO" not in node.log(), "patient names stay out of the log"

    # operation
    with urllib.request.urlopen(f"http://127.0.0.1:{node.health_port}/health") as answer:
        assert json.load(answer)["well"] is True
    with urllib.request.urlopen(f"http://127.0.0.1:{node.health_port}/metrics") as answer:
        assert b'dicomnode_cycles{state="DELIVERED"} 1.0' in answer.read()
    assert node.run("status").returncode == 0

    # repeating it gives the same bytes
    replayed = node.run("replay", facts["cycle"]["id"], "--json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert len(json.loads(replayed.stdout)["comparisons"]) >= 8


def test_a_late_time_point_makes_a_new_revision(node: Any, patient_files: Files) -> None:
    node.send(patient_files[24.0] + patient_files[72.0])
    first = node.wait("DELIVERED", "HELD")
    node.send(patient_files[4.0])
    node.wait("COLLECTING", "READY", "COMPUTING")
    second = node.wait("DELIVERED", "HELD")
    assert second["revision"]["number"] == 2
    assert [r["state"] for r in second["revisions"]] == ["SUPERSEDED", "DELIVERED"]
    uids = [
        next(r["sop_instance_uid"] for r in f["results"] if r["role"] == "rtdose") for f in (first, second)
    ]
    assert uids[0] != uids[1]
    newer = dcmread(node.pacs.received[uids[1]])
    assert uids[0] in str(newer), "the new dose names the one it supersedes"


def test_without_an_administration_it_waits_for_a_person(node: Any, patient_files: Files) -> None:
    def forget(ds: Any) -> None:
        for item in ds.get("RadiopharmaceuticalInformationSequence", []):
            for keyword in ("RadiopharmaceuticalStartDateTime", "RadionuclideTotalDose"):
                if keyword in item:
                    delattr(item, keyword)

    node.send(patient_files[24.0] + patient_files[72.0], change=forget)
    held = node.wait("HELD")
    assert "dicomnode administer" in held["cycle"]["reasons"][0]
    assert node.run("status").returncode == 1
    told = node.run(
        "administer", "--patient-id", held["cycle"]["patient_id"], "--nuclide", "Lu-177", "--mbq", "7400",
        "--at", "2026-03-02T09:30", "--by", "AB",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    done = node.wait("DELIVERED")
    assert done["administration"]["source"] == "person:AB"


def test_the_same_images_again_change_nothing_and_other_bytes_are_kept_apart(
    node: Any, patient_files: Files
) -> None:
    node.send(patient_files[24.0] + patient_files[72.0])
    node.wait("DELIVERED", "HELD")
    node.send(patient_files[24.0])

    def disturb(ds: Any) -> None:
        ds.SeriesDescription = "tampered"

    node.send(patient_files[72.0][:1], change=disturb)
    status = json.loads(node.run("status", "--json").stdout)
    assert status["instances"] == {
        "CONFLICT": 1, "INDEXED": len(patient_files[24.0]) + len(patient_files[72.0]),
    }  # fmt: skip
    assert [r["number"] for r in node.facts()["revisions"]] == [1]
