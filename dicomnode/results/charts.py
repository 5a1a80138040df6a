"""Time-activity curves by organ, and cumulative DVH, drawn on axes that the caller made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import TYPE_CHECKING

import numpy as np

from dicomnode.model import RegionTia
from dicomnode.results.dvh import Dvh
from dicomnode.results.radiobiology import exponentials

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 8
"""Curves in one chart; more cannot be told apart."""
GREY = "#808080"


def draw_curves(
    axes: Axes, curves: Sequence[RegionTia], colours: Mapping[str, str], half_life_h: float
) -> None:
    """Activity of each region over time, with its uncertainty and the fitted curve, on a log scale.

    A region whose curve was not fitted is joined by straight lines (trapezoid), and goes on by physical
    decay after its last point (dotted), as its integral does.
    """
    shown = sorted(curves, key=lambda c: -max(c.activity_mbq, default=0.0))[:MOST]
    last = max((max(c.hours) for c in shown if c.hours), default=1.0) * 1.25
    for curve in shown:
        _draw_curve(axes, curve, colours.get(curve.region, GREY), half_life_h, last)
    axes.set_yscale("log")
    axes.set_xlim(0.0, last)
    lowest = min((a for c in shown for a in c.activity_mbq if a > 0), default=1.0)
    axes.set_ylim(bottom=lowest / 3.0)
    _finish(axes, "Activity in organs and lesions", "time after administration, h", "activity, MBq")


def _draw_curve(axes: Axes, curve: RegionTia, colour: str, half_life_h: float, last: float) -> None:
    hours, activity = np.array(curve.hours), np.array(curve.activity_mbq)
    axes.errorbar(
        hours, activity, yerr=np.minimum(curve.sigma_mbq, 0.9 * activity), fmt="o", ms=3.5, color=colour,
        elinewidth=0.8, capsize=2, label=curve.region,
    )  # fmt: skip
    amplitudes, rates = exponentials(curve.parameters)
    if rates:
        t = np.linspace(0.0, last, 200)
        fitted = sum(a * np.exp(-rate * t) for a, rate in zip(amplitudes, rates, strict=True))
        axes.plot(t, np.where(fitted > 0, fitted, np.nan), color=colour, lw=1.1)
    elif hours.size:
        axes.plot(hours, activity, color=colour, lw=1.1)
        t = np.linspace(hours[-1], last, 20)
        axes.plot(t, activity[-1] * 0.5 ** ((t - hours[-1]) / half_life_h), color=colour, lw=1.0, ls=":")


def draw_dvh(axes: Axes, histograms: Sequence[Dvh], colours: Mapping[str, str]) -> None:
    """Cumulative dose-volume histograms of up to eight regions."""
    shown = sorted(histograms, key=lambda h: -h.dose_gy[-1])[:MOST]
    for dvh in sorted(shown, key=histograms.index):
        axes.plot(
            dvh.dose_gy, dvh.volume_percent, color=colours.get(dvh.region, GREY), lw=1.3, label=dvh.region
        )
    axes.set_xlim(left=0.0)
    axes.set_ylim(0.0, 102.0)
    _finish(axes, "Cumulative dose-volume histogram", "absorbed dose, Gy", "volume, %")


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=9, loc="left", fontweight="bold")
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
    axes.tick_params(labelsize=7.5, length=2.5, width=0.5)
    axes.grid(visible=True, which="major", color="#dddddd", lw=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        legend = axes.legend(
            fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.47, -0.16), ncols=3,
            handlelength=1.4, columnspacing=1.2,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)


def effective_half_life_h(curve: RegionTia) -> float | None:
    """Half-life of the slowest exponential of a fitted curve, h; None where none was fitted."""
    _, rates = exponentials(curve.parameters)
    return log(2.0) / min(rates) if rates else None
