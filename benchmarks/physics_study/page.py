"""Tables, and the page docs/studies/physics-tables.md that is made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
RECORD = Path(__file__).with_name("results") / "physics-study.json"
PAGE = DOCS / "studies/physics-tables.md"
HEAD = """# Physics: tables

Written by `make physics-study` from `benchmarks/physics_study/results/physics-study.json`; do not edit. What
the tables say is in [physics.md](../physics.md) and [engines.md](../engines.md). In brackets the standard
uncertainty (k = 1) of the last digits. "EGSnrc" is the project's reference (its README states how it was
made); "ours" the transport of `dicomnode/montecarlo`, whose sources had the digest that each part names.
"""


@dataclass(frozen=True)
class Table:
    """One table with what has to be said of it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str

    def lines(self) -> list[str]:
        told = [" | ".join(row) for row in (self.head, ["---"] * len(self.head), *self.rows)]
        return [f"### {self.title}", "", *(f"| {row} |" for row in told), "", self.note, ""]


def with_sigma(value: float, sigma: float, digits: int = 4) -> str:
    """0.9984(6): the uncertainty in units of the last digit."""
    return f"{value:.{digits}f}({max(round(sigma * 10**digits), 1)})"


def keep(part: str, tables: Sequence[Table], cpu_minutes: float, sources: str, order: Sequence[str]) -> None:
    """Put a part's tables on record, and write the page anew, parts in their order."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    record[part] = {
        "cpu_minutes": round(cpu_minutes, 1), "sources": sources[:16], "tables": [asdict(t) for t in tables],
    }  # fmt: skip
    record = {name: record[name] for name in order if name in record}
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write(record)


def write(record: dict[str, Any]) -> None:
    lines = [HEAD]
    for part, kept in record.items():
        told = f"{kept['cpu_minutes']:g} CPU minutes, sources {kept['sources']}."
        lines += [f"## {part}", "", f"`python benchmarks/physics_study {part}`: {told}", ""]
        for table in kept["tables"]:
            lines += Table(**table).lines()
    PAGE.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
