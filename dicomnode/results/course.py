"""Accumulated dose over the cycles of a course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from dicomnode.model import OrganDose


@dataclass(frozen=True)
class CourseDose:
    """Dose of one region summed over the cycles in which it was measured.

    Attributes
    ----------
    cycles : how many cycles entered; ``of_cycles`` how many there are. A region that was not drawn in
        some cycle has a sum that is too low, and says so by ``cycles < of_cycles``
    mean_gy, sigma_gy : sum of the mean doses, and its standard uncertainty
    bed_gy, eqd2_gy : sums, where every cycle that entered has them
    """

    region: str
    cycles: int
    of_cycles: int
    mean_gy: float
    sigma_gy: float
    bed_gy: float | None
    eqd2_gy: float | None


def course_doses(
    cycles: Sequence[Sequence[OrganDose]], *, common_relative: float = 0.05, without_dose: int = 0
) -> tuple[CourseDose, ...]:
    """Accumulated dose of each region, by name, over ``cycles`` in order of time; ``without_dose`` further
    administrations have no dose, so that the sums are too low.

    Assumed: regions of one name are the same tissue in every cycle (no voxels are added: organs move and
    shrink between cycles); cycles lie weeks apart, so that BED adds and repopulation is left out. Of each
    cycle's uncertainty the part ``common_relative`` x dose is the same error in all cycles and adds
    linearly; what remains is independent and adds in quadrature.
    """
    names = dict.fromkeys(organ.region for cycle in cycles for organ in cycle)
    return tuple(_sum(name, cycles, common_relative, len(cycles) + without_dose) for name in names)


def _sum(name: str, cycles: Sequence[Sequence[OrganDose]], common: float, of_cycles: int) -> CourseDose:
    organs = [organ for cycle in cycles for organ in cycle if organ.region == name]
    mean = sum(o.mean_gy for o in organs)
    shared = [min(common * o.mean_gy, o.sigma_gy) for o in organs]
    apart = sum(o.sigma_gy**2 - s**2 for o, s in zip(organs, shared, strict=True))
    beds = [o.bed_gy for o in organs if o.bed_gy is not None]
    eqd2s = [o.eqd2_gy for o in organs if o.eqd2_gy is not None]
    return CourseDose(
        region=name,
        cycles=len(organs),
        of_cycles=of_cycles,
        mean_gy=mean,
        sigma_gy=sqrt(sum(shared) ** 2 + max(apart, 0.0)),
        bed_gy=sum(beds) if len(beds) == len(organs) else None,
        eqd2_gy=sum(eqd2s) if len(eqd2s) == len(organs) else None,
    )
