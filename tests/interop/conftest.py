"""A small patient, a network of the test's own, and programs of others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.network_namespace import own_network
from tests.helpers.small_patient import write_small_patient

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def patient_files(tmp_path_factory: pytest.TempPathFactory) -> dict[float, list[Path]]:
    """A small simulated patient: hours -> its files (NM, CT; SEG at 24 h)."""
    return write_small_patient(tmp_path_factory.mktemp("patient"), (24.0, 72.0))


@pytest.fixture
def network() -> Iterator[None]:
    """A loopback that nothing outside of the test reaches; skips where the system does not allow it."""
    with own_network():
        yield


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Path of a program; skips with the reason where it is missing."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if path is None:
            pytest.skip(f"needs the program {name}: run deploy/test-peers.sh")
        return path

    return find


@pytest.fixture
def run(program: Callable[[str], str]) -> Program:
    """Run a program of others to its end."""

    def start(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program(name), *map(str, arguments)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
            env=os.environ | {"TCP_NODELAY": "1"},  # Debian's DCMTK waits 44 ms per object without it
        )

    return start
