"""177Lu-DOTATATE, two xSPECT Quant series as PT with an RTSTRUCT each, no CT (University of Michigan,
doi 10.7302/0n8e-rz46, CC BY-NC 4.0: read in place, never copied). Expected figures: README of the set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

SOFT_TISSUE = 'without_ct = "soft-tissue"'
SETTLED = """
[[cycle.calibration]]
name = "xSPECT Quant, re-written by MIM"
manufacturer = "SIEMENS"
nuclide = "Lu-177"
decay_reference = "START"
"""


@pytest.fixture
def scans(unpack: Callable[[str], list[Path]]) -> list[Path]:
    return [p for n in (1, 2) for p in unpack(f"lu177_michigan_NONCOMMERCIAL/SCAN_00{n}.tar.xz")]


def again(node: Any, **settings: object) -> dict[str, Any]:
    """A person changes the configuration, starts the node again and releases the cycle."""
    cycle = node.cycles()[0]["id"]
    node.stop()
    node.configure(**settings)
    node.start()
    said = node.run("release", cycle, "--by", "AB", "--because", "configuration changed")
    assert said.returncode == 0, said.stderr
    node.wait("READY", "COMPUTING", "DELIVERED")
    return dict(node.wait("HELD", "DELIVERED"))


def test_it_is_held_until_a_person_has_settled_what_the_images_leave_open(
    run_node: Any, scans: list[Path]
) -> None:
    node = run_node()
    assert set(node.store(scans).values()) == {0}
    held = node.wait("HELD")
    (why,) = held["cycle"]["reasons"]
    assert why.startswith("no CT of the frame of reference of the emission series has arrived")
    print(held["administration"])

    held = again(node, cycle=SOFT_TISSUE)
    print(held["cycle"]["reasons"])
    done = again(node, more=SETTLED)
    print(done["cycle"]["reasons"])
    for f in done["findings"]: print(f["rule"],f["severity"],f["sentence"])
    for f in done["organ_doses"]: print(f)
    for f in done["results"]: print(f)
    assert 0
