"""Numbers, names and dates as a report writes them."""

from __future__ import annotations

from math import floor, log10

from dicomnode.model import OrganDose

LIMITS = {
    "width": "width of the image",
    "contour": "contour",
    "shift": "registration",
    "model": "uneven uptake",
}
"""Parts of a corrected dose's uncertainty (``RegionRecovery.parts``) as a reader knows them."""


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


def dose_interval(organ: OrganDose) -> str:
    """Where the true mean dose lies (k = 2), the loss by partial volume in it; empty where not known."""
    if organ.low_gy is None or organ.high_gy is None:
        return ""
    return f"{significant(organ.low_gy)} to {significant(organ.high_gy)}"


def corrected_dose(organ: OrganDose) -> str:
    """Mean corrected for partial volume with its standard uncertainty; a dash where none may be stated."""
    if organ.recovered_gy is None:
        return "–"
    return with_sigma(organ.recovered_gy, organ.recovered_sigma_gy or 0.0)


def recovery_limit(organ: OrganDose) -> str:
    """What limits the corrected dose, or why there is none."""
    return LIMITS.get(organ.recovery_limit, organ.recovery_limit)
