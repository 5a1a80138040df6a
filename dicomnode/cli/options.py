"""Options that several verbs share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.errors import DicomnodeError

if TYPE_CHECKING:
    from dicomnode.casebook.house import House

config_option = click.option(
    "--config",
    "config_path",
    envvar="DICOMNODE_CONFIG",
    default="config.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file (or DICOMNODE_CONFIG).",
)
assume_option = click.option(
    "--assume-unit",
    "assumed",
    multiple=True,
    metavar="UNIT",
    help="Unit of files that state none (Bq/mL, MBq s/mL, g/cm3, HU, Gy); repeatable, and said of each file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def assuming(units: Sequence[str]) -> Callable[[Path, str], bool]:
    """For readers of files: whether --assume-unit named the unit that is needed; says so of each file."""

    def assume(path: Path, unit: str) -> bool:
        if unit.casefold() not in {u.casefold() for u in units}:
            return False
        click.echo(f"{path} states no unit; it is read in {unit}, as --assume-unit says", err=True)
        return True

    return assume


def faults_are_told(command: Callable[..., Any]) -> Callable[..., Any]:
    """An error of ours, or of a file, ends with its sentence and exit code 2 instead of a traceback."""

    @functools.wraps(command)
    def told(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except DicomnodeError as error:
            raise click.UsageError(printable_lines(str(error))) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.UsageError(f"{where}{error.strerror or error}") from error

    return told


def printable_lines(text: str) -> str:
    """Several lines of ours, each as ``say`` would print it."""
    from dicomnode.model.text import printable

    return "\n".join(map(printable, text.split("\n")))


def say(line: str, *, err: bool = False) -> None:
    """One line for a person, whatever is in it: no text from outside turns it around, ends it or commands
    the terminal."""
    from dicomnode.model.text import printable

    click.echo(printable(line), err=err)


def house_of(config_path: Path) -> House:
    """The node's database and store as configured."""
    from dicomnode.casebook.house import open_house
    from dicomnode.config import load

    return open_house(load(config_path))
