"""Energy windows of an NM object, and which of them is the photopeak to reconstruct."""

from __future__ import annotations

from collections.abc import Sequence

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model.projections import EnergyWindow

# Photon lines that are imaged, keV, the preferred one first. Energies as in ICRP 107 (a test compares them
# with dicomnode.physics); the order of preference is ours: the line with the least scatter below it.
IMAGED_KEV = {
    "Ga-67": (93.3, 184.6, 300.2),
    "Tc-99m": (140.5,),
    "In-111": (245.4, 171.3),
    "I-123": (159.0,),
    "I-131": (364.5,),
    "Sm-153": (103.2,),
    "Tb-161": (74.6,),
    "Ho-166": (80.6,),
    "Lu-177": (208.4, 112.9),
    "Re-186": (137.2,),
    "Re-188": (155.0,),
    "Cu-67": (184.6,),
    "Sc-47": (159.4,),
    "Tb-155": (105.3,),
    "Pb-203": (279.2,),
    "Pb-212": (238.6,),
    "Bi-213": (440.5,),
}


def energy_windows(obj: Attributes) -> tuple[EnergyWindow, ...]:
    """Windows in the order that the Energy Window Vector counts (PS3.3 C.8.4.8).

    A window may have several ranges (two peaks summed by the camera): all are kept. Raises
    MissingAttribute for a window without limits, Inconsistent where their number is not the stated one.
    """
    items = obj.items("EnergyWindowInformationSequence")
    windows = tuple(_window(item, number, obj.uid) for number, item in enumerate(items, 1))
    stated = obj.integer("NumberOfEnergyWindows") or len(windows) or 1
    if stated != len(windows):
        raise Inconsistent(
            f"{stated} energy windows are stated and {len(windows)} described",
            attribute="EnergyWindowInformationSequence", uid=obj.uid,
            remedy="Scatter correction needs the limits of every window: export it with them",
        )  # fmt: skip
    return windows


def _window(item: Attributes, number: int, uid: str) -> EnergyWindow:
    ranges: list[tuple[float, float]] = []
    for span in item.items("EnergyWindowRangeSequence"):
        low, high = span.number("EnergyWindowLowerLimit"), span.number("EnergyWindowUpperLimit")
        if low is None or high is None or not 0 < low < high:
            ranges = []
            break
        ranges.append((low, high))
    if not ranges:
        raise MissingAttribute(
            f"energy window {number} has no usable limits", attribute="EnergyWindowRangeSequence", uid=uid,
            remedy="Scatter correction needs the limits of every window: export it with them",
        )  # fmt: skip
    return EnergyWindow(item.text("EnergyWindowName") or f"window {number}", tuple(ranges))


def peak_window(windows: Sequence[EnergyWindow], nuclide: str, uid: str) -> int:
    """Index of the window that holds the nuclide's preferred imaged line, in the middle third if possible.

    Of several windows around one line, the one whose middle is nearest to it. A single window is the peak
    of a nuclide without a line (bremsstrahlung). Raises Unsupported where none can be told.
    """
    lines = IMAGED_KEV.get(nuclide, ())
    for line in lines:
        around = [i for i, w in enumerate(windows) if any(low < line < high for low, high in w.ranges_kev)]
        if around:
            return min(around, key=lambda i: _off_centre(windows[i], line))
    if len(windows) == 1 and not lines:
        return 0
    spans = ", ".join(f"{low:g}-{high:g}" for w in windows for low, high in w.ranges_kev)
    what = f"a photopeak of {nuclide}" if nuclide else "the photopeak (the object names no nuclide)"
    raise Unsupported(
        f"none of the energy windows is known to hold {what}: {spans} keV",
        attribute="EnergyWindowInformationSequence", uid=uid,
        remedy="Check nuclide and windows of the acquisition",
    )  # fmt: skip


def _off_centre(window: EnergyWindow, line_kev: float) -> float:
    """Distance of ``line_kev`` from the middle of the range that holds it, relative to the range's width."""
    low, high = next(r for r in window.ranges_kev if r[0] < line_kev < r[1])
    return abs(line_kev - (low + high) / 2) / (high - low)
