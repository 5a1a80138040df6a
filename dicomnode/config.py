"""config.toml -> Config, assembled from each room's Settings; every fault is told at once, with its line."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from dicomnode.check.settings import CheckSettings
from dicomnode.cycle.settings import AdministrationRecord, CycleSettings
from dicomnode.errors import ConfigError
from dicomnode.model import Settings


class NodeSettings(Settings):
    """The node as a whole."""

    name: str = Field("DICOMNODE", description="name of this node in audit messages and reports")
    zone: str = Field(
        "UTC", description="time zone of the site (IANA name), for objects that state no UTC offset"
    )
    data_folder: Path = Field(
        Path("data"), description="everything the node keeps, on one file system; relative to this file"
    )
    pseudonym_key_file: Path | None = Field(
        None, description="secret for the pseudonyms in log files; made in the data folder where not given"
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR; logs hold no patient identity")
    poll_s: float = Field(1.0, gt=0, description="how often the node looks for new work")

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("is not an IANA time zone, for example Europe/Zurich") from None
        return value


class WorkSettings(Settings):
    """Worker processes (Dask)."""

    scheduler: str = Field(
        "local", description='"local" starts workers on this machine; "tcp://host:8786" uses a Dask scheduler'
    )
    workers: int = Field(2, ge=1, description="local worker processes")
    memory_gb: float = Field(6.0, gt=0, description="memory of one worker; beyond it the worker is ended")
    parse_timeout_s: float = Field(120.0, gt=0, description="longest time to parse one batch of objects")
    compute_timeout_s: float = Field(3600.0, gt=0, description="longest time to compute one cycle")


class DoseSettings(Settings):
    """Which engine computes the dose."""

    engine: str = Field("vsv", description="name of a registered engine (`dicomnode dose --help` lists them)")
    options: dict[str, Any] = Field({}, description="the engine's own settings; an unknown one is an error")
    seed: int = Field(0, ge=0, description="random seed of engines that draw; same seed, same bytes")


class Config(Settings):
    """Everything that can be configured. Each section belongs to the room it configures."""

    node: NodeSettings = NodeSettings()
    work: WorkSettings = WorkSettings()
    cycle: CycleSettings = CycleSettings()
    check: CheckSettings = CheckSettings()
    dose: DoseSettings = DoseSettings()
    administration: tuple[AdministrationRecord, ...] = Field(
        (), description="administrations that no object tells of"
    )

    def digest(self) -> str:
        """SHA-256 of the canonical configuration, recorded with every calculation."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def load(path: Path) -> Config:
    """Read and validate a configuration file; relative paths in it are relative to it.

    Raises
    ------
    ConfigError : with every fault as "file:line: key: what is wrong"
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from error
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        lines = _lines_of_keys(text)
        raise ConfigError([_fault(path, dict(e), lines) for e in error.errors()]) from error
    folder = config.node.data_folder
    if not folder.is_absolute():
        node = config.node.model_copy(update={"data_folder": (path.parent / folder).resolve()})
        config = config.model_copy(update={"node": node})
    return config


def _fault(path: Path, error: dict[str, Any], lines: dict[tuple[str | int, ...], int]) -> str:
    where: tuple[str | int, ...] = tuple(error["loc"])
    key = ".".join(str(part) for part in where)
    while where and where not in lines:
        where = where[:-1]
    what = "unknown key" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    got = "" if error["type"] in ("extra_forbidden", "missing") else f", got {error['input']!r}"
    return f"{path}:{lines.get(where, 1)}: {key}: {what}{got}"


_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\-\"]+)\s*\]\]?")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-]+)\s*=")


def _lines_of_keys(text: str) -> dict[tuple[str | int, ...], int]:
    """Path of each table and key -> its line, in the form of pydantic's error locations."""
    lines: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = ()
            names = header[2].replace('"', "").split(".")
            for i, name in enumerate(names):
                table = (*table, name)
                if header[1] == "[[" and i == len(names) - 1:
                    counts[table] = counts.get(table, -1) + 1
                if table in counts:
                    lines.setdefault(table, number)
                    table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines[(*table, key[1])] = number
    return lines


def example() -> str:
    """config.toml: every key with its default, its unit (in the name) and one line of why."""
    head = (
        "# Configuration of dicomnode. Every key is shown with its default; delete what you do not change.\n"
        "# `dicomnode check-config FILE` tells every fault at once. Units are in the names.\n"
    )
    return head + "".join(_section(Config, ()))


def _section(model: type[Settings], path: tuple[str, ...]) -> Iterator[str]:
    inner: list[tuple[str, type[Settings], bool, FieldInfo]] = []
    if path:
        yield f"\n# {(model.__doc__ or '').strip().splitlines()[0]}\n[{'.'.join(path)}]\n"
    for name, info in model.model_fields.items():
        nested, many = _nested(info)
        if nested is not None:
            inner.append((name, nested, many, info))
        else:
            yield from _key(name, info, commented=False)
    for name, nested, many, info in inner:
        if many or info.default is None:
            yield f"\n# {info.description}\n"
            brackets = "[[{}]]" if many else "[{}]"
            yield f"# {brackets.format('.'.join((*path, name)))}\n"
            for key, key_info in nested.model_fields.items():
                if _nested(key_info)[0] is None:
                    yield from _key(key, key_info, commented=True)
        else:
            yield from _section(nested, (*path, name))


def _key(name: str, info: FieldInfo, *, commented: bool) -> Iterator[str]:
    yield f"# {info.description}\n"
    off = commented or info.is_required() or info.default is None
    value = "..." if info.is_required() or info.default is None else _toml(info.default)
    yield f"{'# ' if off else ''}{name} = {value}\n"


def _nested(info: FieldInfo) -> tuple[type[Settings] | None, bool]:
    """The Settings class within a field's type, and whether the field holds many of them."""
    kinds = [info.annotation, *get_args(info.annotation)]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Settings):
            return kind, kind is not info.annotation and type(None) not in kinds
    return None, False


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }" if value else "{}"
    if isinstance(value, tuple | list | set | frozenset):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(str(value))
