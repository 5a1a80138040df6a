"""CONTRIBUTING.md: each of its six recipes, followed with a toy in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]
PAGE = (HERE / "CONTRIBUTING.md").read_text(encoding="utf-8")


class Copy:
    """A copy of the package: links to every file, until one is changed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.changed = folder, set[str]()
        for part in ("dicomnode", "tools"):
            shutil.copytree(HERE / part, folder / part, copy_function=os.symlink,
                            ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        self.changed.add(name)

    def change(self, name: str, before: str, after: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert before in text, f"{name} has no {before!r}"
        self.write(name, text.replace(before, after, 1))

    def run(self, *arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        found = subprocess.run([sys.executable, *arguments], cwd=self.folder, env=environment,
                               capture_output=True, text=True, check=False)  # fmt: skip
        assert found.returncode == 0, found.stderr
        return found.stdout

    def is_described(self, recipe: str) -> None:
        """Changed are only files that the recipe names (a folder for a new one), three at most."""
        part = PAGE.split(f"### {recipe}\n")[1].split("\n### ")[0]
        named = re.findall(r"`(dicomnode/[\w/.]+)`", part)
        assert len(self.changed) <= 3
        assert [c for c in self.changed if c not in named and f"{Path(c).parent}/" not in named] == []


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_nuclide(copy: Copy) -> None:
    """Scandium-46: unknown before, then read in every spelling, with the half-life of ICRP 107 (83.79 d)."""
    copy.change("dicomnode/physics/nuclide_names.py", '"Sc-47",', '"Sc-46", "Sc-47",')
    code = (
        "from dicomnode.dicom.header.radionuclide import nuclides_of_text as names\n"
        "from dicomnode.physics.nuclides import nuclide\n"
        "print(*names('^46^Scandium'), *names('Sc 46'), round(nuclide('Sc-46').half_life_s / 86400, 2))"
    )
    assert copy.run("-c", code) == "Sc-46 Sc-46 83.79\n"
    copy.is_described("A nuclide")


def test_a_rule(copy: Copy) -> None:
    rule = '''

def toy_is_small(toy_mbq: float) -> Iterator[Finding]:
    """A toy."""
    if toy_mbq > 1.0:
        yield Finding("toy-large", Severity.HOLD, f"the toy has {toy_mbq:.0f} MBq: take another", toy_mbq)
'''
    rules = (copy.folder / "dicomnode/check/rules.py").read_text(encoding="utf-8")
    copy.write("dicomnode/check/rules.py", rules + rule)
    page = copy.run("tools/make_rules_page.py")
    assert "| `toy-large` | hold | the toy has {toy_mbq} MBq: take another |" in page
    copy.is_described("A rule")


def test_an_engine(copy: Copy) -> None:
    copy.write("dicomnode/dose/toy.py", '''"""A toy."""

from dicomnode.dose.local import LocalDeposition


class Toy(LocalDeposition):
    """Local deposition under another name."""
''')  # fmt: skip
    copy.change(
        "dicomnode/dose/registry.py", '    "local":', '    "toy": "dicomnode.dose.toy:Toy",\n    "local":'
    )
    assert "Local deposition under another name" in copy.run("-m", "dicomnode", "engines")
    copy.is_described("An engine")


def test_a_configuration_key(copy: Copy) -> None:
    field = (
        '    toy_mbq: float = Field(1.0, gt=0, description="a toy may have so much")\n    half_life_tolerance'
    )
    copy.change("dicomnode/check/settings.py", "    half_life_tolerance", field)
    assert "toy_mbq = 1.0" in copy.run("-m", "dicomnode", "check-config", "--example")


def test_a_verb(copy: Copy) -> None:
    copy.write("dicomnode/cli/toy.py", '''"""A toy."""

import click


@click.command()
def toy() -> None:
    """Play."""
    click.echo("played")
''')  # fmt: skip
    copy.change("dicomnode/cli/__init__.py", '    "tia":', '    "toy": "dicomnode.cli.toy:toy",\n    "tia":')
    assert copy.run("-m", "dicomnode", "toy") == "played\n"
    assert "Play." in copy.run("tools/make_commands_page.py")
    copy.is_described("A verb")


def test_a_method_of_time_integrated_activity(copy: Copy) -> None:
    copy.write("dicomnode/tia/toy.py", '''"""A toy."""

from dicomnode.tia.built_in import Trapezoid

TOY = Trapezoid("the trapezoid under another name, for a toy")
''')  # fmt: skip
    copy.change(
        "dicomnode/tia/methods.py", '    "hybrid":', '    "toy": "dicomnode.tia.toy:TOY",\n    "hybrid":'
    )
    assert "the trapezoid under another name" in copy.run("-m", "dicomnode", "methods")
    copy.is_described("A method of time-integrated activity")
