"""`dicomnode user`: who may log in at the review page."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, faults_are_told

if TYPE_CHECKING:
    from dicomnode.web.users import User

ROLES = ("viewer", "physicist", "administrator", "auditor")
_role = click.option("--role", type=click.Choice(ROLES), required=True, help="What the person may do.")
_from_pipe = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")


@click.group()
def user() -> None:
    """Add, change, disable and list those who may log in at the review page."""


def _users(config_path: Path) -> tuple[Path, Mapping[str, User]]:
    from dicomnode.config import load
    from dicomnode.web.users import read_users

    path = load(config_path).web.users_file
    return path, read_users(path)


def _password(from_pipe: bool) -> str:
    if from_pipe:
        return sys.stdin.readline().rstrip("\n")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


@user.command()
@click.argument("key", metavar="ID")
@click.option("--name", required=True, help="As it is printed on reports.")
@_role
@_from_pipe
@config_option
@faults_are_told
def add(key: str, name: str, role: str, password_stdin: bool, config_path: Path) -> None:
    """Let a person log in."""
    from dicomnode.web.rights import Role
    from dicomnode.web.users import added, write_users

    path, users = _users(config_path)
    write_users(path, added(users, key, name, Role(role), _password(password_stdin)))
    click.echo(f"{key} may log in as {role}")


@user.command()
@click.argument("key", metavar="ID")
@_from_pipe
@config_option
@faults_are_told
def passwd(key: str, password_stdin: bool, config_path: Path) -> None:
    """Give a person a new password; the person's log-ins end."""
    from dicomnode.web.users import changed, hashed, write_users

    path, users = _users(config_path)
    write_users(path, changed(users, key, password=hashed(_password(password_stdin))))
    _end_sessions(config_path, key)
    click.echo(f"{key} has a new password")


@user.command()
@click.argument("key", metavar="ID")
@_role
@config_option
@faults_are_told
def role(key: str, role: str, config_path: Path) -> None:
    """Give a person another role; the person's log-ins end."""
    from dicomnode.web.rights import Role
    from dicomnode.web.users import changed, write_users

    path, users = _users(config_path)
    write_users(path, changed(users, key, role=Role(role)))
    _end_sessions(config_path, key)
    click.echo(f"{key} is {role}")


@user.command()
@click.argument("key", metavar="ID")
@config_option
@faults_are_told
def disable(key: str, config_path: Path) -> None:
    """Let a person log in no more; the name stays on record."""
    from dicomnode.web.users import changed, write_users

    path, users = _users(config_path)
    write_users(path, changed(users, key, disabled=True))
    _end_sessions(config_path, key)
    click.echo(f"{key} may not log in any more")


@user.command("list")
@config_option
@faults_are_told
def list_(config_path: Path) -> None:
    """Who may log in."""
    for one in _users(config_path)[1].values():
        click.echo(f"{one.id:<20} {one.role:<14} {'disabled  ' if one.disabled else ''}{one.name}")


def _end_sessions(config_path: Path, key: str) -> None:
    from datetime import UTC, datetime

    from dicomnode.cli.options import house_of
    from dicomnode.web.sessions import end_all

    end_all(house_of(config_path), key, datetime.now(UTC))
