"""``dicomnode engines`` and ``dicomnode methods``: what there is to choose from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import click

from dicomnode.cli.options import faults_are_told, json_option


@click.command()
@json_option
@faults_are_told
def engines(as_json: bool) -> None:
    """Dose engines, ours and those of installed packages; `[dose] engine` names one."""
    from dicomnode.dose.registry import available, described

    _print(available(), described, as_json)


@click.command()
@json_option
@faults_are_told
def methods(as_json: bool) -> None:
    """Methods of time-integrated activity; `[tia] method` names one."""
    from dicomnode.tia.methods import available, described

    _print(available(), described, as_json)


def _print(names: Mapping[str, object], described: Callable[[str], str], as_json: bool) -> None:
    lines = {name: described(name) for name in names}
    if as_json:
        click.echo(json.dumps(lines, indent=2))
        return
    width = max(map(len, lines))
    for name, line in lines.items():
        click.echo(f"{name:{width}}  {line}")
