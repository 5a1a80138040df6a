"""Photons: voxel by voxel with an expected-value tally, or by Woodcock tracking.

``photon_voxel`` flies through one voxel and leaves there the energy that a photon loses on such a path on
average (track-length estimator; Williamson, Med Phys 14 (1987) 567). Collisions happen as ever, but only what
their electrons carry elsewhere counts: the electron's energy is taken off where it is set free and added
where it stops. Both together are unbiased, whatever the electrons do, and so is each collision's balance.
``photon_leg`` flies to the next collision (Woodcock et al., ANL-7050, 1965; a majorant for each block of
voxels) and leaves there what a collision leaves.

Photoelectric effect (the photoelectron leaves; the binding energy stays: fluorescence of tissue, at most
4 keV of calcium, ranges 0.1 mm), Compton scattering with the incoherent scattering function, coherent
scattering with the form factor, pair production.
"""

from __future__ import annotations

from math import exp, log, pi, sqrt

from dicomnode.montecarlo.device import device, hot, least, most
from dicomnode.montecarlo.electron import REST, energy_bin
from dicomnode.montecarlo.particle import (
    DEPTH,
    ELECTRON,
    ENERGY,
    ESCAPED,
    FATE,
    MOVES,
    PLACE,
    POSITRON,
    SPECIES,
    STOPPED,
    THIN,
    TO_X,
    WAITING,
    I,
    J,
    K,
    U,
    V,
    W,
    cell,
    push,
    to_face,
    turn,
)
from dicomnode.montecarlo.random import uniform

HC = 0.0123984198  # MeV Angstrom
SHORT = 0.5
"""Range of the fastest Compton electron over the voxel's smallest edge below which voxels leave averages."""
FEWEST_LEFT = 0.3  # of a photon's energy: where the photoelectric effect competes, below 100 keV
# Columns of the table of coefficients: running sums, so that one number chooses the interaction; then the
# mean bound energy, and the energy that photons lose (MeV cm2/g).
PHOTO, INCOHERENT, COHERENT, TOTAL, BINDING, LOST = range(6)
GROUPS = 3


@hot
def majorant(world, block, place, part):
    """Largest attenuation in a block, 1/mm."""
    largest = 0.0
    for group in range(GROUPS):
        table = world.group_mu[group]
        mu = table[place] + part * (table[place + 1] - table[place])
        largest = most(largest, world.block_density[block, group] * mu)
    return 0.1 * largest


@hot
def start_flight(p, q, world, rng):
    """Optical depth to the next collision, and the way to the faces of the voxel."""
    p[DEPTH] = -log(uniform(rng))
    place = (log(p[ENERGY]) - world.log_photon) * world.per_log_photon
    p[PLACE] = least(most(place, 0.0), world.photon.shape[1] - 1.001)
    for axis in range(3):
        p[TO_X + axis] = to_face(p[axis], p[U + axis], q[axis], world.edge[axis])
    kappa = p[ENERGY] / REST
    fastest = p[ENERGY] * most(2.0 * kappa / (1.0 + 2.0 * kappa), FEWEST_LEFT)
    voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    p[THIN] = world.reach[int(world.material[voxel]), energy_bin(world, fastest)] / SHORT
    q[SPECIES] = 0


@hot
def fly_on(p, q, world, rng):
    """Fly to the face of the voxel and into the next, unless a collision comes first: then nothing is moved.

    Returns (whether the face came first, way to what came first in mm, energy lost on it on average or -1
    where electrons would leave the voxel anyway: there the average is no help).
    """
    if q[SPECIES] < 0:
        start_flight(p, q, world, rng)
    voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    material = world.material[voxel]
    n = int(p[PLACE])
    part = p[PLACE] - n
    low, high = world.photon[material, n], world.photon[material, n + 1]
    per_mm = 0.1 * world.density[voxel]
    mu = per_mm * (low[TOTAL] + part * (high[TOTAL] - low[TOTAL]))
    lost = per_mm * (low[LOST] + part * (high[LOST] - low[LOST]))
    smooth = per_mm * least(world.edge[0], least(world.edge[1], world.edge[2])) > p[THIN]
    axis = 0 if p[TO_X] < p[TO_X + 1] else 1
    axis = axis if p[TO_X + axis] < p[TO_X + 2] else 2
    way = p[TO_X + axis]
    if p[DEPTH] <= mu * way:
        way = p[DEPTH] / mu
        return False, way, (lost * way if smooth else -1.0)
    p[DEPTH] -= mu * way
    for other in range(3):
        p[other] += way * p[U + other]
        p[TO_X + other] -= way
    forward = p[U + axis] > 0.0
    p[TO_X + axis] = world.edge[axis] / abs(p[U + axis])
    q[axis] += 1 if forward else -1
    p[axis] = (q[axis] if forward else q[axis] + 1) * world.edge[axis]
    if not 0 <= q[axis] < world.count[axis]:
        q[FATE] = ESCAPED
    return True, way, (lost * way if smooth else -1.0)


@device
def photon_voxel(p, q, stack, stacked, world, rng):
    """Fly through one voxel, to its face or a collision.

    Returns (energy lost there on average, energy lost there in truth, energy left there in truth). Where
    electrons would leave the voxel anyway the average is no help, and the truth stands for it.
    """
    crossed, way, mean = fly_on(p, q, world, rng)
    if crossed:
        return most(mean, 0.0), 0.0, 0.0
    for other in range(3):
        p[other] += way * p[U + other]
    voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
    n = int(p[PLACE])
    part = p[PLACE] - n
    q[SPECIES] = -1
    before, waiting = p[ENERGY], q[WAITING]
    here = most(interact(p, q, stack, stacked, world, world.material[voxel], n, part, rng), 0.0)
    given = before - rest_of(p, q, waiting)
    return (mean if mean >= 0.0 else given), given, here


@hot
def rest_of(p, q, waiting):
    """Energy that a photon still has after a collision; what a pair brings back when it annihilates counts.

    ``waiting`` : secondaries before it; only a pair are two.
    """
    if q[FATE] == MOVES:
        return p[ENERGY]
    return 2.0 * REST if q[WAITING] - waiting == 2 else 0.0


@device
def photon_leg(p, q, stack, stacked, world, rng):
    """Fly to the next interaction that leaves energy, or out. Returns the energy left in voxel (i, j, k)."""
    while True:
        place = (log(p[ENERGY]) - world.log_photon) * world.per_log_photon
        n = least(most(int(place), 0), world.photon.shape[1] - 2)
        part = place - n
        if not fly(p, q, world, n, part, rng):
            q[FATE] = ESCAPED
            return 0.0
        voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
        here = interact(p, q, stack, stacked, world, world.material[voxel], n, part, rng)
        if here >= 0.0:
            return here


@hot
def fly(p, q, world, n, part, rng):
    """Move to a real interaction and set the voxel; False where the photon leaves the grid."""
    bi, bj, bk = q[I] // world.block, q[J] // world.block, q[K] // world.block
    while True:
        block = (bk * world.blocks[1] + bj) * world.blocks[0] + bi
        top = majorant(world, block, n, part)
        free = -log(uniform(rng)) / most(top, 1e-30)
        wx = to_face(p[0], p[U], bi, world.block * world.edge[0])
        wy = to_face(p[1], p[V], bj, world.block * world.edge[1])
        wz = to_face(p[2], p[W], bk, world.block * world.edge[2])
        way = least(wx, least(wy, wz))
        if free > way:
            for axis in range(3):
                p[axis] += way * p[U + axis]
            if way == wx:
                bi += 1 if p[U] > 0 else -1
            elif way == wy:
                bj += 1 if p[V] > 0 else -1
            else:
                bk += 1 if p[W] > 0 else -1
            if not (0 <= bi < world.blocks[0] and 0 <= bj < world.blocks[1] and 0 <= bk < world.blocks[2]):
                return False
            continue
        for axis in range(3):
            p[axis] += free * p[U + axis]
            if p[axis] < 0.0 or p[axis] >= world.edge[axis] * world.count[axis]:
                return False  # the last block of an axis may reach beyond the grid
            q[axis] = cell(p[axis], world.edge[axis], world.count[axis])
        voxel = (q[K] * world.count[1] + q[J]) * world.count[0] + q[I]
        table = world.photon[world.material[voxel]]
        mu = table[n, TOTAL] + part * (table[n + 1, TOTAL] - table[n, TOTAL])
        if uniform(rng) * top < 0.1 * mu * world.density[voxel]:
            return True


@hot
def interact(p, q, stack, stacked, world, material, n, part, rng):
    """One interaction. Returns the energy left here; negative where the photon just goes on."""
    low, high = world.photon[material, n], world.photon[material, n + 1]
    choice = uniform(rng) * (low[TOTAL] + part * (high[TOTAL] - low[TOTAL]))
    energy = p[ENERGY]
    if choice < low[PHOTO] + part * (high[PHOTO] - low[PHOTO]):
        bound = least(low[BINDING], energy)
        photoelectron(p, q, stack, stacked, world, energy - bound, rng)
        q[FATE] = STOPPED
        if energy - bound <= world.electron_cut:
            return energy
        return bound
    if choice < low[INCOHERENT] + part * (high[INCOHERENT] - low[INCOHERENT]):
        return compton(p, q, stack, stacked, world, material, rng)
    if choice < low[COHERENT] + part * (high[COHERENT] - low[COHERENT]):
        rayleigh(p, world, material, rng)
        return -1.0
    return pair(p, q, stack, stacked, world, rng)


@device
def photoelectron(p, q, stack, stacked, world, energy, rng):
    """The photoelectron, by Sauter's K-shell law (PENELOPE-2018, section 2.2)."""
    if energy <= world.electron_cut:
        return
    gamma = 1.0 + energy / REST
    beta = sqrt(1.0 - 1.0 / (gamma * gamma))
    a = 1.0 / beta - 1.0
    b = 0.5 * beta * gamma * (gamma - 1.0) * (gamma - 2.0)
    top = 2.0 * (1.0 / a + b)
    while True:
        u = uniform(rng)
        t = 2.0 * a / ((a + 2.0) ** 2 - 4.0 * u) * (2.0 * u + (a + 2.0) * sqrt(u))
        if uniform(rng) * top <= (2.0 - t) * (1.0 / (a + t) + b):
            break
    turn(p, 1.0 - t, 2.0 * pi * uniform(rng))
    push(p, q, stack, stacked, ELECTRON, energy)


@device
def scattered_share(world, material, x):
    """Incoherent scattering function over the number of electrons at x, 1/Angstrom."""
    place = (log(most(x, 1e-12)) - world.log_x) * world.per_log_x
    if place < 0.0:
        return world.scatter[material, 1] * exp(2.0 * place / world.per_log_x)  # rises as x^2
    n = least(int(place), world.scatter.shape[1] - 3)
    part = least(place - n, 1.0)
    table = world.scatter[material]
    return table[n + 1] + part * (table[n + 2] - table[n + 1])


@device
def compton(p, q, stack, stacked, world, material, rng):
    """Klein-Nishina (PENELOPE-2018, section 2.3: two branches) times the scattering function."""
    energy = p[ENERGY]
    kappa = energy / REST
    low = 1.0 / (1.0 + 2.0 * kappa)
    a1, a2 = -log(low), 0.5 * (1.0 - low * low)
    while True:
        if uniform(rng) * (a1 + a2) < a1:
            e = exp(-a1 * uniform(rng))
        else:
            e = sqrt(low * low + (1.0 - low * low) * uniform(rng))
        t = (1.0 - e) / (kappa * e)  # 1 - cos
        sine2 = t * (2.0 - t)
        if uniform(rng) >= 1.0 - e * sine2 / (1.0 + e * e):
            continue
        if uniform(rng) < scattered_share(world, material, energy / HC * sqrt(0.5 * t)):
            break
    azimuth = 2.0 * pi * uniform(rng)
    electron = energy * (1.0 - e)
    here = electron
    if electron > world.electron_cut:
        old_u, old_v, old_w = p[U], p[V], p[W]
        momentum = sqrt(electron * (electron + 2.0 * REST))
        turn(p, least(1.0, (energy - energy * e * (1.0 - t)) / momentum), azimuth + pi)
        push(p, q, stack, stacked, ELECTRON, electron)
        p[U], p[V], p[W] = old_u, old_v, old_w
        here = 0.0
    turn(p, 1.0 - t, azimuth)
    p[ENERGY] = energy * e
    q[FATE] = MOVES
    if p[ENERGY] <= world.photon_end:
        q[FATE] = STOPPED
        return here + p[ENERGY]
    return here if here > 0.0 else -1.0


@device
def rayleigh(p, world, material, rng):
    """Coherent scattering: squared form factor, then (1 + cos^2)/2 by rejection."""
    table, x = world.coherent[material], world.x
    largest = p[ENERGY] / HC
    end = 0
    high = len(x) - 1
    while high - end > 1:
        middle = (end + high) // 2
        if x[middle] <= largest:
            end = middle
        else:
            high = middle
    share = (largest**2 - x[end] ** 2) / (x[end + 1] ** 2 - x[end] ** 2)
    total = table[end] + least(share, 1.0) * (table[end + 1] - table[end])
    while True:
        wanted = uniform(rng) * total
        low, high = 0, end + 1
        while high - low > 1:
            middle = (low + high) // 2
            if table[middle] <= wanted:
                low = middle
            else:
                high = middle
        part = (wanted - table[low]) / (table[high] - table[low])
        squared = x[low] ** 2 + part * (x[high] ** 2 - x[low] ** 2)
        cosine = most(-1.0, 1.0 - 2.0 * squared / largest**2)
        if 2.0 * uniform(rng) < 1.0 + cosine * cosine:
            break
    turn(p, cosine, 2.0 * pi * uniform(rng))


@device
def pair(p, q, stack, stacked, world, rng):
    """Pair production: energies even, both at about m/E to the photon. The threshold goes to annihilation."""
    total = p[ENERGY] - 2.0 * REST
    one = total * uniform(rng)
    azimuth = 2.0 * pi * uniform(rng)
    angle = REST / p[ENERGY]
    cosine = 1.0 - 0.5 * angle * angle
    old_u, old_v, old_w = p[U], p[V], p[W]
    turn(p, cosine, azimuth)
    push(p, q, stack, stacked, ELECTRON, one)
    p[U], p[V], p[W] = old_u, old_v, old_w
    turn(p, cosine, azimuth + pi)
    push(p, q, stack, stacked, POSITRON, total - one)
    q[FATE] = STOPPED
    return 0.0
