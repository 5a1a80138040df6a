"""A small simulated patient, and a node that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.running_node import RunningNode
from tests.helpers.small_patient import write_small_patient


@pytest.fixture(scope="session")
def patient_files(tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[Path]]:
    """A small simulated patient: hours -> its files (NM, CT; SEG at 24 h)."""
    return write_small_patient(tmp_path_factory.mktemp("patient"), (4.0, 24.0, 72.0))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    running = RunningNode(tmp_path / "node")
    running.start()
    yield running
    running.close()
