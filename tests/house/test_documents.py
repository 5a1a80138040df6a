"""The documentation says what is there."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dicomnode
from dicomnode.cli import VERBS, cli

HERE = Path(__file__).resolve().parents[2]
ROOMS = {p.stem for p in (HERE / "dicomnode").iterdir() if p.stem[0] not in "._"}


def names_in(text: str) -> list[str]:
    """Dotted names of the package between back-quotes."""
    quoted = re.findall(r"`+([a-z_]+(?:\.\w+)+)(?:\(\))?`+", text)
    return [n for n in quoted if n.split(".")[0] in ROOMS and not n.endswith((".toml", ".sql", ".py", ".md"))]


def resolves(name: str) -> bool:
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found = import_module("dicomnode." + ".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[split:]:
            if not hasattr(found, attribute):
                return False
            found = getattr(found, attribute)
        return True
    return False


def test_every_name_of_the_journey_is_there() -> None:
    for text in (dicomnode.__doc__ or "", (HERE / "docs/journey.md").read_text(encoding="utf-8")):
        names = names_in(text)
        assert len(names) > 20
        assert [n for n in names if not resolves(n)] == []


def test_every_verb_can_be_loaded_and_is_documented() -> None:
    texts = "".join(
        p.read_text(encoding="utf-8") for p in [HERE / "README.md", *sorted((HERE / "docs").rglob("*.md"))]
    )
    for verb in VERBS:
        assert cli.get_command(None, verb) is not None
        assert f"dicomnode {verb}" in texts, f"`dicomnode {verb}` is in no document"


def test_the_page_of_commands_is_what_the_program_says() -> None:
    """Regenerate with: python tools/make_commands_page.py > docs/commands.md"""
    made = subprocess.run(
        [sys.executable, "tools/make_commands_page.py"], cwd=HERE, capture_output=True, text=True, check=True
    )
    assert (HERE / "docs/commands.md").read_text(encoding="utf-8") == made.stdout


def test_the_page_of_rules_is_what_the_code_says() -> None:
    """Regenerate with: python tools/make_rules_page.py > docs/rules.md"""
    made = subprocess.run(
        [sys.executable, "tools/make_rules_page.py"], cwd=HERE, capture_output=True, text=True, check=True
    )
    page = (HERE / "docs/rules.md").read_text(encoding="utf-8")
    assert page == made.stdout
    assert len(re.findall(r"^\| `", page, re.MULTILINE)) > 120
    assert "as its caller says" not in page, "a weight that cannot be read from the code"


def test_links_between_documents_lead_somewhere() -> None:
    for page in [HERE / "README.md", *(HERE / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def headings(text: str) -> set[str]:
    """Anchors of the headings of a page, as they are made of them on the web."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


def test_links_into_a_page_find_their_heading() -> None:
    for page in [HERE / "README.md", *(HERE / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
            other = page.parent / target if target else page
            assert anchor in headings(other.read_text(encoding="utf-8")), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize(
    "heavy", ["torch", "numba", "SimpleITK", "matplotlib", "opengate", "highdicom", "distributed", "scipy"]
)
def test_the_command_line_loads_nothing_heavy(heavy: str) -> None:
    code = f"import dicomnode.cli, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_of_a_machine_or_a_person_is_in_the_tree() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=HERE, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.split():
        path = HERE / name
        assert path.stat().st_size < 10 * 2**20, f"{name} is over 10 MB"
        if path.suffix in (".py", ".md", ".toml", ".sh", ".yaml", ".service"):
            for line in path.read_text(encoding="utf-8").splitlines():
                assert not re.search(r"(?<![\w./])/(work|root|farm)/", line), f"{name}: {line}"
