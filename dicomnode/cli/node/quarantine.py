"""`dicomnode quarantine`: objects that were kept and not used, and what a person decides on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from dicomnode.cli.node.persons import because_option, by_option, person_named
from dicomnode.cli.options import config_option, faults_are_told, house_of, json_option, say


@click.group()
def quarantine() -> None:
    """Objects that could not be used: list them, have them read again, dismiss them, or choose of two."""


@quarantine.command("list")
@config_option
@json_option
@faults_are_told
def list_(config_path: Path, as_json: bool) -> None:
    """What waits for a person. Exit code 1 where there is any."""
    from dicomnode.casebook.corrections import open_ones
    from dicomnode.casebook.quarantine import listed

    house = house_of(config_path)
    found, twice = listed(house), open_ones(house)
    if as_json:
        say(json.dumps([*map(asdict, found), *map(asdict, twice)], default=str, indent=2))
    for c in () if as_json else twice:
        say(f"{c.objects} objects of series {c.series_uid} '{c.description}' came twice")
        say(f"    they differ in {c.what}")
        if c.patients[0] != c.patients[1]:
            say(f"    patient {c.patients[0]} first, {c.patients[1]} second")
        say("    say which are right: dicomnode quarantine choose")
    for q in () if as_json else found:
        say(f"{q.received_at:%Y-%m-%d %H:%M} UTC  {q.sender:<16}  {q.sop_instance_uid}")
        say(f"    {q.reason}")
    raise SystemExit(1 if found or twice else 0)


def _decision(command: Callable[..., Any]) -> Callable[..., Any]:
    """SOP Instance UIDs or ``--all``; who, and why."""
    command = click.argument("uids", nargs=-1, metavar="[UID]...")(faults_are_told(command))
    command = click.option("--all", "everything", is_flag=True, help="All that `list` shows.")(command)
    return config_option(by_option(because_option(command)))


def _choice(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("which", type=click.Choice(["first", "second"]))(_decision(command))


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


@quarantine.command()
@_choice
def choose(
    which: Literal["first", "second"],
    uids: tuple[str, ...],
    everything: bool,
    config_path: Path,
    by: str,
    because: str,
) -> None:
    """Two objects came under one UID: use the FIRST, or the SECOND in its place (a corrected patient, for
    example). UID is that of an object, a series or a study."""
    from dicomnode.casebook.corrections import choose as decide

    say(decide(house_of(config_path), which, _named(uids, everything), person_named(by), because))
