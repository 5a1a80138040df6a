"""docs/engines.md: its code runs, and it knows every engine and every setting."""

from __future__ import annotations

import re
from pathlib import Path

from dicomnode.dose.registry import BUILT_IN, settings_class

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs(capsys):
    names: dict[str, object] = {"__name__": "docs"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/engines.md", "exec"), names)
    assert "['denoise', 'gate', 'local', 'montecarlo', 'multi-vsv', 'vsv'" in capsys.readouterr().out
    engine = names["HalfStays"]()
    half = engine.dose(names["TiaMap"](names["grid"], names["tia"]), names["anatomy_from_ct"](
        names["HuMap"](names["grid"], names["hu"])), names["nuclide"]("Lu-177"))  # fmt: skip
    assert 0.4 < half.gy.max() / names["result"].gy.max() < 0.6


def test_every_engine_and_setting_is_described_with_its_default():
    for name in BUILT_IN:
        section = PAGE.split(f"\n### {name}\n")[1].split("\n### ")[0]
        for field, info in settings_class(name).model_fields.items():
            default = f"{info.default:g}" if isinstance(info.default, float) else info.default
            assert f"| `{field}` | {default} |" in section
