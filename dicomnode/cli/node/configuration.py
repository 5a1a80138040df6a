"""`dicomnode check-config`."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.errors import ConfigError


@click.command("check-config")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default="config.toml")
@click.option("--example", is_flag=True, help="Print a configuration with every key and its default.")
def check_config(file: Path, example: bool) -> None:
    """Tell every fault of a configuration at once, with its line."""
    from dicomnode import config

    if example:
        click.echo(config.example(), nl=False)
        return
    try:
        checked = config.load(file, engine=True)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error
    click.echo(f"{file}: good; digest {checked.digest()[:16]}")
