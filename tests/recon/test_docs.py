"""docs/reconstruction.md names every choice, algorithm, finding and learned method's part."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from dicomnode.recon.calibration.record import SpectCalibration
from dicomnode.recon.protocol import Algorithm, Protocol

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reconstruction.md").read_text(encoding="utf-8")


def test_every_choice_and_algorithm_is_described():
    names = [*Protocol.model_fields, *get_args(Algorithm), "dead_time_us", "recovery_ml", "recovery_power"]
    assert set(names[-3:]) <= set(SpectCalibration.model_fields)
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def test_every_finding_of_a_reconstruction_is_described():
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "dicomnode/recon").rglob("*.py"))
    rules = set(re.findall(r'"(recon-[a-z-]+)"', text))
    assert len(rules) >= 8
    assert [rule for rule in rules if f"`{rule}`" not in PAGE] == []


def test_the_defaults_on_the_page_are_those_of_the_code():
    row = re.search(r"\| `iterations`, `subsets` \| (\d+), (\d+) \|", PAGE)
    assert row
    assert (int(row[1]), int(row[2])) == (Protocol().iterations, Protocol().subsets)
