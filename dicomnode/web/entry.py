"""Logging in and out, and the static files."""

from __future__ import annotations

from starlette.responses import FileResponse, RedirectResponse, Response

from dicomnode.audit import events, trail
from dicomnode.web.app import COOKIE, STATIC, Asked
from dicomnode.web.rights import Right
from dicomnode.web.sessions import begin, end
from dicomnode.web.users import User, proved, read_users

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
WRONG = "The user or the password is wrong."


def login_form(asked: Asked) -> Response:
    return asked.page("login.html", said="")


def log_in(asked: Asked) -> Response:
    """The same answer for an unknown user and a wrong password; a few tries a minute."""
    key = asked.form.get("user", "")[:64]
    keys = (f"user:{key}", f"address:{asked.address}")
    if asked.site.tries.too_many(keys, asked.now):
        return asked.page("login.html", 429, said="Too many tries: wait a minute.")
    user = read_users(asked.house.config.web.users_file).get(key)
    if not proved(user, asked.form.get("password", "")):
        asked.site.tries.failed_now(keys, asked.now)
        record_failure(asked, key, "wrong user or password")
        return asked.page("login.html", 401, said=WRONG)
    assert user is not None
    cookie = begin(asked.house, user, asked.address, asked.now)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, cookie, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def record_failure(asked: Asked, key: str, why: str) -> None:
    """A failed proof of who it is, in the trail."""
    event = events.log_in_failed(asked.house.config.node.name, key, address=asked.address, why=why)
    with asked.house.database.write() as session:
        trail.append(session, event)


def proved_again(asked: Asked) -> User | None:
    """The person who decides, if the password given again is right; a wrong one counts and is on record."""
    keys = (f"user:{asked.person.user.id}",)
    if asked.site.tries.too_many(keys, asked.now):
        return None
    if proved(asked.person.user, asked.form.get("password", "")):
        return asked.person.user
    asked.site.tries.failed_now(keys, asked.now)
    record_failure(asked, asked.person.user.id, "wrong password at a decision")
    return None


def log_out(asked: Asked) -> Response:
    end(asked.house, asked.person, asked.now, "by the person")
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return answer


def start(asked: Asked) -> Response:
    """Where each role begins its day."""
    return RedirectResponse("/cycles" if asked.may(Right.LOOK) else "/operation", 303)


def static(asked: Asked) -> Response:
    path = STATIC / asked.part("name")
    if path.parent != STATIC or path.suffix not in TYPES or not path.is_file():
        return asked.page("fault.html", 404, title="Not here", said="There is no such file.")
    return FileResponse(path, media_type=TYPES[path.suffix])
