"""Makes dicomnode/physics/data/progeny_matter.txt: nuclides that must not be used without their progeny.

Needs the file decay_data.npz of radioactivedecay 0.6.1 (daughters and branching fractions of ICRP 107); only
our own answer, yes or no by nuclide, is kept. Not needed to run dicomnode.

    python tools/make_progeny_list.py .../icrp107_ame2020_nubase2020/decay_data.npz OUT.txt
    python tools/make_progeny_list.py .../icrp107_ame2020_nubase2020/decay_data.npz --branches Ra-224 ...

The rule (our own choice): the progeny matter where, per decay of the parent, what they emit passes 1 % of
what the parent emits, either as charged particles (electrons, positrons, alphas, recoils; of the parent's
charged energy) or as photons (of all energy of the parent). A progeny atom counts with the chance that it
decays within one year of its own birth, so that 99Tc under 99mTc is nothing and 90Y under 90Sr is all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import fill

import numpy as np

from dicomnode.physics.nuclides import available_names, nuclide

YEAR_S = 31557600.0
SHARE = 0.01
LEAST_BRANCH = 2e-4

Chains = dict[str, list[tuple[str, float]]]


def daughters(file: Path) -> Chains:
    """Radioactive daughters with their branching fractions, by parent."""
    with np.load(file, allow_pickle=True) as book:
        rows = zip(book["nuclides"], book["progeny"], book["bfs"], strict=True)
        pairs = {str(p): zip(found, fractions, strict=True) for p, found, fractions in rows}
    known = available_names()
    return {p: [(d, float(f)) for d, f in found if d in known] for p, found in pairs.items()}


def emitted(name: str, chains: Chains, chance: float = 1.0) -> tuple[float, float]:
    """(charged, photon) energy of a nuclide and its progeny, MeV per decay of the first."""
    energy = nuclide(name).energy
    charged = chance * (energy.electron_mev + energy.positron_mev + energy.alpha_mev)
    photon = chance * energy.photon_mev
    for daughter, fraction in chains.get(name, []):
        lives = 1 - np.exp(-nuclide(daughter).decay_per_s * YEAR_S)
        more = emitted(daughter, chains, chance * fraction * lives)
        charged, photon = charged + more[0], photon + more[1]
    return charged, photon


def matter(name: str, chains: Chains) -> bool:
    """True where the progeny pass one of the two limits."""
    own, own_photon = emitted(name, {})
    charged, photon = emitted(name, chains)
    return charged - own > SHARE * own or photon - own_photon > SHARE * (own + own_photon)


def branches(names: list[str], chains: Chains) -> None:
    """Lines for BRANCHES of physics/chains.py: the parents, and every member below them."""
    seen: list[str] = []
    while names:
        name = names.pop(0)
        found = tuple((d, f) for d, f in chains.get(name, []) if f >= LEAST_BRANCH)
        if found and name not in seen:
            seen.append(name)
            sys.stdout.write(f'    "{name}": {found!r},\n')
            names += [d for d, _ in found]


def main() -> None:
    chains = daughters(Path(sys.argv[1]))
    if sys.argv[2] == "--branches":
        branches(sys.argv[3:], chains)
        return
    names = sorted(n for n in available_names() if matter(n, chains))
    Path(sys.argv[2]).write_text(fill(" ".join(names), 120, break_on_hyphens=False) + "\n", encoding="ascii")
    sys.stdout.write(f"{len(names)} of {len(available_names())}\n")


if __name__ == "__main__":
    main()
