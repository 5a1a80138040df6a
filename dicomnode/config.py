"""config.toml -> Config, assembled from each room's Settings; every fault is told at once, with its line."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, Self, TypeVar, get_args, get_origin
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from dicomnode.archive.settings import ArchiveSettings
from dicomnode.audit.settings import AuditSettings
from dicomnode.check.settings import CheckSettings
from dicomnode.cycle.administration import SAME_ADMINISTRATION
from dicomnode.cycle.settings import AdministrationRecord, CycleSettings
from dicomnode.delivery.settings import DeliverySettings
from dicomnode.errors import ConfigError, EngineUnavailable
from dicomnode.model import Settings
from dicomnode.physics.anatomy import HuCurve
from dicomnode.physics.chains import Progeny
from dicomnode.receive.settings import ReceiveSettings
from dicomnode.recon.settings import ReconSettings
from dicomnode.recovery.settings import RecoverySettings
from dicomnode.registration.settings import RegistrationSettings
from dicomnode.results.settings import ResultsSettings
from dicomnode.tia.settings import TiaSettings


class NodeSettings(Settings):
    """The node as a whole."""

    name: str = Field("DICOMNODE", description="name of this node in audit messages and reports")
    zone: str = Field(
        "UTC", description="time zone of the site (IANA name), for objects that state no UTC offset"
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
    progeny: Progeny = Field(
        "refuse",
        description="nuclides with radioactive progeny (Ac-225): refuse, or equilibrium: they decay where "
        "the parent does",
    )


class OperationSettings(Settings):
    """Health and metrics over HTTP."""

    health_address: str = Field(
        "127.0.0.1", description="address of /health and /metrics; loopback by default"
    )
    health_port: int = Field(11180, ge=0, lt=65536, description="their port")


class WebSettings(Settings):
    """The review page (`dicomnode serve --role web`)."""

    enabled: bool = Field(False, description="whether `dicomnode serve` starts the page with the other roles")
    address: str = Field("127.0.0.1", description="where it listens; loopback by default")
    port: int = Field(11181, ge=0, lt=65536, description="its port")
    users_file: Path = Field(
        Path("users.toml"),
        description="who may log in (`dicomnode user add`); not in the data folder",
    )
    behind_proxy: bool = Field(
        False,
        description="a proxy before it speaks TLS with the browsers",
    )
    certificate_file: Path | None = Field(None, description="PEM certificate of the page's own TLS")
    key_file: Path | None = Field(None, description="its private key")
    idle_min: float = Field(30.0, gt=0, description="a log-in not used for so long ends")
    longest_h: float = Field(8.0, gt=0, description="every log-in ends after so long")
    lock_timeout_s: float = Field(3.0, gt=0, description="how long a page waits for the database")
    isodoses_gy: tuple[float, ...] = Field(
        (2.0, 5.0, 10.0, 20.0), description="isodose lines on the pictures, Gy"
    )
    viewer_url: str = Field(
        "",
        description="the PACS's viewer; {study} stands for the Study Instance UID",
    )

    @model_validator(mode="after")
    def _safe_beyond_loopback(self) -> Self:
        local = self.address in ("127.0.0.1", "::1", "localhost")
        if self.enabled and not (local or self.behind_proxy or (self.certificate_file and self.key_file)):
            raise ValueError(
                "address is beyond loopback: set certificate_file and key_file, or behind_proxy = true"
            )
        return self


class Config(Settings):
    """Everything that can be configured. Each section belongs to the room it configures."""

    node: NodeSettings = NodeSettings()
    receive: ReceiveSettings = ReceiveSettings()
    archive: ArchiveSettings = ArchiveSettings()
    audit: AuditSettings = AuditSettings()
    work: WorkSettings = WorkSettings()
    cycle: CycleSettings = CycleSettings()
    recon: ReconSettings = ReconSettings()
    registration: RegistrationSettings = RegistrationSettings()
    recovery: RecoverySettings = RecoverySettings()
    tissue: HuCurve = HuCurve()
    tia: TiaSettings = TiaSettings()
    dose: DoseSettings = DoseSettings()
    check: CheckSettings = CheckSettings()
    results: ResultsSettings = ResultsSettings()
    delivery: DeliverySettings = DeliverySettings()
    operation: OperationSettings = OperationSettings()
    web: WebSettings = WebSettings()
    administration: tuple[AdministrationRecord, ...] = Field(
        (), description="administrations that no object tells of"
    )

    @model_validator(mode="after")
    def _each_administration_once(self) -> Self:
        """Two entries of one patient, nuclide and half day are one administration stated twice."""
        zone = ZoneInfo(self.node.zone)
        for one, other in combinations(self.administration, 2):
            a, b = (r.at if r.at.tzinfo else r.at.replace(tzinfo=zone) for r in (one, other))
            same = (one.patient_id, one.nuclide) == (other.patient_id, other.nuclide)
            if same and abs(a - b) < SAME_ADMINISTRATION:
                raise ValueError(
                    f"two entries of [[administration]] state one administration of {one.nuclide}: "
                    f"{one.activity_mbq:g} MBq at {a:%Y-%m-%d %H:%M} and {other.activity_mbq:g} MBq at "
                    f"{b:%Y-%m-%d %H:%M}; leave the right one"
                )
        return self

    @property
    def checkpoint_folder(self) -> Path:
        """Where heads of the audit trail are kept, outside the database."""
        folder = self.audit.checkpoint_folder
        return folder if folder.is_absolute() else self.archive.data_folder / folder

    def digest(self) -> str:
        """SHA-256 of the canonical configuration, recorded with every calculation."""
        # What is shown decides no result: a cycle repeats under another page.
        kept = self.model_dump(mode="json", exclude={"web"})
        canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def load(path: Path, *, engine: bool = False) -> Config:
    """Read and validate a configuration file; relative paths in it are relative to it.

    ``engine``: also whether the dose engine is there and takes its options, which imports it, and whether
    what reconstructs is installed.

    Raises
    ------
    ConfigError : with every fault as "file:line: key: what is wrong"
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8: save it as UTF-8"]) from error
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{path}: not valid TOML: {error}"]) from error
    lines = _lines_of_keys(text)
    of_engine = _faults_of_engine(path, raw.get("dose", {}), lines) if engine else []
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        faults = [_fault(path, dict(e), lines) for e in error.errors()]
        raise ConfigError([*faults, *of_engine]) from error
    if engine and config.recon.reconstruct and find_spec("torch") is None:
        where = f"{path}:{lines.get(('recon', 'reconstruct'), 1)}"
        of_engine.append(f"{where}: recon.reconstruct: torch is not installed: pip install dicomnode[recon]")
    if of_engine:
        raise ConfigError(of_engine)
    config = _anchored(config, path.parent)
    users = (path.parent / config.web.users_file).resolve()
    return config.model_copy(update={"web": config.web.model_copy(update={"users_file": users})})


S = TypeVar("S", bound=Settings)


def _anchored(settings: S, folder: Path) -> S:
    """Relative paths from the configuration's folder: the service, and a person who asks, run elsewhere."""
    changed: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        # the one path that is relative to the data folder
        if isinstance(value, Path) and not value.is_absolute() and name != "checkpoint_folder":
            changed[name] = (folder / value).resolve()
        elif isinstance(value, Settings):
            changed[name] = _anchored(value, folder)
        elif isinstance(value, tuple) and value and isinstance(value[0], Settings):
            changed[name] = tuple(_anchored(one, folder) for one in value)
    return settings.model_copy(update=changed)


def _faults_of_engine(path: Path, dose: object, lines: dict[tuple[str | int, ...], int]) -> list[str]:
    """A misspelt engine must be told at the start, not by the first patient's cycle."""
    from dicomnode.dose.registry import settings_class

    try:
        wanted = DoseSettings.model_validate(dose)
    except ValidationError:
        return []  # told by the caller
    try:
        settings_class(wanted.engine).model_validate(wanted.options)
    except ConfigError as error:
        return [f"{path}:{lines.get(('dose', 'engine'), 1)}: dose.engine: {f}" for f in error.faults]
    except EngineUnavailable as error:
        return [f"{path}:{lines.get(('dose', 'engine'), 1)}: dose.engine: {error}"]
    except ValidationError as error:
        wrong = [{**e, "loc": ("dose", "options", *e["loc"])} for e in error.errors()]
        return [_fault(path, e, lines) for e in wrong]
    return []


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
    inner: list[tuple[str, type[Settings], str, FieldInfo]] = []
    if path:
        yield f"\n# {(model.__doc__ or '').strip().splitlines()[0]}\n[{'.'.join(path)}]\n"
    for name, info in model.model_fields.items():
        nested, kind = _nested(info)
        if nested is not None:
            inner.append((name, nested, kind, info))
        else:
            yield from _key(name, info, commented=False)
    for name, nested, kind, info in inner:
        if kind == "one":
            yield from _section(nested, (*path, name))
        else:
            yield from _commented((*path, name), nested, kind, info)


def _commented(path: tuple[str, ...], model: type[Settings], kind: str, info: FieldInfo) -> Iterator[str]:
    """A table that is absent by default, shown behind comment signs."""
    header = {"many": "[[{}]]", "named": "[{}.NAME]", "optional": "[{}]"}[kind]
    yield f"\n# {info.description}\n# {header.format('.'.join(path))}\n"
    for key, key_info in model.model_fields.items():
        nested, nested_kind = _nested(key_info)
        if nested is None:
            yield from _key(key, key_info, commented=True)
        else:
            yield from _commented((*path, key), nested, nested_kind, key_info)


def _key(name: str, info: FieldInfo, *, commented: bool) -> Iterator[str]:
    yield f"# {info.description}\n"
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    off = "# " if commented or default is None else ""
    yield f"{off}{name} = {'...' if default is None else _toml(default)}\n"


def _nested(info: FieldInfo) -> tuple[type[Settings] | None, str]:
    """The Settings class within a field's type, and how it is held: one, optional, many or named."""
    held = info.annotation
    if isinstance(held, type) and issubclass(held, Settings):
        return held, "one"
    for inside in get_args(held):
        if isinstance(inside, type) and issubclass(inside, Settings):
            kind = (
                "named" if get_origin(held) is dict else "many" if get_origin(held) is tuple else "optional"
            )
            return inside, kind
    return None, ""


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
