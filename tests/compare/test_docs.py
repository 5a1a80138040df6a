"""docs/comparing.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dicomnode.compare.judgement.thresholds import FALSE_ALARMS, VerdictSettings

ROOT = Path(__file__).resolve().parents[2]
DOCS, STUDY = ROOT / "docs", ROOT / "benchmarks/compare_study/results"


def test_every_gate_is_described_and_every_picture_and_page_is_there() -> None:
    text = (DOCS / "comparing.md").read_text(encoding="utf-8")
    for gate in FALSE_ALARMS:
        assert f"| {gate} |" in text, gate
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (DOCS / target).is_file(), target


def test_the_study_says_where_its_references_come_from_and_its_verdicts_hold() -> None:
    study = json.loads((STUDY / "compare-study.json").read_text(encoding="utf-8"))
    assert {r["nuclide"] for r in study["power"]} == {"Lu-177", "I-131", "Y-90"}
    assert len({r["phantom"] for r in study["power"]}) >= 2
    for result in study["power"]:
        assert result["source"]
        decided = result["noise"] < VerdictSettings().noise_share
        assert result["verdict"]["shift 5 mm"].get("fail", 0) == (result["draws"] if decided else 0)


def test_right_maps_fail_no_more_often_than_the_gates_say() -> None:
    """All maps of the study, without error and with the accepted one. The gates' rates add up to 4.8 %, and
    two standard deviations are allowed on top."""
    rows = json.loads((STUDY / "compare-study.json").read_text(encoding="utf-8"))["false_alarms"]
    judged, failed = sum(r["maps"] for r in rows), sum(r["verdict"]["fail"] for r in rows)
    assert judged > 800
    nominal = sum(c.rate for c in FALSE_ALARMS.values())
    assert failed <= (nominal + 2.0 * (nominal / judged) ** 0.5) * judged
