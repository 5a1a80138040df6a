"""What the room has to say of a cycle: one function per finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp

from dicomnode.model import Finding, RegionRecovery, Severity
from dicomnode.recovery.recover import MOST_CONDITION, Recovered
from dicomnode.recovery.width import Width

SMALL_LOSS = 0.8
"""Below this recovery the loss is told by name; our own choice: 20 % is more than all else of a budget."""
LOST = 0.2
MOST_CHANGE = 0.02
"""The corrected map may hold this much more or less than the image; our own choice (simulated: 0.5 %)."""
OURS = "our own choice, docs/recovery.md"

REMEDY = "state the width of this camera's images under [[recovery.widths]]"

TRAPEZOID = Finding(
    "recovery-with-trapezoid",
    Severity.WARNING,
    "the trapezoid overestimates by its tail, by about as much as partial volume takes: a corrected dose by "
    'the trapezoid is too high; choose a fitted method of [tia], such as "hybrid"',
)


def findings(
    regions: Sequence[RegionRecovery],
    found: Sequence[Recovered],
    widths: Sequence[Width],
    *,
    trapezoid: bool,
) -> tuple[Finding, ...]:
    """Everything of one cycle. Nothing holds: the uncorrected dose counts, and its interval says the loss."""
    said = [_done(widths), *_of_width(widths), *_of_totals(found), *_of_matrix(found)]
    if trapezoid and widths[0].corrects:
        said.append(TRAPEZOID)
    for region in regions:
        said += _of_region(region)
    return tuple(said)


def _done(widths: Sequence[Width]) -> Finding:
    each = "; ".join(dict.fromkeys(str(width) for width in widths))
    sentence = f"partial volume by regions, image width {each}; the uncorrected dose counts"
    return Finding("recovery-reported", Severity.NOTE, sentence)


def _of_width(widths: Sequence[Width]) -> Iterator[Finding]:
    if not all(width.corrects for width in widths):
        sentence = (
            f"the width of the image is not known: {widths[0].largest_mm:g} mm is assumed for the upper end "
            f"of the intervals, and no corrected dose is given; {REMEDY}"
        )
        yield Finding(
            "recovery-no-width", Severity.WARNING, sentence, widths[0].largest_mm, unit="mm", source=OURS
        )


def _of_totals(found: Sequence[Recovered]) -> Iterator[Finding]:
    worst = max(found, key=lambda one: abs(one.total_ratio - 1.0))
    if abs(worst.total_ratio - 1.0) > MOST_CHANGE and worst.scan.width.corrects:
        sentence = (
            f"{worst.scan.label}: the corrected map holds {worst.total_ratio:.3f} of the measured activity; "
            "check that the contours lie on this image and that its width is right"
        )
        yield Finding(
            "recovery-total", Severity.WARNING, sentence, worst.total_ratio, 1 + MOST_CHANGE, source=OURS
        )


def _of_matrix(found: Sequence[Recovered]) -> Iterator[Finding]:
    worst = max(found, key=lambda one: one.system.condition)
    if worst.system.condition > MOST_CONDITION:
        sentence = (
            f"{worst.scan.label}: the image cannot tell the contoured regions apart (condition number "
            f"{worst.system.condition:.0f}); join regions that are thinner than the image is wide"
        )
        yield Finding(
            "recovery-ill-conditioned", Severity.WARNING, sentence, worst.system.condition, MOST_CONDITION,
            source=OURS,
        )  # fmt: skip


def _of_region(region: RegionRecovery) -> Iterator[Finding]:
    coefficient = region.coefficient
    if coefficient < LOST:
        yield Finding(
            "partial-volume-lost",
            Severity.WARNING,
            f"{region.region}: the image recovers about {coefficient:.2f} of its concentration, too little "
            f"for any dose; its activity is about {region.corrected_mbq[-1]:.2g} MBq at the last scan",
            coefficient, LOST, subject=region.region, source=OURS,
        )  # fmt: skip
    elif coefficient < SMALL_LOSS:
        low, high = exp(region.bias - 2 * region.sigma_log), exp(region.bias + 2 * region.sigma_log)
        yield Finding(
            "partial-volume",
            Severity.WARNING,
            f"{region.region}: the image recovers about {coefficient:.2f} of its concentration, so the dose "
            f"is likely {exp(region.bias):.2g} times higher ({max(low, 1.0):.2g} to {high:.2g})",
            coefficient, SMALL_LOSS, subject=region.region, source=OURS,
        )  # fmt: skip
