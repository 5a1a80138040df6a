"""`dicomnode replay`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from dicomnode.cli.options import config_option, faults_are_told, house_of, json_option


@click.command()
@click.argument("cycle_id")
@click.option("--revision", "number", type=int, default=None, help="Revision number; the latest by default.")
@config_option
@json_option
@faults_are_told
def replay(cycle_id: str, number: int | None, config_path: Path, as_json: bool) -> None:
    """Repeat an earlier calculation and compare digests. Exit code 1 where anything differs."""
    from rich.progress import Progress

    from dicomnode.node.replay import replay as repeat

    with Progress(transient=True, disable=as_json) as bar:
        task = bar.add_task("repeating", total=1.0)
        result = repeat(
            house_of(config_path),
            cycle_id,
            number,
            lambda fraction, what: bar.update(task, completed=fraction, description=what),
        )
    if as_json:
        click.echo(json.dumps({**asdict(result), "same": result.same}, indent=2))
    else:
        for c in result.comparisons:
            click.echo(f"{'same   ' if c.same else 'DIFFERS'}  {c.step}: {c.output}")
        if not result.configuration_same:
            click.echo("the configuration is not the one of then; that alone may explain differences")
    raise SystemExit(0 if result.same else 1)
