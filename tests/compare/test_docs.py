"""docs/comparing.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dicomnode.compare.thresholds import FALSE_ALARMS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_gate_is_described_and_every_picture_and_page_is_there() -> None:
    text = (DOCS / "comparing.md").read_text(encoding="utf-8")
    for gate in FALSE_ALARMS:
        assert f"| {gate} |" in text, gate
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / target).is_file(), target


def test_the_study_says_where_its_references_come_from_and_its_verdicts_hold() -> None:
    for result in json.loads((DOCS / "compare-study.json").read_text(encoding="utf-8")):
        assert result["source"]
        assert result["verdict"]["exact"].get("fail", 0) <= 1
        assert result["verdict"]["shift 5 mm"].get("fail", 0) == result["draws"]
