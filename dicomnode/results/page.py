"""Laying out text and tables on an A4 page: a small typesetter over a matplotlib figure.

matplotlib is there for the pictures anyway and embeds its own fonts, so one library makes both pages
and their bytes depend on nothing outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from dicomnode.model import text as model_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

A4_INCHES = (8.27, 11.69)
LEFT, RIGHT, TOP, BOTTOM = 0.07, 0.93, 0.955, 0.06
INK, FAINT, RULE, ACCENT = "#1a1a1a", "#666666", "#c8c8c8", "#17456b"
RED = "#b3261e"
POINT = 1.0 / 72.0 / A4_INCHES[1]
"""One typographic point as a fraction of the page's height."""


class Page:
    """A page that is filled from the top; ``y`` is where the next line goes, as a fraction of height."""

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=A4_INCHES, facecolor="white")
        self.y = TOP

    @property
    def room(self) -> float:
        """What is left above the footer, in points."""
        return (self.y - BOTTOM - 8 * POINT) / POINT

    def skip(self, points: float) -> None:
        self.y -= points * POINT

    def write(self, x: float, text: str, *, size: float = 8.0, **style: Any) -> None:
        """One line at ``x`` (fraction of width), at the current height; does not move on."""
        style.setdefault("color", INK)
        shown = printable(text)
        self.figure.text(x, self.y, shown, fontsize=size, va="baseline", parse_math=False, **style)

    def heading(self, text: str) -> None:
        self.skip(13)
        self.write(LEFT, text, size=9.5, fontweight="bold", color=ACCENT)
        self.skip(4)
        self.rule(ACCENT, 0.8)
        self.skip(11)

    def rule(self, colour: str = RULE, width: float = 0.5) -> None:
        from matplotlib.lines import Line2D

        line = Line2D([LEFT, RIGHT], [self.y, self.y], color=colour, lw=width)
        self.figure.add_artist(line)

    def pairs(self, x: float, items: Sequence[tuple[str, str]], *, value_at: float, widest: int) -> None:
        """Lines of name and value, from the current height down."""
        for name, value in items:
            self.write(x, name, size=7.5, color=FAINT)
            self.write(x + value_at, _cut(value, widest), size=8)
            self.skip(12)

    def table(
        self, columns: Sequence[tuple[str, float, str]], rows: Sequence[Sequence[str]], *, first_widest: int
    ) -> None:
        """A table; ``columns`` are (heading, x of its edge, "left" or "right")."""
        for heading, x, side in columns:
            lines = heading.split("\n")
            self.write(x, "\n".join(lines), size=7, ha=side, color=FAINT, linespacing=1.15)
        self.skip(5)
        self.rule()
        self.skip(11)
        for row in rows:
            for (_, x, side), cell in zip(columns, row, strict=True):
                text = _cut(cell, first_widest) if x == columns[0][1] else cell
                self.write(x, text, size=8, ha=side)
            self.skip(12.5)

    def paragraph(self, x: float, text: str, *, width: int = 118, size: float = 8.0, **style: Any) -> None:
        for line in wrap(text, width):
            self.write(x, line, size=size, **style)
            self.skip(size * 1.45)

    def chip(self, text: str, colour: str) -> None:
        """A coloured label at the right edge of the current line."""
        box = {"boxstyle": "round,pad=0.45", "facecolor": colour, "edgecolor": "none"}
        self.write(RIGHT - 0.01, text, size=9, ha="right", color="white", fontweight="bold", bbox=box)

    def footer(self, lines: Sequence[str], number: int, of: int) -> None:
        """What every page says at its foot: whose it is, and that it is no medical device."""
        self.y = BOTTOM - 4 * POINT
        self.rule()
        self.skip(11)
        self.write(RIGHT, f"page {number} of {of}", size=6.8, ha="right", color=FAINT)
        for line in lines:
            self.write(LEFT, line, size=6.8, color=FAINT)
            self.skip(10)


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: widest - 1] + "…"


def printable(text: str) -> str:
    """One line of ``text``: what cannot be printed as its code point, what the font has no picture of as a
    hollow square."""
    return "".join(c if ord(c) in _characters() else "□" for c in model_text.printable(text))


@cache
def _characters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())
