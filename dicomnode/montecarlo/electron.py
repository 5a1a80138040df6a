"""Electrons and positrons by condensed histories.

The clock is the scattering lethargy K = integral ds / lambda_1 (lambda_1: transport mean free path), in which
the mean cosine of the deflection is exp(-K) whatever the energy loss on the way. A step is a fixed K. Its
deflection, sampled from the Goudsmit-Saunderson law of the whole step, takes place at one point, even in K
(random hinge: Fernandez-Varea et al., NIM B 73 (1993) 447; Sempau, Wilderman, Bielajew, Phys Med Biol 45
(2000) 2263). Hard collisions (Moller, Bhabha) and bremsstrahlung above their cuts are single events, as is
annihilation in flight; losses below the cuts are continuous. Energy, residual range and mean free paths are
functions of K alone in one material, so a flight is a walk along one table, cut by voxel faces. A step goes
on across faces; only what the tables say changes with the material. A step that cannot reach a face of its
voxel is longer (``world.FAR_STEPS``).
"""

from __future__ import annotations

from math import exp, log, pi, sqrt

from dicomnode.montecarlo.device import device, hot, least, most
from dicomnode.montecarlo.particle import (
    ELECTRON,
    END,
    ENERGY,
    ESCAPED,
    FAR,
    FATE,
    HARD,
    HINGE,
    KIND,
    MOVES,
    NEAR,
    NO,
    NOW,
    PENDING,
    PHOTON,
    POSITRON,
    SPECIES,
    STOPPED,
    I,
    J,
    K,
    U,
    V,
    W,
    isotropic,
    nearest_face,
    push,
    to_face,
    turn,
)
from dicomnode.montecarlo.random import uniform

REST = 0.51099895  # MeV, CODATA 2018
# Columns of the walk table. BREMS: mean free paths of what makes photons (bremsstrahlung, annihilation), with
# all losses continuous; SHARE and PHOTONS: of all hard events the part of bremsstrahlung, and of both.
MEV, RANGE, PATHS, CSDA, ROW, BREMS, SHARE, PHOTONS = range(8)


@hot
def at(world, species, k, column):
    """A column of the walk table at lethargy k, straight between its nodes."""
    place = k * world.per_k
    n = least(int(place), world.walk.shape[1] - 2)
    part = place - n
    table = world.walk[species]
    return table[n, column] + part * (table[n + 1, column] - table[n, column])


@hot
def lethargy(world, species, energy):
    """K of an energy."""
    place = (log(most(energy, 1e-9)) - world.log_cut) * world.per_log
    n = least(most(int(place), 0), world.lethargy.shape[1] - 2)
    part = place - n
    table = world.lethargy[species]
    k = table[n] + part * (table[n + 1] - table[n])
    return least(most(k, 0.0), world.last_k[species])


@hot
def energy_bin(world, energy):
    """Bin of the tables that bound range and bremsstrahlung from above."""
    return least(int(energy * world.per_bin), world.reach.shape[1] - 1)


@hot
def deflect(p, world, species, k, rng):
    """Multiple scattering of one whole step, at its hinge."""
    place = at(world, species, k, ROW) + uniform(rng)  # a row of the energies at random: linear on average
    row = least(int(place), world.angle.shape[2] - 1)
    u = uniform(rng)
    bins = (world.angle.shape[3] - 1) // 3
    if u < 0.9375:  # the levels of scattering.quantile_nodes
        place = u * (16.0 / 15.0) * bins
    elif u < 0.99609375:
        place = (1.0 + (u - 0.9375) * (256.0 / 15.0)) * bins
    else:
        place = (2.0 + (u - 0.99609375) * 256.0) * bins
    n = int(place)
    table = world.angle[1 if p[PENDING] == FAR else 0, species, row]
    g = table[n] + (place - n) * (table[n + 1] - table[n])
    turn(p, most(-1.0, 1.0 - g * u / (1.0 - u + world.smoothing)), 2.0 * pi * uniform(rng))


@device
def photon_of(world, species, energy, rng):
    """Energy of a bremsstrahlung photon above the cut (Seltzer and Berger)."""
    place = at(world, species, lethargy(world, species, energy), ROW) + uniform(rng)
    row = least(int(place), world.brems.shape[1] - 1)
    bins = world.brems.shape[2] - 1
    u = uniform(rng) * bins
    n = int(u)
    table = world.brems[species, row]
    x = table[n] + (u - n) * (table[n + 1] - table[n])
    return world.photon_cut * exp(x * log(energy / world.photon_cut))


@device
def emit_photon(p, q, stack, stacked, world, energy, rng):
    """Bremsstrahlung photon at the angle of a dipole in flight: (1 - beta cos)^-2. Returns its energy."""
    k = least(photon_of(world, q[SPECIES], energy, rng), energy)
    beta = sqrt(energy * (energy + 2 * REST)) / (energy + REST)
    u = 2.0 * uniform(rng) - 1.0
    old_u, old_v, old_w = p[U], p[V], p[W]
    turn(p, (u + beta) / (1.0 + u * beta), 2.0 * pi * uniform(rng))
    push(p, q, stack, stacked, PHOTON, k)
    p[U], p[V], p[W] = old_u, old_v, old_w
    return k


@device
def moller_transfer(energy, cut, rng):
    """Energy passed on in a hard collision of an electron, by Moller: from 1/W^2, then rejection."""
    tau = energy / REST
    c1, c2 = (tau / (tau + 1.0)) ** 2, (2.0 * tau + 1.0) / (tau + 1.0) ** 2
    low = cut / energy
    top = 2.0 + 0.25 * c1 - c2
    top = most(top, 1.0)
    while True:
        x = low / (1.0 - uniform(rng) * (1.0 - 2.0 * low))
        r = x / (1.0 - x)
        if uniform(rng) * top <= 1.0 + r * r + c1 * x * x - c2 * r:
            return x * energy


@device
def bhabha_transfer(energy, cut, rng):
    """The same of a positron, by Bhabha (terms: physics.electrons.bhabha_terms); the bracket is at most 1."""
    y = REST / (energy + 2.0 * REST)
    v = 1.0 - 2.0 * y
    b = energy * (energy + 2.0 * REST) / ((energy + REST) * (energy + REST))
    low = cut / energy
    while True:
        x = low / (1.0 - uniform(rng) * (1.0 - low))
        terms = v * v * (1.0 + v) - x * v * v * v
        if uniform(rng) <= 1.0 - b * x * (2.0 - y * y - x * (v * (3.0 + y * y) - x * terms)):
            return least(x, 1.0) * energy


@device
def collide(p, q, stack, stacked, world, density, face, rng):
    """A hard collision: deflects the primary, makes the secondary. Returns what was deposited here."""
    energy = p[ENERGY]
    if q[KIND] == POSITRON:
        w = bhabha_transfer(energy, world.delta_cut, rng)
    else:
        w = moller_transfer(energy, world.delta_cut, rng)
    azimuth = 2.0 * pi * uniform(rng)
    old_u, old_v, old_w = p[U], p[V], p[W]
    here = 0.0
    p[ENERGY] = energy - w
    if world.reach[q[SPECIES], energy_bin(world, w)] < face * density:
        here = w
    else:
        turn(p, sqrt(w * (energy + 2 * REST) / (energy * (w + 2 * REST))), azimuth + pi)
        push(p, q, stack, stacked, ELECTRON, w)
        p[U], p[V], p[W] = old_u, old_v, old_w
    left = energy - w
    turn(p, sqrt(left * (energy + 2 * REST) / (energy * (left + 2 * REST))), azimuth)
    return here


@device
def annihilate(p, q, stack, stacked, rng):
    """A positron at rest: two photons of 511 keV, back to back."""
    isotropic(p, uniform(rng), uniform(rng))
    push(p, q, stack, stacked, PHOTON, REST)
    p[U], p[V], p[W] = -p[U], -p[V], -p[W]
    push(p, q, stack, stacked, PHOTON, REST)


@device
def annihilate_in_flight(p, q, stack, stacked, energy, rng):
    """A positron of this energy: two photons, by Heitler. It is gone then, and has no kinetic energy.

    Of the whole energy 2 m + T one photon has the share z, sampled by 1/z and rejection; the angles follow.
    """
    gamma = energy / REST + 1.0
    momentum = sqrt(gamma * gamma - 1.0)
    low = 1.0 / (gamma + 1.0 + momentum)
    span = log((1.0 - low) / low)
    top = gamma * gamma + 2.0 * gamma - 1.0
    z = low
    searching = True
    while searching:
        z = low * exp(span * uniform(rng))
        searching = uniform(rng) * top > top + 2.0 * (gamma + 1.0) - (gamma + 1.0) ** 2 * z - 1.0 / z
    azimuth = 2.0 * pi * uniform(rng)
    old_u, old_v, old_w = p[U], p[V], p[W]
    first = z * (energy + 2.0 * REST)
    turn(p, least(most((gamma + 1.0 - 1.0 / z) / momentum, -1.0), 1.0), azimuth)
    push(p, q, stack, stacked, PHOTON, first)
    p[U], p[V], p[W] = old_u, old_v, old_w
    turn(p, least(most((gamma + 1.0 - 1.0 / (1.0 - z)) / momentum, -1.0), 1.0), azimuth + pi)
    push(p, q, stack, stacked, PHOTON, energy + 2.0 * REST - first)
    p[ENERGY] = 0.0
    q[FATE] = STOPPED


@device
def photons_of_stopping(p, q, stack, stacked, world, gone, rng):
    """Bremsstrahlung or annihilation in flight of an electron that stays, after ``gone`` mean free paths.

    Returns the energy that this takes from the deposit.
    """
    species, low, high = q[SPECIES], p[NOW], world.last_k[q[SPECIES]]
    base = at(world, species, low, BREMS)
    for _ in range(30):
        middle = 0.5 * (low + high)
        if at(world, species, middle, BREMS) - base < gone:
            low = middle
        else:
            high = middle
    energy = least(at(world, species, low, MEV), p[ENERGY])
    if uniform(rng) * at(world, species, low, PHOTONS) > at(world, species, low, SHARE):
        annihilate_in_flight(p, q, stack, stacked, energy, rng)
        return energy
    if energy > world.photon_cut:
        return emit_photon(p, q, stack, stacked, world, energy, rng)
    return 0.0


@device
def stop_by(p, q, stack, stacked, world, luck, rng):
    """The rest of the energy stays here, less the photons made in slowing down. Returns the deposit.

    ``luck`` : a random number, which says whether there are any.
    """
    species = q[SPECIES]
    here = p[ENERGY]
    paths = at(world, species, world.last_k[species], BREMS) - at(world, species, p[NOW], BREMS)
    if paths > 0.0:
        gone = -log(luck)
        if gone < paths:
            here -= photons_of_stopping(p, q, stack, stacked, world, gone, rng)
    if q[KIND] == POSITRON and q[FATE] == MOVES:
        annihilate(p, q, stack, stacked, rng)
    q[FATE] = STOPPED
    return here


@hot
def stop(p, q, stack, stacked, world, rng):
    """``stop_by`` a number of its own."""
    return stop_by(p, q, stack, stacked, world, uniform(rng), rng)


@hot
def new_step(p, world, species, way, rng):
    """A step begins: its end and its hinge. ``way``: to the nearest face, g/cm2."""
    length = world.far_steps * world.step_k
    p[PENDING] = FAR
    last = least(p[NOW] + length, world.last_k[species])
    if at(world, species, p[NOW], RANGE) - at(world, species, last, RANGE) >= way:
        length = world.step_k
        p[PENDING] = NEAR
    p[END] = p[NOW] + length
    p[HINGE] = p[NOW] + length * uniform(rng)


@hot
def enter(p, q, world, voxel, rng):
    """Find the place in the tables of a voxel's material; what is left of the step stays."""
    species = species_of(q, world, voxel)
    if q[SPECIES] == species:
        return
    new = q[SPECIES] < 0
    q[SPECIES] = species
    k = lethargy(world, species, p[ENERGY])
    p[HINGE] += k - p[NOW]
    p[END] += k - p[NOW]
    p[NOW] = k
    if new:
        new_step(p, world, species, 0.0, rng)
        p[HARD] = -log(uniform(rng))


@hot
def lose(p, q, world, energy):
    """After a hard event: go to the place of the new energy in the tables."""
    p[ENERGY] = energy
    k = lethargy(world, q[SPECIES], energy)
    p[HINGE] += k - p[NOW]
    p[END] += k - p[NOW]
    p[NOW] = k


@hot
def event(p, q, stack, stacked, world, density, hard, rng):
    """What happens at the end of a flight. Returns what was deposited."""
    here = 0.0
    if hard:
        u = uniform(rng)
        if u < at(world, q[SPECIES], p[NOW], SHARE):
            if p[ENERGY] > world.photon_cut:
                k = emit_photon(p, q, stack, stacked, world, p[ENERGY], rng)
                lose(p, q, world, most(p[ENERGY] - k, 1e-9))
        elif u < at(world, q[SPECIES], p[NOW], PHOTONS):
            annihilate_in_flight(p, q, stack, stacked, p[ENERGY], rng)
        elif p[ENERGY] > world.delta_cut * (1.0 if q[KIND] == POSITRON else 2.0):
            here = collide(p, q, stack, stacked, world, density, nearest_face(p, q, world.edge), rng)
            lose(p, q, world, p[ENERGY])
        p[HARD] = -log(uniform(rng))
    elif p[PENDING] != NO:
        deflect(p, world, q[SPECIES], p[NOW], rng)
        p[PENDING] = NO
    else:
        new_step(p, world, q[SPECIES], nearest_face(p, q, world.edge) * density, rng)
    return here


@hot
def flight_end(p, q, world):
    """(lethargy, range there, hard event?) of the next event: hinge, end of step, hard event or cut."""
    species, now = q[SPECIES], p[NOW]
    target = p[HINGE] if p[PENDING] != NO else p[END]
    target = least(target, world.last_k[species])
    paths = at(world, species, target, PATHS) - at(world, species, now, PATHS)
    if paths >= p[HARD]:
        target = now + (target - now) * p[HARD] / paths
        return target, at(world, species, target, RANGE), True
    p[HARD] -= paths
    return target, at(world, species, target, RANGE), False


@hot
def cut_flight(world, species, now, target, begin, end, stop_range):
    """Lethargy at which the residual range is ``stop_range``, between the ends of a flight (Newton)."""
    k = now + (target - now) * (begin - stop_range) / (begin - end)
    for _ in range(2):
        n = least(int(k * world.per_k), world.walk.shape[1] - 2)
        slope = (world.walk[species, n + 1, RANGE] - world.walk[species, n, RANGE]) * world.per_k
        k -= (at(world, species, k, RANGE) - stop_range) / slope
        k = least(most(k, now), target)
    return k


@hot
def species_of(q, world, voxel):
    """Row of the tables of a voxel's material for this charge."""
    return int(world.material[voxel]) + (world.media if q[KIND] == POSITRON else 0)


@hot
def stays(p, q, world, voxel, density):
    """Whether a new electron surely cannot leave its voxel; as for most, decided without a logarithm."""
    reach = world.reach[species_of(q, world, voxel), energy_bin(world, p[ENERGY])]
    return reach < nearest_face(p, q, world.edge) * density


@device
def stop_here(p, q, stack, stacked, world, voxel, rng):
    """The end of an electron that stays: as a rule without bremsstrahlung. Returns the deposit."""
    luck = uniform(rng)
    if luck >= world.quiet[species_of(q, world, voxel), energy_bin(world, p[ENERGY])]:
        enter(p, q, world, voxel, rng)
        return stop_by(p, q, stack, stacked, world, luck, rng)
    if q[KIND] == POSITRON:
        annihilate(p, q, stack, stacked, rng)
    q[FATE] = STOPPED
    return p[ENERGY]


@device
def electron_leg(p, q, stack, stacked, world, rng):
    """Move through one voxel, to its face or the end. Returns the energy deposited in it, MeV."""
    nx, ny = world.count[0], world.count[1]
    voxel = (q[K] * ny + q[J]) * nx + q[I]
    density = world.density[voxel] * 0.1  # g/cm2 per mm
    if p[ENERGY] <= world.electron_cut:
        here = p[ENERGY]
        if q[KIND] == POSITRON:
            annihilate(p, q, stack, stacked, rng)
        q[FATE] = STOPPED
        return here
    if q[SPECIES] < 0 and stays(p, q, world, voxel, density):
        return stop_here(p, q, stack, stacked, world, voxel, rng)
    enter(p, q, world, voxel, rng)
    here = 0.0
    while True:
        species = q[SPECIES]
        face = nearest_face(p, q, world.edge)
        if p[NOW] >= world.last_k[species] or at(world, species, p[NOW], CSDA) < face * density:
            return here + stop(p, q, stack, stacked, world, rng)
        begin = at(world, species, p[NOW], RANGE)
        before = p[HARD]
        target, end, hard = flight_end(p, q, world)
        axis, way = 0, 1e30
        if begin - end > face * density:  # otherwise no face is within reach
            for other in range(3):
                t = to_face(p[other], p[U + other], q[other], world.edge[other])
                if t < way:
                    axis, way = other, t
        if begin - end > way * density:
            k = cut_flight(world, species, p[NOW], target, begin, end, begin - way * density)
            p[HARD] = before - (at(world, species, k, PATHS) - at(world, species, p[NOW], PATHS))
            return here + cross(p, q, world, axis, way, k)
        length = (begin - end) / density
        for other in range(3):
            p[other] += length * p[U + other]
        p[NOW] = target
        left = least(at(world, species, target, MEV), p[ENERGY])
        here += p[ENERGY] - left
        p[ENERGY] = left
        if p[ENERGY] > world.electron_cut * 1.000001:
            here += event(p, q, stack, stacked, world, density, hard, rng)
            if p[ENERGY] <= world.electron_cut:
                here += p[ENERGY]
                if q[KIND] == POSITRON and q[FATE] == MOVES:  # not annihilated in flight
                    annihilate(p, q, stack, stacked, rng)
                q[FATE] = STOPPED
                return here


@hot
def cross(p, q, world, axis, way, k):
    """Move to a face and into the next voxel, or out. Returns the energy lost on the way."""
    for other in range(3):
        p[other] += way * p[U + other]
    q[axis] += 1 if p[U + axis] > 0.0 else -1
    side = q[axis] if p[U + axis] > 0.0 else q[axis] + 1
    p[axis] = side * world.edge[axis]
    left = least(at(world, q[SPECIES], k, MEV), p[ENERGY])
    lost = p[ENERGY] - left
    p[ENERGY] = left
    p[NOW] = k
    q[FATE] = MOVES if 0 <= q[axis] < world.count[axis] else ESCAPED
    return lost
