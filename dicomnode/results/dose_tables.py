"""Tables of doses in the report: of this revision, and over the patient's course. They go on on a new page
where one is full; nothing is left out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from textwrap import wrap

from dicomnode.model import Administration, OrganDose, RegionTia
from dicomnode.results.charts import effective_half_life_h
from dicomnode.results.course import CourseDose
from dicomnode.results.organs import weighted_gy
from dicomnode.results.page import FAINT, LEFT, RED, RIGHT, Page
from dicomnode.results.settings import ResultsSettings
from dicomnode.results.wording import (
    corrected_dose,
    dose_interval,
    recovery_limit,
    significant,
    with_sigma,
)

WIDEST_LIMIT = 36
"""Characters of the column that says what limits a corrected dose."""


def write_organs(
    pages: list[Page], organs: Sequence[OrganDose], curves: Sequence[RegionTia], gbq: float
) -> None:
    """Doses of this revision; ``gbq``: administered activity."""
    with_bed = any(o.bed_gy is not None for o in organs)
    columns = [
        ("region", LEFT, "left"),
        ("mean, Gy\n(k = 1)", 0.385, "right"),
        ("Gy/GBq", 0.455, "right"),
        ("D98%\nGy", 0.515, "right"),
        ("D50%\nGy", 0.575, "right"),
        ("D2%\nGy", 0.635, "right"),
        ("volume\nmL", 0.70, "right"),
        ("mass\ng", 0.765, "right"),
        ("TIA\nMBq h", 0.84, "right"),
        ("T½eff\nh", 0.885 if with_bed else RIGHT, "right"),
    ]
    if with_bed:
        columns.append(("BED\nGy", RIGHT, "right"))
    half_lives = {c.region: effective_half_life_h(c) for c in curves}
    rows = [_organ_row(o, gbq, half_lives.get(o.region), with_bed) for o in organs]
    _table_over_pages(pages, "Absorbed dose", columns, rows)


def _organ_row(organ: OrganDose, gbq: float, half_life: float | None, with_bed: bool) -> list[str]:
    row = [
        organ.region,
        with_sigma(organ.mean_gy, organ.sigma_gy),
        significant(organ.mean_gy / gbq),
        *(significant(d) for d in (organ.d98_gy, organ.d50_gy, organ.d2_gy)),
        significant(organ.volume_ml),
        significant(organ.mass_g),
        significant(organ.tia_mbq_s / 3600.0),
        significant(half_life) if half_life else "–",
    ]
    if with_bed:
        row.append(significant(organ.bed_gy) if organ.bed_gy is not None else "–")
    return row


def write_recovery(pages: list[Page], organs: Sequence[OrganDose]) -> None:
    """What partial volume takes from each region: the mean with its interval, and the corrected mean."""
    known = [o for o in organs if o.recovery is not None]
    if not known:
        return
    columns = [
        ("region", LEFT, "left"),
        ("mean, Gy (k = 2)", 0.41, "right"),
        ("recovery", 0.47, "right"),
        ("corrected, Gy (k = 1)", 0.605, "right"),
        ("limited by", 0.625, "left"),
    ]
    rows = [row for o in known for row in _recovery_rows(o)]
    _table_over_pages(pages, "Partial volume (blur of the image)", columns, rows)


def _recovery_rows(organ: OrganDose) -> list[list[str]]:
    """One line, and what is left of a long reason below it."""
    limit, *more = wrap(recovery_limit(organ), WIDEST_LIMIT) or [""]
    first = [
        organ.region,
        f"{significant(organ.mean_gy)} ({dose_interval(organ)})",
        f"{organ.recovery:.2f}",
        corrected_dose(organ),
        limit,
    ]
    return [first, *(["", "", "", "", line] for line in more)]


def write_definitions(page: Page, organs: Sequence[OrganDose], settings: ResultsSettings) -> None:
    """What the columns mean, and the parameters behind BED."""
    weight = "energy imparted / mass" if settings.mean == "mass" else "average over the volume"
    text = (
        f"Mean: {weight}; ±: standard uncertainty (k = 1) of activity, dose engine and noise. "
        "Dx%: the dose that at least x % of the volume receives (ICRU 83). TIA: time-integrated activity."
    )
    for region, biology in settings.radiobiology.items():
        text += f" BED of {region}: α/β {biology.alpha_beta_gy:g} Gy,"
        text += f" repair half-time {biology.repair_half_time_h:g} h."
    page.skip(1)
    page.paragraph(LEFT, text + _about_alpha(organs, settings), width=150, size=6.8, color=FAINT)


def _about_alpha(organs: Sequence[OrganDose], settings: ResultsSettings) -> str:
    """The part of alpha particles in each mean dose, which may count more."""
    told = [o for o in organs if o.alpha_gy is not None]
    if not told:
        return ""
    text = " All doses are absorbed doses, alpha particles not weighted. Mean of alpha particles, Gy: "
    text += ", ".join(f"{o.region} {significant(o.alpha_gy or 0.0)}" for o in told) + "."
    if settings.alpha_rbe != 1:
        text += f" Mean with alpha particles weighted by an RBE of {settings.alpha_rbe:g}: "
        text += ", ".join(f"{o.region} {significant(weighted_gy(o, settings.alpha_rbe))}" for o in told) + "."
    return text


def write_course(pages: list[Page], course: Sequence[CourseDose]) -> None:
    """Sums over the patient's cycles."""
    columns = [
        ("region", LEFT, "left"),
        ("cycles", 0.42, "right"),
        ("sum of means, Gy (k = 1)", 0.65, "right"),
        ("BED, Gy", 0.78, "right"),
    ]
    rows = [
        [
            c.region,
            f"{c.cycles} of {c.of_cycles}",
            with_sigma(c.mean_gy, c.sigma_gy),
            significant(c.bed_gy) if c.bed_gy is not None else "–",
        ]
        for c in course
    ]
    _table_over_pages(pages, "Accumulated over the course", columns, rows)


def write_not_in_course(pages: list[Page], missing: Sequence[Administration], zone: tzinfo | None) -> None:
    """A sum that leaves out a cycle must not look whole."""
    if not missing:
        return
    given = "; ".join(
        f"{a.activity_mbq:.0f} MBq {a.nuclide} of {a.at.astimezone(zone):%Y-%m-%d}" for a in missing
    )
    if pages[-1].room < 60:
        pages.append(Page())
    pages[-1].skip(2)
    text = f"These sums are too low: no dose counts here (none released, or held) of {given}."
    pages[-1].paragraph(LEFT, text, color=RED)


def _table_over_pages(
    pages: list[Page],
    heading: str,
    columns: Sequence[tuple[str, float, str]],
    rows: Sequence[Sequence[str]],
) -> None:
    """A table that goes on on a new page where the page is full."""
    rest, title = list(rows), heading
    while rest:
        fitting = int((pages[-1].room - 52) // 12.5)
        if fitting < min(3, len(rest)):
            pages.append(Page())
            continue
        pages[-1].heading(title)
        if any("\n" in heading_ for heading_, _, _ in columns):
            pages[-1].skip(8)
        pages[-1].table(columns, rest[:fitting])
        rest, title = rest[fitting:], f"{heading}, continued"
