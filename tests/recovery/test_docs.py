"""docs/recovery.md names every setting and finding, and its examples run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from dicomnode.recovery import ImageWidth, RecoverySettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/recovery.md").read_text(encoding="utf-8")


def test_every_setting_is_described() -> None:
    names = [*RecoverySettings.model_fields, *ImageWidth.model_fields]
    assert [n for n in names if f"`{n}`" not in PAGE] == []


def test_every_finding_is_described() -> None:
    source = (ROOT / "dicomnode/recovery/wording.py").read_text(encoding="utf-8")
    rules = set(re.findall(r'"((?:recovery|partial-volume)[a-z-]*)"', source))
    assert len(rules) == 7
    assert [r for r in rules if f"`{r}`" not in PAGE] == []


def test_the_examples_run() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    settings = RecoverySettings.model_validate(tomllib.loads(example.group(1))["recovery"])
    width = settings.width_of("Lu-177", "SYMBIA INTEVO")
    assert width is not None
    assert width.at(1000.0) == 6.6
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code
    found: dict[str, object] = {}
    exec(code.group(1), found)
