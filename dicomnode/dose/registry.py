"""Engines by name: our own, those of installed packages, and any by import string."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from dicomnode.dose.engine import DoseEngine
from dicomnode.errors import ConfigError, EngineUnavailable
from dicomnode.model import Settings

GROUP = "dicomnode.engines"
"""Entry point group under which other packages offer engines."""

BUILT_IN: Mapping[str, str] = {
    "denoise": "dicomnode.dose.denoise:Denoise",
    "gate": "dicomnode.dose.gate:Gate",
    "local": "dicomnode.dose.local:LocalDeposition",
    "multi-vsv": "dicomnode.dose.multi_vsv:MultiVsv",
    "montecarlo": "dicomnode.dose.montecarlo:MonteCarlo",
    "vsv": "dicomnode.dose.vsv:SingleVsv",
}


@dataclass(frozen=True)
class Registered:
    """An engine that can be built: its name, ``"module:Class"``, and the package that offers it."""

    name: str
    target: str
    package: str


def available() -> dict[str, Registered]:
    """All engines by name. Nothing of them is imported.

    Raises
    ------
    ConfigError : two packages offer one name, or a package takes a name of ours
    """
    found = {name: Registered(name, target, "dicomnode") for name, target in BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else "unknown package"
        entry = Registered(point.name, point.value, package)
        if point.name in found and found[point.name].target != point.value:
            other = found[point.name].package
            raise ConfigError([f"engine {point.name!r} is offered by {other} and by {package}; remove one"])
        found[point.name] = entry
    return found


def engine_class(name: str) -> Any:
    """The class behind a name or an import string ``"module:Class"``.

    Raises
    ------
    ConfigError : unknown name; the message lists the names there are
    EngineUnavailable : the module cannot be imported or lacks the class
    """
    target = name if ":" in name else _target(name)
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise EngineUnavailable(
            f"engine {name!r} ({target}) cannot be imported: {error}. Install the package that provides it"
        ) from error
    except AttributeError as error:
        raise EngineUnavailable(f"engine {name!r}: the module {module} has no {attribute}") from error


def _target(name: str) -> str:
    engines = available()
    if name not in engines:
        near = get_close_matches(name, engines, n=3)
        hint = f" (near: {', '.join(near)})" if near else ""
        raise ConfigError([f"no engine is called {name!r}{hint}; there are: {', '.join(sorted(engines))}"])
    return engines[name].target


def settings_class(name: str) -> type[Settings]:
    """The settings of an engine: the class attribute ``Settings``, or none at all."""
    found: type[Settings] = getattr(engine_class(name), "Settings", Settings)
    return found


def build(name: str, options: Mapping[str, object] | None = None) -> DoseEngine:
    """An engine with its settings.

    Parameters
    ----------
    name : a name of ``available`` or ``"module:Class"``
    options : values for the engine's ``Settings``; text is converted

    Raises
    ------
    ConfigError : unknown name, unknown option, or a value out of range; every fault is listed
    EngineUnavailable : the engine cannot be imported
    """
    made = engine_class(name)
    try:
        settings = settings_class(name).model_validate(dict(options or {}))
    except ValidationError as error:
        faults = [f"engine {name}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(faults) from error
    engine: DoseEngine = made(settings)
    return engine


def described(name: str) -> str:
    """One line on an engine: the first of its class's docstring, or why it cannot be used here."""
    try:
        text: str = engine_class(name).__doc__ or ""
    except EngineUnavailable as error:
        return str(error)
    return text.strip().partition("\n")[0]
