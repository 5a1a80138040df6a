"""One small patient and its scans, made once."""

from __future__ import annotations

import shutil

import pytest

from dicomnode.simulation import SimulatedPatient, SimulatedScan, make_patient, scan


@pytest.fixture(scope="session")
def patient() -> SimulatedPatient:
    return make_patient(1, size="small")


@pytest.fixture(scope="session")
def day(patient: SimulatedPatient) -> SimulatedScan:
    """The scan at 24 h, which has no shift."""
    return scan(patient, 24.0)


@pytest.fixture(scope="session")
def dciodvfy() -> str:
    path = shutil.which("dciodvfy")
    if path is None:
        pytest.skip("needs the program dciodvfy: run deploy/test-peers.sh")
    return path
