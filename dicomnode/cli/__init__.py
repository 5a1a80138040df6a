"""The command line: each verb parses, calls one function, and prints."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

VERBS = {
    "administer": "dicomnode.cli.node.persons:administer",
    "audit": "dicomnode.cli.node.audit:audit",
    "check-config": "dicomnode.cli.node.configuration:check_config",
    "compare": "dicomnode.cli.compare:compare",
    "cycles": "dicomnode.cli.node.status:cycles",
    "db": "dicomnode.cli.node.db:db",
    "demo": "dicomnode.cli.demo:demo",
    "doctor": "dicomnode.cli.node.configuration:doctor",
    "dose": "dicomnode.cli.dose:dose",
    "engines": "dicomnode.cli.catalogue:engines",
    "gate": "dicomnode.cli.gate:gate",
    "hold": "dicomnode.cli.node.persons:hold",
    "kernels": "dicomnode.cli.kernels:kernels",
    "leave-out": "dicomnode.cli.node.persons:leave_out",
    "materials": "dicomnode.cli.materials:materials",
    "methods": "dicomnode.cli.catalogue:methods",
    "nuclides": "dicomnode.cli.nuclides:nuclides",
    "quarantine": "dicomnode.cli.node.quarantine:quarantine",
    "recon": "dicomnode.cli.recon:recon",
    "release": "dicomnode.cli.node.persons:release",
    "replay": "dicomnode.cli.node.replay:replay",
    "run": "dicomnode.cli.run:run",
    "send": "dicomnode.cli.node.persons:send",
    "serve": "dicomnode.cli.node.serve:serve",
    "show": "dicomnode.cli.node.status:show",
    "simulate": "dicomnode.cli.simulate:simulate",
    "status": "dicomnode.cli.node.status:status",
    "tia": "dicomnode.cli.tia:tia",
    "user": "dicomnode.cli.node.user:user",
    "withdraw": "dicomnode.cli.node.persons:withdraw",
}
"""Verb -> "module:attribute" of its click command, imported when the verb is named."""


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is used, so that quick verbs stay quick."""

    def __init__(self, *args: Any, verbs: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.verbs, *super().list_commands(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.verbs:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.verbs[cmd_name].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.verbs[cmd_name]} is not a click command")
        return command


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dicomnode")
def cli() -> None:
    """A DICOM node for radionuclide therapy."""
