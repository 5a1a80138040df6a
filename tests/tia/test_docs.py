"""docs/tia.md names every method, setting and finding."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from dicomnode.tia import TiaSettings, UncertaintySettings
from dicomnode.tia.curves import FIXED_UPTAKE_MODELS, MODELS
from dicomnode.tia.methods import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/tia.md").read_text(encoding="utf-8")


def test_every_method_model_and_setting_is_described():
    names = [*BUILT_IN, *TiaSettings.model_fields, *UncertaintySettings.model_fields]
    names += [m.name for m in (*MODELS, *FIXED_UPTAKE_MODELS)]
    assert [n for n in names if f"`{n}`" not in PAGE] == []


def test_every_finding_is_described():
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "dicomnode/tia").glob("*.py"))
    rules = set(re.findall(r'"(tia-[a-z-]+)"', source))
    assert len(rules) > 10
    assert [r for r in rules if f"`{r}`" not in PAGE] == []


def test_the_example_is_valid():
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    settings = TiaSettings.model_validate(tomllib.loads(example.group(1))["tia"])
    assert settings.populations["left kidney"].effective_half_life_hours == 51
