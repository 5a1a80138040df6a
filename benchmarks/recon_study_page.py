"""Tables of docs/recon-study.md from the lines of docs/recon-study.jsonl; part of ``make recon-study``."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LINES = ROOT / "docs/recon-study.jsonl"
PAGE = ROOT / "docs/recon-study.md"
ORDER = ("osem", "osem-filtered", "osem-stopped", "osl", "bsrem",
         "noise2noise", "split-likelihood", "deep-image-prior", "supervised")  # fmt: skip
TITLES = {
    "nema": "NEMA-like: spheres 10:1, a kidney 6:1, a cold sphere, a lung insert",
    "lesions": "Lesions: 10 to 20 mm, hot, faint and cold, in the background and in a warm organ",
    "torso": "Torso: the patient of `dicomnode simulate` 24 h after 177Lu-DOTATATE",
}
HEAD = """# Reconstruction study: tables

Made by `make recon-study` from `docs/recon-study.jsonl`; what it says is in
[reconstruction.md](reconstruction.md). Mean over seeds, after +- the standard deviation between seeds (none
for one seed). The number of seeds of each row is in the column n: where it is below five, the study was not
run to its end.

- recovery: mean of the region over the truth; for cold regions (0 is ideal) over the background's truth
- COV: standard deviation over mean of the background's voxels; NRMSE: in the body, over its root mean square
- gain: held-out log likelihood (a fifth of the counts) above that of `osem`; higher is better
- CNR: lesion minus surroundings over the standard deviation of means over the same shape in these
- dose: region's mean dose over that of the true activity (vsv engine, one scan, physical decay)
- s: CPU seconds of one thread for the image (automatic choices included; for learned methods both runs)
- released: seeds in which the acceptance of `recon.acceptance` let the learned image pass
"""

Record = dict[str, Any]


def page(records: Sequence[Record]) -> str:
    """The whole page."""
    cases: dict[tuple[str, float], list[Record]] = defaultdict(list)
    for record in records:
        cases[record["phantom"], record["counts"]].append(record)
    parts = [HEAD]
    for (phantom, counts), found in sorted(
        cases.items(), key=lambda kv: (list(TITLES).index(kv[0][0]), kv[0][1])
    ):
        parts += [f"\n## {TITLES[phantom]}; {counts:.0e} counts\n", _overview(found), _regions(found)]
    return "\n".join(parts)


def _overview(records: list[Record]) -> str:
    head = "| method | n | NRMSE | background bias | COV | total bias | gain | s | chosen | released |"
    rows = [head, "|" + "---|" * 10]
    base = {r["seed"]: r["held_out"] for r in records if r["method"] == "osem"}
    for method, found in _by_method(records):
        gains = [r["held_out"] - base[r["seed"]] for r in found if r["held_out"] and r["seed"] in base]
        judged = [r["acceptance"] for r in found if "acceptance" in r]
        rows.append(
            f"| {method} | {len(found)} | {_stat(found, lambda r: r['nrmse'])} "
            f"| {_stat(found, lambda r: 100 * r['background_bias'], '.1f')} % "
            f"| {_stat(found, lambda r: r['background_cov'])} "
            f"| {_stat(found, lambda r: 100 * r['total_bias'], '.1f')} % "
            f"| {_number(gains, '.0f')} | {_stat(found, lambda r: r['seconds'], '.1f')} "
            f"| {_chosen(found)} | {_released(judged)} |"
        )
    return "\n".join(rows) + "\n"


def _regions(records: list[Record]) -> str:
    names = list(records[0]["recovery"])
    rows = ["| recovery (CNR) [dose] | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for method, found in _by_method(records):
        cells = []
        for name in names:
            text = _stat(found, lambda r, n=name: r["recovery"][n], ".2f")
            if name in found[0]["cnr"]:
                text += f" ({_stat(found, lambda r, n=name: r['cnr'][n], '.1f')})"
            text += f" [{np.mean([r['dose'][name] for r in found]):.2f}]"
            cells.append(text)
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _by_method(records: list[Record]) -> Iterable[tuple[str, list[Record]]]:
    for method in ORDER:
        if found := [r for r in records if r["method"] == method]:
            yield method, found


def _stat(found: list[Record], of: Callable[[Record], float], form: str = ".3f") -> str:
    return _number([of(r) for r in found], form)


def _number(values: Sequence[float], form: str) -> str:
    if not len(values):
        return "-"
    text = format(float(np.mean(values)), form)
    return text if len(values) < 2 else f"{text} +- {format(float(np.std(values, ddof=1)), form)}"


def _chosen(found: list[Record]) -> str:
    for key in ("prior_weight", "steps", "iterations"):
        if values := sorted({r["parameters"][key] for r in found if key in r["parameters"]}):
            return f"{key.replace('_', ' ')} " + ", ".join(f"{v:g}" for v in values)
    return "-"


def _released(judged: list[Record]) -> str:
    return f"{sum(v['released'] for v in judged)} of {len(judged)}" if judged else "-"


if __name__ == "__main__":
    lines = LINES.read_text(encoding="utf-8").splitlines()
    PAGE.write_text(page([json.loads(line) for line in lines]), encoding="utf-8")
    print(f"{PAGE}: {len(lines)} cases")
