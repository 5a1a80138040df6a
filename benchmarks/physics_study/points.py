"""Point kernels of electrons in water against EGSnrc, and what moves the end of 177Lu's."""

from __future__ import annotations

import itertools
from contextlib import nullcontext

import numpy as np
from egsnrc import Array, shells
from page import Table, with_sigma
from varied import born_law, scattering_times

from dicomnode.montecarlo import cpu, radial
from dicomnode.montecarlo.particle import POSITRON
from dicomnode.montecarlo.source import (
    Component,
    Source,
    electron_component,
    members,
)
from dicomnode.montecarlo.world import Cuts, make_world
from dicomnode.physics.interactions import medium_of
from dicomnode.physics.nuclides import nuclide
from dicomnode.physics.tissues import tissue

DEFAULT = Cuts(electron=0.01, photon=0.001, delta=0.01, brems=0.01, step_k=0.05)
BATCHES, INTERVALS = 10, 10
HISTORIES = {"Lu-177": 1e6, "Y-90": 4e5, "I-131": 6e5}
TAIL_HISTORIES, TAIL_FROM_MEV = 3e5, 0.24
TAIL_MM = (0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
END_MM, END_HISTORIES = (0.7, 1.2), 5e5


def batches_of_shells(
    component: Component, edges_mm: Array, histories: float, cuts: Cuts = DEFAULT, seed: int = 5
) -> Array:
    """MeV per decay by shell around a point source in water: a row for each batch."""
    source = component.source
    positrons = bool((source.kind == POSITRON).any())
    world = make_world(
        np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), int), (2000.0,) * 3,
        [medium_of(tissue("water"))], cuts, source.highest_mev * 1.001, positrons,
    )  # fmt: skip
    each, rows = int(histories / BATCHES), np.zeros((BATCHES, len(edges_mm)))
    for batch, row in enumerate(rows):
        radial.run(world, source, each, np.uint64(seed), batch, edges_mm, row, cpu.scratch())
    rows *= source.per_decay / each
    rows[:, 0] += component.local_mev
    return rows[:, :-1]


def mean_and_sigma(rows: Array) -> tuple[Array, Array]:
    """Of batches, along the first axis."""
    return rows.mean(axis=0), rows.std(axis=0, ddof=1) / len(rows) ** 0.5


def electron_shells(
    component: Component, edges_mm: Array, histories: float, cuts: Cuts = DEFAULT
) -> tuple[Array, Array]:
    """(MeV per decay by shell, sigma) around a point source in water."""
    return mean_and_sigma(batches_of_shells(component, edges_mm, histories, cuts))


def summed(values: Array, edges: Array, bounds: Array, power: int = 1) -> Array:
    """Sums (of squares, then the root, for power 2) of shells between radii."""
    place = np.searchsorted(edges, bounds * (1 - 1e-9))
    return np.array([(values[a:b] ** power).sum() ** (1 / power) for a, b in itertools.pairwise(place)])


def against_egsnrc(name: str) -> Table:
    """Ten shells up to the radius of 99 % of the energy, and the largest difference of the running sum."""
    edges, energy, sigma = shells(name, "electron")
    found, spread = electron_shells(electron_component(members(nuclide(name)), 0.01), edges, HISTORIES[name])
    running = np.cumsum(energy) / energy.sum()
    last = edges[1:][np.searchsorted(running, 0.99)]
    bounds = edges[np.unique(np.searchsorted(edges, np.linspace(0, last, INTERVALS + 1) * (1 - 1e-9)))]
    ours, theirs = summed(found, edges, bounds), summed(energy, edges, bounds)
    both = np.hypot(summed(spread, edges, bounds, 2) / ours, summed(sigma, edges, bounds, 2) / theirs)
    rows = [
        (f"{a:.2f} - {b:.2f}", f"{share:.3f}", with_sigma(ratio, ratio * deviation))
        for a, b, share, ratio, deviation in zip(
            bounds, bounds[1:], theirs / energy.sum(), ours / theirs, both, strict=False
        )
    ]
    most = np.abs(np.cumsum(found) - np.cumsum(energy)).max() / energy.sum()
    note = (
        f"{HISTORIES[name]:.0e} histories; sigma of the ratio is that of both codes. Largest difference of "
        f"the running sum {100 * most:.2f} %. Radii of 50 and 90 %: {radius(edges, found, 0.5):.4g} and "
        f"{radius(edges, found, 0.9):.4g} mm, EGSnrc {radius(edges, energy, 0.5):.4g} and "
        f"{radius(edges, energy, 0.9):.4g}."
    )
    return Table(
        f"Point kernel of {name} in water, electrons", ("mm", "share of energy", "ours / EGSnrc"), rows, note
    )


def radius(edges: Array, energy: Array, share: float) -> float:
    """Radius of a share of the energy, mm."""
    return float(np.interp(share, np.cumsum(energy) / energy.sum(), edges[1:]))


def fast_betas() -> Component:
    """177Lu's electrons above 240 keV, which alone get beyond 0.6 mm."""
    whole = electron_component(members(nuclide("Lu-177")), 0.01).source
    kept = whole.high > TAIL_FROM_MEV
    upto = np.cumsum(np.diff(whole.upto, prepend=0.0)[kept])
    guide = np.searchsorted(upto, np.arange(len(whole.guide)) * (upto[-1] / len(whole.guide)))
    source = Source(
        upto, whole.low[kept].copy(), whole.high[kept].copy(), whole.kind[kept].copy(), guide,
        len(whole.guide) / float(upto[-1]),
    )  # fmt: skip
    return Component("electron", source, 0.0)


def tail() -> Table:
    """Ratios to EGSnrc beyond 0.6 mm with the transport varied."""
    edges, energy, sigma = shells("Lu-177", "electron")
    component, bounds, rows = fast_betas(), np.array(TAIL_MM), []
    for label, cuts, factor in (
        ("default", DEFAULT, 1.0),
        ("step 0.02", DEFAULT._replace(step_k=0.02), 1.0),
        ("electrons and delta rays down to 5 keV", DEFAULT._replace(electron=0.005, delta=0.005), 1.0),
        ("delta rays only from 50 keV", DEFAULT._replace(delta=0.05), 1.0),
        ("scattering x 1.02", DEFAULT, 1.02),
        ("scattering x 0.98", DEFAULT, 0.98),
    ):
        with scattering_times(factor):
            found, spread = electron_shells(component, edges, TAIL_HISTORIES, cuts)
        ours, theirs = summed(found, edges, bounds), summed(energy, edges, bounds)
        both = np.hypot(summed(spread, edges, bounds, 2) / ours, summed(sigma, edges, bounds, 2) / theirs)
        rows.append((label, *(with_sigma(r, r * s, 3) for r, s in zip(ours / theirs, both, strict=True))))
    head = ("varied", *(f"{a:.1f} - {b:.1f} mm" for a, b in itertools.pairwise(TAIL_MM)))
    known = summed(sigma, edges, bounds, 2) / summed(energy, edges, bounds)
    note = f"Electrons above {1e3 * TAIL_FROM_MEV:.0f} keV only, {TAIL_HISTORIES:.0e} each; sigma of both. "
    note += f"EGSnrc's ({', '.join(f'{x:.4f}' for x in known)}) is common to all rows."
    return Table("End of the 177Lu kernel: ours / EGSnrc with the transport varied", head, rows, note)


def end() -> Table:
    """0.7 to 1.2 mm as a whole, where statistics are better."""
    edges, energy, sigma = shells("Lu-177", "electron")
    component, bounds, rows = fast_betas(), np.array(END_MM), []
    theirs = summed(energy, edges, bounds)[0]
    small = DEFAULT._replace(electron=0.005, delta=0.005)
    for label, cuts, seeds in (
        ("default", DEFAULT, 4),
        ("step 0.02", DEFAULT._replace(step_k=0.02), 4),
        ("step 0.01", DEFAULT._replace(step_k=0.01), 2),
        ("electrons and delta rays down to 5 keV", small, 3),
        ("the same, bremsstrahlung photons too", small._replace(brems=0.005), 1),
        ("Born's law of elastic scattering", DEFAULT, 3),
    ):
        with born_law() if label.startswith("Born") else nullcontext():
            found = np.concatenate(
                [batches_of_shells(component, edges, END_HISTORIES, cuts, 11 + n) for n in range(seeds)]
            )
        ours = mean_and_sigma(np.array([summed(row, edges, bounds)[0] for row in found]))
        rows.append((label, f"{seeds * END_HISTORIES:.1e}", with_sigma(ours[0] / theirs, ours[1] / theirs)))
    known = summed(sigma, edges, bounds, 2)[0] / theirs
    note = f"Electrons above {1e3 * TAIL_FROM_MEV:.0f} keV only; our sigma alone, EGSnrc's is "
    note += f"{100 * known:.2f} %. "
    note += "Born's law: with form factor and McKinley and Feshbach's correction, without partial waves."
    head = ("varied", "histories", "ours / EGSnrc")
    return Table("End of the 177Lu kernel, {} to {} mm as a whole".format(*END_MM), head, rows, note)
