"""Real patients and samples, read where they lie beside the checkout."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.running_node import RunningNode

Unpack = Callable[[str], list[Path]]
Run = Callable[..., RunningNode]


@pytest.fixture
def unpack(shared: Path, tmp_path: Path) -> Unpack:
    """Files of an archive below shared/real, unpacked for one test."""

    def files(name: str) -> list[Path]:
        folder = tmp_path / Path(name).name.split(".")[0]
        with tarfile.open(shared / "real" / name) as tar:
            tar.extractall(folder, filter="data")
        return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.upper() != "LICENSE")

    return files


@pytest.fixture
def run_node(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Starts a node that ends with the test."""

    def start(**settings: object) -> RunningNode:
        running = RunningNode(tmp_path / "node", **settings)
        request.addfinalizer(running.close)
        running.start()
        return running

    return start
