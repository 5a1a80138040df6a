"""What a node says of everything it was sent."""

from __future__ import annotations

import json
import time
from typing import Any

from sqlalchemy import select

from dicomnode.database.tables import CycleRow, Instance, Series, TimePointRow


def settled(node: Any, timeout_s: float = 180.0) -> None:
    """Wait until everything that came is parsed and every cycle has stopped."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with node.house.database.read() as session:
            parsed = session.scalars(select(Instance).where(Instance.state == "RECEIVED")).first() is None
            states = set(session.scalars(select(CycleRow.state)))
            looked_at = session.scalars(select(Series).where(Series.state == "OPEN")).first() is None
        if parsed and looked_at and states <= {"HELD", "DELIVERED", "RELEASED"}:
            return
        time.sleep(0.5)
    raise AssertionError(f"not settled: {states}; {node.log()[-2000:]}")


def verdicts(node: Any) -> dict[str, str]:
    """What the node says of each object, by SOP Instance UID."""
    said = {}
    with node.house.database.read() as session:
        series = {s.series_instance_uid: s for s in session.scalars(select(Series))}
        cycles = _cycles_by_series(session)
        for row in session.scalars(select(Instance).order_by(Instance.id.desc())):
            if row.state != "INDEXED":
                said[row.sop_instance_uid] = f"{row.state.lower()}: {row.reason}"
                continue
            of = series[row.series_instance_uid]
            if of.state == "USED":
                said[row.sop_instance_uid] = f"used; {cycles.get(row.series_instance_uid, of.role)}"
            else:
                said[row.sop_instance_uid] = f"{of.state.lower()}: {of.reason}"
    return said


def _cycles_by_series(session: Any) -> dict[str, str]:
    found = {}
    for point in session.scalars(select(TimePointRow)):
        cycle = session.get(CycleRow, point.cycle_id)
        text = f"cycle {cycle.state}: {'; '.join(json.loads(cycle.reasons)) or '-'}"
        uids = [point.emission_series_uid, point.ct_series_uid, *json.loads(point.structure_series_uids)]
        found |= dict.fromkeys(uids, text)
    return found
