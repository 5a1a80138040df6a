"""One page: the two maps, where they differ, histograms, regions and gates."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomnode.compare.classical.organs import State
from dicomnode.compare.judgement.verdict import Judgement
from dicomnode.compare.moments.scan_statistic import smoothed_z
from dicomnode.compare.pair import Float, Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {State.PASS: "#1b7837", State.FAIL: "#b2182b", State.UNDECIDED: "#b35806"}
Z_SCALE_MM = 4.0
MOST_REGIONS = 12
"""Rows of the table and curves of the chart; the worst come first."""


def picture_png(pair: Pair, judgement: Judgement, *, dpi: int = 110) -> bytes:
    """The page as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = page_figure(pair, judgement)
    FigureCanvasAgg(figure)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()


def page_figure(pair: Pair, judgement: Judgement) -> Figure:
    """The page as a matplotlib figure, A4 upright."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.27, 11.0), layout="constrained")
    title = figure.suptitle(f"{judgement.state.value.upper()}", color=COLOURS[judgement.state], fontsize=16)
    title.set_parse_math(False)
    rows = figure.subplot_mosaic(
        [["e", "r", "z"], ["d", "d", "d"], ["o", "o", "o"], ["g", "g", "g"]],
        height_ratios=[1.1, 1.0, 0.9, 1.1],
    )
    _draw_maps(figure, rows, pair)
    _draw_histograms(rows["d"], pair)
    _draw_regions(rows["o"], judgement)
    _draw_gates(rows["g"], judgement)
    return figure


def _draw_maps(figure: Figure, rows: dict[str, Axes], pair: Pair) -> None:
    """Coronal slices through the most deviant place, feet down."""
    testable = pair.noisy
    z = smoothed_z(pair, Z_SCALE_MM) if testable else pair.difference / pair.hot_gy * 100.0
    row = int(np.unravel_index(int(np.abs(z).argmax()), z.shape)[1])
    top = 1.2 * pair.hot_gy
    zs, _, xs = pair.spacing_zyx
    for key, name, values in (("e", "evaluated, Gy", pair.evaluated), ("r", "reference, Gy", pair.reference)):
        shown = rows[key].imshow(
            values[:, row], origin="lower", vmin=0.0, vmax=top, cmap="inferno", aspect=zs / xs
        )
        _finish_map(rows[key], name)
        figure.colorbar(shown, ax=rows[key], shrink=0.7)
    limit = 8.0 if testable else 10.0
    shown = rows["z"].imshow(
        z[:, row], origin="lower", vmin=-limit, vmax=limit, cmap="RdBu_r", aspect=zs / xs
    )
    _finish_map(rows["z"], f"difference, sd at {Z_SCALE_MM:g} mm" if testable else "difference, % of hot")
    figure.colorbar(shown, ax=rows["z"], shrink=0.7)


def _finish_map(axes: Axes, name: str) -> None:
    axes.set_title(name, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def _histogram(gy: Float, share: Float) -> tuple[Float, Float]:
    """Doses, rising, and the volume that receives at least each, %."""
    doses, part = gy[share > 0], share[share > 0]
    rising = np.argsort(doses, kind="stable")
    below = np.cumsum(part[rising]) - part[rising] / 2.0
    return doses[rising], 100.0 * (1.0 - below / part.sum())


def _draw_histograms(axes: Axes, pair: Pair) -> None:
    mean = {n: float(np.average(pair.reference, weights=share)) for n, share in pair.regions.items()}
    names = sorted(mean, key=lambda n: -mean[n])[:8]
    for k, name in enumerate(names):
        share, colour = pair.regions[name], f"C{k}"
        axes.plot(*_histogram(pair.evaluated, share), color=colour, lw=1.2, label=_plain(name))
        axes.plot(*_histogram(pair.reference, share), color=colour, lw=1.0, ls="--")
    axes.set_xlabel("absorbed dose, Gy", fontsize=8)
    axes.set_ylabel("volume, %", fontsize=8)
    axes.set_title("Histograms: evaluated (full), reference (dashed; widened by its noise)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.set_xlim(left=0.0)
    if names:
        for text in axes.legend(fontsize=7, frameon=False).get_texts():
            text.set_parse_math(False)


def _plain(name: str) -> str:
    """matplotlib hides labels that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _draw_regions(axes: Axes, judgement: Judgement) -> None:
    axes.set_title("Mean dose of regions", fontsize=9)
    shown = sorted(judgement.regions, key=lambda e: -abs(e.error) / e.tolerance)[:MOST_REGIONS]
    rows = [
        [e.region[:40], f"{e.volume_ml:.4g}", f"{e.evaluated_gy:.4g}", f"{e.reference_gy:.4g}",
         f"{100 * e.error:+.2f} +- {100 * e.sigma:.2f}", f"{100 * e.tolerance:g}", e.state.value]
        for e in shown
    ]  # fmt: skip
    heads = ["region", "mL", "evaluated, Gy", "reference, Gy", "error, %", "limit, %", ""]
    _table(axes, heads, rows, [COLOURS[e.state] for e in shown], [0.28, 0.1, 0.14, 0.14, 0.16, 0.09, 0.09])


def _draw_gates(axes: Axes, judgement: Judgement) -> None:
    axes.set_title(f"Gates (thresholds version {judgement.thresholds})", fontsize=9)
    rows = [
        [
            g.name,
            f"{g.value:.3g} {g.unit}",
            f"{g.limit:.3g} {g.unit}",
            f"{100 * g.false_alarm:g} %",
            g.state.value,
        ]
        for g in judgement.gates
    ]
    heads = ["gate", "found", "limit", "false alarms", ""]
    _table(axes, heads, rows, [COLOURS[g.state] for g in judgement.gates], [0.24, 0.2, 0.2, 0.18, 0.18])


def _table(
    axes: Axes, heads: list[str], rows: list[list[str]], colours: list[str], widths: list[float]
) -> None:
    axes.axis("off")
    if not rows:
        axes.text(0.0, 0.9, "none given", fontsize=8, transform=axes.transAxes, va="top")
        return
    made: Any = axes.table(
        cellText=rows, colLabels=heads, colWidths=widths, loc="upper center", cellLoc="left"
    )
    made.auto_set_font_size(False)
    made.set_fontsize(7.5)
    for (row, column), cell in made.get_celld().items():
        cell.set_linewidth(0.3)
        cell.get_text().set_parse_math(False)
        if row > 0 and column == len(heads) - 1:
            cell.get_text().set_color(colours[row - 1])
