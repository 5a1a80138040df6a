"""Writes docs/facts.md: every fact of an input with all its places, from the declarations in the code.

python tools/make_facts_page.py > docs/facts.md      (a test keeps the page equal)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import dicomnode
from dicomnode.model.choice import Choice
from dicomnode.model.statements import Fact

ROOMS = ("model", "dicom", "files", "cycle", "recon")
"""Rooms that read or compare statements; the doors and the engines declare none."""
HEAD = """# Facts and their sources

Written by `tools/make_facts_page.py` from the declarations in the code (`model.statements.Fact`).

Every fact of an input is read from every place that states it. Places that agree within the tolerance are one
statement. Places that differ hold the cycle with a sentence that names both values, both places and the time
point (or the object is refused where nothing can be used); until a person has decided, the place that stands
first counts. An identity is never written into a sentence: there the places and the time points are named.
"""
LISTS = """
## Lists in the configuration

Of the entries that fit, the latest that began to apply on or before the day of the scan counts
(`model.choice.Choice`). Entries of one day that differ are refused, and a fault of the file where the file
alone shows it. The order in the file decides nothing. Two entries of `[[administration]]` for one patient,
nuclide and half day, and two of `[[receive.peers]]` for one AE title and address, are faults of the file too.

| list | since |
|---|---|
"""


def declared(kind: type) -> Iterator[tuple[str, object]]:
    """(module, declaration) of every module-level value of a kind, and of those in module-level tables."""
    seen: set[int] = set()
    for room in ROOMS:
        package = import_module(f"dicomnode.{room}")
        modules = [package.__name__]
        modules += [m.name for m in walk_packages(package.__path__, f"{package.__name__}.")]
        for name in modules:
            if name.startswith(("dicomnode.recon.learned", "dicomnode.recon.algorithms")):
                continue  # torch
            for value in list(vars(import_module(name)).values()):
                for one in value.values() if isinstance(value, dict) else [value]:
                    if isinstance(one, kind) and id(one) not in seen:
                        seen.add(id(one))
                        yield name.removeprefix(f"{dicomnode.__name__}."), one


def facts() -> list[tuple[str, Fact[object]]]:
    """Every fact with the module that declares it, by rule."""
    found = [(module, fact) for module, fact in declared(Fact) if isinstance(fact, Fact)]
    return sorted(found, key=lambda pair: pair[1].rule)


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    lines += [
        "| fact | places, the best first | agree within | differ | absent | standard |",
        "|---|---|---|---|---|---|",
    ]
    for _module, fact in facts():
        differ = "refused" if fact.refused else f"holds: `{fact.rule}`; {fact.then}"
        places = "<br>".join(fact.places)
        lines.append(
            f"| {fact.name} | {places} | {fact.tolerance} | {differ} | {fact.absent} | {fact.standard} |"
        )
    lines.append(LISTS.rstrip())
    dated = {"[[cycle.calibration]]": "valid_from", "[[recon.calibration]]": "measured_on"}
    tables = sorted(c.table for _, c in declared(Choice) if isinstance(c, Choice))
    lines += [f"| `{table}` | {dated.get(table, 'always')} |" for table in tables]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
