"""The trail's tables as the trail sees them: names of columns only.

``dicomnode.archive`` owns and creates them (a door does not import another); a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, String, column, table

# What can be looked for; each repeats an entry of the body, cut to what every index can hold.
KEYS = ("patient_id", "series_instance_uid", "sop_instance_uid", "cycle_id", "peer", "actor")
KEY_LENGTH = 256

EVENTS = table(
    "events",
    column("seq", BigInteger),
    column("at", String),
    column("kind", String),
    column("event_code", String),
    column("action", String),
    column("outcome", Integer),
    *(column(key, String) for key in KEYS),
    column("body", String),
    column("prev_hash", String),
    column("hash", String),
)

CHECKPOINTS = table(
    "checkpoints",
    column("id", Integer),
    column("seq", BigInteger),
    column("hash", String),
    column("count", BigInteger),
    column("at", String),
)

POSITIONS = table(
    "export_positions", column("destination", String), column("seq", BigInteger), column("at", String)
)

# What a story follows from a cycle to its series and instances.
TIME_POINTS = table(
    "time_points",
    column("cycle_id", String),
    column("emission_series_uid", String),
    column("ct_series_uid", String),
    column("structure_series_uids", String),
)
INSTANCES = table("instances", column("sop_instance_uid", String), column("series_instance_uid", String))
REVISIONS = table("revisions", column("id", String), column("cycle_id", String))
RESULTS = table("results", column("revision_id", String), column("sop_instance_uid", String))
