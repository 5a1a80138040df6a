"""No text of a report runs off its page or into its neighbour, however long names and numbers are."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from dicomnode.model import OrganDose
from dicomnode.results.page import A4_INCHES, LEFT, RIGHT, Page, width_of
from dicomnode.results.report import pages_of_numbers
from tests.results.test_pictures_and_report import SETTINGS, content

LONGEST_UID = "2.25." + "9" * 59
REASON = "smaller than 12.3 mL, the least that an image 12.0 mm wide resolves"


def boxes(page: Page) -> dict[str, Bbox]:
    """Where each text stands, in points, as matplotlib draws it. Texts that stand twice count once."""
    renderer = FigureCanvasAgg(page.figure).get_renderer()
    found = {}
    with rc_context({"text.hinting": "none"}):  # a PDF has no pixels to align letters with
        for text in page.figure.texts:
            if text.get_text():
                box = text.get_window_extent(renderer).get_points() * 72.0 / page.figure.dpi
                found[f"{text.get_text()} at {text.get_position()}"] = Bbox(box)
    return found


def check(page: Page) -> None:
    width = 72.0 * A4_INCHES[0]
    placed = boxes(page)
    for name, box in placed.items():
        assert LEFT * width - 2 <= box.x0, name
        assert box.x1 <= RIGHT * width + 2, name
    for (one, a), (other, b) in combinations(placed.items(), 2):
        shared = Bbox.intersection(a, b)
        assert shared is None or min(shared.width, shared.height) < 1.0, (one, other)


def with_both(organ: OrganDose, **more: object) -> OrganDose:
    known = {"low_gy": 7.08, "high_gy": 35.9, "recovery": 0.5, "recovered_gy": 21.9,
             "recovered_sigma_gy": 5.4, "recovery_limit": "contour"}  # fmt: skip
    return replace(organ, **{**known, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("long", [False, True])
def test_every_text_of_the_report_keeps_to_its_place(long: bool, torso) -> None:  # type: ignore[no-untyped-def]
    whole = content(torso)
    names = [f"{o.region} in segment VIII, near the dome" if long else o.region for o in whole.organs]
    organs = [with_both(o, region=name) for o, name in zip(whole.organs, names, strict=True)]
    organs[-1] = replace(
        organs[-1], recovered_gy=None, recovered_sigma_gy=None, recovery_limit=REASON, mean_gy=1234.0,
        low_gy=1000.0, high_gy=1111.0,
    )  # fmt: skip
    given = replace(whole.cycle.administration, source=f"header:{LONGEST_UID}" if long else "config")
    cycle = replace(whole.cycle, administration=given)
    pages = pages_of_numbers(replace(whole, organs=organs, cycle=cycle), SETTINGS)
    for page in pages:
        check(page)
    said = [text.get_text() for page in pages for text in page.figure.texts]
    assert not any("<U+" in text for text in said)
    assert "21.9 ± 5.4" in said
    assert "1234 (1000 to 1111)" not in said  # three digits: "1230 (1000 to 1110)"
    assert "1230 (1000 to 1110)" in said
    assert REASON in " ".join(t for t in said if t and t in REASON)


def test_a_text_is_made_smaller_and_then_cut() -> None:
    """At 8 points "mmmm" is 4 x 0.974 em wide (DejaVu Sans: 1995 of 2048 units): 31.2 of 595.44 points.
    At 5.5 points "mmmm…" takes 26.9."""
    assert width_of("mmmm", 8.0) == pytest.approx(31.17 / 595.44, rel=0.02)
    page = Page()
    for count in (4, 5, 100):
        page.write_before(0.1 + 0.0525, 0.1, "m" * count)
    sizes = [text.get_fontsize() for text in page.figure.texts]
    assert sizes == pytest.approx([8.0, 6.4, 5.5], rel=0.02)
    assert [text.get_text() for text in page.figure.texts] == ["mmmm", "mmmmm", "mmmm…"]
