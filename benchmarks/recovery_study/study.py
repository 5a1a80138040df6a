"""Partial volume on simulated patients: error and coverage by size, a row a region."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from bodies import ORGANS, SEVEN, Body, Float32, Lesion, Rng, make_body

from dicomnode.model.recovery import RegionRecovery, corrected_interval, uncorrected_interval
from dicomnode.recovery import Errors, Scan, Width, WidthSource, make_shares, recover

DOCS = Path(__file__).parents[2] / "docs"
ROWS = Path(__file__).with_name("results") / "recovery-study.jsonl"
WIDTHS_MM = (7.0, 12.0, 16.0)
MIDDLE_MM = 12.0
REPEATED = (1, 2, 11)
"""Patients of the fixed table: the seeds that the prototype used."""
ERRORS = Errors(contour_mm=1.0, registration_mm=1.5)
WIDTH_RELATIVE = 0.05
RAGGED_MM = 0.7

Row = dict[str, str | float | bool]


def drawn_lesions(seed: int) -> tuple[Lesion, ...]:
    """Seven lesions of 0.5 to 50 mL, contrasts 3 to 20, a third with a cold core, in and beside organs."""
    rng = np.random.default_rng([seed, 29])
    sizes = np.exp(rng.uniform(np.log(0.5), np.log(50.0), 7))
    out = []
    for i, volume in enumerate(sizes.tolist()):
        radius = (3000 * volume / 4 / np.pi) ** (1 / 3)
        beside = str(rng.choice(ORGANS))
        within = beside == "liver" and rng.random() < 0.7
        depth = radius + rng.uniform(0, 20) if within else -radius - rng.uniform(3, 20)
        core = 0.3 if rng.random() < 1 / 3 else 1.0
        contrast = float(np.exp(rng.uniform(np.log(3), np.log(20))))
        out.append(Lesion(f"lesion {i + 1}", beside, volume, contrast, float(depth), core))
    return tuple(out)


def rows(body: Body, case: str, image: Float32, shares: dict[str, Float32], width: Width) -> Iterator[Row]:
    """One row a region: what was found over what is true, and the stated uncertainty."""
    outline = body.share(body.tissue)
    scan = Scan("T1", image, make_shares(shares, outline, body.grid.spacing_mm), width)
    regions, found = recover([scan], 0, ERRORS)
    for region in regions:
        yield _row(body, case, region, width) | {"total": found[0].total_ratio}


def _row(body: Body, case: str, region: RegionRecovery, width: Width) -> Row:
    true = body.mean(region.region)
    return {
        "case": case,
        "patient": body.seed,
        "region": region.region,
        "kind": "organ" if region.region in ORGANS else "lesion",
        "uniform": body.uniform(region.region),
        "fwhm_mm": width.fwhm_mm[0],
        "ml": round(float(body.masks[region.region].sum()) * body.fine.voxel_ml, 3),
        "none": round(region.measured_mbq[0] / region.volume_ml / true, 4),
        "corrected": round(region.corrected_mbq[0] / region.volume_ml / true, 4),
        "u": round(region.sigma_log, 4),
        "bias": round(region.bias, 4),
        "withheld": region.withheld,
        **{part: round(u, 4) for part, u in region.parts.items()},
    }


def right(body: Body) -> Iterator[Row]:
    """Contours, width and place as they are; noise-free: all contoured, and only the lesions."""
    shares = body.shares()
    lesions = {n: s for n, s in shares.items() if n not in ORGANS}
    for fwhm_mm in WIDTHS_MM:
        width, image = _width(fwhm_mm), body.image(fwhm_mm)
        yield from rows(body, f"right, {fwhm_mm:g} mm", image, shares, width)
        if fwhm_mm == MIDDLE_MM:
            yield from rows(body, "right, only lesions contoured", image, lesions, width)


def wrong(body: Body, times: float, rng: Rng) -> Iterator[Row]:
    """Contours, width and place off by drawn amounts, with noise, one draw a width of the image."""
    case = "drawn errors" if times == 1 else f"errors {times:g} times those stated"
    for fwhm_mm in WIDTHS_MM if times == 1 else (MIDDLE_MM,):
        image = body.image(fwhm_mm, _shift(times, rng), rng)
        shares = body.shares(times * ERRORS.contour_mm * rng.normal(), times * RAGGED_MM, rng)
        width = _width(fwhm_mm * (1 + times * WIDTH_RELATIVE * rng.normal()))
        shares = {n: s for n, s in shares.items() if s.sum() > 0.05}
        yield from rows(body, case, image, shares, width)


def assumptions(body: Body) -> Iterator[Row]:
    """One wrong assumption at a time, 12 mm, noise-free."""
    image, shares = body.image(12.0), body.shares()
    still = np.random.default_rng(0)
    for mm in (-2.0, -1.0, 1.0, 2.0):
        yield from rows(body, f"width {mm:+g} mm", image, shares, _width(12.0 + mm))
        yield from rows(body, f"contours {mm:+g} mm", image, body.shares(mm, 0.0, still), _width(12.0))
    for mm in (2.0, 4.0, 6.0):
        moved = body.image(12.0, (mm / 3**0.5,) * 3)
        yield from rows(body, f"image {mm:g} mm beside", moved, shares, _width(12.0))
    masks = {n: (s >= 0.5).astype(np.float32) for n, s in shares.items()}
    yield from rows(
        body, "masks for shares", image, {n: m for n, m in masks.items() if m.any()}, _width(12.0)
    )
    breathing = np.mean([body.image(12.0, (0.0, 0.0, z)) for z in (-5.0, -2.5, 0.0, 2.5, 5.0)], axis=0)
    yield from rows(body, "breathing by 10 mm", breathing.astype(np.float32), shares, _width(12.0))


def _width(fwhm_mm: float) -> Width:
    return Width.of(fwhm_mm, WIDTH_RELATIVE, WidthSource.SPHERES)


def _shift(times: float, rng: Rng) -> tuple[float, float, float]:
    x, y, z = times * ERRORS.registration_mm * rng.normal(size=3)
    return float(x), float(y), float(z)


def covered(row: Row, k: float, value: str) -> bool:
    """Whether the interval of a row holds the truth."""
    found, u, bias = float(row[value]), float(row["u"]), float(row["bias"])
    low, high = (
        corrected_interval(found, u, k) if value == "corrected" else uncorrected_interval(found, u, bias, k)
    )
    return low <= 1.0 <= high


def run(patients: int) -> None:
    """Every patient that is not done yet."""
    done = {json.loads(line)["patient"] for line in ROWS.read_text().splitlines()} if ROWS.exists() else set()
    for seed in [*REPEATED, *range(101, 101 + patients)]:
        if seed in done:
            continue
        with ROWS.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in of_patient(seed))
        print(f"patient {seed}", flush=True)


def of_patient(seed: int) -> list[Row]:
    """Every row of one patient."""
    if seed in REPEATED:
        body = make_body(seed, SEVEN)
        return [*right(body), *assumptions(body)]
    body, rng = make_body(seed, drawn_lesions(seed)), np.random.default_rng([seed, 31])
    return [*right(body), *wrong(body, 1.0, rng), *wrong(body, 1.5, rng)]
