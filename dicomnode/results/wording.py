"""Numbers, names and dates as a report writes them."""

from __future__ import annotations

from math import floor, log10


def readable_name(raw: str) -> str:
    """The alphabetic group of a person's name as "Family, Given" (PS3.5 6.2.1)."""
    family, *given = raw.split("=")[0].split("^")
    rest = " ".join(part for part in given if part)
    return f"{family}, {rest}" if rest else family


def iso_date(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 else text


def significant(value: float, digits: int = 3) -> str:
    """``value`` with so many significant digits, but no more than four decimals; "<0.001" below that."""
    if abs(value) < 5e-4:
        return "0" if value == 0.0 else "<0.001"
    rounded = float(f"{value:.{digits}g}")
    decimals = digits - 1 - floor(log10(abs(rounded)))
    return f"{rounded:.{min(max(decimals, 0), 4)}f}"


def with_sigma(value: float, sigma: float) -> str:
    """Value and uncertainty to the same decimal, the uncertainty with two digits (GUM 7.2.6)."""
    if sigma < 5e-4:
        return f"{significant(value)} ± {significant(sigma)}"
    decimals = min(max(1 - floor(log10(float(f"{sigma:.2g}"))), 0), 4)
    return f"{value:.{decimals}f} ± {sigma:.{decimals}f}"
