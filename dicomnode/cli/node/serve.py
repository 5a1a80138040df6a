"""`dicomnode serve`."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.options import config_option, faults_are_told


@click.command()
@config_option
@click.option(
    "--role",
    type=click.Choice(["all", "receive", "work", "deliver", "web"]),
    default="all",
    show_default=True,
    help="Run one role in the foreground instead of supervising all of them.",
)
@faults_are_told
def serve(config_path: Path, role: str) -> None:
    """Run the node until SIGTERM."""
    from dicomnode.casebook.house import open_house
    from dicomnode.config import load
    from dicomnode.node import logs
    from dicomnode.node import serve as node

    config = load(config_path, engine=role in ("all", "work"))
    logs.set_up(role, config.node.log_level)
    stop = node.stop_on_signals()
    house = open_house(config)
    if role == "all":
        node.supervise(house, config_path, stop)
    else:
        node.run_role(role, house, stop)
