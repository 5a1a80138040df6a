"""What a person tells the node: `administer`, `withdraw`, `release`, `hold` and `send`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from dicomnode.cli.options import config_option, faults_are_told, house_of, say

by_option = click.option("--by", required=True, help="Who decides: your name or initials.")
because_option = click.option("--because", required=True, help="Why, in one sentence; it is recorded.")


@click.command()
@config_option
@click.option("--patient-id", required=True, help="PatientID, exactly as in the images.")
@click.option("--nuclide", required=True, help="For example Lu-177.")
@click.option("--mbq", "activity_mbq", type=float, required=True, help="Net administered activity, MBq.")
@click.option(
    "--at", "at", required=True, help="Date and time, 2026-03-02T09:00 (site time) or with an offset."
)
@click.option("--radiopharmaceutical", default="", help="Free text.")
@click.option(
    "--residual-mbq", type=float, default=0.0, help="Left in syringe and lines, already subtracted."
)
@click.option("--replaces", type=int, default=None, help="Number of an administration that was told wrongly.")
@by_option
@faults_are_told
def administer(
    config_path: Path,
    patient_id: str,
    nuclide: str,
    activity_mbq: float,
    at: str,
    radiopharmaceutical: str,
    residual_mbq: float,
    replaces: int | None,
    by: str,
) -> None:
    """Tell an administration; it takes precedence over what the images say."""
    from dicomnode.casebook.decisions import administer as tell

    number = tell(
        house_of(config_path),
        patient_id,
        nuclide,
        activity_mbq,
        at,
        radiopharmaceutical,
        residual_mbq,
        by,
        datetime.now(UTC),
        replaces,
    )
    say(f"recorded as administration {number}")


@click.command()
@click.argument("number", type=int)
@config_option
@by_option
@because_option
@faults_are_told
def withdraw(number: int, config_path: Path, by: str, because: str) -> None:
    """Take back administration NUMBER, which a person told of the wrong patient or day."""
    from dicomnode.casebook.decisions import withdraw as decide

    say(decide(house_of(config_path), number, by, because))


@click.command()
@click.argument("cycle_id")
@config_option
@by_option
@because_option
@faults_are_told
def release(cycle_id: str, config_path: Path, by: str, because: str) -> None:
    """Release a held cycle, or start one before it is complete. You take responsibility."""
    from dicomnode.casebook.decisions import release as decide

    say(decide(house_of(config_path), cycle_id, by, because, datetime.now(UTC)))


@click.command()
@click.argument("cycle_id")
@config_option
@by_option
@because_option
@faults_are_told
def hold(cycle_id: str, config_path: Path, by: str, because: str) -> None:
    """Hold a cycle; what has not left yet stays here."""
    from dicomnode.casebook.decisions import hold as decide

    say(decide(house_of(config_path), cycle_id, by, because, datetime.now(UTC)))


@click.command()
@click.argument("cycle_id")
@config_option
@by_option
@because_option
@click.option("--peer", default="", help="Only to this peer.")
@click.option("--give-up", is_flag=True, help="Let them go instead: the peer does not get them.")
@faults_are_told
def send(cycle_id: str, config_path: Path, by: str, because: str, peer: str, give_up: bool) -> None:
    """Try parked deliveries of a cycle's current revision again, with the same objects."""
    from dicomnode.casebook.decisions import send as decide

    house, now = house_of(config_path), datetime.now(UTC)
    say(decide(house, cycle_id, by, because, peer, now, give_up=give_up))
