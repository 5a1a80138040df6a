"""`dicomnode check-config` and `dicomnode doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, json_option, say
from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.config import Config


@click.command("check-config")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="config.toml")
@click.option("--example", is_flag=True, help="Print a configuration with every key and its default.")
@click.option("--connect", is_flag=True, help="Then examine what it names, as `dicomnode doctor` does.")
def check_config(file: Path, example: bool, connect: bool) -> None:
    """Tell every fault of a configuration at once, with its line."""
    from dicomnode import config

    if example:
        click.echo(config.example(), nl=False)
        return
    checked = _loaded(file)
    say(f"{file}: good; digest {checked.digest()[:16]}")
    if connect:
        _examine(checked, local=False, as_json=False)


@click.command()
@config_option
@click.option("--local", is_flag=True, help="Ask no peer, audit repository or scheduler.")
@json_option
def doctor(config_path: Path, local: bool, as_json: bool) -> None:
    """Examine whether what a configuration names is there and usable.

    One line for each check: ok, WARN or FAIL, with the remedy. Database, clock, certificates and keys, ports,
    folders, disk, engine, GPU, and C-ECHO to each peer. Run it as the service's user. Exit code 1 where
    anything fails, 2 where the configuration itself has faults.
    """
    _examine(_loaded(config_path), local=local, as_json=as_json)


def _loaded(file: Path) -> Config:
    from dicomnode.config import load

    try:
        return load(file, engine=True)
    except ConfigError as error:
        for fault in error.faults:
            say(fault, err=True)
        raise SystemExit(2) from error


def _examine(config: Config, *, local: bool, as_json: bool) -> None:
    from dicomnode.node.doctor import Verdict, examine

    found = []
    for check in examine(config, local=local):
        found.append(check)
        if not as_json:
            say(f"{check.verdict:<5}{check.name}: {check.sentence}")
    if as_json:
        click.echo(json.dumps([asdict(check) for check in found], indent=2))
    raise SystemExit(1 if any(check.verdict is Verdict.FAIL for check in found) else 0)
