"""A house with one held cycle, users of every role, and a client that speaks to the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from starlette.testclient import TestClient

from dicomnode.casebook.house import House, open_house
from dicomnode.casebook.state import finding_row
from dicomnode.config import load
from dicomnode.database.tables import AdministrationRow, CycleRow, Instance, Revision, Series
from dicomnode.model import Finding, Severity
from dicomnode.web.app import application
from dicomnode.web.rights import Role
from dicomnode.web.server import PAGES
from dicomnode.web.users import User, write_users

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CYCLE = "0123456789abcdef"
PASSWORD = "correct horse battery"
HOSTILE = "<script>alert(1)</script>"
CONFIG = """
[archive]
data_folder = "data"
[[delivery.peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
"""
SAME_SITE = {"sec-fetch-site": "same-origin"}


@pytest.fixture(scope="session")
def digest() -> str:
    """One digest for every user: argon2id takes its time on purpose."""
    return PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)


@pytest.fixture
def house(tmp_path: Path, digest: str) -> Iterator[House]:
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    made = open_house(load(tmp_path / "config.toml"))
    with made.database.write() as session:
        told = AdministrationRow(
            patient_id="P1", nuclide="Lu-177", activity_mbq=7400.0, administered_at=NOW, source="person:AB",
            recorded_at=NOW,
        )  # fmt: skip
        session.add(told)
        session.flush()
        session.add(
            CycleRow(
                id=CYCLE, patient_id="P1", nuclide="Lu-177", administration_id=told.id, state="HELD",
                state_since=NOW, opened_at=NOW, inputs_digest="a", accepted="[]",
                reasons='["a scan is missing"]',
            )
        )  # fmt: skip
        session.add(
            Series(
                series_instance_uid="1.2", study_instance_uid="1.1", patient_id="P1", patient_name=HOSTILE,
                modality="NM", role="emission", first_received_at=NOW, last_received_at=NOW, state="USED",
            )
        )  # fmt: skip
        session.add(
            Instance(
                sop_instance_uid="1.2.9", sop_class_uid="1.2", transfer_syntax_uid="1.2", sha256="b" * 64,
                file_sha256="c" * 64, size_bytes=1, calling_ae=HOSTILE[:16], called_ae="A", peer_address="",
                received_at=NOW, state="QUARANTINED", reason=HOSTILE,
            )
        )  # fmt: skip
        session.flush()
        session.add(
            Revision(id="r1", cycle_id=CYCLE, number=1, state="HELD", inputs_digest="a", created_at=NOW)
        )
        session.add(finding_row(Finding("r", Severity.HOLD, f"odd {HOSTILE}", subject="1.2"), CYCLE, "", NOW))
    users = {role.value: User(role.value, f"{role.value.title()} Person", role, digest) for role in Role}
    write_users(made.config.web.users_file, users)
    yield made
    made.database.close()


@pytest.fixture
def stranger(house: House) -> Iterator[TestClient]:
    """A browser that is not logged in."""
    with TestClient(
        application(house, PAGES), "https://node", headers=SAME_SITE, follow_redirects=False
    ) as client:
        yield client


@pytest.fixture
def as_role(house: House) -> Callable[[str], TestClient]:
    """A browser logged in as a role."""

    def logged_in(role: str) -> TestClient:
        client = TestClient(
            application(house, PAGES), "https://node", headers=SAME_SITE, follow_redirects=False
        )
        answer = client.post("/login", data={"user": role, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return client

    return logged_in


def field(html: str, name: str) -> str:
    """The value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found is not None
    return found[1]
