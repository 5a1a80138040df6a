"""docs/studies/recovery-study.md and its picture, from the rows of the study."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
from study import DOCS, REPEATED, ROWS, Row, covered

BANDS = ((0.0, 1.0), (1.0, 2.0), (2.0, 5.0), (5.0, 10.0), (10.0, 20.0), (20.0, 50.1))
PICTURE = DOCS / "figures" / "recovery-coverage.png"


def read() -> list[Row]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def write() -> None:
    rows = read()
    patients = sorted({int(row["patient"]) for row in rows} - set(REPEATED))
    parts = [
        "# Partial volume: the study",
        "",
        "Made by `make recovery-study`, not by hand. What is computed and why: "
        "[recovery.md](../recovery.md).",
        "",
        f"{len(patients)} simulated patients with up to seven lesions of 0.5 to 50 mL each (contrasts 3 to "
        "20 over the liver, a third with a cold core, in and beside organs), images of 7, 12 and 16 mm, one "
        f"scan at 72 h with the noise of 1800 s; and the patients of seeds {', '.join(map(str, REPEATED))} "
        "with a fixed set of lesions. Errors drawn: width 5 %, contour 1.0 mm common and 0.7 mm ragged, "
        "place 1.5 mm an axis.",
        "",
        *errors(rows),
        *coverage(rows),
        *assumed_wrong(rows),
        "![Coverage and half-width by size](../figures/recovery-coverage.png)",
    ]
    (DOCS / "studies/recovery-study.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    draw(rows)


def by_size(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Organs, then lesions from small to large."""
    lesions = [row for row in rows if row["kind"] == "lesion"]
    out = [("organs", [row for row in rows if row["kind"] == "organ"])]
    for low, high in BANDS:
        within = [row for row in lesions if low <= float(row["ml"]) < high]
        out.append((f"{low:g} to {high:.0f} mL", within))
    return [(name, found) for name, found in out if found]


def errors(rows: Sequence[Row]) -> list[str]:
    """Right contours, width and place: found over true, mean and worst."""
    lines = ["## Everything right, noise-free: found over true", ""]
    for case in ("right, 7 mm", "right, 12 mm", "right, 16 mm", "right, only lesions contoured"):
        of = [row for row in rows if row["case"] == case and row["uniform"]]
        lines += [
            f"{case[7:]} (uniform uptake; that of kidneys is not):",
            "",
            "| | n | uncorrected | corrected | worst |",
        ]
        lines.append("|---|---|---|---|---|")
        for name, found in by_size(of):
            none, right = (np.array([float(r[k]) for r in found]) for k in ("none", "corrected"))
            worst = right[np.argmax(np.abs(right - 1))]
            lines.append(f"| {name} | {len(found)} | {none.mean():.3f} | {right.mean():.3f} | {worst:.3f} |")
        lines.append("")
    return lines


def coverage(rows: Sequence[Row]) -> list[str]:
    """Truth within 1 and 2 sigma, %, by size."""
    lines = []
    for case in ("drawn errors", "errors 1.5 times those stated"):
        of = [row for row in rows if row["case"] == case]
        lines += [f"## Coverage: {case}", ""]
        lines += ["| | n | corrected, 1 / 2 sigma, % | uncorrected, 1 / 2 sigma, % | median u, % | stated |"]
        lines.append("|---|---|---|---|---|---|")
        for name, found in [*by_size(of), ("all", of)]:
            lines.append(_coverage_row(name, found))
        lines.append("")
    return lines


def _coverage_row(name: str, found: Sequence[Row]) -> str:
    right = [held(found, k, "corrected") for k in (1.0, 2.0)]
    none = [held(found, k, "none") for k in (1.0, 2.0)]
    u = 100 * float(np.median([float(r["u"]) for r in found]))
    stated = 100 * np.mean([not r["withheld"] for r in found])
    return (
        f"| {name} | {len(found)} | {right[0]:.0f} / {right[1]:.0f} | {none[0]:.0f} / {none[1]:.0f} | "
        f"{u:.0f} | {stated:.0f} % |"
    )


def held(rows: Sequence[Row], k: float, value: str) -> float:
    """Part of the rows whose interval holds the truth, %."""
    return 100.0 * float(np.mean([covered(row, k, value) for row in rows]))


def assumed_wrong(rows: Sequence[Row]) -> list[str]:
    """What each wrong assumption does to the fixed patients, 12 mm."""
    of = [row for row in rows if int(row["patient"]) in REPEATED]
    names = [
        str(row["region"]) for row in of if row["patient"] == REPEATED[0] and row["case"] == "right, 12 mm"
    ]
    cases = [c for c in dict.fromkeys(str(row["case"]) for row in of) if not c.endswith(("7 mm", "16 mm"))]
    seeds = ", ".join(map(str, REPEATED))
    lines = [f"## What a wrong assumption does: corrected over true, mean of seeds {seeds}", ""]
    lines += ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    uncorrected = [_mean(of, "right, 12 mm", n, lambda r: float(r["none"])) for n in names]
    lines.append("| no correction | " + " | ".join(uncorrected) + " |")
    for case in cases:
        values = [_mean(of, case, n, lambda r: float(r["corrected"])) for n in names]
        lines.append(f"| {case} | " + " | ".join(values) + " |")
    return [*lines, ""]


def _mean(rows: Sequence[Row], case: str, region: str, value: Callable[[Row], float]) -> str:
    found = [value(row) for row in rows if row["case"] == case and row["region"] == region]
    return f"{np.mean(found):.2f}" if found else ""


def draw(rows: Sequence[Row]) -> None:
    """Coverage and half-width by size."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    of = [row for row in rows if row["case"] == "drawn errors"]
    names = [name for name, _ in by_size(of)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for value, label in (("corrected", "corrected"), ("none", "uncorrected")):
        left.plot(
            names, [held(found, 2.0, value) for _, found in by_size(of)], "o-", label=f"{label}, 2 sigma"
        )
        left.plot(
            names, [held(found, 1.0, value) for _, found in by_size(of)], "s--", label=f"{label}, 1 sigma"
        )
    left.set(ylabel="truth within the interval, %", ylim=(0, 102))
    left.legend(fontsize=7)
    for part in ("u", "contour", "width", "shift", "model"):
        medians = [100 * np.median([float(r[part]) for r in found]) for _, found in by_size(of)]
        right.plot(names, medians, "o-", label="all" if part == "u" else part)
    right.set(ylabel="median standard uncertainty, %")
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.tick_params(axis="x", labelrotation=30, labelsize=7)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
