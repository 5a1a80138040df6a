"""`dicomnode quarantine`: objects that were kept and not used, and what a person decides on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dicomnode.cli.node.persons import because_option, by_option, person_named
from dicomnode.cli.options import config_option, faults_are_told, house_of, json_option, say


@click.group()
def quarantine() -> None:
    """Objects that could not be used: list them, have them read again, or dismiss them."""


@quarantine.command("list")
@config_option
@json_option
@faults_are_told
def list_(config_path: Path, as_json: bool) -> None:
    """What waits for a person. Exit code 1 where there is any."""
    from dicomnode.casebook.quarantine import listed

    found = listed(house_of(config_path))
    if as_json:
        click.echo(json.dumps([asdict(q) for q in found], default=str, indent=2))
    for q in () if as_json else found:
        say(f"{q.received_at:%Y-%m-%d %H:%M} UTC  {q.sender:<16}  {q.sop_instance_uid}")
        say(f"    {q.reason}")
    raise SystemExit(1 if found else 0)


def _decision(command: Callable[..., Any]) -> Callable[..., Any]:
    """SOP Instance UIDs or ``--all``; who, and why."""
    command = click.argument("uids", nargs=-1, metavar="[UID]...")(faults_are_told(command))
    command = click.option("--all", "everything", is_flag=True, help="All that `list` shows.")(command)
    return config_option(by_option(because_option(command)))


def _named(uids: tuple[str, ...], everything: bool) -> tuple[str, ...]:
    if bool(uids) == everything:
        raise click.UsageError("name SOP Instance UIDs, or say --all")
    return uids


@quarantine.command("read-again")
@_decision
def read_again(uids: tuple[str, ...], everything: bool, config_path: Path, by: str, because: str) -> None:
    """Read them once more: the fault was here (a disk, a limit, an older version)."""
    from dicomnode.casebook.quarantine import read_again as decide

    say(decide(house_of(config_path), _named(uids, everything), person_named(by), because))


@quarantine.command()
@_decision
def dismiss(uids: tuple[str, ...], everything: bool, config_path: Path, by: str, because: str) -> None:
    """They need no more attention: the sender knows, or they are of no use. They stay on record."""
    from dicomnode.casebook.quarantine import dismiss as decide

    say(decide(house_of(config_path), _named(uids, everything), person_named(by), because))
