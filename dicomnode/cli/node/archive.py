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
    from dicomnode.config import Config
    from dicomnode.database.database import Database

_CONFIG = "dicomnode.config"
_Command = TypeVar("_Command", bound=Callable[..., object])


def database_option(command: _Command) -> _Command:
    """``--config FILE`` or ``--database URL``: which archive."""
    command = click.option(
        "--config",
        default="config.toml",
        show_default=True,
        envvar="DICOMNODE_CONFIG",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The node's configuration, which names its archive.",
        expose_value=False,
        callback=lambda ctx, _option, path: ctx.meta.__setitem__(_CONFIG, path),
    )(command)
    return click.option(
        "--database",
        metavar="URL",
        envvar="DICOMNODE_DATABASE",
        help="sqlite:///PATH or postgresql://USER@HOST/NAME, instead of a configuration.",
    )(command)


def configuration(ctx: click.Context) -> Config | None:
    """The node's configuration; None where ``--database`` names the archive."""
    from dicomnode.config import load

    if ctx.params.get("database"):
        return None
    try:
        return load(ctx.meta[_CONFIG])
    except ConfigError as error:
        raise ConfigError([*error.faults, "name the archive with --config FILE or --database URL"]) from error


@contextmanager
def open_archive(ctx: click.Context, *, check: bool = True) -> Iterator[Database]:
    """The archive that ``--database`` or the configuration names.

    Raises ``ArchiveOutdated`` unless its tables are current (``check``).
    """
    from dicomnode.database.database import Database

    config = configuration(ctx)
    url = config.archive.url if config is not None else str(ctx.params["database"])
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
