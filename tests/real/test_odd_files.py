"""Every odd file of shared/real sent at a running node: raw, as the data set of an image that the node
accepts, and by storescu as it is. Each is answered, associations live on, and the node stays well."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dicomnode.database.tables import Instance
from dicomnode.receive.acceptance import STORAGE_CLASSES
from tests.helpers.part10_files import CT, identity, sendable
from tests.helpers.running_node import SYNTAXES
from tests.helpers.what_the_node_says import settled, verdicts


def odd_files(shared: Path) -> list[Path]:
    found = sorted((shared / "real/odd_files").iterdir())
    return [p for p in found if p.suffix not in (".md", ".tsv", ".txt")]


def test_each_is_answered_over_one_association_and_judged_afterwards(
    run_node: Any, shared: Path, tmp_path: Path
) -> None:
    node = run_node(expected=1)
    sent = {}
    for path in odd_files(shared):
        sop_class = identity(path)[0]
        accepted = sop_class if sop_class in STORAGE_CLASSES else CT
        sent[path] = sendable(path, tmp_path, as_class=accepted, syntax=SYNTAXES[0])
    assert len(sent) == 182
    answers = node.store(list(sent.values()))
    settled(node)
    # nothing is decoded before the answer: whatever it holds, it is kept, and answered with Success
    assert {p.name: a for p, a in answers.items() if a != 0} == {}
    with node.house.database.read() as session:
        rows = session.scalars(select(Instance)).all()
    states = Counter(row.state for row in rows)
    # no two of them are the same bytes; what came under one UID and differs is kept apart
    assert states.total() == len({row.file_sha256 for row in rows}) == 182
    assert set(states) == {"INDEXED", "QUARANTINED", "CONFLICT"}
    assert all(row.reason for row in rows if row.state == "QUARANTINED")
    for verdict in verdicts(node).values():
        assert re.match(r"(quarantined|conflict|unused|waiting): \S|used; cycle HELD: \S", verdict), verdict
    assert node.is_well()
    assert node.audit_is_whole()


def test_storescu_sends_what_it_can_read_and_is_told_what_is_not_taken(run_node: Any, shared: Path) -> None:
    storescu = shutil.which("storescu")
    if storescu is None:
        pytest.skip("needs the program storescu: run deploy/test-peers.sh")
    node = run_node(expected=1)
    taken, not_offered, not_read = [], [], []
    for path in odd_files(shared):
        said = subprocess.run(
            [storescu, "-v", "-aec", "DICOMNODE", "-R", "127.0.0.1", str(node.port), str(path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
            env=os.environ | {"TCP_NODELAY": "1"},
        )
        if said.returncode == 0:
            assert "Received Store Response (Success)" in said.stderr, said.stderr
            taken.append(path.name)
        elif "No Acceptable Presentation Contexts" in said.stderr:
            not_offered.append(path.name)
        else:  # it found no SOP class in it, or cannot decompress it
            assert re.search(
                "missing SOP class|unknown storage SOP class|unable to convert dataset", said.stderr
            ), said.stderr
            not_read.append(path.name)
    sys.stdout.write(f"{len(taken)} taken, {len(not_offered)} not negotiable, {len(not_read)} not sendable\n")
    assert len(taken) >= 10
    assert "pydicom__ExplVR_BigEnd.dcm" in not_offered
    settled(node)
    with node.house.database.read() as session:
        assert {r.calling_ae for r in session.scalars(select(Instance))} == {"STORESCU"}
    assert node.is_well()
    assert node.audit_is_whole()
