"""Makes the SQL views of audit/views.sql.

One text serves both databases. Two words in it are ours, because the dialects differ:

``SECONDS(later, earlier)``  seconds between two columns with times
``DETAIL(body, key)``        one entry of an event's ``detail``, as text
"""

from __future__ import annotations

import re
from importlib.resources import files

from sqlalchemy import Connection, inspect

_MACRO = re.compile(r"\b(SECONDS|DETAIL)\(\s*([\w.]+)\s*,\s*([\w.]+)\s*\)")
_WORDS = {
    ("sqlite", "SECONDS"): r"(86400.0 * (julianday(\2) - julianday(\3)))",
    ("sqlite", "DETAIL"): r"CAST(json_extract(\2, '$.detail.\3') AS TEXT)",
    ("postgresql", "SECONDS"): r"CAST(EXTRACT(EPOCH FROM (\2 - \3)) AS double precision)",
    ("postgresql", "DETAIL"): r"(CAST(\2 AS json) #>> '{detail,\3}')",
}


def views_sql(dialect: str) -> str:
    """The views in the words of "sqlite" or "postgresql"."""
    source = files("dicomnode").joinpath("audit", "views.sql").read_text(encoding="utf-8")
    return _MACRO.sub(lambda found: found.expand(_WORDS[dialect, found[1]]), source)


def create_views(connection: Connection) -> None:
    """Create every view, in the order of the file."""
    without_comments = re.sub(r"--[^\n]*", "", views_sql(connection.dialect.name))
    for statement in without_comments.split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement.replace("%", "%%") if _percent(connection) else statement)


def drop_views(connection: Connection) -> None:
    """Drop our views (``v_...``), the dependent ones first."""
    names = [name for name in inspect(connection).get_view_names() if name.startswith("v_")]
    cascade = " CASCADE" if connection.dialect.name == "postgresql" else ""
    for name in names:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}{cascade}")


def _percent(connection: Connection) -> bool:
    # psycopg reads % as the start of a parameter even where there are none.
    return connection.dialect.paramstyle in ("format", "pyformat")
