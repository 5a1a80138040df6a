"""What a person tells the node: `administer`, `withdraw`, `release`, `hold`, `leave-out` and `send`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.options import config_option, faults_are_told, house_of, say

if TYPE_CHECKING:
    from dicomnode.audit.about import Person

by_option = click.option("--by", required=True, help="Who decides: your name or initials.")
seen_option = click.option(
    "--seen", required=True, help="The `state shown` that `dicomnode show` printed: what you decide on."
)
because_option = click.option("--because", required=True, help="Why, in one sentence; it is recorded.")


def person_named(by: str) -> Person:
    """Who says so on a command line: a name and no log-in."""
    from dicomnode.audit.about import Person

    if not by.strip():
        raise click.UsageError("--by is empty: give your name or initials")
    return Person(by, by)


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
        person_named(by),
        datetime.now(UTC),
        replaces,
    )
    say(f"recorded as administration {number}")


@click.command()
@click.argument("number", type=int)
@config_option
@by_option
@because_option
@seen_option
@faults_are_told
def withdraw(number: int, config_path: Path, by: str, because: str, seen: str) -> None:
    """Take back administration NUMBER, which a person told of the wrong patient or day."""
    from dicomnode.casebook.decisions import withdraw as decide

    say(decide(house_of(config_path), number, person_named(by), because, seen=seen))


@click.command()
@click.argument("cycle_id")
@config_option
@by_option
@because_option
@seen_option
@faults_are_told
def release(cycle_id: str, config_path: Path, by: str, because: str, seen: str) -> None:
    """Release a held cycle, or start one before it is complete. You take responsibility."""
    from dicomnode.casebook.decisions import release as decide

    house, now = house_of(config_path), datetime.now(UTC)
    say(decide(house, cycle_id, person_named(by), because, now, seen=seen))


@click.command()
@click.argument("cycle_id")
@config_option
@by_option
@because_option
@seen_option
@faults_are_told
def hold(cycle_id: str, config_path: Path, by: str, because: str, seen: str) -> None:
    """Hold a cycle; what has not left yet stays here."""
    from dicomnode.casebook.decisions import hold as decide

    house, now = house_of(config_path), datetime.now(UTC)
    say(decide(house, cycle_id, person_named(by), because, now, seen=seen))


@click.command("leave-out")
@click.argument("what", metavar="SERIES|TIME-POINT|REGION")
@click.option("--cycle", "cycle_id", required=True, help="Cycle, by its id or a unique beginning of it.")
@click.option("--undo", is_flag=True, help="Take it in again.")
@config_option
@by_option
@because_option
@faults_are_told
def leave_out(what: str, cycle_id: str, undo: bool, config_path: Path, by: str, because: str) -> None:
    """Leave a series (its UID), a time point (T2) or a region (its name) out of a cycle, on record."""
    from dicomnode.casebook.left_out import leave_out as decide
    from dicomnode.casebook.left_out import take_in

    house, now = house_of(config_path), datetime.now(UTC)
    say((take_in if undo else decide)(house, cycle_id, what, person_named(by), because, now))


@click.command()
@click.argument("cycle_id")
@config_option
@by_option
@because_option
@seen_option
@click.option("--peer", default="", help="Only to this peer.")
@click.option("--give-up", is_flag=True, help="Let them go instead: the peer does not get them.")
@faults_are_told
def send(
    cycle_id: str, config_path: Path, by: str, because: str, seen: str, peer: str, give_up: bool
) -> None:
    """Try parked deliveries of a cycle's current revision again, with the same objects."""
    from dicomnode.casebook.decisions import send as decide

    house, now = house_of(config_path), datetime.now(UTC)
    who = person_named(by)
    say(decide(house, cycle_id, who, because, peer, now, seen=seen, give_up=give_up))
