"""The comparison as one HTML page that needs nothing else: no script, no link, pictures inside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from math import isfinite

from dicomnode.compare.judgement.verdict import Judgement
from dicomnode.compare.measure import Measure

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.6rem 0 1.6rem;width:100%}
th,td{border-bottom:1px solid #ddd;padding:.25rem .5rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.pass{color:#1b7837}.fail{color:#b2182b}.undecided{color:#b35806}
img{max-width:100%}
"""


def html_page(
    judgement: Judgement, measures: Iterable[Measure], picture_png: bytes, facts: Mapping[str, str]
) -> str:
    """The whole page. ``facts`` are stated at its head: files, grids, what was resampled.

    Every text is escaped: region names and file names come from outside.
    """
    state = escape(judgement.state.value)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            "style-src 'unsafe-inline'\">",
            f"<title>Dose comparison: {state}</title><style>{STYLE}</style></head><body>",
            f'<h1 class="{state}">{state}</h1><p>{escape(judgement.sentence)}</p>',
            _table(("", ""), ((k, v) for k, v in facts.items())),
            "<h2>Gates</h2>",
            _table(
                ("gate", "state", "found", "limit", "false alarms", "why"),
                (
                    (g.name, g.state.value, f"{_number(g.value)} {g.unit}", f"{_number(g.limit)} {g.unit}",
                     f"{100 * g.false_alarm:g} %", g.sentence)
                    for g in judgement.gates
                ),
            ),
            "<h2>Regions</h2>",
            _table(
                ("region", "mL", "said"),
                ((e.region, _number(e.volume_ml), e.sentence) for e in judgement.regions),
            ),
            "<h2>Measures</h2>",
            "<p>Expected and spread: what noise of the reference alone would give.</p>",
            _table(
                ("measure", "value", "expected", "spread", "p", "in words"),
                (
                    (m.name, f"{_number(m.value)} {m.unit}", _number(m.expected), _number(m.spread),
                     _number(m.p_value), m.sentence)
                    for m in measures
                ),
            ),
            '<p><img alt="maps, histograms, regions and gates" '
            f'src="data:image/png;base64,{b64encode(picture_png).decode()}"></p>',
            "<p>Research use; not a medical device.</p></body></html>",
        ]
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "" if value is None or not isfinite(value) else f"{value:.4g}"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
