"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("DICOMNODE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real and reference data beside the checkout; skips where it is missing."""
    if not SHARED.is_dir():
        pytest.skip("needs the data folder shared/ beside the checkout (or DICOMNODE_SHARED)")
    return SHARED


def find_program(name: str) -> str:
    """Path of an independent program (storescu, Orthanc, ...); skips with the reason where missing."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs the program {name}: run deploy/test-peers.sh")
    return path
