"""What every measure returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import erfc, sqrt

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Measure:
    """One number about two maps, and what noise alone would make of it.

    Attributes
    ----------
    name : of the measure, e.g. "sliced-w1"
    value, unit : the number
    expected, spread : mean and standard deviation of ``value`` if the maps were equal up to noise; None
        where not asked for (``draws=0``) or where no noise is stated
    p_value : probability of a value at least as extreme under noise alone; None where it has no meaning
    sentence : the result in words, with what the measure cannot see
    detail : further numbers by name, the unit in the name
    null : how ``expected`` was found: "closed form", "bootstrap of N", or ""
    """

    name: str
    value: float
    unit: str
    sentence: str
    expected: float | None = None
    spread: float | None = None
    p_value: float | None = None
    detail: Mapping[str, float | str] = field(default_factory=dict)
    null: str = ""


def with_null(found: Measure, null: npt.NDArray[np.float64]) -> Measure:
    """The measure with what bootstraps say of it under noise alone; as it is for none."""
    if not null.size:
        return found
    expected, spread = float(null.mean()), float(null.std(ddof=1)) if null.size > 1 else 0.0
    words = f"{found.sentence}; noise alone gives {expected:.4g} +- {spread:.2g} {found.unit}".rstrip()
    return replace(
        found, sentence=words, expected=expected, spread=spread, p_value=bootstrap_p(found.value, null),
        null=f"bootstrap of {null.size}",
    )  # fmt: skip


def upper_tail(z: float) -> float:
    """P(N(0,1) > z)."""
    return 0.5 * erfc(z / sqrt(2.0))


def two_sided(z: float) -> float:
    """P(abs(N(0,1)) > abs(z))."""
    return erfc(abs(z) / sqrt(2.0))


def bootstrap_p(value: float, null: npt.NDArray[np.float64]) -> float:
    """Share of draws at least as large, counting the value itself (never below 1 / (draws + 1))."""
    return float(1 + np.count_nonzero(null >= value)) / (1 + null.size)
