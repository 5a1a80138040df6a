"""The report: one page of figures and findings, one page of pictures, as PDF.

Where regions or findings are more than the first page holds, they go on; nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

from dicomnode.dicom.reference import PatientStudy
from dicomnode.model import (
    Administration,
    DoseMap,
    Finding,
    HuMap,
    LabelMap,
    Nuclide,
    OrganDose,
    Provenance,
    RegisteredCycle,
    Severity,
    TiaFit,
    Verdict,
    each_once,
    line_of,
)
from dicomnode.results.charts import draw_curves, draw_dvh
from dicomnode.results.course import CourseDose
from dicomnode.results.dose_tables import (
    write_course,
    write_definitions,
    write_not_in_course,
    write_organs,
    write_recovery,
)
from dicomnode.results.dvh import cumulative_dvh
from dicomnode.results.page import A4_INCHES, ACCENT, BOTTOM, FAINT, LEFT, POINT, RED, RIGHT, Page
from dicomnode.results.pictures import (
    Scene,
    draw_ct,
    draw_scale,
    draw_wash,
    focus_mm,
    region_colours,
    three_planes,
    washes,
)
from dicomnode.results.settings import ResultsSettings
from dicomnode.results.wording import iso_date, readable_name

DISCLAIMER = (
    "Research software, not a medical device. To be checked by a medical physics expert before any use."
)
GREEN, AMBER = "#2e7d32", "#b26a00"


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything the report shows.

    Attributes
    ----------
    cycle : administration, time points and (where ``ct`` is None) the CT shown
    regions : on the dose grid
    organs : doses of this revision
    revision_id, revision : identifier and number
    created_at : aware datetime; an argument, so that a repeated run makes the same bytes
    course : accumulated doses, where the patient has more than one cycle
    ct : finer CT of the reference time point
    not_in_course : earlier administrations of which there is no dose
    """

    patient: PatientStudy
    cycle: RegisteredCycle
    nuclide: Nuclide
    fit: TiaFit
    dose: DoseMap
    regions: LabelMap
    organs: Sequence[OrganDose]
    verdict: Verdict
    provenance: Provenance
    revision_id: str
    revision: int
    created_at: datetime
    course: Sequence[CourseDose] = ()
    ct: HuMap | None = None
    not_in_course: Sequence[Administration] = ()


def write_report(content: ReportContent, settings: ResultsSettings) -> bytes:
    """The report as PDF; the same content gives the same bytes."""
    from matplotlib.backends.backend_pdf import PdfPages

    pages = [*pages_of_numbers(content, settings), _page_of_pictures(content, settings)]
    whose = f"Patient {content.patient.patient_id}, revision {content.revision} ({content.revision_id})"
    buffer = BytesIO()
    metadata = {
        "Title": "Dosimetry of radionuclide therapy",
        "Creator": f"dicomnode {content.provenance.version}",
        "Producer": None,
        "CreationDate": content.created_at,
    }
    with PdfPages(buffer, metadata=metadata) as pdf:
        for number, page in enumerate(pages, 1):
            page.footer((DISCLAIMER, whose), number, len(pages))
            pdf.savefig(page.figure)
    return buffer.getvalue()


def pages_of_numbers(content: ReportContent, settings: ResultsSettings) -> list[Page]:
    """The report without its pictures and feet."""
    pages = [Page()]
    _title(pages[0], content)
    _identity(pages[0], content)
    _time_points(pages[0], content)
    _method(pages[0], content)
    gbq = content.cycle.administration.activity_mbq / 1000.0
    write_organs(pages, content.organs, content.fit.regions, gbq)
    write_recovery(pages, content.organs)
    write_definitions(pages[-1], content.organs, settings)
    if content.course:
        write_course(pages, content.course)
        write_not_in_course(pages, content.not_in_course, content.created_at.tzinfo)
    _findings(pages, content.verdict)
    return pages


def _title(page: Page, content: ReportContent) -> None:
    page.write(LEFT, "Dosimetry of radionuclide therapy", size=15, fontweight="bold", color=ACCENT)
    words = content.verdict.words
    page.chip(words, {"HELD": RED, "CHECKS PASSED": GREEN}.get(words, AMBER))
    page.skip(15)
    made = f"{content.created_at:%Y-%m-%d %H:%M %Z}"
    page.write(LEFT, f"Revision {content.revision}, calculated {made}", size=8.5, color=FAINT)


def _identity(page: Page, content: ReportContent) -> None:
    page.skip(6)
    page.heading("Patient and administration")
    patient, given = content.patient, content.cycle.administration
    top = page.y
    left = [
        ("Name", readable_name(patient.patient_name)),
        ("Patient ID", patient.patient_id),
        ("Born, sex", f"{iso_date(patient.birth_date)}   {patient.sex}"),
        ("Accession", patient.accession_number),
        ("Study of", iso_date(patient.study_date)),
    ]
    right = [
        ("Administered", f"{given.activity_mbq:.0f} MBq {given.nuclide}"),
        ("Product", given.radiopharmaceutical),
        ("At", given.at.isoformat(" ", "minutes")),
        ("Residual", f"{given.residual_mbq:.0f} MBq (already subtracted)"),
        ("Learned from", given.source),
    ]
    page.pairs(LEFT, left, value_at=0.095, end=0.51)
    page.y = top
    page.pairs(0.52, right, value_at=0.105, end=RIGHT)


def _time_points(page: Page, content: ReportContent) -> None:
    page.heading("Time points")
    columns = [
        ("time point", LEFT, "left"),
        ("after administration, h", 0.32, "right"),
        ("registration", 0.40, "left"),
        ("residual shift, mm", 0.68, "right"),
        ("overlap of bodies", 0.84, "right"),
    ]
    rows = []
    for point in content.cycle.points:
        itself = point.label == content.cycle.reference
        label = f"{point.label} (reference)" if itself else point.label
        shift, overlap = f"{point.quality.residual_mm:.1f}", f"{point.quality.dice_body:.3f}"
        how = "–" if itself else point.quality.method
        measures = ("–", "–") if itself else (shift, overlap)
        rows.append((label, f"{point.hours:.2f}", how, *measures))
    page.table(columns, rows)


def _method(page: Page, content: ReportContent) -> None:
    page.heading("Method")
    record, grid = content.provenance, content.dose.grid
    size = " × ".join(f"{s:.2f}" for s in grid.spacing_mm)
    shape = " × ".join(str(n) for n in grid.shape_zyx[::-1])
    balance = content.dose.balance
    escaped = 100.0 * balance.escaped_j / balance.emitted_j if balance.emitted_j > 0 else 0.0
    top = page.y
    left = [
        ("Activity over time", content.fit.method),
        ("Dose engine", record.engine),
        ("Dose to", content.dose.medium),
    ]
    right = [
        ("Voxels", f"{size} mm, {shape}"),
        ("Energy escaped", f"{escaped:.1f} % of that emitted"),
        ("Software", f"dicomnode {record.version}, settings {record.config_digest[:12]}"),
    ]
    page.pairs(LEFT, left, value_at=0.135, end=0.51)
    page.y = top
    page.pairs(0.52, right, value_at=0.12, end=RIGHT)


def _findings(pages: list[Page], verdict: Verdict) -> None:
    order = (Severity.HOLD, Severity.WARNING, Severity.NOTE)
    findings = each_once(sorted(verdict.findings, key=lambda f: order.index(f.severity)))
    if pages[-1].room < 70:
        pages.append(Page())
    pages[-1].heading("Findings")
    if not findings:
        pages[-1].paragraph(LEFT, "Every check passed; there is nothing to report.")
    for finding, count in findings:
        if pages[-1].room < 36:
            pages.append(Page())
            pages[-1].heading("Findings, continued")
        _finding(pages[-1], finding, count)


def _finding(page: Page, finding: Finding, count: int) -> None:
    colour = {Severity.HOLD: RED, Severity.WARNING: AMBER, Severity.NOTE: FAINT}[finding.severity]
    page.write(LEFT, finding.severity.value.upper(), size=7, fontweight="bold", color=colour)
    page.paragraph(LEFT + 0.085, line_of(finding.sentence, count), width=104)
    page.skip(3)


def _page_of_pictures(content: ReportContent, settings: ResultsSettings) -> Page:
    page = Page()
    ct = content.ct if content.ct is not None else content.cycle.ct
    focus = focus_mm(content.dose, content.regions)
    scene = Scene(content.fit.tia, content.dose, content.regions, ct, focus, settings.ct_window_hu)
    page.write(LEFT, "Pictures", size=12, fontweight="bold", color=ACCENT)
    where = ", ".join(f"{axis} {value:.0f}" for axis, value in zip("xyz", focus, strict=True))
    text = f"planes through the highest dose in a region, {where} mm; colour scales go by the square root"
    page.write(RIGHT, text, size=7, ha="right", color=FAINT)
    end = _draw_planes(page, scene)
    colours = region_colours(content.regions.names) | {"field-of-view": "#808080"}
    lower = page.figure.add_gridspec(
        1, 2, left=LEFT + 0.04, right=RIGHT, bottom=BOTTOM + 85 * POINT, top=end, wspace=0.24
    )
    half_life_h = content.nuclide.half_life_s / 3600.0
    draw_curves(page.figure.add_subplot(lower[0]), content.fit.regions, colours, half_life_h)
    draw_dvh(page.figure.add_subplot(lower[1]), cumulative_dvh(content.dose, content.regions), colours)
    return page


def _draw_planes(page: Page, scene: Scene) -> float:
    """Two rows (TIA, dose) of three planes, all to one scale; gives the height where they end."""
    planes = three_planes(scene)
    tallest = max(p.extent_mm[1] for p in planes)
    inches_per_mm = (RIGHT - 0.065 - LEFT) * A4_INCHES[0] * 0.98 / sum(p.extent_mm[0] for p in planes)
    row_height = min(tallest * inches_per_mm / A4_INCHES[1], 0.27)
    top = 0.915
    for row, (heading, wash) in enumerate(washes(scene, planes)):
        layout = page.figure.add_gridspec(
            1, 3, width_ratios=[p.extent_mm[0] for p in planes], wspace=0.03,
            left=LEFT, right=RIGHT - 0.065, top=top, bottom=top - row_height,
        )  # fmt: skip
        for column, plane in enumerate(planes):
            axes = page.figure.add_subplot(layout[column])
            draw_ct(axes, scene, plane, outlines=row == 1)
            image = draw_wash(axes, plane=plane, **wash)
            middle = plane.extent_mm[1] / 2.0
            axes.set_ylim(middle + tallest / 2.0, middle - tallest / 2.0)
            if column == 0:
                axes.set_title(heading, fontsize=9, loc="left", fontweight="bold")
        draw_scale(page.figure, image, "", "black", upright=True)
        top -= row_height + 0.045
    return top
