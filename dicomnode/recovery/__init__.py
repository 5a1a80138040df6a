"""Partial volume: what the blur of the image took from each region, and how well that is known.

Pure functions on arrays: shares of regions (``shares``), the width of the image (``width``, ``estimate``),
the geometric transfer matrix with a local background (``solve``), the corrected map (``voxels``), finite
differences of the same solver as uncertainty (``budget``), and a cycle's time points together (``recover``).
"""

from dicomnode.recovery.budget import Errors
from dicomnode.recovery.recover import Recovered, Scan, recover, recover_scan
from dicomnode.recovery.settings import ImageWidth, RecoverySettings
from dicomnode.recovery.shares import Shares, make_shares
from dicomnode.recovery.width import Width, WidthSource, assumed

__all__ = [
    "Errors",
    "ImageWidth",
    "Recovered",
    "RecoverySettings",
    "Scan",
    "Shares",
    "Width",
    "WidthSource",
    "assumed",
    "make_shares",
    "recover",
    "recover_scan",
]
