"""The fourteen questions of quality assurance as data: what docs/audit.md, the commands and the page ask."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from dicomnode.errors import Refused
from dicomnode.model.text import spreadsheet_cell


@dataclass(frozen=True)
class Query:
    """One SELECT on the views. ``parameters``: name -> an example, as the documentation shows it."""

    sql: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def documented(self) -> str:
        """The SQL with the examples in place of its parameters."""
        return re.sub(r":(\w+)", lambda found: f"'{self.parameters[found[1]]}'", self.sql)


@dataclass(frozen=True)
class Question:
    """One question: its number, its words, and the queries that answer it."""

    number: int
    title: str
    queries: tuple[Query, ...]


UNITS = {
    "hours_in_state": "h",
    "seconds_to_dose": "s",
    "seconds_to_delivery": "s",
    "median_seconds_to_dose": "s",
    "p95_seconds_to_dose": "s",
    "mean_gy": "Gy",
    "sigma_gy": "Gy",
    "course_mean_gy": "Gy",
    "alpha_gy": "Gy",
}
"""Units of columns; the others are text, counts and times in UTC."""

QUESTIONS = (
    Question(
        1,
        "What arrived and was not used, and why?",
        (
            Query(
                "SELECT last_received_at, what, uid, modality, state, reason_code, reason FROM v_unused "
                "ORDER BY last_received_at DESC",
            ),
        ),
    ),
    Question(
        2,
        "Which cycles are not finished, what do they wait for, and since when?",
        (
            Query(
                "SELECT cycle_id, state, hours_in_state, time_points, reasons FROM v_unfinished_cycles "
                "ORDER BY state_since",
            ),
        ),
    ),
    Question(
        3,
        "What was sent to PACS between two dates, with what status; what was never confirmed?",
        (
            Query(
                "SELECT sent_at, role, sop_instance_uid, state, last_status, unconfirmed FROM "
                "v_deliveries WHERE peer = :peer AND sent_at >= :since AND sent_at < :until ORDER BY "
                "sent_at",
                {"peer": "PACS", "since": "2026-03-01", "until": "2026-04-01"},
            ),
        ),
    ),
    Question(
        4,
        "How can this result be made again, and who approved it?",
        (
            Query(
                "SELECT step, engine, version, config_digest, seed, inputs, data_digests, parameters, "
                "released_by FROM v_reproduction WHERE sop_instance_uid = :sop_instance_uid ORDER BY "
                "calculation_id",
                {"sop_instance_uid": "1.2.826.0.1.1"},
            ),
        ),
    ),
    Question(
        5,
        "How did configuration and calibration change?",
        (
            Query(
                "SELECT at, kind, actor, config_digest, version, changes FROM v_configuration_history "
                "ORDER BY seq",
            ),
        ),
    ),
    Question(
        6,
        "Which instances came twice, or with other bytes?",
        (
            Query(
                "SELECT at, sop_instance_uid, peer, receipt, sha256 FROM v_duplicates_and_conflicts ORDER "
                "BY seq",
            ),
        ),
    ),
    Question(
        7,
        "Who was refused, why and how often?",
        (
            Query(
                "SELECT peer, address, called_ae, reason, refusals, last_at FROM v_refused_associations "
                "ORDER BY refusals DESC",
            ),
        ),
    ),
    Question(
        8,
        "How long from the last slice to the dose?",
        (
            Query(
                "SELECT revisions, median_seconds_to_dose, p95_seconds_to_dose FROM v_latency_summary",
            ),
            Query(
                "SELECT cycle_id, revision_number, seconds_to_dose, seconds_to_delivery FROM v_latency "
                "ORDER BY seconds_to_dose DESC",
            ),
        ),
    ),
    Question(
        9,
        "What dose did each organ get, in each cycle and over the course?",
        (
            Query(
                "SELECT cycle_id, region, mean_gy, sigma_gy, course_mean_gy FROM v_organ_doses WHERE "
                "patient_id = :patient_id ORDER BY administered_at, region",
                {"patient_id": "P1"},
            ),
            Query(
                "SELECT cycle_id, nuclide, region, mean_gy, alpha_gy FROM v_organ_doses WHERE alpha_gy IS "
                "NOT NULL ORDER BY administered_at, region",
            ),
        ),
    ),
    Question(
        10,
        "Who looked at patient P1?",
        (
            Query(
                "SELECT at, actor, kind, series_instance_uid, cycle_id FROM v_access WHERE patient_id = "
                ":patient_id AND action = 'R' ORDER BY seq",
                {"patient_id": "P1"},
            ),
        ),
    ),
    Question(
        11,
        "Which results were made by version 0.1.0 (for a recall)?",
        (
            Query(
                "SELECT patient_id, cycle_id, revision_number, revision_state, role, sop_instance_uid "
                "FROM v_results_by_version WHERE version = :version ORDER BY created_at",
                {"version": "0.1.0"},
            ),
        ),
    ),
    Question(
        12,
        "Where did clocks or time zones disagree?",
        (
            Query(
                "SELECT found_at, rule, sentence, measured, limit_value, unit FROM v_clock_findings ORDER "
                "BY found_at",
            ),
        ),
    ),
    Question(
        13,
        "Which objects did a PACS take with a warning (B0xx)?",
        (
            Query(
                "SELECT at, peer, status, comment, sop_instance_uid FROM v_peer_warnings ORDER BY seq",
            ),
        ),
    ),
    Question(
        14,
        "When was the trail verified, and with what result?",
        (
            Query(
                "SELECT at, actor, outcome, verified_rows, broken_seq, why FROM v_trail_verifications "
                "ORDER BY seq",
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Answer:
    """One table: columns with units, and rows as the database gave them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def headings(self) -> list[str]:
        """Columns, each with its unit where it has one."""
        return [f"{c}, {UNITS[c]}" if c in UNITS else c for c in self.columns]


def question(number: int) -> Question:
    """By its number. Raises Refused where there is none."""
    if not 1 <= number <= len(QUESTIONS):
        raise Refused(f"there are {len(QUESTIONS)} questions", remedy="`dicomnode audit question` lists them")
    return QUESTIONS[number - 1]


def answers(session: Session, asked: Question, given: Mapping[str, str]) -> list[Answer]:
    """A table for each query of the question. Raises Refused where a parameter is missing."""
    wanted = {name for query in asked.queries for name in query.parameters}
    missing = sorted(name for name in wanted if not given.get(name))
    if missing:
        raise Refused(f"question {asked.number} needs {', '.join(missing)}", remedy="Give each as NAME=VALUE")
    return [_answer(session, query, given) for query in asked.queries]


def _answer(session: Session, query: Query, given: Mapping[str, str]) -> Answer:
    found = session.execute(text(query.sql), {name: given[name] for name in query.parameters})
    return Answer(tuple(found.keys()), tuple(tuple(row) for row in found))


def cells(row: Sequence[object]) -> list[str]:
    """A row for a CSV file that no spreadsheet runs: names and comments come from the wire."""
    return [spreadsheet_cell("" if value is None else str(value)) for value in row]
