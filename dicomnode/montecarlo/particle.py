"""How a particle lies in memory, and what turns and cuts its flight. No physics."""

from __future__ import annotations

from math import cos, floor, pi, sin, sqrt

from dicomnode.montecarlo.device import device, hot

# A particle: position (mm from the grid's corner), direction, kinetic energy (MeV), and for electrons the
# scattering lethargy: now, at the hinge, at the end of the step; hard mean free paths to go; hinge pending
# (NEAR or FAR: the kind of step; NO: it is past).
X, Y, Z, U, V, W, ENERGY, NOW, HINGE, END, HARD, PENDING = range(12)
NO, NEAR, FAR = 0.0, 1.0, 2.0
# For photons in flight: optical depth to go, distance to the next face on each axis, place in the tables.
DEPTH, TO_X, TO_Y, TO_Z, PLACE = range(7, 12)
# Random shifts of the source points of the voxel at hand.
SHIFT, AXES = 12, 6
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
def turn(p, cosine, azimuth):
    """Turn the direction by a polar angle and an azimuth about itself."""
    sine = sqrt(max(0.0, 1.0 - cosine * cosine))
    a, b = sine * cos(azimuth), sine * sin(azimuth)
    u, v, w = p[U], p[V], p[W]
    side = u * u + v * v
    if side > 1e-12:
        root = sqrt(side)
        p[U] = u * cosine + (u * w * a - v * b) / root
        p[V] = v * cosine + (v * w * a + u * b) / root
        p[W] = w * cosine - root * a
    else:
        p[U], p[V], p[W] = a, b, (cosine if w > 0 else -cosine)
    norm = 1.0 / sqrt(p[U] * p[U] + p[V] * p[V] + p[W] * p[W])
    p[U] *= norm
    p[V] *= norm
    p[W] *= norm


@hot
def isotropic(p, one, two):
    """A direction from two uniform numbers."""
    p[W] = 1.0 - 2.0 * one
    sine = sqrt(max(0.0, 1.0 - p[W] * p[W]))
    p[U] = sine * cos(2.0 * pi * two)
    p[V] = sine * sin(2.0 * pi * two)


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
        return max(0.0, ((index + 1) * edge - position) / direction)
    if direction < 0.0:
        return max(0.0, (index * edge - position) / direction)
    return 1e30


@hot
def nearest_face(p, q, edge):
    """Distance to the nearest face of the voxel in any direction, mm."""
    nearest = 1e30
    for axis in range(3):
        inside = p[axis] - q[axis] * edge[axis]
        nearest = min(nearest, min(inside, edge[axis] - inside))
    return nearest


@hot
def cell(position, edge, count):
    """Index of the voxel at a position on one axis, within the grid."""
    return min(max(int(floor(position / edge)), 0), count - 1)
