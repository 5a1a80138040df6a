"""Sums of exponentials: the curves of activity over time, their integrals and gradients.

Plain arrays inside: hours, MBq, 1/h. Every model is A(t) = sum_j a_j exp(-lambda_j t) with a and
lambda linear in its free parameters, so one Jacobian serves all (MIRD 21; NUKFIT, Kletting et al. 2013,
Med Phys 40:102504: sums of exponentials, no term slower than physical decay).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FASTEST_PER_H = log(2.0) / 0.25
"""Upper bound of a biological rate above the one below it, 1/h: half-life 15 min, which no scan schedule
in hours can resolve."""
FARTHEST_BACK = 1000.0
"""A curve is not carried back from the first scan to the administration by more than this factor beyond
physical decay (our own choice): what fell faster was not seen, only its end in the noise."""


def fastest_per_h(first_hours: float, physical_per_h: float) -> float:
    """The greatest effective rate that scans from ``first_hours`` on may state, 1/h."""
    return physical_per_h + min(FASTEST_PER_H, log(FARTHEST_BACK) / max(first_hours, 1e-3))


@dataclass(frozen=True, eq=False)
class Curve:
    """A(t) = sum_j amplitude_mbq[j] exp(-rate_per_h[j] t)."""

    amplitude_mbq: Array
    rate_per_h: Array

    def at(self, hours: npt.ArrayLike) -> Array:
        """Activity, MBq, at ``hours``."""
        return np.asarray(np.exp(-np.multiply.outer(np.asarray(hours), self.rate_per_h)) @ self.amplitude_mbq)

    def integral_mbq_h(self, from_hours: float = 0.0) -> float:
        """Integral from ``from_hours`` to infinity, MBq h."""
        return float(np.sum(self.amplitude_mbq / self.rate_per_h * np.exp(-self.rate_per_h * from_hours)))

    @property
    def effective_half_life_h(self) -> float:
        """Half-life of the slowest term present, h."""
        present = self.amplitude_mbq > 0
        return float(log(2.0) / (self.rate_per_h[present] if present.any() else self.rate_per_h).min())

    def jacobian(self, hours: Array) -> Array:
        """Derivatives of A(t) by (a_1..a_m, lambda_1..lambda_m), shape (times, 2 m)."""
        decay = np.exp(-np.multiply.outer(hours, self.rate_per_h))
        return np.hstack([decay, -hours[:, None] * decay * self.amplitude_mbq])

    def integral_gradient(self) -> Array:
        """Derivatives of the integral by (a_1..a_m, lambda_1..lambda_m): 1/lambda, -a/lambda^2."""
        return np.concatenate([1 / self.rate_per_h, -self.amplitude_mbq / self.rate_per_h**2])


@dataclass(frozen=True)
class Model:
    """A family of curves: a = amplitude @ theta_a, lambda = rate @ theta_r + fixed part.

    ``theta_a`` (MBq) and ``theta_r`` (1/h, increments above the rate below) are all >= 0. The fixed part
    is the physical decay constant, so that no term is slower than physical decay; with ``fixed_uptake``
    the last term's rate is given instead.
    """

    name: str
    family: str
    amplitude: tuple[tuple[float, ...], ...]
    rate: tuple[tuple[float, ...], ...]
    fixed_uptake: bool = False

    @property
    def n_amplitudes(self) -> int:
        return len(self.amplitude[0])

    @property
    def n_parameters(self) -> int:
        return self.n_amplitudes + len(self.rate[0])

    @property
    def rises(self) -> bool:
        """True where the model has an uptake term."""
        return any(a < 0 for row in self.amplitude for a in row)

    @property
    def slowest_is_physical(self) -> bool:
        """True where the first term's rate is the physical one by construction."""
        return not any(self.rate[0])

    def expansion(self) -> Array:
        """Matrix from the free parameters to (a_1..a_m, lambda_1..lambda_m)."""
        a, r = np.array(self.amplitude, dtype=float), np.array(self.rate, dtype=float)
        return np.block([[a, np.zeros((len(a), r.shape[1]))], [np.zeros((len(r), a.shape[1])), r]])

    def offset(self, physical_per_h: float, uptake_per_h: float) -> Array:
        """The fixed part of (a_1..a_m, lambda_1..lambda_m)."""
        m = len(self.amplitude)
        rates = np.full(m, physical_per_h)
        if self.fixed_uptake:
            rates[-1] = uptake_per_h
        return np.concatenate([np.zeros(m), rates])

    def curve(self, theta: Array, physical_per_h: float, uptake_per_h: float = 0.0) -> Curve:
        full = self.expansion() @ theta + self.offset(physical_per_h, uptake_per_h)
        m = len(self.amplitude)
        return Curve(full[:m], full[m:])


MONO = Model("mono-exponential", "mono-exponential", ((1,),), ((1,),))

MODELS = (
    MONO,
    # Uptake and clearance, A(0) = 0.
    Model("bi-uptake", "bi-exponential", ((1,), (-1,)), ((1, 0), (1, 1))),
    # Two clearance phases, the slow one decaying physically only (one parameter fewer).
    Model("bi-slow-physical", "bi-exponential", ((1, 0), (0, 1)), ((0,), (1,))),
    Model("bi-clearance", "bi-exponential", ((1, 0), (0, 1)), ((1, 0), (1, 1))),
    # Uptake and two clearance phases, A(0) = 0.
    Model("tri-uptake", "tri-exponential", ((1, 0), (0, 1), (-1, -1)), ((1, 0, 0), (1, 1, 0), (1, 1, 1))),
)

FIXED_UPTAKE_MODELS = (
    Model("bi-fixed-uptake", "bi-exponential", ((1,), (-1,)), ((1,), (0,)), fixed_uptake=True),
    Model(
        "tri-fixed-uptake",
        "tri-exponential",
        ((1, 0), (0, 1), (-1, -1)),
        ((1, 0), (1, 1), (0, 0)),
        fixed_uptake=True,
    ),
)
