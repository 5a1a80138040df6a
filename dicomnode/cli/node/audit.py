"""``dicomnode audit``: ask, follow, prove and export the audit trail.

Every command that reads the trail leaves an "audit log used" event in it, before it prints.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.node.archive import configuration, database_option, open_archive, person
from dicomnode.cli.options import faults_are_told, say
from dicomnode.errors import AuditBroken, ConfigError, Refused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dicomnode.audit.queries import Entry
    from dicomnode.audit.questions import Answer
    from dicomnode.audit.trail import Verification
    from dicomnode.database.database import Database


@click.group()
def audit() -> None:
    """Ask, follow, prove and export the audit trail."""


def _output_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, with a header.")(command)
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(command)


class _Time(click.ParamType[datetime]):
    """A date or time; without an offset it is this machine's local time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            given = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-03-01 or 2026-03-01T12:00+01:00", param, ctx)
        zone: tzinfo | None = given.tzinfo
        return given.astimezone(UTC) if zone is None else given


@audit.command()
@click.option("--patient", "patient_id", default="", help="Patient ID.")
@click.option("--series", "series_instance_uid", default="", help="Series Instance UID.")
@click.option("--instance", "sop_instance_uid", default="", help="SOP Instance UID.")
@click.option("--cycle", "cycle_id", default="", help="Cycle; the beginning of its identifier is enough.")
@click.option("--kind", default="", help='Kind of event, e.g. "instance-received".')
@click.option("--peer", default="", help="AE title of the peer.")
@click.option("--actor", default="", help="Person or process.")
@click.option("--outcome", type=click.Choice(["0", "4", "8", "12"]), help="0 success ... 12 major failure.")
@click.option("--since", type=_Time(), help="From this time on.")
@click.option("--until", type=_Time(), help="Before this time.")
@click.option("--limit", type=click.IntRange(min=0), default=0, help="Only the newest so many.")
@_output_options
@database_option
@click.pass_context
@faults_are_told
def query(
    ctx: click.Context, /, database: str | None, limit: int, as_json: bool, as_csv: bool, **given: Any
) -> None:
    """List events, oldest first."""
    from dicomnode.audit.queries import Filter, entries, whole_cycle_id

    given["outcome"] = None if given["outcome"] is None else int(given["outcome"])
    with open_archive(ctx) as archive:
        with archive.read() as session:
            wanted = Filter(**given | {"cycle_id": whole_cycle_id(session, given["cycle_id"])})
            found = list(entries(session, wanted, limit=limit))
        _record_use(archive, "query", wanted.said(), len(found))
    _print(found, as_json, as_csv)


@audit.command()
@click.argument("identity", metavar="ID")
@_output_options
@database_option
@click.pass_context
@faults_are_told
def story(ctx: click.Context, database: str | None, identity: str, as_json: bool, as_csv: bool) -> None:
    """All that happened to a cycle, a series or an instance, in order."""
    from dicomnode.audit import queries

    with open_archive(ctx) as archive:
        with archive.read() as session:
            found = queries.story(session, identity)
        _record_use(archive, "story", {"id": identity}, len(found))
    _print(found, as_json, as_csv)
    if not found:
        click.echo(f"the trail knows nothing of {identity}", err=True)
        ctx.exit(1)


@audit.command()
@click.argument("number", type=int, required=False)
@click.argument("parameters", nargs=-1, metavar="[NAME=VALUE]...")
@_output_options
@database_option
@click.pass_context
@faults_are_told
def question(
    ctx: click.Context, database: str | None, number: int | None, parameters: tuple[str, ...],
    as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """Answer question NUMBER of quality assurance; without a number, list the fourteen."""
    from dicomnode.audit import questions

    if number is None:
        for one in questions.QUESTIONS:
            needs = " ".join(f"{n}=..." for q in one.queries for n in q.parameters)
            click.echo(f"{one.number:>2}  {one.title}  {needs}".rstrip())
        return
    given = dict(p.partition("=")[::2] for p in parameters)
    try:
        asked = questions.question(number)
        with open_archive(ctx) as archive:
            with archive.read() as session:
                found = questions.answers(session, asked, given)
            _record_use(archive, f"question {number}", given, sum(len(a.rows) for a in found))
    except Refused as error:
        raise click.UsageError(str(error)) from error
    for answer in found:
        _print_answer(answer, as_json, as_csv)


def _print_answer(answer: Answer, as_json: bool, as_csv: bool) -> None:
    from dicomnode.audit.questions import cells
    from dicomnode.model.text import printable

    if as_json:
        for row in answer.rows:
            click.echo(json.dumps(dict(zip(answer.columns, row, strict=True)), default=str))
        return
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerows(cells(row) for row in (answer.headings(), *answer.rows))
        return
    for line in (answer.headings(), *answer.rows):
        click.echo("  ".join("" if cell is None else printable(str(cell)) for cell in line))


@audit.command()
@click.option(
    "--checkpoints", type=click.Path(path_type=Path, file_okay=False), help="Folder of the checkpoints."
)
@click.option("--key-file", type=click.Path(path_type=Path, dir_okay=False), help="Key that signs them.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@database_option
@click.pass_context
@faults_are_told
def verify(
    ctx: click.Context, database: str | None, checkpoints: Path | None, key_file: Path | None, as_json: bool
) -> None:
    """Recompute the whole chain; exit 1 and name the first broken row where it does not verify."""
    try:
        found = _verified(ctx, checkpoints, key_file)
        if as_json:
            click.echo(json.dumps({**asdict(found), "whole": found.whole}))
        elif found.whole:
            against = f"and {found.checkpoints} checkpoints" if found.checkpoints else "(no checkpoints)"
            click.echo(f"{found.rows} rows {against} verify; last {found.last_seq} {found.last_hash}")
        found.raise_if_broken()
        _check_rows(ctx, quiet=as_json)
    except AuditBroken as error:
        say(str(error), err=True)
        ctx.exit(1)


def _check_rows(ctx: click.Context, *, quiet: bool) -> None:
    """Doses and results are those that the trail saw written; exit 1 and name each that is not."""
    from dicomnode.casebook import proof

    with open_archive(ctx) as archive, archive.read() as session:
        bound, differing = proof.contradictions(session)
        differing += _lost_results(ctx, session)
    for sentence in differing:
        say(sentence, err=True)
    if differing:
        ctx.exit(1)
    if not quiet:
        click.echo(f"doses, results and steps of {bound} revisions are what was written")


def _lost_results(ctx: click.Context, session: Session) -> list[str]:
    """Files of results that are not there or have other bytes; none is looked at with ``--database``."""
    from dicomnode.archive.store import Store
    from dicomnode.database.tables import Result

    config = configuration(ctx)
    if config is None:
        return []
    store = Store(config.archive.store_folder)
    return [
        f"the file of {one.role} of revision {one.revision_id} is missing or changed: {one.file_sha256}"
        for one in session.query(Result).order_by(Result.id)
        if not store.verify(one.file_sha256)
    ]


def _verified(ctx: click.Context, checkpoints: Path | None, key_file: Path | None) -> Verification:
    from dicomnode.audit import events, trail
    from dicomnode.audit.checkpoints import read_checkpoints
    from dicomnode.audit.pseudonym import read_key

    config = configuration(ctx)
    if config is not None:
        checkpoints = checkpoints or config.checkpoint_folder
        key_file = key_file or config.audit.checkpoint_key_file
    key = read_key(key_file) if key_file else b""
    marks = read_checkpoints(checkpoints, key=key) if checkpoints else []
    with open_archive(ctx) as archive:
        with archive.read() as session:
            found = trail.verify(session, marks)
        event = events.trail_verified(person(), rows=found.rows, broken_seq=found.broken_seq, why=found.why)
        with archive.write() as session:
            trail.append(session, event)
    return found


@audit.command()
@click.option("--host", default="", help="Audit record repository.")
@click.option("--port", type=click.IntRange(1, 65535), default=6514, show_default=True)
@click.option("--transport", type=click.Choice(["tls", "tcp", "udp"]), default="tls", show_default=True)
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Trusted certificates.")
@database_option
@click.pass_context
@faults_are_told
def export(
    ctx: click.Context, database: str | None, host: str, port: int, transport: str, ca_file: Path | None
) -> None:
    """Send the rows that a repository does not have yet, as PS3.15 A.5 messages over syslog."""
    from pydantic import ValidationError

    from dicomnode.audit import syslog
    from dicomnode.audit.settings import AuditSettings

    config = configuration(ctx)
    given = {
        "syslog_host": host,
        "syslog_port": port,
        "syslog_transport": transport,
        "syslog_ca_file": ca_file,
    }
    try:
        settings = config.audit if config is not None and not host else AuditSettings.model_validate(given)
    except ValidationError as error:
        raise ConfigError([f"audit export: {fault['msg']}" for fault in error.errors()]) from error
    destination = syslog.destination_of(settings)
    with open_archive(ctx) as archive:
        _record_use(archive, "export", {"destination": destination}, 0)
        click.echo(f"{syslog.export(archive, settings)} messages to {destination}")


def _record_use(archive: Database, verb: str, asked: Mapping[str, object], rows: int) -> None:
    from dicomnode.audit import events, trail

    uri = archive.url.render_as_string(hide_password=True)
    with archive.write() as session:
        trail.append(session, events.audit_log_used(person(), verb=verb, query=asked, rows=rows, uri=uri))


def _print(found: Iterable[Entry], as_json: bool, as_csv: bool) -> None:
    if as_json:
        for entry in found:
            click.echo(json.dumps(asdict(entry), sort_keys=True))
    elif as_csv:
        from dicomnode.audit.queries import Entry
        from dicomnode.audit.questions import cells

        names = [field.name for field in fields(Entry)]
        writer = csv.writer(sys.stdout)
        writer.writerow(names)
        for entry in found:
            row = asdict(entry) | {"body": json.dumps(entry.body, sort_keys=True)}
            writer.writerow(cells([row[name] for name in names]))
    else:
        for entry in found:
            say(_line(entry))


def _line(entry: Entry) -> str:
    who = entry.actor or entry.peer
    about = entry.cycle_id or entry.series_instance_uid or entry.sop_instance_uid
    parts = [
        f"{entry.seq:>7}",
        entry.at,
        f"{entry.kind:<24}",
        f"{entry.outcome:>2}",
        who,
        about,
        entry.sentence,
    ]
    return "  ".join(part for part in parts if part)
