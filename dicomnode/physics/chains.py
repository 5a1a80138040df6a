"""Decay chains of therapy and of its generators, with branching.

ICRP 107 states emissions per decay of each member alone. What a patient receives per decay of the
administered nuclide depends on where its progeny decay. Two answers are offered, each with a name of
its own that results carry: progeny in equilibrium at the place of the parent ("Ac-225+progeny"), or
decays of each member assigned by hand ("Ac-225+assigned").

Where progeny emit next to nothing the bare nuclide is the answer. ``data/progeny_matter.txt`` names all
nuclides of ICRP 107 where they do not (the rule stands in tools/make_progeny_list.py: above 1 % of the
parent's energy within a year): of these, those without a chain here are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from dicomnode.errors import OutOfDomain
from dicomnode.model import EnergyPerDecay, Nuclide
from dicomnode.physics.nuclides import canonical_name, nuclide

# (daughter, branching fraction) of each member: ICRP 107 (data/README.md). Stable daughters, those
# that outlive any patient (99Tc, 81Kr, 210Pb) and branches below 2e-4 (At-217 beta-minus, 1.2e-4) left out.
BRANCHES: Mapping[str, tuple[tuple[str, float], ...]] = {
    "Ac-225": (("Fr-221", 1.0),),
    "Fr-221": (("At-217", 1.0),),
    "At-217": (("Bi-213", 0.99988),),
    "Bi-213": (("Po-213", 0.9791), ("Tl-209", 0.0209)),
    "Po-213": (("Pb-209", 1.0),),
    "Tl-209": (("Pb-209", 1.0),),
    "Th-227": (("Ra-223", 1.0),),
    "Ra-223": (("Rn-219", 1.0),),
    "Rn-219": (("Po-215", 1.0),),
    "Po-215": (("Pb-211", 1.0),),
    "Pb-211": (("Bi-211", 1.0),),
    "Bi-211": (("Tl-207", 0.99724), ("Po-211", 0.00276)),
    "Pb-212": (("Bi-212", 1.0),),
    "Bi-212": (("Po-212", 0.6406), ("Tl-208", 0.3594)),
    "At-211": (("Po-211", 0.582), ("Bi-207", 0.418)),
    "Th-228": (("Ra-224", 1.0),),
    "Ra-224": (("Rn-220", 1.0),),
    "Rn-220": (("Po-216", 1.0),),
    "Po-216": (("Pb-212", 1.0),),
    "Ra-225": (("Ac-225", 1.0),),
    "U-230": (("Th-226", 1.0),),
    "Th-226": (("Ra-222", 1.0),),
    "Ra-222": (("Rn-218", 1.0),),
    "Rn-218": (("Po-214", 1.0),),
    "Sr-90": (("Y-90", 1.0),),
    "W-188": (("Re-188", 1.0),),
    "Dy-166": (("Ho-166", 1.0),),
    "Mo-99": (("Tc-99m", 0.8773),),
    "Ge-68": (("Ga-68", 1.0),),
    "Sr-82": (("Rb-82", 1.0),),
    "Rb-81": (("Kr-81m", 0.95691),),
    "Zn-62": (("Cu-62", 1.0),),
    "Ti-44": (("Sc-44", 1.0),),
    "Sc-44m": (("Sc-44", 0.988),),
    "Ca-47": (("Sc-47", 1.0),),
    "Pd-103": (("Rh-103m", 0.99875),),
    "In-114m": (("In-114", 0.9675),),
    "Ce-134": (("La-134", 1.0),),
    "Nd-140": (("Pr-140", 1.0),),
    "Ru-106": (("Rh-106", 1.0),),
    "Cs-137": (("Ba-137m", 0.94399),),
}

# Members that outlive the patient's dose. Bi-207 lives 32.9 y: of each decay of At-211 it gives less than
# 1e-4 of its own within a month. 223Ra under 227Th (18.7 d, 11.4 d) is in transient equilibrium and stays.
LONG_LIVED = frozenset({"Bi-207"})


@dataclass(frozen=True)
class ChainMember:
    """One member of a chain and its decays per decay of the parent."""

    nuclide: Nuclide
    decays: float


Progeny = Literal["refuse", "equilibrium"]
"""What is said of progeny in general: nothing, so that such a nuclide is refused, or equilibrium."""


def stated(found: Nuclide, progeny: Progeny) -> Nuclide:
    """The nuclide as an engine wants it: with its progeny, where they are said to be in equilibrium."""
    return with_progeny(found.name) if progeny == "equilibrium" and has_progeny(found.name) else found


def has_progeny(name: str) -> bool:
    """True where ``name`` is a bare nuclide whose progeny matter, so that they have to be stated."""
    return name in BRANCHES or name in _progeny_matter()


@cache
def _progeny_matter() -> frozenset[str]:
    path = files("dicomnode.physics") / "data" / "progeny_matter.txt"
    return frozenset(path.read_text(encoding="ascii").split())


def chain(name: str) -> tuple[ChainMember, ...]:
    """The parent and its progeny with their decays per decay of the parent, all of them decaying.

    Time-integrated to infinity each progeny atom decays once, so decays are products of branching
    fractions, summed over paths; half-lives do not enter.
    """
    decays: dict[str, float] = {}

    def walk(member: str, amount: float) -> None:
        decays[member] = decays.get(member, 0.0) + amount
        for daughter, fraction in BRANCHES.get(member, ()):
            if daughter not in LONG_LIVED:
                walk(daughter, amount * fraction)

    walk(canonical_name(name), 1.0)
    return tuple(ChainMember(nuclide(member), amount) for member, amount in decays.items())


def with_progeny(name: str, assigned: Mapping[str, float] | None = None) -> Nuclide:
    """The parent with its progeny's energies added, per decay of the parent.

    Parameters
    ----------
    name : the administered nuclide
    assigned : progeny name -> decays at this place per decay of the parent here, replacing those of
        equilibrium; members not named keep theirs. Alpha energy stays apart in ``alpha_mev``

    Raises
    ------
    OutOfDomain : no chain is known for the nuclide, a name is not in the chain, or a negative number
    """
    members = chain(name)
    parent = members[0].nuclide
    if len(members) == 1:
        raise OutOfDomain("nuclide with a known chain", parent.name, "", ", ".join(sorted(BRANCHES)))
    decays = {m.nuclide.name: m.decays for m in members} | _checked(assigned or {}, members)
    energies = {m.nuclide.name: m.nuclide.energy for m in members}
    total = EnergyPerDecay(
        *(
            sum(decays[n] * getattr(energies[n], field) for n in decays)
            for field in ("electron_mev", "photon_mev", "positron_mev", "alpha_mev")
        )
    )
    how = "assigned" if assigned else "progeny"
    amounts = ", ".join(f"{n} {d:.12g}" for n, d in decays.items())
    return Nuclide(
        f"{parent.name}+{how}", parent.half_life_s, total, f"{parent.source}; decays per parent: {amounts}"
    )


def _checked(assigned: Mapping[str, float], members: tuple[ChainMember, ...]) -> dict[str, float]:
    known = [m.nuclide.name for m in members[1:]]
    found = {}
    for name, decays in assigned.items():
        canonical = canonical_name(name)
        if canonical not in known:
            raise OutOfDomain("progeny", canonical, "", ", ".join(known))
        if not 0 <= decays < float("inf"):
            raise OutOfDomain(f"decays of {canonical} per parent decay", decays, "", "zero or more")
        found[canonical] = float(decays)
    return found
