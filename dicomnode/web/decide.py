"""What a person decides on the page: who, why, the password again, and the state that was seen."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import RedirectResponse, Response

from dicomnode.audit.about import Person
from dicomnode.casebook import decisions, quarantine
from dicomnode.errors import Refused
from dicomnode.web.app import Asked
from dicomnode.web.entry import proved_again

SHORTEST_REASON = 10
"""Characters: a sentence, not a dot."""


def _decided(asked: Asked, act: Callable[[Person, str], object], then: str) -> Response:
    """Do it where password and reason are there; else say what is missing."""
    because = " ".join(asked.form.get("because", "").split())
    if len(because) < SHORTEST_REASON:
        raise Refused(
            "the reason is missing", remedy=f"Write one sentence, {SHORTEST_REASON} characters or more"
        )
    user = proved_again(asked)
    if user is None:
        said = "The password is wrong, or was wrong too often: nothing was done."
        return asked.page("fault.html", 403, title="Not done", said=said)
    act(user.person, because)
    return RedirectResponse(then, 303)


def release(asked: Asked) -> Response:
    cycle, seen = asked.part("cycle_id"), asked.form.get("seen", "")
    return _decided(
        asked,
        lambda by, why: decisions.release(asked.house, cycle, by, why, asked.now, seen=seen),
        f"/cycles/{cycle}",
    )


def hold(asked: Asked) -> Response:
    cycle, seen = asked.part("cycle_id"), asked.form.get("seen", "")
    return _decided(
        asked,
        lambda by, why: decisions.hold(asked.house, cycle, by, why, asked.now, seen=seen),
        f"/cycles/{cycle}",
    )


def send(asked: Asked) -> Response:
    cycle, seen, peer = asked.part("cycle_id"), asked.form.get("seen", ""), asked.form.get("peer", "")
    up = asked.form.get("give_up", "") == "yes"
    return _decided(
        asked,
        lambda by, why: decisions.send(asked.house, cycle, by, why, peer, asked.now, seen=seen, give_up=up),
        f"/cycles/{cycle}",
    )


def withdraw(asked: Asked) -> Response:
    number, seen = int(asked.part("number")), asked.form.get("seen", "")
    return _decided(
        asked,
        lambda by, why: decisions.withdraw(asked.house, number, by, why, seen=seen),
        _back(asked),
    )


def administer(asked: Asked) -> Response:
    """Tell an administration of the patient; the reason says where it was read."""
    form = asked.form
    activity, residual = (_number(form, name) for name in ("activity_mbq", "residual_mbq"))

    def act(by: Person, _why: str) -> object:
        return decisions.administer(
            asked.house, form.get("patient_id", ""), form.get("nuclide", ""), activity, form.get("at", ""),
            form.get("radiopharmaceutical", ""), residual, by, asked.now,
        )  # fmt: skip

    return _decided(asked, act, _back(asked))


def _number(form: dict[str, str], name: str) -> float:
    try:
        return float(form.get(name, "").strip() or "0")
    except ValueError:
        raise Refused(
            "not a number", attribute=name, value=form.get(name, "")[:20], remedy="In MBq"
        ) from None


def _back(asked: Asked) -> str:
    cycle = asked.form.get("cycle_id", "")
    return f"/cycles/{cycle}" if cycle.replace("-", "").isalnum() else "/cycles"


def quarantined(asked: Asked) -> Response:
    """Dismiss an object in quarantine, or have it read again."""
    uid, again = asked.part("uid"), asked.form.get("decision") == "read again"
    act = quarantine.read_again if again else quarantine.dismiss
    return _decided(asked, lambda by, why: act(asked.house, [uid], by, why), "/operation")
