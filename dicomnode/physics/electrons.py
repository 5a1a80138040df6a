"""Electrons and positrons: stopping powers, ranges, hard collisions, bremsstrahlung, annihilation.

Collision stopping power: Bethe with the electron and positron terms of Berger and Seltzer (ICRU Report 37,
1984, equations 2.10 to 2.17) and the density effect of Sternheimer (Phys Rev 88 (1952) 851), solved for the
shells of the elements as in ESTAR. Radiative: Seltzer and Berger's tables (At Data Nucl Data Tables 35
(1986) 345).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicomnode.physics.interactions import (
    AVOGADRO,
    ELECTRON_MEV,
    ELECTRON_RADIUS_CM,
    Medium,
    atomic_mass,
    element_data,
)

Float64 = npt.NDArray[np.float64]

# 2 pi r_e^2 m c^2 N_A, MeV cm2 / mol (ICRU 37, equation 2.10)
BETHE = 0.153537
PLASMA_EV = 28.8159  # plasma energy of rho Z/A = 1 g/cm3, eV (ICRU 37, equation 2.25)
MILLIBARN_CM2 = 1e-27


def beta_squared(mev: npt.ArrayLike) -> Float64:
    """Squared speed over that of light of an electron of this kinetic energy."""
    tau = np.asarray(mev, dtype=np.float64) / ELECTRON_MEV
    return tau * (tau + 2) / (tau + 1) ** 2


def _oscillators(medium: Medium) -> tuple[Float64, Float64]:
    """Share of all electrons and binding energy (eV) of each shell; those of conduction electrons are 0."""
    data = element_data()
    share, energy = [], []
    for z, w in medium.mass_fractions:
        number = np.abs(data[f"shell_electrons_{z}"])
        share.append(number / number.sum() * w * z / atomic_mass(z) / medium.z_over_a)
        energy.append(data[f"shell_ev_{z}"])
    return np.concatenate(share), np.concatenate(energy)


def density_effect(medium: Medium, mev: npt.ArrayLike) -> Float64:
    """Density-effect correction delta of Sternheimer by the shells of the medium."""
    from scipy.optimize import brentq

    share, energy = _oscillators(medium)
    plasma = PLASMA_EV * np.sqrt(medium.density_g_per_cm3 * medium.z_over_a)
    log_i = np.log(medium.mean_excitation_ev)

    def excess(rho: float) -> float:
        level = np.sqrt((energy * rho) ** 2 + 2 / 3 * share * plasma**2)
        return float((share * np.log(level)).sum() - log_i)

    rho = brentq(excess, 1e-3, 1e3)
    level = (energy * rho / plasma) ** 2  # squared, of plasma energies
    shifted = level + 2 / 3 * share
    beta2 = np.asarray(beta_squared(mev))
    target = 1 / beta2 - 1
    # Bisection of sum f/(level + L^2) = 1/beta^2 - 1 for all energies at once; L = 0 where it has no root.
    low, high = np.zeros_like(target), 2.0 / target
    for _ in range(60):
        square = (low + high) / 2
        above = (share / (level + square[..., None])).sum(axis=-1) > target
        low, high = np.where(above, square, low), np.where(above, high, square)
    delta = (share * np.log1p(square[..., None] / shifted)).sum(axis=-1) - square * (1 - beta2)
    return np.asarray(np.where((share / level).sum() > target, delta, 0.0))


def collision_stopping(medium: Medium, mev: npt.ArrayLike, positron: bool = False) -> Float64:
    """Unrestricted collision stopping power, MeV cm2/g."""
    energy = np.asarray(mev, dtype=np.float64)
    tau, b2 = energy / ELECTRON_MEV, beta_squared(energy)
    if positron:
        t = tau + 2
        shape = 2 * np.log(2) - b2 / 12 * (23 + 14 / t + 10 / t**2 + 4 / t**3)
    else:
        shape = 1 - b2 + (tau**2 / 8 - (2 * tau + 1) * np.log(2)) / (tau + 1) ** 2
    bethe = np.log((energy / (medium.mean_excitation_ev * 1e-6)) ** 2 * (1 + tau / 2))
    return np.asarray(BETHE * medium.z_over_a / b2 * (bethe + shape - density_effect(medium, energy)))


def moller(medium: Medium, mev: Float64, cut_mev: float) -> tuple[Float64, Float64]:
    """Hard collisions that pass on more than ``cut_mev``: (number, MeV) per g/cm2, by Moller.

    dN/dW = 0.1535 (Z/A) / beta^2 [1/W^2 + 1/(T-W)^2 + (tau/(tau+1))^2/T^2 - (2 tau+1)/(tau+1)^2/(W(T-W))],
    W from the cut to T/2 (ICRU 37, equation 2.5).
    """
    tau, b2 = mev / ELECTRON_MEV, beta_squared(mev)
    w = np.minimum(cut_mev, mev / 2)
    c1, c2 = (tau / (tau + 1)) ** 2, (2 * tau + 1) / (tau + 1) ** 2
    front = BETHE * medium.z_over_a / b2
    ratio = np.log(w / (mev - w))  # of 1/(W(T-W)): ln(W/(T-W))/T
    number = 1 / w - 1 / (mev - w) + c1 * (0.5 - w / mev) / mev + c2 * ratio / mev
    energy = (
        np.log(mev**2 / (4 * w * (mev - w))) + 2 - mev / (mev - w)
        + c1 * (1 / 8 - (w / mev) ** 2 / 2) + c2 * np.log((mev - (mev / 2)) / (mev - w))
    )  # fmt: skip
    hard = mev > 2 * cut_mev
    return np.where(hard, front * number, 0.0), np.where(hard, front * energy, 0.0)


def bhabha_terms(mev: npt.ArrayLike) -> tuple[Float64, Float64, Float64, Float64]:
    """b1 to b4 of Bhabha's law: dN/dW as 1/W^2 (1 - b1 x + b2 x^2 - b3 x^3 + b4 x^4), x = W/T."""
    y, b2 = 1 / (np.asarray(mev, dtype=np.float64) / ELECTRON_MEV + 2), beta_squared(mev)
    v = 1 - 2 * y
    return b2 * (2 - y**2), b2 * v * (3 + y**2), b2 * (v**2 + v**3), b2 * v**3


def bhabha(medium: Medium, mev: Float64, cut_mev: float) -> tuple[Float64, Float64]:
    """Hard collisions of positrons: (number, MeV) per g/cm2 by Bhabha (Proc R Soc A 154 (1936) 195).

    As ``moller``, with W from the cut to T: the two particles are not alike.
    """
    b1, b2, b3, b4 = bhabha_terms(mev)
    x = np.minimum(cut_mev / mev, 1.0)
    front = BETHE * medium.z_over_a / beta_squared(mev)
    number = 1 / x - 1 + b1 * np.log(x) + b2 * (1 - x) - b3 * (1 - x**2) / 2 + b4 * (1 - x**3) / 3
    energy = -np.log(x) - b1 * (1 - x) + b2 * (1 - x**2) / 2 - b3 * (1 - x**3) / 3 + b4 * (1 - x**4) / 4
    return front * number / mev, front * energy


def annihilation(medium: Medium, mev: Float64) -> Float64:
    """Annihilation of positrons in flight with free electrons, two photons, per g/cm2.

    Heitler, The Quantum Theory of Radiation (3rd ed., 1954), section 27.
    """
    gamma = np.asarray(mev, dtype=np.float64) / ELECTRON_MEV + 1
    p = np.sqrt(gamma**2 - 1)
    per_electron = ((gamma**2 + 4 * gamma + 1) / p**2 * np.log(gamma + p) - (gamma + 3) / p) / (gamma + 1)
    return np.asarray(np.pi * ELECTRON_RADIUS_CM**2 * AVOGADRO * medium.z_over_a * per_electron)


def bremsstrahlung(medium: Medium, mev: Float64) -> tuple[Float64, Float64]:
    """Scaled spectrum k dN/dk per g/cm2 of electrons of each energy, on the returned grid of k/T.

    Returns
    -------
    ratio : (n,) k/T from 0 to 1
    scaled : (len(mev), n) k dN/dk, 1/(g/cm2)
    """
    from scipy.interpolate import PchipInterpolator

    data = element_data()
    total = np.zeros((len(mev), len(data["brems_ratio"])))
    for z, atoms in medium.atoms_per_g.items():
        table = PchipInterpolator(np.log(data["brems_mev"]), data[f"brems_{z}"])(np.log(mev))
        total += atoms * z**2 * MILLIBARN_CM2 * table
    return data["brems_ratio"], total / beta_squared(mev)[:, None]


def radiative_stopping(medium: Medium, mev: Float64) -> Float64:
    """Radiative stopping power from the spectra, MeV cm2/g."""
    ratio, scaled = bremsstrahlung(medium, mev)
    return np.asarray(np.trapezoid(scaled, ratio, axis=1) * mev)


def csda_range(medium: Medium, mev: npt.ArrayLike, positron: bool = False) -> Float64:
    """Range in the continuous-slowing-down approximation, g/cm2, from 1 eV-like energies up.

    Below 1 keV the stopping power is taken as that at 1 keV; 1 keV has a range of 5e-6 g/cm2 in water.
    """
    energy = np.atleast_1d(np.asarray(mev, dtype=np.float64))
    grid = np.geomspace(1e-3, max(float(energy.max()), 2e-3), 400)
    inverse = 1 / (collision_stopping(medium, grid, positron) + radiative_stopping(medium, grid))
    log = np.log(grid)
    steps = np.diff(log) * (inverse[1:] * grid[1:] + inverse[:-1] * grid[:-1]) / 2
    ranges = np.concatenate([[0.0], np.cumsum(steps)]) + grid[0] * inverse[0]
    return np.asarray(np.exp(np.interp(np.log(energy), log, np.log(ranges))))
