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
    from matplotlib.ft2font import FT2Font

A4_INCHES = (8.27, 11.69)
LEFT, RIGHT, TOP, BOTTOM = 0.07, 0.93, 0.955, 0.06
INK, FAINT, RULE, ACCENT = "#1a1a1a", "#666666", "#c8c8c8", "#17456b"
RED = "#b3261e"
POINT = 1.0 / 72.0 / A4_INCHES[1]
"""One typographic point as a fraction of the page's height."""
WIDTH = 72.0 * A4_INCHES[0]
"""Of the page, in points."""
SMALLEST = 5.5
"""Letters are made smaller to fit down to this size, points; our own choice."""
LARGE = 500.0
"""Letters are measured at this size, points: letters drawn small are moved to whole pixels."""
GAP = 0.008
"""Between a text and what stands to its right, as a fraction of the page's width."""


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

    def write(self, x: float, text: str, *, size: float = 8.0, up: float = 0.0, **style: Any) -> None:
        """One line at ``x`` (fraction of width), ``up`` points above the current height; does not move on."""
        style.setdefault("color", INK)
        shown, y = printable(text), self.y + up * POINT
        self.figure.text(x, y, shown, fontsize=size, va="baseline", parse_math=False, **style)

    def write_before(self, end: float, x: float, text: str, *, size: float = 8.0) -> None:
        """One line from ``x`` to no farther than ``end``: smaller where it is long, cut where that is not
        enough."""
        shown, room = printable(text), end - x
        size = min(size, max(SMALLEST, size * room / max(width_of(shown, size), room)))
        if width_of(shown, size) > room:
            fitting = (n for n in range(len(shown), 0, -1) if width_of(f"{shown[:n]}…", size) <= room)
            shown = f"{shown[: next(fitting, 0)]}…"
        self.write(x, shown, size=size)

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

    def pairs(self, x: float, items: Sequence[tuple[str, str]], *, value_at: float, end: float) -> None:
        """Lines of name and value, from the current height down, none beyond ``end``."""
        for name, value in items:
            self.write(x, name, size=7.5, color=FAINT)
            self.write_before(end, x + value_at, value)
            self.skip(12)

    def table(self, columns: Sequence[tuple[str, float, str]], rows: Sequence[Sequence[str]]) -> None:
        """A table; ``columns`` are (heading, x of its edge, "left" or "right"), lines of a heading apart by
        line ends. A text at the left of its column ends before the next one's."""
        for heading, x, side in columns:
            for n, line in enumerate(reversed(heading.split("\n"))):
                self.write(x, line, size=7, up=8.0 * n, ha=side, color=FAINT)
        self.skip(5)
        self.rule()
        self.skip(11)
        for row in rows:
            end = RIGHT
            for (_, x, side), cell in reversed(list(zip(columns, row, strict=True))):
                if side == "right":
                    self.write(x, cell, ha=side)
                    end = x - width_of(printable(cell), 8.0) - GAP
                else:
                    self.write_before(end, x, cell)
                    end = x - GAP
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


def width_of(text: str, size: float) -> float:
    """Of a line in the page's font, as a fraction of the page's width."""
    font = _font()
    font.set_size(LARGE, 72.0)
    font.set_text(text, 0.0)
    return float(font.get_width_height()[0]) / 64.0 / LARGE * size / WIDTH


def printable(text: str) -> str:
    """One line of ``text``: what cannot be printed as its code point, what the font has no picture of as a
    hollow square."""
    return "".join(c if ord(c) in _characters() else "□" for c in model_text.printable(text))


@cache
def _characters() -> frozenset[int]:
    return frozenset(_font().get_charmap())


def _font() -> FT2Font:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties(family="DejaVu Sans")))
