"""Views, filters and stories, on rows that are there."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from dicomnode.audit.queries import Filter, entries, story
from dicomnode.audit.questions import QUESTIONS, Question, answers, cells
from dicomnode.database.database import Database
from dicomnode.database.tables import CycleRow, Result, Revision
from dicomnode.errors import Refused

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, flags=re.DOTALL)
START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def rows(database: Database, query: str) -> list[dict[str, object]]:
    with database.read() as session:
        return [dict(row) for row in session.execute(text(query)).mappings()]


def test_the_page_answers_all_fourteen_questions() -> None:
    numbered = re.findall(r"^(\d+)\. .*\?$", PAGE, flags=re.MULTILINE)
    assert [int(number) for number in numbered] == list(range(1, 15))
    assert len(QUERIES) == 16


def test_every_documented_query_finds_rows(filled: Database) -> None:
    for query in QUERIES:
        assert rows(filled, query), query


def test_the_questions_as_data_are_those_of_the_page() -> None:
    asked = [q for question in QUESTIONS for q in question.queries]
    assert [" ".join(q.documented().split()) for q in asked] == [
        " ".join(shown.strip().rstrip(";").split()) for shown in QUERIES
    ]
    assert [f"{q.number}. {q.title}" for q in QUESTIONS] == re.findall(r"^\d+\. .*\?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda q: str(q.number))
def test_every_question_is_answered_on_both_databases(filled: Database, asked: Question) -> None:
    given = {name: example for q in asked.queries for name, example in q.parameters.items()}
    with filled.read() as session:
        found = answers(session, asked, given)
    assert all(answer.rows for answer in found)
    if given:
        with filled.read() as session, pytest.raises(Refused, match="needs"):
            answers(session, asked, {})


@pytest.mark.parametrize(
    ("cell", "written"),
    [("=1+1", "'=1+1"), ("+A1", "'+A1"), ("-A1", "'-A1"), ("@SUM(A1)", "'@SUM(A1)"), ("-1", "-1"),
     ("\t=1", "<U+0009>=1"), ("\r=1", "<U+000D>=1")],
)  # fmt: skip
def test_no_cell_of_a_table_runs_in_a_spreadsheet(cell: str, written: str) -> None:
    """Numbers stay numbers; what is no visible character is shown as its code point."""
    assert cells([cell, "P1", None]) == [written, "P1", ""]


def test_every_view_is_documented(filled: Database) -> None:
    assert {view for view in inspect(filled.engine).get_view_names() if view not in PAGE} == set()


def test_course_dose_is_the_sum_over_the_cycles(filled: Database) -> None:
    found = rows(filled, "SELECT cycle_id, course_mean_gy FROM v_organ_doses ORDER BY cycle_id")
    assert [(row["cycle_id"], row["course_mean_gy"]) for row in found] == [("c1", 2.5), ("c2", 4.0)]


def test_a_superseded_revision_does_not_count_in_the_course(filled: Database) -> None:
    with filled.write() as session:
        session.get_one(Revision, "c1-r1").state = "SUPERSEDED"
    found = rows(filled, "SELECT cycle_id, course_mean_gy FROM v_organ_doses")
    assert found == [{"cycle_id": "c2", "course_mean_gy": 1.5}]


def test_latency_is_counted_from_the_last_slice_to_the_dose(filled: Database) -> None:
    found = rows(filled, "SELECT seconds_to_dose, seconds_to_delivery FROM v_latency ORDER BY revision_id")
    assert [row["seconds_to_dose"] for row in found] == pytest.approx([40.0, 50.0], abs=1e-3)
    assert [row["seconds_to_delivery"] for row in found] == pytest.approx([45.0, 55.0], abs=1e-3)


@pytest.mark.parametrize(
    ("total", "median", "p95"), [(1, 1, 1), (4, 2, 4), (5, 3, 5), (20, 10, 19), (21, 11, 20)]
)
def test_median_and_p95_are_by_nearest_rank(database: Database, total: int, median: int, p95: int) -> None:
    with database.write() as session:
        session.add(
            CycleRow(
                id="c", patient_id="P", nuclide="Y-90", state="DELIVERED", state_since=START, opened_at=START
            )
        )
        session.flush()
        for number in range(1, total + 1):
            session.add(
                Revision(
                    id=f"r{number}", cycle_id="c", number=number, state="DELIVERED", inputs_digest="",
                    created_at=START, last_input_at=START,
                )
            )  # fmt: skip
            session.flush()
            session.add(
                Result(
                    revision_id=f"r{number}", role="dose", sop_class_uid="1.2.840.10008.5.1.4.1.1.481.2",
                    file_sha256="", created_at=START + timedelta(seconds=number),
                )
            )  # fmt: skip
    (found,) = rows(database, "SELECT * FROM v_latency_summary")
    assert found["revisions"] == total
    assert found["median_seconds_to_dose"] == pytest.approx(median, abs=1e-3)
    assert found["p95_seconds_to_dose"] == pytest.approx(p95, abs=1e-3)


def test_details_of_events_reach_the_views(filled: Database) -> None:
    receipts = rows(filled, "SELECT receipt, sha256 FROM v_duplicates_and_conflicts ORDER BY seq")
    assert [row["receipt"] for row in receipts] == ["DUPLICATE", "CONFLICT"]
    (change,) = rows(filled, "SELECT changes FROM v_configuration_history WHERE changes IS NOT NULL")
    assert change["changes"] == '{"tia.method":["a","b"]}'
    (warning,) = rows(filled, "SELECT status, comment FROM v_peer_warnings")
    assert warning == {"status": "B000", "comment": "coerced"}
    (waiting,) = rows(filled, "SELECT hours_in_state FROM v_unfinished_cycles")
    since_h = (datetime.now(UTC) - START).total_seconds() / 3600
    assert waiting["hours_in_state"] == pytest.approx(since_h, abs=0.01)


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (Filter(), list(range(1, 11))),
        (Filter(patient_id="P1"), [7, 8, 9]),
        (Filter(cycle_id="c1", kind="instance-sent"), [8]),
        (Filter(series_instance_uid="1.6.0"), [7]),
        (Filter(sop_instance_uid="1.6.0.1"), [4, 5, 6]),
        (Filter(peer="PACS"), [8]),
        (Filter(actor="eva"), [9]),
        (Filter(outcome=4), [3, 6, 8]),
        (Filter(since=START + timedelta(minutes=2), until=START + timedelta(minutes=4)), [3, 4]),
    ],
)
def test_a_filter_lets_through_what_it_names(filled: Database, wanted: Filter, seqs: list[int]) -> None:
    with filled.read() as session:
        assert [entry.seq for entry in entries(session, wanted)] == seqs
        assert [entry.seq for entry in entries(session, wanted, limit=2)] == seqs[-2:]


def test_the_story_of_a_cycle_includes_its_series_their_instances_and_its_results(filled: Database) -> None:
    with filled.read() as session:
        assert [entry.seq for entry in story(session, "c1")] == [4, 5, 6, 7, 8, 9]
        assert [entry.seq for entry in story(session, "1.6.0")] == [4, 5, 6, 7]
        assert [entry.seq for entry in story(session, "1.6.0.1")] == [4, 5, 6]
        assert [entry.seq for entry in story(session, "1.2.826.0.1.1")] == [8, 9]
        assert story(session, "1.2.3.4") == []
