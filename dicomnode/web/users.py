"""The file of users: a TOML table per person, passwords as argon2id, readable by the node's account alone."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from dicomnode.audit.about import Person
from dicomnode.errors import ConfigError, Refused
from dicomnode.web.rights import Role

_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
SHORTEST = 10
"""Characters of a password, at least."""
_HASHER = PasswordHasher()  # RFC 9106, second recommendation: argon2id, 64 MiB, 3 passes, 4 lanes
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""No password has this digest: an unknown user costs the same time as a wrong password."""


@dataclass(frozen=True)
class User:
    """One person who may log in."""

    id: str
    name: str
    role: Role
    password: str
    disabled: bool = False

    @property
    def person(self) -> Person:
        return Person(self.id, self.name)


def read_users(path: Path) -> dict[str, User]:
    """Users by identifier; empty where there is no file. Raises ConfigError for a file that others may read
    or that is no such file."""
    if not path.exists():
        return {}
    if path.stat().st_mode & 0o077:
        raise ConfigError([f"{path}: others may read it; run: chmod 600 {path}"])
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            key: User(key, t["name"], Role(t["role"]), t["password"], t.get("disabled", False))
            for key, t in tables.items()
        }
    except (tomllib.TOMLDecodeError, KeyError, ValueError, TypeError) as error:
        raise ConfigError([f"{path}: not a file of users: {error}"]) from error


def write_users(path: Path, users: Mapping[str, User]) -> None:
    """Replace the file as a whole."""
    lines = ["# Written by `dicomnode user`. Passwords are argon2id digests.\n"]
    for user in users.values():
        lines.append(f'\n[{json.dumps(user.id)}]\nname = {json.dumps(user.name)}\nrole = "{user.role}"\n')
        lines.append(f'password = "{user.password}"\ndisabled = {str(user.disabled).lower()}\n')
    partial = path.with_name(f".{path.name}.partial")
    with os.fdopen(
        os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write("".join(lines))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def added(users: Mapping[str, User], key: str, name: str, role: Role, password: str) -> dict[str, User]:
    """With a new person. Raises Refused where the identifier is taken or not usable."""
    if key in users:
        raise Refused(
            f"there is a user {key} already", remedy="Use `dicomnode user passwd` or another identifier"
        )
    if not _ID.fullmatch(key):
        raise Refused(
            "an identifier is 1 to 64 letters, digits, or any of . _ @ -", attribute="id", value=key[:64]
        )
    return {**users, key: User(key, name, role, hashed(password))}


def changed(users: Mapping[str, User], key: str, **fields: object) -> dict[str, User]:
    """With fields of one person changed. Raises Refused where there is no such person."""
    if key not in users:
        raise Refused(f"there is no user {key[:64]}", remedy="`dicomnode user list` shows them")
    return {**users, key: replace(users[key], **fields)}  # type: ignore[arg-type]


def hashed(password: str) -> str:
    """Digest of a new password. Raises Refused for one that is too short."""
    if len(password) < SHORTEST:
        raise Refused(f"a password has {SHORTEST} characters at least")
    return _HASHER.hash(password)


def proved(user: User | None, password: str) -> bool:
    """Whether this is the person's password; takes as long for nobody."""
    try:
        _HASHER.verify(user.password if user is not None else _NOBODY, password)
    except (VerifyMismatchError, InvalidHashError):
        return False
    return user is not None and not user.disabled
