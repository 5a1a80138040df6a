"""Makes dicomnode/physics/data/elastic.npz: elastic scattering of electrons and positrons.

By Dirac partial waves. The charge of the electrons of an atom is that of its form factor (Hubbell 1975, in
data/interactions.npz), fitted by densities r^n exp(-alpha r); their field and the nucleus's is the potential.
The radial Dirac equations of every partial wave are integrated through it, by the Magnus series of fourth
order with two points of Gauss, with and without field on the same nodes: the difference of the phases at the
end is the phase shift. Static field: no exchange, polarisation or absorption, which are small above 1 keV.
Inside, lengths are in Bohr radii and energies in Hartree.

The file holds the ratio to Rutherford's law times form factor in first Born approximation times the
correction of McKinley and Feshbach, which physics/scattering.py multiplies.

    python tools/make_elastic_data.py OUT.npz
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from math import cos, cosh, exp, sin, sinh, sqrt

import numba
import numpy as np
import numpy.typing as npt
from scipy.special import spherical_jn, spherical_yn

from dicomnode.physics import scattering
from dicomnode.physics.interactions import FINE_STRUCTURE, element_data, elements

Float64 = npt.NDArray[np.float64]

HARTREE_MEV = 27.211386e-6  # CODATA 2018
BOHR_ANGSTROM = 0.529177211  # CODATA 2018
LIGHT = 1 / FINE_STRUCTURE
REACH = 20.0
"""The field ends here: (1 - form factor) is by then some 1e-7 of its charge."""
SPECIES = 8
FINE = 2.5
"""Steps of one radian: with waves thinned out, transport cross sections are those of 0.4 and all to 2e-6."""
DIRECT, SPREAD = 120, 1.02
"""Partial waves solved one by one, and the distance of those solved beyond (splines between them)."""

MEV = 0.004 * 2 ** (np.arange(19) / 2)
SHARE = np.concatenate([np.geomspace(1e-7, 0.05, 40), np.linspace(0.05, 1.0, 25)[1:]])
"""t = (1 - cos)/2 at the nodes of the table."""


@dataclass(frozen=True)
class Atom:
    """A neutral atom: weights of three families of densities by their exponents."""

    z: int
    alpha: Float64
    weight: Float64

    def form(self, q: Float64) -> Float64:
        """Form factor over Z at q, 1/a0: sums of powers 2 to 4 of alpha^2 / (alpha^2 + q^2)."""
        u = self.alpha**2 / (self.alpha**2 + np.asarray(q)[..., None] ** 2)
        return np.asarray(np.concatenate([u**2, u**3, u**4], axis=-1) @ self.weight)

    def screening(self, r: Float64) -> Float64:
        """r V / Z, the same in space: 1 at the nucleus."""
        x = self.alpha * np.asarray(r)[..., None]
        shapes = (1 + x / 2, 1 + 5 / 8 * x + x**2 / 8, 1 + 11 / 16 * x + 3 / 16 * x**2 + x**3 / 48)
        return np.asarray(np.concatenate([s * np.exp(-x) for s in shapes], axis=-1) @ self.weight)


@cache
def atom(z: int) -> Atom:
    """The tabulated form factor as densities; least squares of 1 - F, to some 1e-3 of it (its own noise)."""
    data = element_data()
    x = data["x_per_angstrom"]
    kept = (x > 0.02) & (x < 60)
    q, form = 4 * np.pi * x[kept] * BOHR_ANGSTROM, data[f"form_{z}"][kept] / z
    alpha = np.geomspace(0.9, 12 * z, SPECIES)
    columns = [Atom(z, alpha, one).form(q) for one in np.eye(3 * SPECIES)]
    scale = 1 / np.maximum(1 - form, 1e-3)
    left = np.vstack(
        [np.transpose(columns) * scale[:, None], np.full(3 * SPECIES, 1e3), 2e-5 * np.eye(3 * SPECIES)]
    )
    right = np.concatenate([form * scale, [1e3], np.zeros(3 * SPECIES)])
    return Atom(z, alpha, np.linalg.lstsq(left, right, rcond=None)[0])


def wave_number(mev: float) -> float:
    """1/a0."""
    energy = mev / HARTREE_MEV
    return float(np.sqrt(energy * (energy + 2 * LIGHT**2)) / LIGHT)


@numba.njit(cache=False)
def solve(kappa, start, r, v1, v2, charge, energy, light):
    """(P, Q) at the last node; v1, v2: potential at the two points of Gauss of each interval."""
    if charge == 0.0:
        p, q = (1.0, 0.0) if kappa < 0 else (0.0, 1.0)
    else:  # near the nucleus P and Q go as r^gamma
        zeta = charge / light
        gamma = sqrt(kappa * kappa - zeta * zeta)
        p, q = 1.0, (-zeta / (gamma - kappa) if kappa < 0 else (gamma + kappa) / zeta)
    root = sqrt(3.0) / 6.0
    for n in range(start, len(r) - 1):
        h, middle = r[n + 1] - r[n], 0.5 * (r[n + 1] + r[n])
        a1, a2 = -kappa / (middle - root * h), -kappa / (middle + root * h)
        c1, c2 = -(energy - v1[n]) / light, -(energy - v2[n]) / light
        b1, b2 = 2.0 * light - c1, 2.0 * light - c2
        w = sqrt(3.0) * h * h / 12.0  # of the commutator
        a = 0.5 * h * (a1 + a2) + w * (b2 * c1 - b1 * c2)
        b = 0.5 * h * (b1 + b2) + w * 2.0 * (a2 * b1 - a1 * b2)
        c = 0.5 * h * (c1 + c2) + w * 2.0 * (c2 * a1 - c1 * a2)
        square = a * a + b * c
        s = sqrt(abs(square))
        even = cosh(s) if square > 0.0 else cos(s)
        odd = 1.0 if s < 1e-8 else (sinh(s) if square > 0.0 else sin(s)) / s
        p, q = even * p + odd * (a * p + b * q), even * q + odd * (c * p - a * q)
        if abs(p) + abs(q) > 1e100:
            p, q = p * 1e-100, q * 1e-100
    return p, q


@numba.njit(cache=False)
def solutions(kappas, r, v1, v2, charge, energy, light, k):
    out = np.empty((len(kappas), 2))
    for i, kappa in enumerate(kappas):
        first = abs(kappa) / k * exp(-45.0 / abs(kappa))  # so far inside that the start is forgotten
        start = max(np.searchsorted(r, first) - 1, 0)
        out[i] = solve(kappa, start, r, v1, v2, charge, energy, light)
    return out


@cache
def mesh(mev: float, fine: float, thin: bool) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Radii, and the orders l that are solved."""
    k, r = wave_number(mev), [1e-9 / wave_number(mev)]
    while r[-1] < REACH:
        r.append(r[-1] + min(0.04 * r[-1], 0.4 * fine / k))
    last = int(0.93 * k * r[-1]) - 5
    few = np.unique(np.geomspace(DIRECT, last, int(np.log(last / DIRECT) / np.log(SPREAD))).astype(int))
    orders = np.concatenate([np.arange(DIRECT), few]) if thin and last > 2 * DIRECT else np.arange(last + 1)
    return np.array(r), orders


@cache
def ends(z: int, mev: float, positron: bool, fine: float, thin: bool, up: bool) -> Float64:
    """Angle of (P, Q) to the free waves at the last node; z = 0: no field."""
    k, energy = wave_number(mev), mev / HARTREE_MEV
    r, orders = mesh(mev, fine, thin)
    if not up:
        orders = orders[1:]  # kappa = 0 does not exist
    kappas = (-(orders + 1.0) if up else orders * 1.0).astype(float)
    half, middle = np.diff(r) / (2 * sqrt(3.0)), (r[1:] + r[:-1]) / 2
    charge = -z if positron else z
    v1, v2 = (-charge / at * (atom(z).screening(at) if z else 1.0) for at in (middle - half, middle + half))
    p, q = solutions(kappas, r, v1, v2, float(charge), energy, LIGHT, k).T
    other = orders + 1 if up else orders - 1
    ratio = (-1 if up else 1) * LIGHT * k / (energy + 2 * LIGHT**2)
    x = k * r[-1]
    j, n = spherical_jn(orders, x), spherical_yn(orders, x)
    j_small, n_small = ratio * spherical_jn(other, x), ratio * spherical_yn(other, x)
    return np.asarray(np.arctan2(p * j_small - q * j, p * n_small - q * n))


def phase_shifts(
    z: int, mev: float, positron: bool = False, fine: float = FINE, thin: bool = True
) -> tuple[Float64, Float64]:
    """Phase shifts, modulo pi, of kappa = -(l + 1) and kappa = l (l = 0: zero) for l = 0, 1, ..."""
    from scipy.interpolate import CubicSpline

    orders = mesh(mev, fine, thin)[1]
    found = []
    for up in (True, False):
        shift = ends(z, mev, positron, fine, thin, up) - ends(0, mev, False, fine, thin, up)
        shift = np.unwrap(2 * shift[::-1])[::-1] / 2  # smooth from the last, which is small
        shift -= np.pi * np.round(shift[-1] / np.pi)
        at = orders if up else orders[1:]
        smooth = CubicSpline(at, shift)(np.arange(at[0], at[-1] + 1))
        found.append(smooth if up else np.concatenate([[0.0], smooth]))
    return found[0], found[1]


@numba.njit(cache=False)
def amplitudes(t, up, down):
    """Direct and spin-flip amplitude times 2 i k; up, down: exp(2 i delta) - 1."""
    direct, flip = np.zeros(len(t), np.complex128), np.zeros(len(t), np.complex128)
    for i in range(len(t)):
        mu, sine = 1.0 - 2.0 * t[i], 2.0 * sqrt(t[i] * (1.0 - t[i]))
        p0, p1, d0, d1 = 1.0, mu, 0.0, 1.0  # Legendre polynomials and their derivatives
        f, g = up[0] + 0j, 0j
        for n in range(1, len(up)):
            f += ((n + 1) * up[n] + n * down[n]) * p1
            g += (down[n] - up[n]) * d1 * sine
            p0, p1 = p1, ((2 * n + 1) * mu * p1 - n * p0) / (n + 1)
            d0, d1 = d1, d0 + (2 * n + 1) * p0
        direct[i], flip[i] = f, g
    return direct, flip


def cross_section(
    z: int, mev: float, t: Float64, positron: bool = False, fine: float = FINE, thin: bool = True
) -> Float64:
    """d sigma / d Omega, cm2/sr, of unpolarised particles at t = (1 - cos)/2."""
    up, down = (np.exp(2j * delta) - 1 for delta in phase_shifts(z, mev, positron, fine, thin))
    f, g = amplitudes(t, up, down)
    per_a0 = (np.abs(f) ** 2 + np.abs(g) ** 2) / (2 * wave_number(mev)) ** 2
    return np.asarray(per_a0 * (BOHR_ANGSTROM * 1e-8) ** 2)


def born(z: int, mev: float, t: Float64, positron: bool = False) -> Float64:
    """The law of physics/scattering.py with the fitted form factor, cm2/sr."""
    q = 2 * wave_number(mev) * np.sqrt(t)
    mott = scattering.mott_factor(z, np.array([mev]), t, positron)[0]
    return np.asarray((z * (1 - atom(z).form(q))) ** 2 * mott * scattering.rutherford_cm2(mev) / t**2)


def main() -> None:
    ratio = np.empty((len(elements()), 2, len(MEV), len(SHARE)), np.float32)
    for e, mev in enumerate(MEV):
        for n, z in enumerate(elements()):
            for charge, positron in enumerate((False, True)):
                exact = cross_section(z, float(mev), SHARE, positron)
                ratio[n, charge, e] = exact / born(z, float(mev), SHARE, positron)
        sys.stderr.write(f"{mev:.3f} MeV: {ratio[:, :, e].min():.4f} to {ratio[:, :, e].max():.4f}\n")
        ends.cache_clear()
    np.savez_compressed(sys.argv[1], mev=MEV, t=SHARE, ratio=ratio)


if __name__ == "__main__":
    main()
