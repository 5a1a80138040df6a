"""What the study writes: one JSON, the tables, the figures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from measures import UNITS
from planted import FAULTS

SHOWN = ("gamma 3/3 global", "RMSE", "1 - SSIM", "2 SW1", "KR 15 mm", "moments 4 + tol", "scan + tol")
PANELS = ("shift 1 mm", "organ x 1.02", "organ x 1.05", "blur", "wrong voxel", "kernel cut")
STATES = ("pass", "undecided", "fail")


def write(results: list[dict[str, Any]], alarms: list[dict[str, Any]], folder: Path) -> None:
    rates = false_alarms(alarms)
    kept = {"power": results, "false_alarms": rates}
    record = Path(__file__).with_name("results")
    (record / "compare-study.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    (folder / "studies/compare-study.md").write_text(_markdown(results, rates), encoding="utf-8")
    (folder / "figures").mkdir(exist_ok=True)
    power_figures(results, folder / "figures")
    floor_figure(results, folder / "figures")


def false_alarms(alarms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By nuclide, decays and case: maps judged, verdicts, failures of each gate and its values' quantiles."""
    found = []
    keys = dict.fromkeys((a["phantom"], a["nuclide"], a["decays"], a["case"]) for a in alarms)
    for key in keys:
        rows = [a for a in alarms if (a["phantom"], a["nuclide"], a["decays"], a["case"]) == key]
        gates = {}
        for gate in dict.fromkeys(g for r in rows for g in r["gates"]):
            values = np.array([r["gates"][gate][1] for r in rows if gate in r["gates"]])
            edges = np.quantile(values, [0.0, 0.5, 1.0])
            gates[gate] = {
                "fail": sum(r["gates"].get(gate, [""])[0] == "fail" for r in rows),
                "least_median_most": [float(f"{v:.4g}") for v in edges],
            }
        found.append({
            **dict(zip(("phantom", "nuclide", "decays", "case"), key, strict=True)), "maps": len(rows),
            "verdict": {s: sum(r["verdict"] == s for r in rows) for s in STATES}, "gates": gates,
            "most_certain_mm": max((r["certain_mm"] or 0.0) for r in rows),
        })  # fmt: skip
    return found


def _markdown(results: list[dict[str, Any]], rates: list[dict[str, Any]]) -> str:
    lines = ["# Power and false alarms of every measure", "", "Written by `make compare-study`; do not edit.",
             "", *_alarm_lines(rates)]  # fmt: skip
    for r in results:
        lines += [
            f"## {r['phantom']}, {r['nuclide']}, {r['decays']:.0e} decays", "",
            f"References: {r['source']}, {r['draws']} per case; truth from {r['truth_decays']:.2g} "
            f"other decays. Noise of the hottest region {100 * r['noise']:.2g} %, dispersion "
            f"{r['dispersion']:.2g}. Power at 5 % false alarms against a null with 1 % smooth error; the "
            "column exact is the rate for a map without any error; the last are the mean for an exact map, "
            "and CPU time.", "",
            "| measure | exact | " + " | ".join(FAULTS) + " | floor | ms |",
            "|" + "---|" * (len(FAULTS) + 4),
        ]  # fmt: skip
        for m, power in r["power"].items():
            row = " | ".join(f"{power[f]:.2f}" for f in ("exact", *FAULTS))
            lines.append(f"| {m} | {row} | {r['floor'][m]:.3g} {UNITS.get(m, '')} | {r['cpu_ms'][m]:.1f} |")
        failed = " | ".join(f"{r['verdict'][f].get('fail', 0) / r['draws']:.2f}" for f in ("exact", *FAULTS))
        lines += [f"| **verdict: fail** | {failed} | | |", ""]
    return "\n".join(lines) + "\n"


def _alarm_lines(rates: list[dict[str, Any]]) -> list[str]:
    """Gates against maps without any error and with 1 % smooth error, by number of decays."""
    names = ("sanity", "regions", "moments", "scan", "displacement")
    lines = ["## False alarms of the gates", "", "Both phantoms; maps that fail, of those judged.", "",
             "| nuclide | decays | map | judged | " + " | ".join(names) + " | pass / undecided / fail |",
             "|" + "---|" * (len(names) + 5)]  # fmt: skip
    for key in dict.fromkeys((r["nuclide"], r["decays"], r["case"]) for r in rates):
        rows = [r for r in rates if (r["nuclide"], r["decays"], r["case"]) == key]
        fails, states = Counter(), Counter()
        for r in rows:
            fails.update({g: v["fail"] for g, v in r["gates"].items()})
            states.update(r["verdict"])
        cells = " | ".join(str(fails[n]) for n in names)
        kind = "exact" if key[2] == "exact" else "1 % smooth error"
        lines.append(f"| {key[0]} | {key[1]:.0e} | {kind} | {sum(r['maps'] for r in rows)} | {cells} | "
                     f"{' / '.join(str(states[s]) for s in STATES)} |")  # fmt: skip
    return [*lines, ""]


def power_figures(results: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for phantom, nuclide in dict.fromkeys((r["phantom"], r["nuclide"]) for r in results):
        runs = [r for r in results if (r["phantom"], r["nuclide"]) == (phantom, nuclide)]
        figure = Figure(figsize=(9, 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, fault in zip(figure.subplots(2, 3, sharex=True, sharey=True).flat, PANELS, strict=True):
            for offset, name in enumerate(SHOWN):  # side by side, for many lie on 0 or 1
                shift = 1.04 ** (offset - len(SHOWN) / 2)
                axes.semilogx([shift * r["decays"] for r in runs], [r["power"][name][fault] for r in runs],
                "o-",
                              ms=3, lw=1.2, label=name)  # fmt: skip
            axes.set_title(fault, fontsize=9)
            axes.set_ylim(-0.03, 1.03)
            axes.grid(color="#dddddd", lw=0.5)
        axes.set_xlabel("decays of the reference", fontsize=9)
        figure.supylabel("power at 5 % false alarms", fontsize=9)
        figure.suptitle(f"{phantom}, {nuclide}", fontsize=10)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
        figure.savefig(folder / f"compare-power-{phantom}-{nuclide}.png", dpi=90)


FLOORS = ("MAE", "RMSE", "gamma 3/3 global", "gamma 3/3 local", "2 SW1", "Bures", "KR 15 mm", "scan")
LEAST = 2e-3
"""Where a value of 0 is drawn."""


def floor_figure(results: list[dict[str, Any]], folder: Path) -> None:
    """What a right map shows, by number of decays: each measure's own floor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(2, 4, sharex=True).flat, FLOORS, strict=True):
        for phantom, nuclide in dict.fromkeys((r["phantom"], r["nuclide"]) for r in results):
            runs = [r for r in results if (r["phantom"], r["nuclide"]) == (phantom, nuclide)]
            axes.loglog([r["decays"] for r in runs], [max(r["floor"][name], LEAST) for r in runs],
                        "o-" if phantom == "chest" else "s--", ms=3, lw=1.1,
                        label=f"{phantom}, {nuclide}")  # fmt: skip
        axes.set_title(f"{name}, {UNITS.get(name, '')}", fontsize=9)
        if name == "scan":
            axes.set_yscale("linear")
        axes.grid(color="#dddddd", lw=0.5)
    axes.set_xlabel("decays of the reference", fontsize=9)
    figure.suptitle("What a map without any error shows", fontsize=10)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(folder / "compare-floor.png", dpi=90)
