"""Methods of time-integrated activity by name: our own, and those of installed packages.

To add one: a class with the four members of ``Method``, and its name in ``BUILT_IN`` (of another package: an
entry point in the group ``dicomnode.tia_methods``). Light: nothing of a method is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Protocol

from dicomnode.errors import ConfigError

if TYPE_CHECKING:
    from dicomnode.tia.estimate import Estimate
    from dicomnode.tia.integrate import Integration
    from dicomnode.tia.measure import Measured

GROUP = "dicomnode.tia_methods"
"""Entry point group under which other packages offer methods."""

BUILT_IN: Mapping[str, str] = {
    "trapezoid": "dicomnode.tia.built_in:TRAPEZOID",
    "voxel-mono-exponential": "dicomnode.tia.built_in:VOXEL_MONO_EXPONENTIAL",
    "mono-exponential": "dicomnode.tia.built_in:MONO_EXPONENTIAL",
    "bi-exponential": "dicomnode.tia.built_in:BI_EXPONENTIAL",
    "tri-exponential": "dicomnode.tia.built_in:TRI_EXPONENTIAL",
    "model-average": "dicomnode.tia.built_in:MODEL_AVERAGE",
    "hybrid": "dicomnode.tia.built_in:HYBRID",
    "stp-physical": "dicomnode.tia.single_time_point:PHYSICAL",
    "stp-population": "dicomnode.tia.single_time_point:POPULATION",
    "stp-haenscheid": "dicomnode.tia.single_time_point:HAENSCHEID",
    "stp-madsen": "dicomnode.tia.single_time_point:MADSEN",
}


class Method(Protocol):
    """How one curve is integrated."""

    @property
    def line(self) -> str:
        """One line on what it does, with its source."""

    @property
    def by_voxel(self) -> bool:
        """True where every voxel gets a fit of its own, and not its share of a region's integral."""

    def chosen(self, work: Integration) -> str:
        """What the settings chose, for the note in the report; empty where there is nothing to choose."""

    def estimate(self, curve: Measured, work: Integration) -> Estimate:
        """Integral (MBq h) of one curve from administration to infinity; raises NotConverged."""


def available() -> dict[str, str]:
    """All methods: name -> "module:attribute". Nothing of them is imported.

    Raises
    ------
    ConfigError : a package takes a name of ours, or two offer one name
    """
    found = dict(BUILT_IN)
    for point in entry_points(group=GROUP):
        if found.setdefault(point.name, point.value) != point.value:
            raise ConfigError(
                [f"TIA method {point.name!r} is offered twice: {found[point.name]}, {point.value}"]
            )
    return found


def method(name: str) -> Method:
    """The method of a name.

    Raises
    ------
    ConfigError : unknown name, with those there are; or its package cannot be imported
    """
    target = BUILT_IN.get(name) or _of_package(name)
    module, _, attribute = target.partition(":")
    try:
        found: Method = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError([f"TIA method {name!r} ({target}) cannot be imported: {error}"]) from error
    return found


def _of_package(name: str) -> str:
    methods = available()
    if name not in methods:
        near = get_close_matches(name, methods, n=3)
        hint = f" (near: {', '.join(near)})" if near else ""
        raise ConfigError([f"no TIA method is called {name!r}{hint}; there are: {', '.join(methods)}"])
    return methods[name]


def checked_name(name: str) -> str:
    """The name, where such a method is there. Raises ConfigError."""
    if name not in BUILT_IN:
        _of_package(name)
    return name


def described(name: str) -> str:
    """One line on a method."""
    return method(name).line
