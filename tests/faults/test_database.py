"""PostgreSQL goes away as in a crash and comes back, while the node receives, computes and delivers."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest


@pytest.mark.long
def test_an_outage_of_the_database_is_lived_through_without_a_restart(
    new_stand: Any, new_pacs: Any, stands: Any, tiny: Any, rounds_: Any, postgresql: Any
) -> None:
    pacs = new_pacs(delay_s=0.4)
    url = postgresql.new_database()
    stand = new_stand(stands.peer("pacs", pacs.port), archive=f'database_url = "{url}"')
    before = stand.pids()
    chance = random.Random(5)
    probe = tiny.Tiny("probe").time_point(24.0)[0]
    feeding = rounds_.Senders(stand, tiny, 1)
    for _ in range(4):
        time.sleep(chance.uniform(2.0, 6.0))
        postgresql.stop()
        try:
            association = stand.associate()
            assert association.send_c_store(probe).Status == 0xA700
            association.release()
            assert stand.health()["database"] is False
            time.sleep(chance.uniform(0.1, 1.5))
        finally:
            postgresql.start()
    feeding.finish()
    rounds_.settle(stand, feeding.patients)
    assert stand.pids() == before, "no role was restarted"
    rounds_.assert_nothing_was_lost(stand, feeding.acknowledged)
    rounds_.assert_one_object_per_result(stand, pacs)
    rounds_.assert_the_trail_is_whole(stand)
    assert stand.health()["well"] is True
