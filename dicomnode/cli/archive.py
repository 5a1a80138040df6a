"""Opens the archive that a command is about."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.archive.database import Database

_Command = TypeVar("_Command", bound=Callable[..., object])


def database_option(command: _Command) -> _Command:
    """``--database URL``: which archive, where it is not that of the configuration."""
    return click.option(
        "--database",
        metavar="URL",
        envvar="DICOMNODE_DATABASE",
        help="sqlite:///PATH or postgresql://USER@HOST/NAME; otherwise that of the configuration.",
    )(command)


@contextmanager
def open_archive(ctx: click.Context, *, check: bool = True) -> Iterator[Database]:
    """The archive that ``--database`` or the configuration names.

    Raises ``ArchiveOutdated`` unless its tables are current (``check``).
    """
    from dicomnode.archive.database import Database

    url = ctx.params.get("database")
    if not url:
        raise ConfigError(["no archive is named: give --database URL"])
    if url.startswith("sqlite:///") and check and not Path(url.removeprefix("sqlite:///")).is_file():
        raise ConfigError([f"{url}: there is no such database; make it with: dicomnode db upgrade"])
    database = Database(url)
    try:
        if check:
            database.check_current()
        yield database
    finally:
        database.close()


def person() -> str:
    """Who runs this command, for the audit trail: the system's account name."""
    return getpass.getuser()
