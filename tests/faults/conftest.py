"""What the fault tests share: a tiny patient, a PACS with a journal, and a node to break."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _module(name: str) -> ModuleType:
    """A module of this folder (test modules are not importable by name in importlib mode)."""
    full = f"faults_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture(autouse=True)
def _quiet_senders(caplog: pytest.LogCaptureFixture) -> None:
    """A sender that finds nobody says so for every attempt: that is the test's own doing."""
    caplog.set_level("CRITICAL", logger="pynetdicom")


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module tiny.py."""
    return _module("tiny")


@pytest.fixture(scope="session")
def pacs_of() -> ModuleType:
    """The module pacs.py."""
    return _module("pacs")


@pytest.fixture(scope="session")
def stands() -> ModuleType:
    """The module stand.py."""
    return _module("stand")


@pytest.fixture(scope="session")
def rounds_() -> ModuleType:
    """The module rounds.py."""
    return _module("rounds")


@pytest.fixture
def raw() -> Iterator[Callable[..., Any]]:
    """Open a scripted peer (RawPeer of tests/receive) on a port; all are closed at the end."""
    kind = _module("../receive/conftest").RawPeer
    peers: list[Any] = []

    def connect(port: int) -> Any:
        peers.append(kind(port))
        return peers[-1]

    yield connect
    for peer in peers:
        peer.socket.close()


@pytest.fixture
def new_pacs(pacs_of: ModuleType) -> Iterator[Callable[..., Any]]:
    """JournalPacs(...), closed at the end."""
    made: list[Any] = []

    def make(**settings: Any) -> Any:
        made.append(pacs_of.JournalPacs(**settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def new_stand(stands: ModuleType, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Stand(...) in a folder of its own, started; ended at the end."""
    made: list[Any] = []

    def make(*peers: str, folder: Path | None = None, start: bool = True, **settings: Any) -> Any:
        where = folder or tmp_path / f"node{len(made)}"
        made.append(stands.Stand(where, peers, **settings))
        if start:
            made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close()
