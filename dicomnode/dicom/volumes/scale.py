"""From stored values to activity concentration or counts, by every statement of the scale.

Order: Real World Value Mapping with a UCUM unit > Units of the PET series (with Philips' own factor where
it counts) > Rescale Slope > nothing, which is counts. Two scales of one quantity must agree; a mapping to
Bq/mL beside Units of counts is a calibration and no contradiction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from dicomnode.dicom.header.dataset import Attributes
from dicomnode.errors import Inconsistent, MissingAttribute, Unsupported
from dicomnode.model import Finding
from dicomnode.model.statements import Fact, Statement

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
    findings : whether other statements of the scale agree
    """

    unit: str
    origin: str
    pieces: tuple[tuple[float, float, float, float], ...]
    findings: tuple[Finding, ...] = ()

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


SCALE_TOLERANCE = 0.001
"""Two scales of one image may differ by this fraction: slopes are rounded to 16 characters and less."""
MAPPING = "RealWorldValueMappingSequence (0040,9096)"
MAPPING_SHARED = "RealWorldValueMappingSequence (0040,9096) of the frame or the shared groups"
UNITS = "Units (0054,1001) with RescaleSlope (0028,1053)"


def _one_scale(a: Probe, b: Probe) -> bool:
    """True for scales of one quantity that agree, and for a mapping of counts to a concentration."""
    if a.unit != b.unit:
        return a.unit == "Bq/mL"
    return bool(np.allclose(a.values, b.values, rtol=SCALE_TOLERANCE, atol=0.0))


@dataclass(frozen=True)
class Probe:
    """What a scale makes of the smallest and the largest stored value."""

    unit: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.values[-1]:.5g} {self.unit} at the largest stored value"


SCALE = Fact(
    name="the scale of the values",
    rule="scale-contradicts",
    places=(MAPPING_SHARED, MAPPING, UNITS),
    agree=_one_scale,
    tolerance="0.1 %",
    absent="stored values are counts, which need a calibration record",
    remedy="release the cycle only where that scale is right, by the administered activity; else have the "
    "sender export the series with one scale",
    standard="PS3.3 C.7.6.16.2.11 and C.8.9.1.1.3",
)


def scaling_of(
    obj: Attributes,
    mappings: Mapping[str, tuple[Attributes, ...]],
    transformation: Attributes,
    units: str,
    stored: npt.NDArray[np.signedinteger],
) -> Scaling:
    """Scaling of one image or frame, and whether everything that states it agrees on ``stored``.

    Parameters
    ----------
    obj : the data set, for Philips' private group
    mappings : items of each Real World Value Mapping Sequence, by its place (``MAPPING``, ...)
    transformation : what holds Rescale Slope and Intercept
    units : Units (0054,1001), empty where the object has none (NM)
    """
    scales = {place: real_world(items, obj.uid) for place, items in mappings.items()}
    mapped = any(scales.values())
    slope, intercept = transformation.number("RescaleSlope"), transformation.number("RescaleIntercept") or 0.0
    if units:
        scales[UNITS] = _beside(obj, units.upper(), slope, intercept, mapped)
    if not any(scales.values()):
        if slope is None:
            return linear("counts", "no scale stated: stored values are counts", 1.0, 0.0)
        origin = "RescaleSlope; no unit stated: counts"
        return linear("counts", origin, _positive(slope, obj.uid), intercept)
    ends = np.array([stored.min(), stored.max()])
    read = {place: scale for place, scale in scales.items() if scale is not None}
    if len(read) == 1:
        return next(iter(read.values()))
    stated = [Statement(place, Probe(s.unit, tuple(s.apply(ends, obj.uid)))) for place, s in read.items()]
    settled = SCALE.settle(stated, obj.text("SeriesInstanceUID"))
    return replace(read[settled.origin], findings=settled.findings)


def _beside(
    obj: Attributes, units: str, slope: float | None, intercept: float, mapped: bool
) -> Scaling | None:
    """The scale by Units; beside a mapping, Units that are no concentration and no counts say nothing."""
    if not mapped:
        return _by_units(obj, units, slope, intercept)
    if units.lower() not in _UCUM:
        return None
    return _by_units(obj, units, 1.0 if slope is None else slope, intercept)


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
            _refuse_overlap(by_unit[unit], uid)
            return Scaling(unit, f"RealWorldValueMapping UCUM {written[unit]}", tuple(by_unit[unit]))
    return None


def _refuse_overlap(pieces: list[tuple[float, float, float, float]], uid: str) -> None:
    """Two ranges of one unit that overlap must map what they share to the same values."""
    for first, second in combinations(pieces, 2):
        low, high = max(first[0], second[0]), min(first[1], second[1])
        ends = [(v * first[2] + first[3], v * second[2] + second[3]) for v in (low, high)]
        if low <= high and not all(np.isclose(a, b, rtol=SCALE_TOLERANCE, atol=0.0) for a, b in ends):
            raise Inconsistent(
                f"two ranges of the real world value mapping overlap and make {ends[1][0]:.5g} and "
                f"{ends[1][1]:.5g} of one stored value", attribute="RealWorldValueMappingSequence", uid=uid,
                remedy="Have the sender export the series with one mapping",
            )  # fmt: skip


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
