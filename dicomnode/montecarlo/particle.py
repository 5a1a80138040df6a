"""How a particle lies in memory, and what turns and cuts its flight. No physics."""

from __future__ import annotations

from math import floor, pi, sqrt

from dicomnode.montecarlo.device import device, hot, least, most

# A particle: position (mm from the grid's corner), direction, kinetic energy (MeV), and for electrons the
# scattering lethargy: now, at the hinge, at the end of the step; hard mean free paths to go; hinge pending
# (NEAR or FAR: the kind of step; NO: it is past).
X, Y, Z, U, V, W, ENERGY, NOW, HINGE, END, HARD, PENDING = range(12)
NO, NEAR, FAR = 0.0, 1.0, 2.0
# For photons in flight: optical depth to go, distance to the next face on each axis, place in the tables, and
# the smallest edge of a voxel (g/cm2) that leaves expected values.
DEPTH, TO_X, TO_Y, TO_Z, PLACE, THIN = range(7, 13)
# Random shifts of the source points of the voxel at hand.
SHIFT, AXES = 13, 6
FIELDS = SHIFT + AXES
# Its integers: voxel (i, j, k), kind, species of the tables (-1: not yet looked up; of a photon 0 in flight),
# what became of it.
I, J, K, KIND, SPECIES, FATE, WAITING = range(7)
INTEGERS = 7
# Place, direction and energy go to the stack, voxel and kind; the rest is looked up again.
STACKED_FIELDS, STACKED_INTEGERS = 7, 4
PHOTON, ELECTRON, POSITRON = 0, 1, 2
STOPPED, MOVES, ESCAPED = 0, 1, 2
# Secondaries waiting at one time. A history holds a few; a 10 MeV cascade down to 1 keV has fewer than this.
STACK = 64


@hot
def cosine_sine(angle):
    """Cosine and sine, to 1e-11: series within an eighth of a turn; faster than two calls of the library."""
    quarters = floor(angle * (2.0 / pi) + 0.5)
    x = angle - quarters * (0.5 * pi)
    y = x * x
    c = 1.0 + y * (
        -1 / 2 + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320 + y * (-1 / 3628800 + y / 479001600))))
    )
    s = x * (1.0 + y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880 - y / 39916800)))))
    which = int(quarters) & 3
    if which & 1:
        c, s = -s, c
    return (-c, -s) if which & 2 else (c, s)


@hot
def turn(p, cosine, azimuth):
    """Turn the direction by a polar angle and an azimuth about itself."""
    sine = sqrt(most(0.0, 1.0 - cosine * cosine))
    a, b = cosine_sine(azimuth)
    a *= sine
    b *= sine
    u, v, w = p[U], p[V], p[W]
    side = u * u + v * v
    if side > 1e-12:
        root = sqrt(side)
        per_root = 1.0 / root
        x = u * cosine + (u * w * a - v * b) * per_root
        y = v * cosine + (v * w * a + u * b) * per_root
        z = w * cosine - root * a
    else:
        x, y, z = a, b, (cosine if w > 0 else -cosine)
    norm = 1.5 - 0.5 * (x * x + y * y + z * z)  # of 1/sqrt, where the length is 1 but for rounding
    p[U], p[V], p[W] = x * norm, y * norm, z * norm


@hot
def isotropic(p, one, two):
    """A direction from two uniform numbers."""
    p[W] = 1.0 - 2.0 * one
    sine = sqrt(most(0.0, 1.0 - p[W] * p[W]))
    c, s = cosine_sine(2.0 * pi * two)
    p[U], p[V] = sine * c, sine * s


@device
def push(p, q, stack, stacked, kind, energy):
    """Leave a secondary with the place and direction of ``p`` for later."""
    n = q[WAITING]
    for field in range(6):
        stack[n, field] = p[field]
    stack[n, ENERGY] = energy
    for field in range(3):
        stacked[n, field] = q[field]
    stacked[n, KIND] = kind
    q[WAITING] = n + 1


@device
def pop(p, q, stack, stacked):
    """Take the last secondary up; False where none waits."""
    n = q[WAITING] - 1
    if n < 0:
        return False
    for field in range(STACKED_FIELDS):
        p[field] = stack[n, field]
    for field in range(STACKED_INTEGERS):
        q[field] = stacked[n, field]
    q[SPECIES] = -1
    q[WAITING] = n
    return True


@hot
def to_face(position, direction, index, edge):
    """Distance along the flight to the voxel's face on one axis, mm; never negative."""
    if direction > 0.0:
        return most(0.0, ((index + 1) * edge - position) / direction)
    if direction < 0.0:
        return most(0.0, (index * edge - position) / direction)
    return 1e30


@hot
def nearest_face(p, q, edge):
    """Distance to the nearest face of the voxel in any direction, mm."""
    nearest = 1e30
    for axis in range(3):
        inside = p[axis] - q[axis] * edge[axis]
        nearest = least(nearest, least(inside, edge[axis] - inside))
    return nearest


@hot
def cell(position, edge, count):
    """Index of the voxel at a position on one axis, within the grid."""
    return least(most(int(floor(position / edge)), 0), count - 1)
