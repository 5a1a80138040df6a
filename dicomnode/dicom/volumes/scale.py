"""From stored values to activity concentration or counts, by the statement that is to be trusted most.

Order: Real World Value Mapping with a UCUM unit > Units of the PET series (with Philips' own factor where
it counts) > Rescale Slope > nothing, which is counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported

# Unit as written (UCUM code values, and what is seen in their place) -> our unit, factor
_UCUM = {
    "bq/ml": ("Bq/mL", 1.0),
    "bq/cm3": ("Bq/mL", 1.0),
    "bqml": ("Bq/mL", 1.0),
    "kbq/ml": ("Bq/mL", 1e3),
    "mbq/ml": ("Bq/mL", 1e6),
    "{counts}": ("counts", 1.0),
    "{count}": ("counts", 1.0),
    "counts": ("counts", 1.0),
    "cnts": ("counts", 1.0),
    "{propcounts}": ("counts", 1.0),
    "propcnts": ("counts", 1.0),
    "{counts}/s": ("counts/s", 1.0),
    "{propcounts}/s": ("counts/s", 1.0),
    "propcps": ("counts/s", 1.0),
    "cps": ("counts/s", 1.0),
}
_PHILIPS_FACTOR = 0x1009
_PHILIPS_CREATOR = "Philips PET Private Group"


@dataclass(frozen=True)
class Scaling:
    """Piecewise linear mapping of stored values.

    Attributes
    ----------
    unit : "Bq/mL", "counts" or "counts/s"
    origin : where unit and factors came from
    pieces : (first and last stored value, slope, intercept); the ends are inclusive
    """

    unit: str
    origin: str
    pieces: tuple[tuple[float, float, float, float], ...]

    def apply(self, stored: npt.NDArray[np.signedinteger], uid: str) -> npt.NDArray[np.float32]:
        """``stored`` in ``unit``. Raises Inconsistent where a stored value is in no piece."""
        values = np.zeros(stored.shape, dtype=np.float64)
        mapped = np.zeros(stored.shape, dtype=bool)
        for first, last, slope, intercept in self.pieces:
            here = (stored >= first) & (stored <= last) & ~mapped
            values[here] = stored[here] * slope + intercept
            mapped |= here
        if not mapped.all():
            outside = int(stored[~mapped].max())
            raise Inconsistent(
                f"{np.count_nonzero(~mapped)} voxels, up to the stored value {outside}, lie outside every "
                f"range of the real world value mapping", attribute="RealWorldValueMappingSequence", uid=uid,
            )  # fmt: skip
        return values.astype(np.float32)


def linear(unit: str, origin: str, slope: float, intercept: float) -> Scaling:
    """One slope and intercept for every stored value."""
    return Scaling(unit, origin, ((-np.inf, np.inf, slope, intercept),))


def scaling_of(
    obj: Attributes, mappings: tuple[Attributes, ...], transformation: Attributes, units: str
) -> Scaling:
    """Scaling of one image or frame.

    Parameters
    ----------
    obj : the data set, for Philips' private group
    mappings : items of the Real World Value Mapping Sequence
    transformation : what holds Rescale Slope and Intercept
    units : Units (0054,1001), empty where the object has none (NM)
    """
    mapped = real_world(mappings, obj.uid)
    if mapped is not None:
        return mapped
    slope, intercept = transformation.number("RescaleSlope"), transformation.number("RescaleIntercept") or 0.0
    if units:
        return _by_units(obj, units.upper(), slope, intercept)
    if slope is None:
        return linear("counts", "no scale stated: stored values are counts", 1.0, 0.0)
    return linear("counts", "RescaleSlope; no unit stated: counts", _positive(slope, obj.uid), intercept)


def real_world(items: tuple[Attributes, ...], uid: str) -> Scaling | None:
    """Mapping by the items whose unit is understood, concentration before counts; None without any.

    Raises Unsupported for a look-up table, MissingAttribute for an item without its numbers.
    """
    by_unit: dict[str, list[tuple[float, float, float, float]]] = {}
    written: dict[str, str] = {}
    for item in items:
        code = item.first("MeasurementUnitsCodeSequence").text("CodeValue")
        unit, factor = _UCUM.get(code.lower(), ("", 0.0))
        if unit:
            by_unit.setdefault(unit, []).append(_piece(item, factor, uid))
            written.setdefault(unit, code)
    for unit in ("Bq/mL", "counts", "counts/s"):
        if unit in by_unit:
            return Scaling(unit, f"RealWorldValueMapping UCUM {written[unit]}", tuple(by_unit[unit]))
    return None


def _piece(item: Attributes, factor: float, uid: str) -> tuple[float, float, float, float]:
    if item.value("RealWorldValueLUTData") is not None:
        raise Unsupported(
            "the real world value mapping is a look-up table", attribute="RealWorldValueLUTData", uid=uid
        )
    first, last = item.number("RealWorldValueFirstValueMapped"), item.number("RealWorldValueLastValueMapped")
    slope, intercept = item.number("RealWorldValueSlope"), item.number("RealWorldValueIntercept")
    if first is None or last is None or slope is None or intercept is None:
        raise MissingAttribute(
            "a real world value mapping lacks its range, slope or intercept",
            attribute="RealWorldValueMappingSequence", uid=uid,
        )  # fmt: skip
    return min(first, last), max(first, last), _positive(slope, uid) * factor, intercept * factor


def _by_units(obj: Attributes, units: str, slope: float | None, intercept: float) -> Scaling:
    """By Units (0054,1001) of PS3.3 C.8.9.1.1.3."""
    if slope is None:
        raise MissingAttribute("the PET image has no rescale slope", attribute="RescaleSlope", uid=obj.uid)
    slope = _positive(slope, obj.uid)
    if units == "CNTS" and (factor := _philips_factor(obj)):
        origin = "Units CNTS with Philips (7053,1009) to Bq/mL"
        return linear("Bq/mL", origin, slope * factor, intercept * factor)
    unit, factor = _UCUM.get(units.lower(), ("", 0.0))
    if not unit:
        what = "standardised uptake values" if units in ("GML", "CM2ML") else "no activity concentration"
        raise Unsupported(
            f"its values are {what}, not Bq/mL", attribute="Units", value=units, uid=obj.uid,
            remedy="Export the series in Bq/mL (Units BQML)",
        )  # fmt: skip
    return linear(unit, f"Units {units}, RescaleSlope", slope * factor, intercept * factor)


def _philips_factor(obj: Attributes) -> float:
    """Philips' factor from counts to Bq/mL (7053,1009); 0 where the block is not Philips' or empty."""
    for block in range(0x10, 0x100):
        creator = obj.text((0x7053, block))
        if not creator:
            return 0.0
        if creator == _PHILIPS_CREATOR:
            return max(0.0, obj.number((0x7053, (block << 8) | (_PHILIPS_FACTOR & 0xFF))) or 0.0)
    return 0.0


def _positive(slope: float, uid: str) -> float:
    if slope <= 0:
        raise Inconsistent(
            "a scale factor is not positive", attribute="RescaleSlope", value=f"{slope:g}", uid=uid
        )
    return slope
