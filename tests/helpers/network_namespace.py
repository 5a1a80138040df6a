"""A network namespace for one test: programs that listen on every interface reach nothing outside it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CLONE_NEWNET = 0x40000000  # linux/sched.h


@contextmanager
def own_network() -> Iterator[None]:
    """Within: the calling thread, and the threads and processes that it starts, have a loopback of their own.

    Skips where that is not allowed (it takes CAP_SYS_ADMIN, as root has).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if not hasattr(libc, "unshare") or libc.unshare(CLONE_NEWNET) != 0:
            pytest.skip(f"needs a network namespace of its own: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            if libc.setns(outside, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "cannot return to the machine's network")
    finally:
        os.close(outside)
