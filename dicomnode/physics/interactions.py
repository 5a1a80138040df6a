"""Elements and media for the transport of photons and electrons: constants, data, composition.

The numbers of the elements lie in data/interactions.npz; data/README.md says where they are from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
import numpy.typing as npt

from dicomnode.errors import OutOfDomain
from dicomnode.physics.tissues import Tissue

Float64 = npt.NDArray[np.float64]

ELECTRON_MEV = 0.51099895  # CODATA 2018
ELECTRON_RADIUS_CM = 2.8179403262e-13  # CODATA 2018
AVOGADRO = 6.02214076e23  # 1/mol, exact
FINE_STRUCTURE = 7.2973525693e-3  # CODATA 2018
HC_MEV_ANGSTROM = 0.0123984198  # h c
BARN_CM2 = 1e-24

DATA = "interactions.npz"

# fmt: off
SYMBOLS = (
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K",
    "Ca", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb",
    "Sr", "Y", "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I",
)
# fmt: on

# Mean excitation energies of elements within liquids and solids, eV: ICRU Report 37 (1984), table 5.1. Of the
# others 1.13 times that of the element (the same report, rule of section 5.2). Water: 75.0 eV.
I_IN_COMPOUNDS_EV: Mapping[int, float] = {1: 19.2, 6: 81.0, 7: 82.0, 8: 106.0, 9: 112.0, 17: 180.0}
I_OTHERS = 1.13
WATER_I_EV = 75.0
# In gases (table 5.1); air as a whole 85.7 eV.
AIR_I_EV = 85.7
GAS_BELOW_G_PER_CM3 = 0.01


@cache
def element_data() -> Mapping[str, Float64]:
    """The arrays of data/interactions.npz by name."""
    with np.load(BytesIO(_raw()), allow_pickle=False) as book:
        return {name: np.asarray(book[name], dtype=np.float64) for name in book}


@cache
def _raw() -> bytes:
    return (files("dicomnode.physics") / "data" / DATA).read_bytes()


def data_digest() -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(_raw()).hexdigest()


def elements() -> tuple[int, ...]:
    """Atomic numbers for which there are data."""
    return tuple(int(z) for z in element_data()["elements"])


def atomic_mass(z: int) -> float:
    """Molar mass, g/mol."""
    row = elements().index(z)
    return z / float(element_data()["z_over_a"][row])


@dataclass(frozen=True)
class Medium:
    """What particles move in: a composition, and the density at which its density effect is taken.

    Attributes
    ----------
    name : for messages
    density_g_per_cm3 : nominal; voxels have a density of their own
    mass_fractions : (atomic number, fraction by mass), adding up to one
    """

    name: str
    density_g_per_cm3: float
    mass_fractions: tuple[tuple[int, float], ...]

    @property
    def atoms_per_g(self) -> dict[int, float]:
        """Atoms of each element per gram."""
        return {z: AVOGADRO * w / atomic_mass(z) for z, w in self.mass_fractions}

    @property
    def z_over_a(self) -> float:
        """Electrons per gram over Avogadro's number."""
        return sum(w * z / atomic_mass(z) for z, w in self.mass_fractions)

    @property
    def mean_excitation_ev(self) -> float:
        """Mean excitation energy by Bragg's rule with the values of ICRU 37 for compounds; water 75 eV."""
        shares = dict(self.mass_fractions)
        if set(shares) == {1, 8} and abs(shares[1] - 0.111894) < 1e-3:
            return WATER_I_EV
        if self.density_g_per_cm3 < GAS_BELOW_G_PER_CM3 and shares.get(7, 0.0) > 0.7:
            return AIR_I_EV
        table = dict(zip(elements(), element_data()["i_element_ev"], strict=True))
        total = 0.0
        for z, w in self.mass_fractions:
            i_ev = I_IN_COMPOUNDS_EV.get(z, I_OTHERS * float(table[z]))
            total += w * z / atomic_mass(z) * np.log(i_ev)
        return float(np.exp(total / self.z_over_a))


def medium_of(tissue: Tissue, density_g_per_cm3: float | None = None) -> Medium:
    """The medium of a tissue at its own or a given density.

    Raises
    ------
    OutOfDomain : an element without data, or no density
    """
    density = tissue.density_g_per_cm3 if density_g_per_cm3 is None else density_g_per_cm3
    if density is None or not density > 0:
        raise OutOfDomain(f"density of {tissue.name}", density, "g/cm3", "a positive number")
    found = []
    for symbol, fraction in tissue.mass_fractions.items():
        z = SYMBOLS.index(symbol) + 1 if symbol in SYMBOLS else 0
        if z not in elements():
            covered = ", ".join(SYMBOLS[n - 1] for n in elements())
            raise OutOfDomain(f"element of {tissue.name}", symbol, "", covered)
        found.append((z, fraction))
    return Medium(tissue.name, float(density), tuple(sorted(found)))
