"""Elastic and soft inelastic deflection of electrons, and its multiple scattering (Goudsmit-Saunderson).

Single scattering: Rutherford with the atom's own form factor (first Born approximation) and the Mott
correction of McKinley and Feshbach (Phys Rev 74 (1948) 1759), times what Dirac partial waves in the same
field make of it (data/elastic.npz, tools/make_elastic_data.py). Collisions with atomic electrons that pass on
less than the cut of hard collisions add their share, by Moller and Bhabha with the incoherent scattering
function as binding.
Multiple scattering: the Legendre series of Goudsmit and Saunderson (Phys Rev 57 (1940) 24), exact for the
single-scattering law, any path length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dicomnode.physics.electrons import beta_squared, bhabha_terms
from dicomnode.physics.interactions import (
    ELECTRON_MEV,
    ELECTRON_RADIUS_CM,
    FINE_STRUCTURE,
    HC_MEV_ANGSTROM,
    Medium,
    element_data,
    elements,
)

Float64 = npt.NDArray[np.float64]

ORDERS = 500
"""Legendre orders; the series at the shortest strength in use is converged well below that."""
LOWEST_T, NODES = 1e-9, 500
DATA = "elastic.npz"


@cache
def _nodes() -> tuple[Float64, Float64]:
    """t = (1 - cos)/2 and weights dt, even in ln t from LOWEST_T to 1 (Gauss-Legendre in pieces)."""
    node, weight = np.polynomial.legendre.leggauss(10)
    edges = np.linspace(np.log(LOWEST_T), 0.0, NODES // 10 + 1)
    half = np.diff(edges)[:, None] / 2
    t = np.exp(edges[:-1, None] + half * (1 + node)).ravel()
    return t, (half * weight).ravel() * t


@cache
def _one_minus_legendre() -> Float64:
    """1 - P_l(1 - 2t) at the nodes, shape (ORDERS + 1, nodes), by a recursion without cancellation."""
    t, _ = _nodes()
    q = np.zeros((ORDERS + 1, len(t)))
    q[1] = 2 * t
    for n in range(1, ORDERS):
        q[n + 1] = ((2 * n + 1) * (q[n] + 2 * t * (1 - q[n])) - n * q[n - 1]) / (n + 1)
    return q


def rutherford_cm2(mev: npt.ArrayLike) -> Float64:
    """(r_e m / (2 p beta))^2, cm2: Rutherford's law of a unit charge is this over t^2."""
    energy = np.asarray(mev, dtype=np.float64)
    p2b2 = energy * (energy + 2 * ELECTRON_MEV) * beta_squared(energy)
    return np.asarray((ELECTRON_RADIUS_CM * ELECTRON_MEV) ** 2 / 4 / p2b2)


def mott_factor(z: int, mev: Float64, t: Float64, positron: bool) -> Float64:
    """Mott's law of a point charge over Rutherford's by McKinley and Feshbach, shape (energies, t)."""
    root, b2 = np.sqrt(t), beta_squared(mev)[:, None]
    sign = -1.0 if positron else 1.0
    return np.asarray(1 - b2 * t + sign * np.pi * FINE_STRUCTURE * np.sqrt(b2) * z * root * (1 - root))


@cache
def _raw() -> bytes:
    return (files("dicomnode.physics") / "data" / DATA).read_bytes()


def data_digest() -> str:
    """SHA-256 of data/elastic.npz."""
    return hashlib.sha256(_raw()).hexdigest()


@cache
def _partial_waves() -> Mapping[str, npt.NDArray[np.float32]]:
    with np.load(BytesIO(_raw()), allow_pickle=False) as book:
        return {name: np.asarray(book[name]) for name in book}


def _higher_terms(z: int, mev: Float64, positron: bool) -> Float64:
    """Dirac partial waves over Born times Mott, shape (energies, nodes); beyond the table as at its ends."""
    from scipy.interpolate import CubicSpline

    book = _partial_waves()
    table = book["ratio"][elements().index(z), int(positron)].astype(np.float64)
    log = np.log(book["mev"])
    at_mev = CubicSpline(log, table)(np.clip(np.log(mev), log[0], log[-1]))
    t, _ = _nodes()
    # Even in neither: the table is dense in ln t where it is screening that matters, in t where it is spin.
    place = np.interp(t, book["t"], np.arange(len(book["t"])))
    return np.asarray(CubicSpline(np.arange(len(book["t"])), at_mev, axis=1)(place))


def _elastic(z: int, mev: Float64, positron: bool) -> Float64:
    """d sigma / d Omega over (r_e m / (2 p beta))^2 / t^2, shape (energies, nodes)."""
    t, _ = _nodes()
    data = element_data()
    form = np.interp(_transfer(mev) * np.sqrt(t), data["x_per_angstrom"], data[f"form_{z}"])
    return (z - form) ** 2 * mott_factor(z, mev, t, positron) * _higher_terms(z, mev, positron)


def _soft_inelastic(z: int, mev: Float64, cut_mev: float, positron: bool) -> Float64:
    """The same for atomic electrons, up to the angle of a collision that passes on the cut.

    Moller's or Bhabha's law for the angle of the primary, times the incoherent scattering function.
    """
    t, _ = _nodes()
    data = element_data()
    bound = np.interp(_transfer(mev) * np.sqrt(t), data["x_per_angstrom"], data[f"scatter_{z}"])
    tau = (mev / ELECTRON_MEV)[:, None]
    square = 4 * t * (1 - t)  # of the sine
    x = square * (tau + 2) / (2 + square * tau)  # energy passed on over the kinetic energy
    if positron:
        b1, b2, b3, b4 = (b[:, None] for b in bhabha_terms(mev))
        law, most = 1 - b1 * x + b2 * x**2 - b3 * x**3 + b4 * x**4, 1.0
    else:
        r = x / np.maximum(1 - x, 1e-9)
        law, most = 1 + r**2 + (tau / (tau + 1) * x) ** 2 - (2 * tau + 1) / (tau + 1) ** 2 * r, 0.5
    soft = (x < np.minimum(cut_mev / mev, most)[:, None]) & (t < 0.5)
    return np.where(soft, bound * law * (1 - 2 * t) / (1 - t) ** 2, 0.0)


def _transfer(mev: Float64) -> Float64:
    """Momentum transfer of backward scattering as x = p/h, 1/Angstrom, as a column."""
    return np.sqrt(mev * (mev + 2 * ELECTRON_MEV))[:, None] / HC_MEV_ANGSTROM


def elastic_coefficients(atoms: Mapping[int, float], mev: Float64, positron: bool = False) -> Float64:
    """G_l of elastic scattering by nuclei and their screening alone, (energies, ORDERS + 1).

    Parameters
    ----------
    atoms : number of each element, per g or per molecule; G_l is then in cm2 per that
    """
    return _moments(sum(n * _elastic(z, mev, positron) for z, n in atoms.items()), mev)[0]


def _moments(law: Float64 | float, mev: Float64) -> tuple[Float64, Float64]:
    """(G_l, total) of a law over Rutherford's at the nodes."""
    t, dt = _nodes()
    weighted = 4 * np.pi * rutherford_cm2(mev)[:, None] * law / t**2 * dt
    return weighted @ _one_minus_legendre().T, weighted.sum(axis=1)


def transport_coefficients(
    medium: Medium, mev: Float64, cut_mev: float, positron: bool = False
) -> tuple[Float64, Float64]:
    """(G_l, total) of single scattering: G_l = 4 pi integral (1 - P_l) dsigma/dOmega dt per g/cm2.

    Returns
    -------
    g : (energies, ORDERS + 1); g[:, 1] is the inverse transport mean free path, 1/(g/cm2)
    total : (energies,) deflections beyond t = 1e-9 per g/cm2
    """
    law = np.zeros((len(mev), len(_nodes()[0])))
    for z, atoms in medium.atoms_per_g.items():
        law += atoms * (_elastic(z, mev, positron) + _soft_inelastic(z, mev, cut_mev, positron))
    return _moments(law, mev)


SMOOTHING = 0.03
"""a in 1 - cos = g(u) u / (1 - u + a): the table of g is smooth for both the near-Gaussian core and the
Rutherford tail."""
LEVELS = (0.0, 1 - 1 / 16, 1 - 1 / 256, 1.0)
"""Quantiles are even in u within each of these, so that the rare large angles are resolved as well."""
LEVEL_BINS = 96


def quantile_nodes() -> Float64:
    """u at the nodes of ``angle_tables``."""
    pieces = [np.linspace(low, high, LEVEL_BINS + 1)[:-1] for low, high in pairwise(LEVELS)]
    return np.concatenate([*pieces, [1.0]])


def angle_tables(g: Float64, strength: float) -> Float64:
    """Quantiles of the deflection after a path of ``strength`` first-transport mean free paths.

    Parameters
    ----------
    g : (energies, ORDERS + 1) from ``transport_coefficients``

    Returns
    -------
    (energies, nodes) : g(u) at ``quantile_nodes``; 1 - cos = g(u) u / (1 - u + SMOOTHING). Scaled (by less
        than a part in a thousand) so that the mean of cos is exp(-strength), exactly as the series says.
    """
    t = np.concatenate([[0.0], np.geomspace(1e-7, 1.0, 2000)])
    legendre = _legendre(1 - 2 * t, ORDERS + 1)
    u = quantile_nodes()
    out = np.empty((len(g), len(u)))
    order = np.arange(1, ORDERS + 1)
    steps = (legendre[order - 1] - legendre[order + 1]) / 2
    cumulative = np.clip(t + np.exp(-strength * g / g[:, 1:2])[:, 1:] @ steps, 0, 1)  # of l = 0: t
    cumulative = np.maximum.accumulate(cumulative, axis=1)
    for row, running in enumerate(cumulative / cumulative[:, -1:]):
        keep = np.concatenate([[True], np.diff(running) > 0])
        values = np.interp(u[1:], running[keep], 2 * t[keep]) * (1 - u[1:] + SMOOTHING) / u[1:]
        out[row, 1:], out[row, 0] = values, max(2 * values[0] - values[1], 0.0)
        out[row] *= (1 - np.exp(-strength)) / _mean_deflection(out[row])
    return out


def _mean_deflection(values: Float64) -> float:
    """Mean of 1 - cos as it is sampled: straight lines of g between the nodes."""
    nodes = quantile_nodes()
    part = (np.arange(8) + 0.5) / 8
    fine = (nodes[:-1, None] + np.diff(nodes)[:, None] * part).ravel()
    g = np.interp(fine, nodes, values)
    weight = np.repeat(np.diff(nodes) / 8, 8)
    return float((weight * g * fine / (1 - fine + SMOOTHING)).sum())


def _legendre(mu: Float64, orders: int) -> Float64:
    p = np.ones((orders + 1, len(mu)))
    p[1] = mu
    for n in range(1, orders):
        p[n + 1] = ((2 * n + 1) * mu * p[n] - n * p[n - 1]) / (n + 1)
    return p
