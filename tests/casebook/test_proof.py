"""What an auditor reads is bound to the trail: a row changed by its owner, by plain SQL, is named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from dicomnode.audit import events, trail
from dicomnode.audit.events import About
from dicomnode.casebook import proof
from dicomnode.database.database import Database
from dicomnode.database.tables import Calculation, CycleRow, OrganDoseRow, Result, Revision

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def written(database: Database) -> Database:
    """One revision with its event, as ``revisions.finish`` writes them."""
    cycle = CycleRow(
        id="c1", patient_id="P1", nuclide="Lu-177", state="DELIVERED", state_since=NOON, opened_at=NOON
    )
    revision = Revision(
        id="r1", cycle_id="c1", number=1, state="DELIVERED", inputs_digest="d", created_at=NOON
    )
    organs = [
        OrganDoseRow(
            revision_id="r1", region=region, mean_gy=2.0 / 3.0, sigma_gy=0.1, d2_gy=4, d50_gy=2, d98_gy=1,
            max_gy=5, volume_ml=300, mass_g=310, tia_mbq_s=1e6, sigma_tia_mbq_s=1e5,
        )
        for region in ("kidneys", "liver")
    ]  # fmt: skip
    result = Result(
        revision_id="r1", role="rtdose", sop_instance_uid="1.2.3", file_sha256="a" * 64, created_at=NOON
    )
    step = Calculation(
        revision_id="r1", step="dose", engine="vsv", version="0.1.0", config_digest="c", seed=2**40,
        started_at=NOON, outcome="DONE",
    )  # fmt: skip
    with database.write() as session:
        for rows in ([cycle], [revision], [*organs, result, step]):
            session.add_all(rows)
            session.flush()
        facts = {"revision_id": "r1", "rows": proof.digests(session, "r1")}
        about = About(cycle_id="c1", revision_id="r1")
        ended = events.calculation_ended(
            "NODE", about, step="revision", succeeded=True, message="", facts=facts
        )
        trail.append(session, ended)
    return database


TAMPERING = {
    "UPDATE organ_doses SET mean_gy = 0.259 WHERE region = 'liver'": "organ_doses liver{}was changed",
    "UPDATE organ_doses SET region = 'spleen' WHERE region = 'liver'": "organ_doses liver{}is missing",
    "DELETE FROM organ_doses WHERE region = 'kidneys'": "organ_doses kidneys{}is missing",
    "UPDATE organ_doses SET alpha_gy = 0.5 WHERE region = 'liver'": "organ_doses liver{}was changed",
    "UPDATE results SET file_sha256 = 'bb'": "results rtdose{}was changed",
    "UPDATE calculations SET version = '0.2.0'": "calculations 1{}was changed",
    "UPDATE calculations SET engine = 'montecarlo'": "calculations 1{}was changed",
    "UPDATE calculations SET config_digest = 'x'": "calculations 1{}was changed",
}


def test_what_nobody_touched_is_as_it_was_written(written: Database) -> None:
    with written.read() as session:
        assert proof.contradictions(session) == (1, [])


@pytest.mark.parametrize("statement", TAMPERING)
def test_a_row_that_its_owner_changed_is_named(written: Database, statement: str) -> None:
    with written.write() as session:
        session.execute(text(statement))
    with written.read() as session:
        assert trail.verify(session).whole, "the chain alone does not see it"
        _, found = proof.contradictions(session)
    assert f"{TAMPERING[statement].format(' of revision r1 ')} since audit row 1" in found


def test_every_column_of_a_bound_row_counts(written: Database) -> None:
    """Each column of the doses, changed to another value of its kind."""
    columns = [
        c.name for c in OrganDoseRow.__table__.columns if c.name not in ("id", "revision_id", "region")
    ]
    for column in columns:
        with written.write() as session:
            kept = session.execute(text(f"SELECT {column} FROM organ_doses WHERE region = 'liver'")).scalar()
            other = "'x'" if column == "tia_method" else "77.5"
            session.execute(text(f"UPDATE organ_doses SET {column} = {other} WHERE region = 'liver'"))
        with written.write() as session:
            assert len(proof.contradictions(session)[1]) == 1, column
            session.execute(text(f"UPDATE organ_doses SET {column} = :v WHERE region = 'liver'"), {"v": kept})
    with written.read() as session:
        assert proof.contradictions(session)[1] == []
