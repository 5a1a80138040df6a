"""`dicomnode status`, `cycles` and `show`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dicomnode.cli.options import config_option, faults_are_told, house_of, json_option, say
from dicomnode.model.findings import line_of

if TYPE_CHECKING:
    from dicomnode.casebook.house import House


@click.command()
@config_option
@json_option
@faults_are_told
def status(config_path: Path, as_json: bool) -> None:
    """Queues, holds, disk and peers. Exit code 1 where something waits for a person."""
    from dicomnode.casebook.status import status as look

    now = look(house_of(config_path))
    if as_json:
        click.echo(now.as_json())
    else:
        for name in ("instances", "series", "cycles"):
            counts = ", ".join(f"{n} {state}" for state, n in sorted(getattr(now, name).items())) or "none"
            say(f"{name:<11}{counts}")
        for peer, states in sorted(now.deliveries.items()):
            say(f"to {peer:<8}" + ", ".join(f"{n} {state}" for state, n in sorted(states.items())))
        say(f"disk       {now.free_gb:.1f} GiB free")
        for held in now.held:
            say(f"HELD {held.cycle_id} since {held.since:%Y-%m-%d %H:%M} UTC")
            for reason in held.reasons:
                say(f"     {reason}")
        for trouble in now.troubles:
            say(f"TROUBLE {trouble}")
        if now.contradicted:
            say(f"CAME TWICE {now.contradicted} objects under UIDs in use: dicomnode quarantine list")
        if now.quarantined:
            say(f"QUARANTINED {now.quarantined} objects are not used: dicomnode quarantine list")
    raise SystemExit(1 if now.waits_for_a_person else 0)


@click.command()
@click.argument("cycle_id", required=False)
@config_option
@json_option
@faults_are_told
def cycles(cycle_id: str | None, config_path: Path, as_json: bool) -> None:
    """List cycles, or tell one in full (the same as `show`)."""
    from dicomnode.casebook.views import cycle_rows

    house = house_of(config_path)
    if cycle_id is not None:
        _look_at(house, cycle_id, as_json)
        return
    rows = cycle_rows(house)
    if as_json:
        click.echo(json.dumps(rows, default=str, indent=2))
        return
    for row in rows:
        since = f"{row['state_since']:%Y-%m-%d %H:%M}"
        say(f"{row['id'][:8]}  {row['nuclide']:<7}{row['state']:<11}{since}  {'; '.join(row['reasons'])}")


@click.command()
@click.argument("cycle_id")
@config_option
@json_option
@faults_are_told
def show(cycle_id: str, config_path: Path, as_json: bool) -> None:
    """One cycle: time points, findings, organ doses, objects, deliveries."""
    _look_at(house_of(config_path), cycle_id, as_json)


def _look_at(house: House, cycle_id: str, as_json: bool) -> None:
    """Tell a cycle; that a person looked is on record before anything is shown."""
    from dicomnode.audit.about import Person
    from dicomnode.casebook.views import cycle_facts, looked_at
    from dicomnode.cli.node.archive import person

    facts = cycle_facts(house, cycle_id)
    looked_at(house, Person(person(), person()), facts["cycle"]["id"], "show")
    _tell(facts, as_json)


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, default=str, indent=2))
        return
    for line in (*_history(facts), *_doses(facts), *_partial_volume(facts), *_deliveries(facts)):
        say(line)
    say(f"state shown {facts['state_shown'][:12]}")


def _history(facts: dict[str, Any]) -> Iterator[str]:
    cycle, told = facts["cycle"], facts["administration"]
    since = f"{cycle['state_since']:%Y-%m-%d %H:%M}"
    yield f"cycle {cycle['id']}  {cycle['nuclide']}  {cycle['state']} since {since} UTC"
    yield from (f"  {reason}" for reason in cycle["reasons"])
    if told:
        at = f"{told['administered_at']:%Y-%m-%d %H:%M}"
        yield f"administered {told['activity_mbq']:.0f} MBq on {at} UTC (from {told['source']})"
    for one in facts["told"]:
        at = f"{one['administered_at']:%Y-%m-%d %H:%M}"
        what = f"{one['activity_mbq']:.0f} MBq {one['nuclide']} on {at} UTC"
        yield f"  told as administration {one['id']}: {what} ({one['source']})"
        yield f"  its state shown {one['state_shown'][:12]}"
    for point in facts["time_points"]:
        hours = f"{point['hours']:.2f} h" if point["hours"] is not None else "? h"
        yield f"  {point['label']}  {hours:>9}  {'with CT' if point['ct_series_uid'] else 'without CT'}"
    for out in facts["left_out"]:
        yield f"  left out: {out['kind']} {out['subject']} by {out['decided_by']}: {out['because']}"
    lines = Counter((f["severity"], f["sentence"]) for f in facts["findings"])
    yield from (f"  [{severity}] {line_of(sentence, n)}" for (severity, sentence), n in lines.items())


def _doses(facts: dict[str, Any]) -> Iterator[str]:
    organs = facts.get("organ_doses", [])
    alphas = any(o["alpha_gy"] is not None for o in organs)
    if organs:
        columns = [("mean Gy", 10), ("+-", 8), ("D98", 9), ("D50", 9), ("D2", 9), ("mL", 9), ("BED Gy", 9)]
        columns += [("alpha Gy", 10)] if alphas else []
        yield f"{'region':<24}" + "".join(f"{name:>{width}}" for name, width in columns)
    for o in organs:
        bed = f"{o['bed_gy']:9.2f}" if o["bed_gy"] is not None else f"{'-':>9}"
        yield (
            f"{o['region']:<24}{o['mean_gy']:10.3f}{o['sigma_gy']:8.3f}{o['d98_gy']:9.3f}"
            f"{o['d50_gy']:9.3f}{o['d2_gy']:9.3f}{o['volume_ml']:9.1f}{bed}"
            + (f"{o['alpha_gy'] or 0.0:10.3f}" if alphas else "")
        )


def _partial_volume(facts: dict[str, Any]) -> Iterator[str]:
    """Both means of each region, and the interval (k = 2) of the uncorrected one."""
    from dicomnode.results.wording import LIMITS

    known = [o for o in facts.get("organ_doses", []) if o["recovery"] is not None]
    if known:
        yield (
            f"{'partial volume':<24}{'mean Gy':>10}{'k=2: low':>10}{'high':>9}{'recovery':>10}"
            f"{'corrected':>11}{'+-':>8}  limited by"
        )
    for o in known:
        corrected = f"{'-':>11}{'-':>8}"
        if o["recovered_gy"] is not None:
            corrected = f"{o['recovered_gy']:11.3f}{o['recovered_sigma_gy']:8.3f}"
        yield (
            f"{o['region']:<24}{o['mean_gy']:10.3f}{o['low_gy']:10.3f}{o['high_gy']:9.3f}"
            f"{o['recovery']:10.2f}{corrected}  {LIMITS.get(o['recovery_limit'], o['recovery_limit'] or '')}"
        )


def _deliveries(facts: dict[str, Any]) -> Iterator[str]:
    roles = {r["id"]: r["role"] for r in facts.get("results", [])}
    for d in facts.get("deliveries", []):
        said = f"{d['last_status']} {d['last_comment']}".strip()
        yield f"  {roles.get(d['result_id'], '?')} to {d['peer']}: {d['state']} {said}".rstrip()
