"""``dicomnode db``: the tables of the archive."""

from __future__ import annotations

import click

from dicomnode.cli.node.archive import database_option, open_archive
from dicomnode.cli.options import faults_are_told


@click.group()
def db() -> None:
    """Create and upgrade the archive's tables."""


@db.command()
@database_option
@click.pass_context
@faults_are_told
def upgrade(ctx: click.Context, database: str | None) -> None:
    """Bring the tables to this version's revision (make a backup first)."""
    with open_archive(ctx, check=False) as archive:
        before = archive.current()
        archive.upgrade()
        click.echo(f"{before or '(empty)'} -> {archive.current()}")


@db.command()
@database_option
@click.pass_context
@faults_are_told
def current(ctx: click.Context, database: str | None) -> None:
    """Print the tables' revision; exit 1 where an upgrade is needed."""
    from dicomnode.database.database import ArchiveOutdated

    with open_archive(ctx, check=False) as archive:
        click.echo(archive.current() or "(empty)")
        try:
            archive.check_current()
        except ArchiveOutdated as error:
            click.echo(str(error), err=True)
            ctx.exit(1)
