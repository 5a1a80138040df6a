"""The tables of docs/prediction.md, between its marks; what stands around them is written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cases import TISSUES_OF

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
REGIONS = (*TISSUES_OF, "steps", "skin", "body")
Row = dict[str, tuple[float, float]]


def write(path: Path, found: dict[str, dict[int, dict[str, Row]]]) -> None:
    """Put the tables of nuclide -> seed -> engine -> row into the page."""
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    tables = "\n".join(_table(name, by_seed) for name, by_seed in found.items())
    path.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def _table(name: str, by_seed: dict[int, dict[str, Row]]) -> str:
    seeds = ", ".join(map(str, by_seed))
    lines = [
        f"{name}, patients {seeds}:\n",
        f"| engine | {' | '.join(REGIONS)} | within sigma | CPU s |",
        f"|---|{'---|' * (len(REGIONS) + 2)}",
    ]
    for label in next(iter(by_seed.values())):
        rows = [engines[label] for engines in by_seed.values()]
        cells = " | ".join(_cell(rows, region) for region in REGIONS)
        within, seconds = (np.mean([row[k][0] for row in rows]) for k in ("within sigma", "CPU s"))
        lines.append(f"| {label} | {cells} | {within:.0f} % | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _cell(rows: list[Row], region: str) -> str:
    """Mean over patients of the absolute error of the mean, and root of the mean square of voxels."""
    mean = np.mean([abs(row[region][0]) for row in rows])
    square = np.mean([row[region][1] * abs(row[region][1]) for row in rows])
    return f"{mean:.2g}/" + (f"{np.sqrt(square):.2g}" if square > 0 else "–")
