"""The physicist's pages: the list, one cycle, its volumes and report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import FileResponse, Response

from dicomnode.casebook.lifecycle import State
from dicomnode.casebook.state import about
from dicomnode.casebook.views import cycle_facts
from dicomnode.database.tables import CycleRow
from dicomnode.errors import Refused
from dicomnode.review.findings import grouped, sentence_of
from dicomnode.review.listing import cycles
from dicomnode.review.load import Review, load
from dicomnode.review.organs import table
from dicomnode.web.app import Asked, json_text
from dicomnode.web.sessions import look

LINES = 30
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#8c6d31", "#7f3fbf")
"""As in the report (``results.pictures``): Okabe and Ito's colours, two added."""
WHOLE = ("body", "field-of-view", "remainder-of-body")


def listing(asked: Asked) -> Response:
    """All cycles: what waits for a person first, then what is new."""
    state, patient = asked.query("state"), asked.query("patient")[:64]
    first = int(asked.query("first")) if asked.query("first").isdecimal() else 0
    states = (state,) if state in set(State) else ()
    page = cycles(asked.house, states, patient, first=first, most=LINES)
    return asked.page(
        "cycles.html", page=page, state=state, patient=patient, first=first, most=LINES, states=list(State)
    )


def one(asked: Asked) -> Response:
    """One cycle. The look is on record before anything of it is sent."""
    facts = _facts(asked)
    revision = facts["revision"]
    record_look(asked, facts, "cycle page")
    review = load(asked.house, revision["id"]) if revision else None
    given = facts["administration"]
    organs = table(
        asked.house, facts["cycle"]["id"], facts["cycle"]["patient_id"], given.get("activity_mbq"),
        given.get("administered_at"), facts.get("organ_doses", []),
    )  # fmt: skip
    labels = {p["emission_series_uid"]: p["label"] for p in facts["time_points"]}
    accepted = [tuple(pair) for pair in _list(facts["cycle"]["accepted"])]
    groups = grouped(facts["findings"], accepted, labels)
    return asked.page(
        "cycle.html", facts=facts, organs=organs, groups=groups, review=review, can=_can(facts),
        data=json_text(_to_draw(asked, facts, review)) if review is not None else "",
        width_said=sentence_of(facts["findings"], "recovery-reported"), viewer=_viewer(asked, facts),
        roles={r["id"]: r["role"] for r in facts.get("results", [])},
    )  # fmt: skip


def _facts(asked: Asked) -> dict[str, Any]:
    """By the whole identifier only: a page takes no beginnings of one."""
    cycle_id = asked.part("cycle_id")
    with asked.house.database.read() as session:
        if session.get(CycleRow, cycle_id) is None:
            raise Refused("there is no cycle of this identifier", remedy="Open it from the list")
    return cycle_facts(asked.house, cycle_id)


def record_look(asked: Asked, facts: Mapping[str, Any], what: str) -> None:
    """In the trail, once per session and revision."""
    revision = facts["revision"]
    row = CycleRow(id=facts["cycle"]["id"], patient_id=facts["cycle"]["patient_id"])
    look(asked.house, asked.person, about(row, revision["id"] if revision else ""), what)


def _can(facts: Mapping[str, Any]) -> dict[str, bool]:
    """What the state table allows now: a button that could only be refused is not shown."""
    state = facts["cycle"]["state"]
    parked = any(d["state"] == "PARKED" for d in facts.get("deliveries", []))
    return {
        "release": state in (State.HELD, State.COLLECTING),
        "hold": True,
        "send": parked and facts["revision"].get("state") in ("RELEASED", "DELIVERED"),
    }


def _to_draw(asked: Asked, facts: Mapping[str, Any], review: Review) -> dict[str, Any]:
    """What the scripts of the page draw."""
    config = asked.house.config
    cycle_id = facts["cycle"]["id"]
    regions = [o["region"] for o in facts.get("organ_doses", [])]
    organs = [name for name in regions if name not in WHOLE]
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(organs)}
    volumes = {
        role.removeprefix("view-"): {
            "url": f"/cycles/{cycle_id}/{review.revision_id}/{role}",
            "quantity": v.quantity, "unit": v.unit, "names": v.names, "shape": v.shape_xyz,
            "spacing": v.spacing_mm, "origin": v.origin_mm, "bytes": v.size_bytes,
        }
        for role, v in review.volumes.items()
    }  # fmt: skip
    return {
        "volumes": volumes, "colours": colours, "isodoses": config.web.isodoses_gy,
        "window": config.results.ct_window_hu, "half_life_h": review.half_life_h,
        "curves": [c for c in review.curves if c["region"] not in WHOLE], "dvh": review.histograms,
    }  # fmt: skip


def _viewer(asked: Asked, facts: Mapping[str, Any]) -> str:
    url = asked.house.config.web.viewer_url
    study = facts["patient"]["study_instance_uid"]
    return url.replace("{study}", study) if url and study else ""


def _list(text: str) -> list[Any]:
    return list(json.loads(text))


def volume(asked: Asked) -> Response:
    """One stored volume, as it lies in the store: the browser unpacks it."""
    facts, review = _of_revision(asked)
    role = asked.part("role")
    if role not in review.volumes:
        raise Refused("this revision has no such volume", remedy="Open the cycle again")
    record_look(asked, facts, "cycle page")
    path = asked.house.store.path(review.volumes[role].sha256)
    headers = {"content-encoding": "gzip"}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


def report(asked: Asked) -> Response:
    """The PDF of the revision shown."""
    from io import BytesIO

    from pydicom import dcmread

    facts, _ = _of_revision(asked)
    digest = next((r["file_sha256"] for r in facts["results"] if r["role"] == "pdf"), None)
    if digest is None:
        raise Refused("this revision has no report", remedy="Look at its findings")
    record_look(asked, facts, "report")
    ds = dcmread(BytesIO(asked.house.store.path(digest).read_bytes()))
    pdf = bytes(ds.EncapsulatedDocument)[: int(ds.EncapsulatedDocumentLength)]
    return Response(pdf, media_type="application/pdf")


def _of_revision(asked: Asked) -> tuple[dict[str, Any], Review]:
    """The cycle, and the revision of the address, which has to be its present one."""
    facts = _facts(asked)
    if not facts["revision"] or facts["revision"]["id"] != asked.part("revision_id"):
        raise Refused("the cycle has another revision by now", remedy="Open the cycle again")
    return facts, load(asked.house, facts["revision"]["id"])
