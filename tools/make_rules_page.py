"""Writes docs/rules.md: every rule by which the node notes, warns or holds, read from the code.

python tools/make_rules_page.py > docs/rules.md      (a test keeps the page equal)

A rule is an identifier in a ``Finding(...)`` of the package, or a ``Fact`` whose statements may differ. The
sentence is shown as it stands in the code, with a name in braces where a value is filled in.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "dicomnode"
IDENTIFIER = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+-?")
WEIGHTS = ("HOLD", "WARNING", "NOTE")
HEAD = """# Rules

Written by `tools/make_rules_page.py` from the code. A finding has the identifier of its rule, a weight and a
sentence:

- **hold**: the cycle waits for a person. `dicomnode release CYCLE` lets it go on, for files
  `dicomnode run ... --accept RULE`. Who released, and why, is on record.
- **warning**: shown prominently in the report; the result may leave.
- **note**: recorded and shown.

Words in braces stand for values. The sentence says what a person should do; a rule with several sentences has
each of them here. `refused-...` is how an input that cannot be used at all is reported, with the name of the
error.
"""


@dataclass
class Rule:
    """What the code says of one rule: its room, the weights that it can have, its sentences."""

    room: str
    weights: set[str] = field(default_factory=set)
    sentences: list[str] = field(default_factory=list)


class Module:
    """One file: its findings, each with the function that makes it."""

    def __init__(self, path: Path) -> None:
        self.name = ".".join(("dicomnode", *path.relative_to(PACKAGE).with_suffix("").parts))
        self.tree = ast.parse(path.read_text(encoding="utf-8"))

    def findings(self) -> Iterator[tuple[ast.Call, ast.AST]]:
        for function in ast.walk(self.tree):
            if isinstance(function, ast.FunctionDef):
                for call in ast.walk(function):
                    if (
                        isinstance(call, ast.Call)
                        and isinstance(call.func, ast.Name)
                        and call.func.id == "Finding"
                    ):
                        yield call, function

    def constant(self, name: str) -> str | None:
        """Text of a constant that the module defines or imports."""
        found = getattr(import_module(self.name), name, None)
        return found if isinstance(found, str) else None

    def text(self, node: ast.AST | None, function: ast.AST) -> list[str]:
        """The sentences that an expression may be."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            return ["".join(self._part(part) for part in node.values)]
        if isinstance(node, ast.IfExp):
            return self.text(node.body, function) + self.text(node.orelse, function)
        if isinstance(node, ast.BinOp):
            return [a + b for a in self.text(node.left, function) for b in self.text(node.right, function)]
        if isinstance(node, ast.Name):
            return self._named(node.id, function)
        return [f"{{{ast.unparse(node)}}}"] if node is not None else []

    def _part(self, part: ast.expr) -> str:
        if isinstance(part, ast.Constant):
            return str(part.value)
        assert isinstance(part, ast.FormattedValue)
        value = part.value
        if (
            isinstance(value, ast.Name)
            and value.id.isupper()
            and (known := self.constant(value.id)) is not None
        ):
            return known
        names = [n.attr if isinstance(n, ast.Attribute) else n.id for n in ast.walk(value)
                 if isinstance(n, ast.Attribute | ast.Name)]  # fmt: skip
        return f"{{{names[0].strip('_').lower()}}}" if names else "{...}"

    def _named(self, name: str, function: ast.AST) -> list[str]:
        if name.isupper() and (known := self.constant(name)) is not None:
            return [known]
        given = [n.value for n in ast.walk(function) if isinstance(n, ast.Assign)
                 and any(isinstance(t, ast.Name) and t.id == name for t in n.targets)]  # fmt: skip
        return [text for value in given for text in self.text(value, function)] or [f"{{{name}}}"]

    def identifiers(self, node: ast.expr, function: ast.AST) -> list[str]:
        """The rules that the first argument of a finding may name."""
        if isinstance(node, ast.Name) and not node.id.isupper():
            called = function.name if isinstance(function, ast.FunctionDef) else ""
            within = [c for c in ast.walk(self.tree) if isinstance(c, ast.Call)
                      and isinstance(c.func, ast.Name) and c.func.id == called] or [function]  # fmt: skip
            texts = [c.value for w in within for c in ast.walk(w)
                     if isinstance(c, ast.Constant) and isinstance(c.value, str)]  # fmt: skip
            return sorted({t for t in texts if IDENTIFIER.fullmatch(t) and not t.endswith("-")})
        names = [t.replace("{error}", "...") for t in self.text(node, function)]
        return [re.sub(r"\{\w+\}", "...", n) for n in names if IDENTIFIER.match(n)]


def rules() -> dict[str, Rule]:
    """Every rule of the package, by its identifier."""
    from tools.make_facts_page import facts

    found: dict[str, Rule] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = Module(path)
        for call, function in module.findings():
            given = {k.arg: k.value for k in call.keywords}
            rule = call.args[0] if call.args else given["rule"]
            weight = call.args[1] if len(call.args) > 1 else given.get("severity")
            sentence = call.args[2] if len(call.args) > 2 else given.get("sentence")
            for name in module.identifiers(rule, function):
                one = found.setdefault(name, Rule(module.name.split(".")[1]))
                one.weights |= _weights(weight, function)
                one.sentences += [s for s in module.text(sentence, function) if s not in one.sentences]
    for module_name, fact in facts():
        one = found.setdefault(fact.rule, Rule(module_name.split(".")[1]))
        one.weights.add("HOLD")
        one.sentences.append(f"{fact.name} {fact.differ}; {fact.remedy}")
    return found


def _weights(node: ast.expr | None, function: ast.AST) -> set[str]:
    inside = [node] if node is not None else []
    if isinstance(node, ast.Name):
        inside = [function]  # type: ignore[list-item]
    named = {n.attr for i in inside for n in ast.walk(i) if isinstance(n, ast.Attribute)}
    return named & set(WEIGHTS)


def page() -> str:
    """The whole page."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for name, rule in sorted(rules().items()):
        weights = ", ".join(w.lower() for w in WEIGHTS if w in rule.weights) or "as its caller says"
        sentences = " / ".join(_cell(s) for s in rule.sentences)
        rooms[rule.room].append(f"| `{name}` | {weights} | {sentences} |")
    parts = [HEAD]
    for room, rows in sorted(rooms.items()):
        parts.append(f"\n## {room}\n\n| rule | weight | sentence |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "".join(parts)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;").strip()


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(PACKAGE.parent))
    sys.stdout.write(page())
