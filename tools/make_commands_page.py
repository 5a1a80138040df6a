"""Writes docs/commands.md: every command with its options, as the command line itself tells them.

python tools/make_commands_page.py > docs/commands.md      (a test keeps the page equal)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from dicomnode.cli import cli

NODE = (
    "serve", "status", "cycles", "show", "administer", "withdraw", "release", "hold", "send", "quarantine",
    "audit", "replay", "db", "check-config", "doctor", "demo",
)  # fmt: skip
HEAD = """# Commands

Written by `tools/make_commands_page.py` from the program. Exit codes: 0; 1 where the answer is no (fails,
differs, waits for a person); 2 usage, configuration, or a refused input, with a sentence on standard error.
"""


def described(command: click.Command, name: str) -> Iterator[str]:
    """What a command does, and its options; of a group its commands."""
    context = click.Context(command, info_name=name)
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            yield from described(inner, f"{name} {sub}")
        return
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n### {name}\n\n`{name} {usage}`. {' '.join((command.help or '').split())}\n"
    records = [p.get_help_record(context) for p in command.params if isinstance(p, click.Option)]
    rows = [record for record in records if record is not None]
    if rows:
        yield "| option | |\n|---|---|"
    for option, what in rows:
        yield f"| `{option.replace('|', ', ')}` | {' '.join(what.split()).replace('|', '/')} |"


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    context = click.Context(cli)
    verbs = cli.list_commands(context)
    for title, chosen in (("The node", NODE), ("On files", [v for v in verbs if v not in NODE])):
        lines.append(f"\n## {title}")
        for verb in chosen:
            command = cli.get_command(context, verb)
            assert command is not None, verb
            lines += described(command, f"dicomnode {verb}")
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
