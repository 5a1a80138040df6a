"""The organ table of the page and of `dicomnode show`: both doses where partial volume was looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape

from click.testing import CliRunner
from starlette.testclient import TestClient

from dicomnode.casebook.house import House
from dicomnode.casebook.state import finding_row
from dicomnode.cli import cli
from dicomnode.database.tables import OrganDoseRow
from dicomnode.model import Finding, Severity
from tests.web.conftest import CYCLE, HOSTILE, NOW

WIDTH = "partial volume by regions, image width 12.0 mm ± 5% (site, SPECT 1); the uncorrected dose counts"
KNOWN = {"low_gy": 7.084, "high_gy": 35.898, "recovery": 0.5, "recovered_gy": 21.945,
         "recovered_sigma_gy": 5.4, "recovery_limit": "model"}  # fmt: skip
WITHHELD = KNOWN | {
    "recovered_gy": None, "recovered_sigma_gy": None, "recovery_limit": f"it is small {HOSTILE}"
}  # fmt: skip


def add(house: House, region: str, **recovery: object) -> None:
    with house.database.write() as session:
        session.add(OrganDoseRow(
            revision_id="r1", region=region, mean_gy=11.588, sigma_gy=2.0, d2_gy=18.3, d50_gy=11.66,
            d98_gy=5.66, max_gy=20.0, volume_ml=9.42, mass_g=11.9, tia_mbq_s=5.8e6, sigma_tia_mbq_s=1e6,
            **recovery,
        ))  # fmt: skip
        session.add(finding_row(Finding("recovery-reported", Severity.NOTE, WIDTH), CYCLE, "r1", NOW))


def organ_table(html: str) -> list[list[str]]:
    """Texts of its cells, line by line."""
    table = re.search(r'<table class="numbers organs">.*?</table>', html, re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub(r"<[^>]*>", "|", cell)) for cell in row] for row in cells]


def test_the_page_says_both_doses_the_interval_and_the_width(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    """Bone lesion of the demonstration: 11.588 Gy, 7.084 to 35.898 at k = 2, 21.945 +- 5.4 corrected."""
    add(house, "lesion bone", **KNOWN)
    html = as_role("viewer").get(f"/cycles/{CYCLE}").text
    heading, bone = organ_table(html)
    assert heading[:6] == [
        "Region", "Uncorrected, Gy", "Corrected, Gy", "Recovery", "Limited by", "Gy / GBq"
    ]  # fmt: skip
    assert bone[:6] == [
        "lesion bone", "11.6 ± 2.0||7.08 to 35.9|", "21.9 ± 5.4", "0.50", "uneven uptake", "1.57"
    ]  # fmt: skip
    assert f"Here: {WIDTH}." in html


def test_a_dose_that_may_not_be_corrected_is_a_dash_with_its_reason_made_harmless(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    add(house, "node", **WITHHELD)
    html = as_role("viewer").get(f"/cycles/{CYCLE}").text
    assert organ_table(html)[1][2:5] == ["–", "0.50", f"it is small {HOSTILE}"]
    assert HOSTILE not in html


def test_a_revision_of_before_shows_the_table_of_before(
    house: House, as_role: Callable[[str], TestClient]
) -> None:
    add(house, "liver")
    html = as_role("viewer").get(f"/cycles/{CYCLE}").text
    heading, liver = organ_table(html)
    assert heading[:3] == ["Region", "This cycle, Gy", "Gy / GBq"]
    assert liver[:3] == ["liver", "11.6 ± 2.0", "1.57"]
    assert "partial volume" not in html.split("<h2>Findings</h2>")[0]


def show(house: House, *more: str) -> str:
    config = str(house.config.web.users_file.parent / "config.toml")
    shown = CliRunner().invoke(cli, ["show", CYCLE, "--config", config, *more])
    assert shown.exit_code == 0, shown.output
    return shown.output


def test_show_says_both_doses_in_text_and_json(house: House) -> None:
    add(house, "lesion bone", **KNOWN)
    add(house, "node", **WITHHELD)
    lines = show(house).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("partial volume"))
    assert lines[start + 1].split()[2:] == [
        "11.588", "7.084", "35.898", "0.50", "21.945", "5.400", "uneven", "uptake"
    ]  # fmt: skip
    assert lines[start + 2].split()[1:9] == ["11.588", "7.084", "35.898", "0.50", "-", "-", "it", "is"]
    bone, node = json.loads(show(house, "--json"))["organ_doses"]
    assert (bone["mean_gy"], bone["recovered_gy"], bone["high_gy"]) == (11.588, 21.945, 35.898)
    assert (node["recovered_gy"], node["recovery"]) == (None, 0.5)


def test_show_of_a_revision_of_before_has_no_second_table(house: House) -> None:
    add(house, "liver")
    assert not any(line.startswith("partial volume") for line in show(house).splitlines())
