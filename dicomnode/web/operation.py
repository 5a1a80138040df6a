"""The administrator's page (peers, queues, quarantine, disk); the auditor's (questions, stories, trail)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from io import StringIO

from sqlalchemy import func, select
from starlette.responses import RedirectResponse, Response

from dicomnode.audit import events, queries, questions, trail
from dicomnode.audit.about import About
from dicomnode.casebook import quarantine
from dicomnode.casebook.house import House
from dicomnode.casebook.status import status
from dicomnode.database.tables import Delivery, EventRow, Result
from dicomnode.errors import Refused
from dicomnode.web.app import Asked


@dataclass(frozen=True)
class Queue:
    """What waits for one peer in one state."""

    peer: str
    state: str
    count: int
    oldest: datetime | None
    next_try: datetime | None
    answer: str
    sent_last: datetime | None


def queues(house: House) -> list[Queue]:
    """Deliveries by peer and state: how many, the oldest object, the next try, the last answer."""
    with house.database.read() as session:
        sums = session.execute(
            select(
                Delivery.peer, Delivery.state, func.count(), func.min(Result.created_at),
                func.min(Delivery.next_try_at), func.max(Delivery.last_status), func.max(Delivery.sent_at),
            )
            .join(Result, Result.id == Delivery.result_id)
            .group_by(Delivery.peer, Delivery.state)
            .order_by(Delivery.peer, Delivery.state)
        )  # fmt: skip
        return [Queue(*row) for row in sums]


def operation(asked: Asked) -> Response:
    return _page(asked, "")


def _page(asked: Asked, echoed: str) -> Response:
    now = status(asked.house)
    return asked.page(
        "operation.html", now=now, queues=queues(asked.house), waiting=quarantine.listed(asked.house),
        peers=asked.house.config.delivery.peers, echoed=echoed,
        disk_low=now.free_gb * 2**30 < 2e6 * asked.house.config.receive.free_space_reserve_mb,
    )  # fmt: skip


def echo(asked: Asked) -> Response:
    """C-ECHO to a configured peer, and what it answered."""
    from dicomnode.delivery.echo import echo as ask

    peer = next((p for p in asked.house.config.delivery.peers if p.name == asked.part("name")), None)
    if peer is None:
        raise Refused("no such peer is configured", remedy="[[delivery.peers]] lists them")
    return _page(asked, ask(peer))


def asking(asked: Asked) -> Response:
    """The fourteen questions, and the answer to one."""
    number = asked.query("number")
    if not number.isdecimal():
        return asked.page("questions.html", questions=questions.QUESTIONS, chosen=None, found=[], given={})
    chosen, given = questions.question(int(number)), dict(asked.request.query_params)
    wanted = {name for q in chosen.queries for name in q.parameters}
    found = _answers(asked, chosen, given, "page") if wanted <= {k for k, v in given.items() if v} else []
    return asked.page(
        "questions.html", questions=questions.QUESTIONS, chosen=chosen, found=found, given=given
    )


def as_csv(asked: Asked) -> Response:
    """The answer as a file; that data left is on record."""
    chosen, given = questions.question(int(asked.part("number"))), dict(asked.request.query_params)
    found = _answers(asked, chosen, given, "csv")
    rows = sum(len(a.rows) for a in found)
    about = About(patient_id=given.get("patient_id", ""))
    exported = events.data_exported(asked.person.person, about, what=f"question {chosen.number}", rows=rows)
    with asked.house.database.write() as session:
        trail.append(session, exported)
    text = StringIO()
    writer = csv.writer(text)
    for answer in found:
        writer.writerows(questions.cells(row) for row in (answer.headings(), *answer.rows))
    name = f'attachment; filename="question-{chosen.number}.csv"'
    return Response(text.getvalue(), media_type="text/csv", headers={"content-disposition": name})


def _answers(
    asked: Asked, chosen: questions.Question, given: dict[str, str], how: str
) -> list[questions.Answer]:
    with asked.house.database.read() as session:
        found = questions.answers(session, chosen, given)
    _record_use(asked, f"question {chosen.number}, {how}", given, sum(len(a.rows) for a in found))
    return found


def _record_use(asked: Asked, verb: str, query: dict[str, str], rows: int) -> None:
    uri = asked.house.database.url.render_as_string(hide_password=True)
    event = events.audit_log_used(asked.person.person, verb=verb, query=query, rows=rows, uri=uri)
    with asked.house.database.write() as session:
        trail.append(session, event)


def story(asked: Asked) -> Response:
    """All that happened to a cycle, a series or an instance."""
    identity = asked.query("id").strip()
    found: list[queries.Entry] = []
    if identity:
        with asked.house.database.read() as session:
            found = queries.story(session, identity)
        _record_use(asked, "story", {"id": identity}, len(found))
    with asked.house.database.read() as session:
        last = session.scalars(
            select(EventRow).where(EventRow.kind == "audit-verified").order_by(EventRow.seq.desc()).limit(1)
        ).first()
        verified = (last.at, last.outcome) if last is not None else None
    return asked.page("story.html", identity=identity, found=found, verified=verified)


def verify(asked: Asked) -> Response:
    """Recompute the whole chain, against the checkpoints; the result is dated and kept in the trail."""
    from dicomnode.audit.checkpoints import read_checkpoints

    house = asked.house
    folder = house.config.checkpoint_folder
    marks = read_checkpoints(folder, key=house.checkpoint_key) if folder.is_dir() else []
    with house.database.read() as session:
        found = trail.verify(session, marks)
    event = events.trail_verified(
        asked.person.user.id, rows=found.rows, broken_seq=found.broken_seq, why=found.why
    )
    with house.database.write() as session:
        trail.append(session, event)
    return RedirectResponse("/story", 303)
