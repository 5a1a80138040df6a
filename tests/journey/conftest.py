"""A small simulated patient, and a node that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.simulation import make_patient, scan
from dicomnode.simulation.objects import write_dicom
from tests.running_node import RunningNode


@pytest.fixture(scope="session")
def patient_files(tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[Path]]:
    """A small simulated patient: hours -> its files (NM, CT; SEG at 24 h)."""
    patient = make_patient(7, size="small")
    folder = tmp_path_factory.mktemp("patient")
    hours = (4.0, 24.0, 72.0)
    files = write_dicom(patient, [scan(patient, h, seed=7) for h in hours], folder)
    return {h: [f for f in files if f.parent.name.endswith(f"_{h:g}h")] for h in hours}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    running = RunningNode(tmp_path / "node")
    running.start()
    yield running
    running.close()
