"""Tables of docs/studies/recon-study.md, and the figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import figures
from observer import area, detectability

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/studies/recon-study.md"
ORDER = ("osem", "osem-filtered", "osem-stopped", "osl", "bsrem",
         "noise2noise", "split-likelihood", "deep-image-prior", "supervised")  # fmt: skip
TITLES = {
    "nema": "NEMA-like: spheres 10:1, a kidney 6:1, a cold sphere, a lung insert",
    "lesions": "Lesions: 10 to 20 mm, hot, faint and cold, in the background and in a warm organ",
    "torso": "Torso: the patient of `dicomnode simulate` 24 h after 177Lu-DOTATATE",
}
REASONS = {"do not prefer it": "likelihood", "of the measured counts": "counts",
           "is missing": "missing", "is invented": "invented"}  # fmt: skip
HEAD = """# Reconstruction study: tables

Made by `make recon-study` from `benchmarks/recon_study/results/recon-study.jsonl`; what it says is in
[reconstruction.md](../reconstruction.md). Mean over seeds, after +- the standard deviation between seeds
(none for one seed). {missing}

- recovery: mean of the region over the truth; for cold regions (0 is ideal) over the background's truth
- COV: standard deviation over mean of the background's voxels; NRMSE: in the body, over its root mean square
- / bsrem: NRMSE over that of bsrem of the same seed
- gain: held-out log likelihood (a fifth of the counts) above that of bsrem; higher is better
- CNR: lesion minus surroundings over the standard deviation of means over the same shape in these
- dose: region's mean dose over that of the true activity (vsv engine, one scan, physical decay)
- s: CPU seconds of one thread for the image (automatic choices included; for learned methods both runs)
- released: seeds in which the acceptance of `recon.learned.acceptance` let the learned image pass; why not:
  held-out counts do not prefer it (likelihood), projections hold other than the measured counts by over 1 %
  (counts), smoothed residuals above four standard deviations (missing, invented)
"""
OBSERVER = """d' of a channelised Hotelling observer (benchmarks/recon_study/observer.py) +- its standard
error over seeds (jackknife); area: mean area under its ROC curve over these lesions. The noise of a seed is
the same for all methods, so that differences between rows are surer than the errors say.
"""

TRUE = "true activity"
THERAPY = """Scans of the torso 24, 96 and 168 h after 7.4 GBq of 177Lu, 5e6 counts in the first and fewer by
decay in the others; one exponential per region, engine vsv. Mean dose over that of the true TIA, in brackets
the effective half-life found. "true activity" goes the same way without any image. Learned images as they
are, released or not.
"""

Record = dict[str, Any]


def page(records: Sequence[Record], therapies: Sequence[Record]) -> str:
    """The whole page."""
    cases: dict[tuple[str, float], list[Record]] = defaultdict(list)
    for record in records:
        cases[record["phantom"], record["counts"]].append(record)
    parts = [HEAD.format(missing=_missing(records)), "\n## All cases\n", _summary(records)]
    parts += ["\n## Error\n", _errors(cases)]
    parts += ["\n## Lesions in the background, as an observer sees them\n", _observer(records)]
    parts += ["\n## Dose of three scans\n", _therapy(therapies)]
    for (phantom, counts), found in sorted(
        cases.items(), key=lambda kv: (list(TITLES).index(kv[0][0]), kv[0][1])
    ):
        parts += [f"\n## {TITLES[phantom]}; {counts:.0e} counts\n", _overview(found), _regions(found)]
    return "\n".join(parts)


def _missing(records: Sequence[Record]) -> str:
    """The sentence about seeds that were not run."""
    cases = {(r["phantom"], r["counts"]) for r in records}
    short = []
    for method in ORDER:
        numbers = {
            sum((r["method"], r["phantom"], r["counts"]) == (method, *c) for r in records) for c in cases
        }
        if numbers != {5}:
            few, many = min(numbers), max(numbers)
            short.append(f"{method} with {few if few == many else f'{few} to {many}'}")
    return "Five seeds of every case" + (f", but {', '.join(short)}." if short else ".")


def _summary(records: Sequence[Record]) -> str:
    """One row a method, over all cases of the method."""
    head = "| method | n | NRMSE / bsrem, least to most of the cases | total bias | released | why not | s |"
    rows = [head, "|" + "---|" * 7]
    base = {_case(r): r["nrmse"] for r in records if r["method"] == "bsrem"}
    for method, found in _by_method(records):
        ratios = defaultdict(list)
        for r in found:
            ratios[r["phantom"], r["counts"]].append(r["nrmse"] / base[_case(r)])
        means = [float(np.mean(some)) for some in ratios.values()]
        totals = [100 * abs(r["total_bias"]) for r in found]
        judged = [r["acceptance"] for r in found if "acceptance" in r]
        times = [r["seconds"] for r in found]
        rows.append(
            f"| {method} | {len(found)} | {np.mean(means):.2f}, {min(means):.2f} to {max(means):.2f} "
            f"| {max(totals):.1f} % at most | {_released(judged)} | {_reasons(judged)} "
            f"| {min(times):.0f} to {max(times):.0f} |"
        )
    return "\n".join(rows) + "\n"


def _errors(cases: Mapping[tuple[str, float], list[Record]]) -> str:
    """NRMSE of every method in every case."""
    order = sorted(cases, key=lambda case: (case[1], list(TITLES).index(case[0])))
    rows = ["| NRMSE | " + " | ".join(f"{name}, {counts:.0e}" for name, counts in order) + " |"]
    rows.append("|" + "---|" * (len(order) + 1))
    for method in ORDER:
        found = [[r for r in cases[case] if r["method"] == method] for case in order]
        if any(found):
            rows.append(f"| {method} | " + " | ".join(_stat(f, lambda r: r["nrmse"]) for f in found) + " |")
    return "\n".join(rows) + "\n"


def _case(record: Record) -> tuple[str, float, int]:
    return record["phantom"], record["counts"], record["seed"]


def _observer(records: Sequence[Record]) -> str:
    """d' of each lesion; the last column is the mean area under the ROC curve."""
    seen: dict[str, dict[tuple[float, str], list[Any]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for name, outputs in record.get("channels", {}).items():
            seen[record["method"]][record["counts"], name].append(outputs)
    lesions = sorted({lesion for found in seen.values() for lesion in found})
    rows = [OBSERVER, "| method | " + " | ".join(f"{name}, {counts:.0e}" for counts, name in lesions)]
    rows = [*rows[:1], rows[1] + " | area |", "|" + "---|" * (len(lesions) + 2)]
    for method in ORDER:
        each = [detectability(seen[method][lesion]) for lesion in lesions]
        if np.isfinite(each).all():
            text = " | ".join(f"{d:.1f} +- {error:.1f}" for d, error in each)
            rows.append(f"| {method} | {text} | {np.mean([area(d) for d, _ in each]):.3f} |")
    return "\n".join(rows) + "\n"


def _therapy(records: Sequence[Record]) -> str:
    """Dose and effective half-life of the torso's regions, over the true ones."""
    if not records:
        return "Not run.\n"
    names = list(records[0]["dose"])
    rows = [
        THERAPY,
        "| method | n | " + " | ".join(names) + " | s | released |",
        "|" + "---|" * (len(names) + 4),
    ]
    for method in (TRUE, *ORDER):
        if not (found := [r for r in records if r["method"] == method]):
            continue
        cells = [
            f"{_stat(found, lambda r, n=n: r['dose'][n])} "
            f"({_stat(found, lambda r, n=n: r['half_life_h'][n], '.1f')} h)"
            for n in names
        ]
        judged = [c for r in found for c in r.get("chosen", ()) if "released" in c]
        seconds = _stat(found, lambda r: r["seconds"], ".0f") if method != TRUE else "-"
        rows.append(
            f"| {method} | {len(found)} | " + " | ".join(cells) + f" | {seconds} | {_released(judged)} |"
        )
    return "\n".join(rows) + "\n"


def _overview(records: list[Record]) -> str:
    head = "| method | n | NRMSE | / bsrem | background bias | COV | total bias | gain | s | chosen |"
    rows = [head + " released | why not |", "|" + "---|" * 12]
    base = {r["seed"]: r for r in records if r["method"] == "bsrem"}
    for method, found in _by_method(records):
        gains = [r["held_out"] - base[r["seed"]]["held_out"] for r in found if r["held_out"]]
        judged = [r["acceptance"] for r in found if "acceptance" in r]
        rows.append(
            f"| {method} | {len(found)} | {_stat(found, lambda r: r['nrmse'])} "
            f"| {_stat(found, lambda r: r['nrmse'] / base[r['seed']]['nrmse'])} "
            f"| {_stat(found, lambda r: 100 * r['background_bias'], '.1f')} % "
            f"| {_stat(found, lambda r: r['background_cov'])} "
            f"| {_stat(found, lambda r: 100 * r['total_bias'], '.1f')} % "
            f"| {_number(gains, '.0f')} | {_stat(found, lambda r: r['seconds'], '.1f')} "
            f"| {_chosen(found)} | {_released(judged)} | {_reasons(judged)} |"
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
            text += f" [{_stat(found, lambda r, n=name: r['dose'][n], '.2f')}]"
            cells.append(text)
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _by_method(records: Sequence[Record]) -> Iterable[tuple[str, list[Record]]]:
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


def _reasons(judged: list[Record]) -> str:
    found = Counter(
        short for v in judged for reason in v["reasons"] for text, short in REASONS.items() if text in reason
    )
    return ", ".join(f"{short} {number}" for short, number in found.most_common()) or "-"


def write(records: Sequence[Record], therapies: Sequence[Record]) -> None:
    """Page and figures."""
    PAGE.write_text(page(records, therapies), encoding="utf-8")
    print(f"{PAGE}: {len(records)} cases, {len(therapies)} therapies")
    figures(records, ROOT / "docs/figures", ROOT / "build/recon-study")
