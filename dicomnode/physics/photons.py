"""Photon interactions: NIST XCOM cross sections of mixtures, and what is needed to sample each interaction.

XCOM (Berger, Hubbell et al., NIST) joins Scofield's photoelectric, Hubbell's incoherent and coherent and
the pair cross sections of Hubbell, Gimm and Overbo into one table from 1 keV to 100 GeV, so that there is
no joint at 800 keV. Form factors and scattering functions are Hubbell's (1975), by way of xraylib.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dicomnode.physics.interactions import (
    BARN_CM2,
    ELECTRON_MEV,
    HC_MEV_ANGSTROM,
    Medium,
    element_data,
)

Float64 = npt.NDArray[np.float64]

LOWEST_MEV, HIGHEST_MEV = 1e-3, 10.0
THRESHOLD_PAIR_MEV, THRESHOLD_TRIPLET_MEV = 1.022, 2.044
# Rows of the XCOM arrays.
ENERGY, COHERENT, INCOHERENT, PHOTOELECTRIC, PAIR_ATOM, PAIR_ELECTRON = range(6)
LOSS_NODES = 96


@dataclass(frozen=True, eq=False)
class PhotonCoefficients:
    """Mass attenuation coefficients, cm2/g, at energies in MeV."""

    energy_mev: Float64
    photoelectric: Float64
    incoherent: Float64
    coherent: Float64
    pair: Float64
    binding_mev: Float64
    """Mean energy bound in the shell that a photoelectron leaves, MeV (K shell where it can be ionised)."""

    @property
    def total(self) -> Float64:
        """All four, cm2/g."""
        return self.photoelectric + self.incoherent + self.coherent + self.pair


def _log_log(energy_ev: Float64, grid_ev: Float64, values: Float64) -> Float64:
    """Straight lines in log-log; zero below the first positive value."""
    positive = values > 0
    if not positive.any():
        return np.zeros_like(energy_ev)
    x, y = np.log(grid_ev[positive]), np.log(values[positive])
    found = np.exp(np.interp(np.log(energy_ev), x, y))
    return np.where(energy_ev < grid_ev[positive][0] * (1 - 1e-12), 0.0, found)


def _smooth(energy_ev: Float64, grid_ev: Float64, values: Float64) -> Float64:
    """Monotone cubic in log-log for cross sections without edges (a spline overshoots between L edges)."""
    from scipy.interpolate import PchipInterpolator

    grid, index = np.unique(grid_ev, return_index=True)
    return np.asarray(np.exp(PchipInterpolator(np.log(grid), np.log(values[index]))(np.log(energy_ev))))


def _photoelectric(energy_ev: Float64, grid_ev: Float64, values: Float64) -> Float64:
    """Monotone cubics in log-log between edges, where XCOM repeats an energy."""
    edges = np.flatnonzero(np.diff(grid_ev) == 0) + 1
    bounds = [0, *edges.tolist(), len(grid_ev)]
    out = np.zeros_like(energy_ev)
    for first, last in pairwise(bounds):
        e, v = grid_ev[first:last], values[first:last]
        here = (energy_ev >= e[0]) & ((energy_ev < e[-1]) | (last == len(grid_ev)))
        smooth = _smooth if len(e) > 3 else _log_log
        out[here] = smooth(energy_ev[here], e, v)
    return out


def _pair(energy_ev: Float64, table: Float64) -> Float64:
    """Pair and triplet: the shape factor (1 - threshold/E)^3 taken out before interpolation, as XCOM does."""
    total = np.zeros_like(energy_ev)
    for row, threshold in ((PAIR_ATOM, THRESHOLD_PAIR_MEV), (PAIR_ELECTRON, THRESHOLD_TRIPLET_MEV)):
        grid = table[ENERGY]
        above = (table[row] > 0) & (grid > threshold * 1.001e6)
        here = energy_ev > threshold * 1e6
        shape = (1 - threshold * 1e6 / grid[above]) ** 3
        inner = np.interp(np.log(energy_ev[here]), np.log(grid[above]), np.log(table[row][above] / shape))
        total[here] += np.exp(inner) * (1 - threshold * 1e6 / energy_ev[here]) ** 3
    return total


def coefficients(medium: Medium, energy_mev: npt.ArrayLike) -> PhotonCoefficients:
    """Mass attenuation coefficients of a medium.

    Parameters
    ----------
    medium : Medium
    energy_mev : energies, MeV, from 0.001 to 10
    """
    mev = np.atleast_1d(np.asarray(energy_mev, dtype=np.float64))
    ev = mev * 1e6
    parts = {name: np.zeros_like(ev) for name in ("photo", "incoherent", "coherent", "pair", "bound")}
    data = element_data()
    for z, atoms in medium.atoms_per_g.items():
        table, scale = data[f"xcom_{z}"], atoms * BARN_CM2
        photo = scale * _photoelectric(ev, table[ENERGY], table[PHOTOELECTRIC])
        k_ev = float(data[f"shell_ev_{z}"][0])
        parts["photo"] += photo
        parts["bound"] += photo * np.where(ev > k_ev, k_ev, 0.0) * 1e-6
        parts["incoherent"] += scale * _smooth(ev, table[ENERGY], table[INCOHERENT])
        parts["coherent"] += scale * _smooth(ev, table[ENERGY], table[COHERENT])
        parts["pair"] += scale * _pair(ev, table)
    return PhotonCoefficients(
        mev, parts["photo"], parts["incoherent"], parts["coherent"], parts["pair"],
        parts["bound"] / parts["photo"],
    )  # fmt: skip


def x_grid_per_angstrom() -> Float64:
    """The grid of form factors: x = sin(theta/2)/lambda, 1/Angstrom; 0, then even in its logarithm."""
    return element_data()["x_per_angstrom"]


def scattering_share(medium: Medium) -> Float64:
    """Incoherent scattering function over the number of electrons, on ``x_grid_per_angstrom``; 0 to 1."""
    data = element_data()
    total = sum(n * data[f"scatter_{z}"] for z, n in medium.atoms_per_g.items())
    return np.asarray(np.minimum(total / sum(n * z for z, n in medium.atoms_per_g.items()), 1.0))


def compton_loss(medium: Medium, energy_mev: Float64, end_mev: float) -> Float64:
    """Mean energy lost in an incoherent collision, MeV: Klein-Nishina times the scattering function.

    ``end_mev`` : a photon that is left with less loses that too
    """
    node, weight = np.polynomial.legendre.leggauss(LOSS_NODES)
    x, share = x_grid_per_angstrom(), scattering_share(medium)
    s = (1 + node) / 2 * np.sqrt(2.0)  # s^2 = 1 - cos
    kappa = energy_mev[:, None] / ELECTRON_MEV
    left = 1 / (1 + kappa * s**2)
    transfer = energy_mev[:, None] / HC_MEV_ANGSTROM * s / np.sqrt(2.0)
    bound = np.interp(np.log(transfer), np.log(x[1:]), share[1:])
    bound = np.where(transfer < x[1], share[1] * (transfer / x[1]) ** 2, bound)
    law = weight * s * left**2 * (left + 1 / left - s**2 * (2 - s**2)) * bound
    lost = energy_mev[:, None] * np.where(energy_mev[:, None] * left <= end_mev, 1.0, 1 - left)
    return np.asarray((law * lost).sum(axis=1) / law.sum(axis=1))


def coherent_cumulative(medium: Medium) -> Float64:
    """Integral of the squared form factor over x^2, on ``x_grid_per_angstrom`` (independent atoms)."""
    data, x = element_data(), x_grid_per_angstrom()
    squared = np.zeros_like(x)
    for z, n in medium.atoms_per_g.items():
        squared += n * data[f"form_{z}"] ** 2
    pieces = np.diff(x**2) * (squared[1:] + squared[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(pieces)])


def momentum_transfer(energy_mev: float) -> float:
    """Largest x of a photon, 1/Angstrom: backward scattering."""
    return energy_mev / HC_MEV_ANGSTROM
