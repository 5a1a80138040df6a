"""The dose engine with its compiled code, GPUs, and the parts of the review page."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from dicomnode.config import Config
from dicomnode.errors import ConfigError, EngineUnavailable
from dicomnode.node.doctor.check import Check, fail, ok, warn

NAME = "dose.engine"
FOR_ONE_PROCESS = "dicomnode-compiled-"
"""Folders that `montecarlo.device` takes where none that lasts can be written."""


def engine(config: Config) -> Iterator[Check]:
    """Built with its options, as a worker does; where it compiles, whether its code is kept."""
    from dicomnode.dose.registry import build

    try:
        build(config.dose.engine, config.dose.options)
    except (ConfigError, EngineUnavailable) as error:
        yield fail(NAME, str(error))
        return
    yield ok(NAME, f"{config.dose.engine} can be used")
    if "numba" in sys.modules:
        yield _compiled()


def _compiled() -> Check:
    import numba

    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or numba.config.CACHE_DIR or "")
    if os.access(folder, os.W_OK) and not folder.name.startswith(FOR_ONE_PROCESS):
        return ok("compiled code", f"it is kept in {folder}")
    return warn(
        "compiled code",
        f"{folder} does not last or cannot be written, so that each process compiles anew: set "
        f"XDG_CACHE_HOME to a folder of the service's user (CacheDirectory of a systemd unit)",
    )


def gpu(config: Config) -> Iterator[Check]:
    """GPUs of this machine where the engine's option ``device`` asks for them."""
    device, scheduler = (config.dose.options.get(key, "") for key in ("device", "scheduler"))
    if device not in ("cuda", "auto") or scheduler:
        return
    from dicomnode.montecarlo.gpu import model, names

    if device == "auto" and not names():
        yield warn("dose.options.device", "auto: no GPU is to be seen, so that the CPU computes")
        return
    try:
        yield ok("dose.options.device", f"{model()} is to be seen")
    except EngineUnavailable as error:
        yield fail(
            "dose.options.device",
            f"{error}. A systemd unit needs PrivateDevices=no (deploy/examples/gpu.conf)",
        )


def page(config: Config) -> Iterator[Check]:
    """Where the page is enabled: its parts are installed, and somebody may log in."""
    if not config.web.enabled:
        return
    if any(find_spec(part) is None for part in ("starlette", "uvicorn", "argon2")):
        yield fail("web", "the page's parts are not installed: pip install dicomnode[web]")
        return
    from dicomnode.web.users import read_users

    file = config.web.users_file
    try:
        users = read_users(file)
    except ConfigError as error:
        yield fail("web.users_file", str(error))
    except OSError as error:
        yield fail(
            "web.users_file", f"{file} cannot be read ({error.strerror}): let the service's user read it"
        )
    else:
        if all(user.disabled for user in users.values()):
            yield fail(
                "web.users_file", f"{file}: nobody may log in; run: dicomnode user add ID --role physicist"
            )
        else:
            yield ok("web.users_file", f"{len(users)} persons")
