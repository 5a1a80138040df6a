"""The tables and the geometry that the transport reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dicomnode.physics import electrons, photons, scattering
from dicomnode.physics.interactions import Medium

Float64 = npt.NDArray[np.float64]

# Nodes: walk tables have this many per unit of lethargy; errors of straight lines stay below 1e-5.
PER_K = 200
PHOTON_NODES = 1500
ENERGY_NODES = 400
ANGLE_ROWS = 40
BREMS_BINS = 64
REACH_BINS = 1024
FAR_STEPS = 4.0
"""Length of an electron's step that cannot reach a face over one that can (docs/physics.md: measured)."""
GROUPS = 3
BLOCK = 8
"""Edge of a block of voxels with one majorant."""


class World(NamedTuple):
    """Arrays and numbers for the device functions; lengths in mm, energies in MeV, densities in g/cm3."""

    count: Any
    edge: Any
    density: Any
    material: Any
    media: int
    block: int
    blocks: Any
    block_density: Any
    group_mu: Any
    photon: Any
    log_photon: float
    per_log_photon: float
    scatter: Any
    coherent: Any
    x: Any
    log_x: float
    per_log_x: float
    walk: Any
    last_k: Any
    reach: Any
    quiet: Any
    per_bin: float
    per_k: float
    lethargy: Any
    log_cut: float
    per_log: float
    angle: Any
    smoothing: float
    brems: Any
    step_k: float
    far_steps: float
    electron_cut: float
    photon_end: float
    photon_cut: float
    delta_cut: float


class Cuts(NamedTuple):
    """Cut-offs, MeV; length of a step in transport mean free paths, and of one far from faces over that."""

    electron: float
    photon: float
    delta: float
    brems: float
    step_k: float
    far_steps: float = FAR_STEPS


class ElectronTables(NamedTuple):
    """One medium, one charge."""

    walk: Float64
    last_k: float
    lethargy: Float64
    angle: Float64
    brems: Float64
    reach: Float64
    quiet: Float64


def electron_tables(medium: Medium, cuts: Cuts, highest_mev: float, positron: bool = False) -> ElectronTables:
    """Tables of the walk of an electron: energy, range, mean free paths by lethargy."""
    fine = np.geomspace(cuts.electron, highest_mev, 4000)[::-1]
    collision = electrons.collision_stopping(medium, fine[::20], positron)
    collision = np.exp(np.interp(-np.log(fine), -np.log(fine[::20]), np.log(collision)))
    hard = electrons.bhabha if positron else electrons.moller
    number, hard_loss = hard(medium, fine, cuts.delta)
    in_flight = electrons.annihilation(medium, fine) if positron else np.zeros_like(fine)
    ratio, scaled = electrons.bremsstrahlung(medium, fine)
    photons_hard, hard_radiated = _hard_bremsstrahlung(fine, ratio, scaled, cuts.brems)
    radiated = np.trapezoid(scaled, ratio, axis=1) * fine
    soft = collision - hard_loss + radiated - hard_radiated
    rows = np.geomspace(cuts.electron, highest_mev, ANGLE_ROWS)
    g_rows, _ = scattering.transport_coefficients(medium, rows, cuts.delta, positron)
    g1 = np.exp(_spline(np.log(rows), np.log(g_rows[:, 1]), np.log(fine)))

    def run(integrand: Float64) -> Float64:
        pieces = -np.diff(fine) * (integrand[1:] + integrand[:-1]) / 2
        return np.concatenate([[0.0], np.cumsum(pieces)])

    k = run(g1 / soft)
    residual = run(1 / soft)
    columns = (
        fine,
        residual[-1] - residual,
        run((number + photons_hard + in_flight) / soft),
        electrons.csda_range(medium, fine, positron),
        np.log(fine / cuts.electron) / np.log(highest_mev / cuts.electron) * (ANGLE_ROWS - 1),
        run((photons_hard + in_flight) / (collision + radiated)),
        photons_hard / np.maximum(number + photons_hard + in_flight, 1e-30),
        (photons_hard + in_flight) / np.maximum(number + photons_hard + in_flight, 1e-30),
    )
    nodes = np.arange(int(np.ceil(k[-1] * PER_K)) + 1) / PER_K
    walk = np.stack([np.interp(nodes, k, column) for column in columns], axis=1)
    log = np.linspace(np.log(cuts.electron), np.log(highest_mev), ENERGY_NODES)
    lethargy = np.interp(log, np.log(fine[::-1]), k[::-1])
    angle = np.stack([scattering.angle_tables(g_rows, cuts.step_k * n) for n in (1.0, cuts.far_steps)])
    brems = _photon_quantiles(rows, medium, cuts.brems)
    # At the upper edges of even bins, so that they bound range and number of photons in the bin from above.
    upper = -np.clip(np.arange(1, REACH_BINS + 1) * (highest_mev / REACH_BINS), cuts.electron, None)
    reach = np.interp(upper, -fine, columns[3])
    quiet = np.exp(np.interp(upper, -fine, columns[5]) - columns[5][-1])
    return ElectronTables(walk, float(k[-1]), lethargy, angle, brems, reach, quiet)


def _spline(x: Float64, y: Float64, at: Float64) -> Float64:
    from scipy.interpolate import CubicSpline

    return np.asarray(CubicSpline(x, y)(at))


def _hard_bremsstrahlung(
    mev: Float64, ratio: Float64, scaled: Float64, cut: float
) -> tuple[Float64, Float64]:
    """(number, MeV) of photons above the cut per g/cm2."""
    number, energy = np.zeros_like(mev), np.zeros_like(mev)
    above = mev > cut * 1.01
    own = mev[above]
    log = np.log(cut / own)[:, None] * np.linspace(1.0, 0.0, 60)  # of ratios, from the cut to all of it
    x = np.exp(log)
    place = np.clip(x, ratio[0], ratio[-1])
    low = np.clip(np.searchsorted(ratio, place, side="right") - 1, 0, len(ratio) - 2)
    part = (place - ratio[low]) / np.diff(ratio)[low]
    rows = scaled[above]
    first, last = np.take_along_axis(rows, low, axis=1), np.take_along_axis(rows, low + 1, axis=1)
    spectrum = first + (last - first) * part
    number[above] = np.trapezoid(spectrum, log, axis=1)
    energy[above] = np.trapezoid(spectrum, x, axis=1) * own
    return number, energy


def _photon_quantiles(rows: Float64, medium: Medium, cut: float) -> Float64:
    """ln(k/cut)/ln(T/cut) of bremsstrahlung photons at even quantiles, for each energy T."""
    ratio, scaled = electrons.bremsstrahlung(medium, rows)
    out = np.zeros((len(rows), BREMS_BINS + 1))
    for n, mev in enumerate(rows):
        if mev <= cut * 1.01:
            continue
        x = np.linspace(0, 1, 400)
        spectrum = np.interp(cut / mev * (mev / cut) ** x, ratio, scaled[n])
        running = np.concatenate([[0.0], np.cumsum((spectrum[1:] + spectrum[:-1]) / 2)])
        out[n] = np.interp(np.linspace(0, 1, BREMS_BINS + 1), running / running[-1], x)
    return out


def _stack(tables: Sequence[Float64]) -> Float64:
    """Tables of different length in one array; the last row is repeated."""
    longest = max(len(t) for t in tables)
    return np.stack([np.concatenate([t, np.repeat(t[-1:], longest - len(t), axis=0)]) for t in tables])


def photon_tables(media: Sequence[Medium], end_mev: float) -> Float64:
    """Running sums of coefficients, cm2/g; the bound energy, MeV; energy taken from photons, MeV cm2/g."""
    energy = np.geomspace(photons.LOWEST_MEV, photons.HIGHEST_MEV, PHOTON_NODES)
    out = []
    for medium in media:
        c = photons.coefficients(medium, energy)
        sums = np.cumsum([c.photoelectric, c.incoherent, c.coherent, c.pair], axis=0)
        taken = c.photoelectric * energy + c.incoherent * photons.compton_loss(medium, energy, end_mev)
        taken += c.pair * np.maximum(energy - photons.THRESHOLD_PAIR_MEV, 0.0)
        out.append(np.stack([*sums, c.binding_mev, taken], axis=1))
    return np.stack(out)


def _groups(photon: Float64) -> npt.NDArray[np.int64]:
    """Each medium's group of majorants: by attenuation at 30 keV, where composition tells most."""
    at_30_kev = photon[:, int(PHOTON_NODES * np.log(30) / np.log(1e4)), 3]
    return np.asarray(np.digitize(at_30_kev / at_30_kev.min(), [1.25, 2.0]))


def _block_density(
    density: npt.NDArray[np.float32], group: npt.NDArray[np.int64]
) -> tuple[Float64, tuple[int, int, int]]:
    """Largest density of each group in each block, (blocks, GROUPS), and the numbers of blocks x, y, z."""
    shape = tuple(-(-n // BLOCK) for n in density.shape)
    out = np.zeros((*shape, GROUPS))
    padded = [(0, b * BLOCK - n) for b, n in zip(shape, density.shape, strict=True)]
    for g in range(GROUPS):
        here = np.pad(np.where(group == g, density, 0.0), padded)
        blocks = here.reshape(shape[0], BLOCK, shape[1], BLOCK, shape[2], BLOCK)
        out[..., g] = blocks.max(axis=(1, 3, 5))
    return out.reshape(-1, GROUPS), (shape[2], shape[1], shape[0])


def make_world(
    density_zyx: npt.NDArray[np.float32],
    material_zyx: npt.NDArray[np.integer],
    spacing_mm: tuple[float, float, float],
    media: Sequence[Medium],
    cuts: Cuts,
    highest_mev: float,
    positrons: bool,
) -> World:
    """Everything that the transport reads.

    Parameters
    ----------
    density_zyx : g/cm3
    material_zyx : index into ``media``
    spacing_mm : x, y, z
    highest_mev : of any electron
    positrons : whether any may occur
    """
    charges = (False, True) if positrons else (False,)
    walks = [electron_tables(m, cuts, highest_mev, charge) for charge in charges for m in media]
    photon = photon_tables(media, cuts.photon)
    group = _groups(photon)
    block_density, blocks = _block_density(density_zyx, group[material_zyx])
    group_mu = np.zeros((GROUPS, PHOTON_NODES))
    for index, g in enumerate(group):
        group_mu[g] = np.maximum(group_mu[g], photon[index, :, 3])
    x = photons.x_grid_per_angstrom()
    nz, ny, nx = density_zyx.shape
    world = World(
        count=np.array([nx, ny, nz], np.int64),
        edge=np.array(spacing_mm, np.float64),
        density=np.ascontiguousarray(density_zyx, np.float32).ravel(),
        material=np.ascontiguousarray(material_zyx, np.uint8).ravel(),
        media=len(media),
        block=BLOCK,
        blocks=np.array(blocks, np.int64),
        block_density=block_density,
        group_mu=group_mu,
        photon=photon,
        log_photon=float(np.log(photons.LOWEST_MEV)),
        per_log_photon=float((PHOTON_NODES - 1) / np.log(photons.HIGHEST_MEV / photons.LOWEST_MEV)),
        scatter=np.stack([photons.scattering_share(m) for m in media]),
        coherent=np.stack([photons.coherent_cumulative(m) for m in media]),
        x=x,
        log_x=float(np.log(x[1])),
        per_log_x=float((len(x) - 2) / np.log(x[-1] / x[1])),
        walk=_stack([t.walk for t in walks]),
        last_k=np.array([t.last_k for t in walks]),
        reach=np.stack([t.reach for t in walks]),
        quiet=np.stack([t.quiet for t in walks]),
        per_bin=REACH_BINS / highest_mev,
        per_k=float(PER_K),
        lethargy=np.stack([t.lethargy for t in walks]),
        log_cut=float(np.log(cuts.electron)),
        per_log=float((ENERGY_NODES - 1) / np.log(highest_mev / cuts.electron)),
        angle=np.stack([t.angle for t in walks], axis=1),
        smoothing=scattering.SMOOTHING,
        brems=np.stack([t.brems for t in walks]),
        step_k=cuts.step_k,
        far_steps=cuts.far_steps,
        electron_cut=cuts.electron,
        photon_end=cuts.photon,
        photon_cut=cuts.brems,
        delta_cut=cuts.delta,
    )
    for name, table in zip(World._fields, world, strict=True):
        if not np.isfinite(table).all():
            raise ArithmeticError(f"the table {name} holds NaN or infinite values")
    return world
