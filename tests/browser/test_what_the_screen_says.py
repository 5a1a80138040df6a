"""Numbers and places on the screen are those of the objects that left the house."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable

import numpy as np
import pytest
from pydicom import dcmread

from tests.browser.chromium import Chromium
from tests.browser.conftest import CYCLE, HOSTILE, MARKER_GY, MARKERS, Served, grids

At = Callable[[Served, str, str], Chromium]
CLICK = """
const canvas = document.querySelectorAll('.planes canvas')[arguments[0]];
const [x, y] = [arguments[1], arguments[2]];
const box = canvas.getBoundingClientRect();
const place = {clientX: box.left + x * box.width, clientY: box.top + y * box.height};
canvas.setPointerCapture = () => undefined;
canvas.dispatchEvent(new PointerEvent('pointerdown', {...place, pointerId: 1, buttons: 1}));
const said = [...document.querySelectorAll('.readout div')];
return Object.fromEntries(said.map((d) => [d.dataset.read, d.lastChild.textContent]));
"""
PIXEL = """
const canvas = document.querySelectorAll('.planes canvas')[arguments[0]];
const [x, y] = [arguments[1] * canvas.width, arguments[2] * canvas.height].map(Math.round);
return [...canvas.getContext('2d').getImageData(x, y, 1, 1).data];
"""


def test_two_hundred_clicked_doses_are_those_of_the_rtdose(page: Served, at: At) -> None:
    """The voxel of the RTDOSE, read by pydicom, to every digit shown; points on faces are left out."""
    browser = at(page, f"/cycles/{CYCLE}", "viewer")
    ds = dcmread(page.rtdose)
    gy = ds.pixel_array * float(ds.DoseGridScaling)
    x0, y0, z0 = map(float, ds.ImagePositionPatient)
    dy, dx = map(float, ds.PixelSpacing)
    offsets = np.array(ds.GridFrameOffsetVector, float)
    draw, compared = random.Random(1), 0
    for _ in range(800):
        said = browser.run(CLICK, draw.randrange(3), draw.random(), draw.random())
        x, y, z = map(float, re.findall(r"-?\d+\.\d", said["place"]))
        place = ((x - x0) / dx, (y - y0) / dy, (z - z0) / (offsets[1] - offsets[0]))
        if any(abs(p - math.floor(p) - 0.5) < 0.05 for p in place):
            continue
        i, j, k = (round(p) for p in place)
        if not (0 <= i < gy.shape[2] and 0 <= j < gy.shape[1] and 0 <= k < gy.shape[0]):
            assert "dose" not in said
            continue
        shown = re.match(r"([\d.]+) ±", said["dose"])
        assert shown is not None, said
        decimals = len(shown[1].partition(".")[2])
        assert abs(float(shown[1]) - gy[k, j, i]) <= 0.5000001 * 10.0**-decimals, (said, gy[k, j, i])
        compared += 1
        if compared == 200:
            return
    raise AssertionError(f"only {compared} points lay in the dose")


def place_on_screen(plane: int, mm: tuple[float, float, float]) -> tuple[float, float]:
    """Where a point of the patient lies on a square canvas that shows the whole CT, as fractions."""
    _, ct = grids()
    low = np.array(ct.origin_mm) - np.array(ct.spacing_mm) / 2
    size = np.array(ct.extent_mm)
    u, v = ((0, 1), (0, 2), (1, 2))[plane]
    most = max(size[u], size[v])
    x = 0.5 + (mm[u] - low[u] - size[u] / 2) / most
    y = 0.5 + (mm[v] - low[v] - size[v] / 2) / most
    return x, y if plane == 0 else 1 - y


def check_markers(browser: Chromium) -> None:
    """Each marker shines at its side, the brighter the more dose (inferno is monotone)."""
    browser.run("for (const n of ['lines', 'outlines']) document.querySelector(`[name=${n}]`).click()")
    browser.run("const go = document.querySelector('[name=go]'); go.value = 'centre'; "
                "go.dispatchEvent(new Event('change'))")  # fmt: skip
    planes = {"R": (0, 1), "L": (0, 1), "A": (0, 2), "P": (0, 2), "H": (1, 2), "F": (1, 2)}
    for pair in ("RL", "AP", "HF"):
        for plane in planes[pair[0]]:
            light = [
                sum(browser.run(PIXEL, plane, *place_on_screen(plane, _beside(MARKERS[n])))[:3]) for n in pair
            ]
            brighter = pair[0] if MARKER_GY[pair[0]] > MARKER_GY[pair[1]] else pair[1]
            assert light[pair.index(brighter)] > min(light) + 60, (pair, plane, light)


def _beside(mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Some millimetres off, so that the cross-hair does not lie on it."""
    return tuple(c + 5.0 if c == 0.0 else c for c in mm)  # type: ignore[return-value]


def test_each_marker_is_on_its_side_of_the_patient(page: Served, at: At) -> None:
    check_markers(at(page, f"/cycles/{CYCLE}", "viewer"))


def test_a_planted_flip_would_be_seen(mirrored: Served, at: At) -> None:
    browser = at(mirrored, f"/cycles/{CYCLE}", "viewer")
    with pytest.raises(AssertionError, match="RL"):
        check_markers(browser)


def cell(browser: Chromium, region: str, heading: str) -> str:
    """What the organ table says of a region."""
    return str(browser.run(
        "const rows = [...document.querySelectorAll('.organs tr')]; const n = [...rows[0].cells]"
        ".findIndex((c) => c.textContent === arguments[1]); return rows.find((r) => "
        "r.cells[0].textContent === arguments[0]).cells[n].innerText", region, heading))  # fmt: skip


def test_both_doses_of_a_region_fit_on_a_narrow_screen(page: Served, at: At) -> None:
    """Of 400 px; made in the scene: corrected twice the mean, interval 0.8 to 2.4 of it."""
    browser = at(page, f"/cycles/{CYCLE}", "viewer")
    browser.look(400, "light")
    name = f"R {HOSTILE}"
    dose, interval = cell(browser, name, "Uncorrected, Gy").split("\n")
    mean = float(dose.split(" ± ")[0])
    low, high = map(float, interval.split(" to "))
    assert (low / mean, high / mean) == pytest.approx((0.8, 2.4), rel=0.01)
    corrected, sigma = map(float, cell(browser, name, "Corrected, Gy").split(" ± "))
    assert (corrected / mean, sigma / corrected) == pytest.approx((2.0, 0.2), rel=0.05)
    assert cell(browser, f"F {HOSTILE}", "Corrected, Gy") == "–"
    assert HOSTILE in cell(browser, f"F {HOSTILE}", "Limited by")
    right = browser.run("return document.querySelector('.organs tbody tr').cells[2]"
                        ".getBoundingClientRect().right")  # fmt: skip
    assert right <= 400


@pytest.mark.parametrize("by_px", range(10, 300, 45))
def test_no_number_is_cut_where_the_table_is_scrolled(by_px: int, page: Served, at: At) -> None:
    """A dose without its first digit looks like another dose."""
    browser = at(page, f"/cycles/{CYCLE}", "viewer")
    browser.look(400, "light")
    browser.run("document.querySelector('.organs').parentElement.scrollLeft = arguments[0]", by_px)
    edges = browser.run("return [...document.querySelector('.organs tbody tr').cells].map((c) => "
                        "[c.getBoundingClientRect().left, c.getBoundingClientRect().right])")  # fmt: skip
    shown_from = edges[0][1]
    assert edges[0][0] >= 0
    assert not any(left < shown_from - 1 < right - 8 for left, right in edges[1:]), edges


def test_the_middle_dose_read_off_the_histogram_is_that_of_the_table(page: Served, at: At) -> None:
    browser = at(page, f"/cycles/{CYCLE}", "viewer")
    name = f"R {HOSTILE}"
    d = browser.run("return [...document.querySelectorAll('#dvh path')].find((p) => p.dataset.region === "
                    "arguments[0]).getAttribute('d')", name)  # fmt: skip
    points = np.array([[float(c) for c in p.split()] for p in re.split("[ML]", d)[1:]])
    half = 340 - 40 - 50 / 102 * (340 - 40 - 12)
    x = float(np.interp(half, points[:, 1], points[:, 0]))
    most = max(browser.run("const f = JSON.parse(document.getElementById('to-draw').textContent); return "
                           "Object.entries(f.dvh).filter(([n]) => n in f.colours)"
                           ".map(([, h]) => h.step_gy * 200)"))  # fmt: skip
    gy = (x - 58) / (640 - 58 - 150) * most
    table = cell(browser, name, "D50")
    assert gy == pytest.approx(float(table), abs=most / 200 + 0.02 * float(table))


def test_a_key_moves_the_cross_hair_by_one_voxel_of_the_ct(page: Served, at: At) -> None:
    browser = at(page, f"/cycles/{CYCLE}", "viewer")
    before = browser.run(CLICK, 0, 0.5, 0.5)["place"]
    browser.run("document.querySelector('.planes canvas').focus()")
    browser.type(".planes canvas", "\ue014")  # arrow right, W3C WebDriver 17.4.2
    after = browser.text("[data-read=place] dd")
    x = [float(re.findall(r"-?\d+\.\d", p)[0]) for p in (before, after)]
    assert x[1] - x[0] == pytest.approx(2.0, abs=0.11)
