"""kill -9 at random instants while images come in, cycles are computed and results go out.

One archive lives through all rounds. Afterwards: every object that a sender saw acknowledged is there with
its bytes, every cycle was delivered, the PACS holds each result as one object, and the audit chain is whole.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

SEED = int(os.environ.get("DICOMNODE_FAULT_SEED", "20260302"))
ROUNDS = int(os.environ.get("DICOMNODE_FAULT_ROUNDS", "208"))


def rounds_of(
    rounds_: Any,
    stand: Any,
    pacs: Any,
    tiny: Any,
    seed: int,
    rounds: int,
    *,
    senders: int = 2,
    longest_s: float = 5.0,
) -> dict[str, Any]:
    """All of it. The seed stands in every failure, by the note that pytest prints."""
    began = time.monotonic()
    try:
        feeding = rounds_.Senders(stand, tiny, senders)
        hits = rounds_.storm(stand, feeding, seed, rounds, longest_s)
        feeding.finish()
        released = rounds_.settle(stand, feeding.patients)
        rounds_.assert_nothing_was_lost(stand, feeding.acknowledged)
        revisions = rounds_.assert_one_object_per_result(stand, pacs)
        rounds_.assert_the_trail_is_whole(stand)
    except BaseException as fault:
        fault.add_note(f"repeat with DICOMNODE_FAULT_SEED={seed} DICOMNODE_FAULT_ROUNDS={rounds}")
        raise
    return {
        "seed": seed, "rounds": rounds, "hits": dict(hits), "seconds": round(time.monotonic() - began),
        "patients": feeding.patients, "acknowledged": len(feeding.acknowledged), "resent": feeding.resent,
        "released by a person": released, "revisions": revisions,
        "stores at the PACS": len(pacs.got()), "objects at the PACS": len(pacs.kept()),
    }  # fmt: skip


def report(figures: dict[str, Any], folder: Path) -> None:
    """Figures for the note; shown with ``-rA`` and kept where DICOMNODE_FAULT_REPORT says."""
    print(json.dumps(figures))  # noqa: T201
    if target := os.environ.get("DICOMNODE_FAULT_REPORT"):
        with Path(target).open("a", encoding="utf-8") as out:
            out.write(json.dumps({**figures, "folder": str(folder.name)}) + "\n")


def test_a_few_kills_lose_nothing(
    new_stand: Any, new_pacs: Any, stands: Any, tiny: Any, rounds_: Any
) -> None:
    pacs = new_pacs(delay_s=0.4)
    stand = new_stand(stands.peer("pacs", pacs.port))
    figures = rounds_of(rounds_, stand, pacs, tiny, SEED, 5, senders=1, longest_s=3.0)
    assert figures["objects at the PACS"] >= 2


@pytest.mark.long
@pytest.mark.parametrize("archive", ["sqlite", "postgresql"])
def test_many_kills_lose_nothing(
    archive: str,
    new_stand: Any,
    new_pacs: Any,
    stands: Any,
    tiny: Any,
    rounds_: Any,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue("postgresql").new_database() if archive == "postgresql" else ""
    rounds = ROUNDS * 3 // 4 if archive == "sqlite" else ROUNDS // 4
    pacs = new_pacs(delay_s=0.4)
    stand = new_stand(stands.peer("pacs", pacs.port), archive=f'database_url = "{url}"')
    figures = rounds_of(rounds_, stand, pacs, tiny, SEED, rounds)
    report({"archive": archive, **figures}, stand.folder)
