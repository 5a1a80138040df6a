"""The application: each route with its right, checked before its handler runs; headers on every answer."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomnode.casebook.house import House
from dicomnode.database.database import ArchiveUnavailable
from dicomnode.errors import ConfigError, DicomnodeError
from dicomnode.web import wording
from dicomnode.web.rights import RIGHTS, Right
from dicomnode.web.sessions import LoggedIn, Tries, find
from dicomnode.web.users import read_users

COOKIE = "__Host-session"
STATIC = Path(__file__).with_name("static")
LONGEST_FORM = 20_000
"""Bytes of a form; the longest holds a reason of some sentences."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Page:
    """One route. ``answer`` gets the request as ``Asked``; POST goes with the session's token only."""

    path: str
    method: str
    right: Right | None
    answer: Callable[[Asked], Response]


@dataclass(frozen=True)
class Asked:
    """A request that passed the door: who asks, and what was filled in."""

    site: Site
    request: Request
    who: LoggedIn | None
    form: dict[str, str]
    now: datetime

    @property
    def house(self) -> House:
        return self.site.house

    @property
    def person(self) -> LoggedIn:
        """Who is logged in; routes with another right than NOBODY have one."""
        assert self.who is not None
        return self.who

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client else ""

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "")

    def part(self, name: str) -> str:
        return str(self.request.path_params[name])

    def may(self, right: Right) -> bool:
        return self.who is not None and right in RIGHTS[self.who.user.role]

    def page(self, template: str, status: int = 200, **facts: Any) -> HTMLResponse:
        """A page from a template."""
        return HTMLResponse(self.site.html(template, asked=self, **facts), status)


@dataclass(frozen=True)
class Site:
    """What the handlers share."""

    house: House
    templates: Environment
    tries: Tries = field(default_factory=Tries)

    def html(self, template: str, **facts: Any) -> str:
        return self.templates.get_template(template).render(node=self.house.config.node, Right=Right, **facts)


def site_of(house: House) -> Site:
    """Templates and what they may call."""
    templates = Environment(loader=PackageLoader("dicomnode.web"), autoescape=True, undefined=StrictUndefined)
    templates.filters |= wording.filters(house.config.node.zone)
    return Site(house, templates)


def application(house: House, pages: Sequence[Page]) -> ASGIApp:
    """The ASGI application.

    Raises
    ------
    ConfigError : a route without a right, no user who could log in
    """
    without = [f"the route {p.method} {p.path} has no right" for p in pages if p.right is None]
    if without:
        raise ConfigError(without)
    users = read_users(house.config.web.users_file)
    if not any(not u.disabled for u in users.values()):
        raise ConfigError(
            [f"{house.config.web.users_file}: nobody may log in; run: dicomnode user add ID --role physicist"]
        )
    site = site_of(house)
    routes = [Route(p.path, _endpoint(site, p), methods=[p.method]) for p in pages]
    handlers = {HTTPException: _not_here(site), 404: _not_here(site)}
    return _with_headers(Starlette(routes=routes, exception_handlers=handlers))


def _endpoint(site: Site, page: Page) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        form = await _form(request) if page.method == "POST" else {}
        # Handlers wait for the database: they run in threads, so that nobody else waits.
        return await run_in_threadpool(_answered, site, page, request, form)

    return endpoint


async def _form(request: Request) -> dict[str, str]:
    length = int(request.headers.get("content-length") or LONGEST_FORM + 1)
    if length > LONGEST_FORM:
        raise HTTPException(413, "the form is too long")
    body = await request.body()
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _answered(site: Site, page: Page, request: Request, form: dict[str, str]) -> Response:
    now = datetime.now(UTC)
    asked = stranger = Asked(site, request, None, form, now)
    try:
        who = _who(site, request, now)
        asked = Asked(site, request, who, form, now)
        refused = _refused(asked, page)
        return refused if refused is not None else page.answer(asked)
    except ArchiveUnavailable as error:
        said = f"The database does not answer, so nothing is shown: {error}"
        return stranger.page("fault.html", 503, title="Not now", said=said)
    except DicomnodeError as error:
        return asked.page("fault.html", 409, title="Refused", said=str(error))


def _who(site: Site, request: Request, now: datetime) -> LoggedIn | None:
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    return find(site.house, cookie, read_users(site.house.config.web.users_file), now)


def _refused(asked: Asked, page: Page) -> Response | None:
    """Why the request goes no further; None where it may."""
    if page.method == "POST" and not _same_site(asked.request):
        return asked.page("fault.html", 403, title="Refused", said="The form came from another site.")
    if page.right is Right.NOBODY:
        return None
    if asked.who is None:
        if page.method == "GET":
            return RedirectResponse("/login", 303)
        return asked.page("fault.html", 401, title="Logged out", said="The log-in has ended: log in again.")
    assert page.right is not None
    if not asked.may(page.right):
        said = f"The role {asked.who.user.role} may not do this."
        return asked.page("fault.html", 403, title="Not for this role", said=said)
    if page.method == "POST" and not hmac.compare_digest(
        asked.form.get("csrf", "").encode(), asked.who.csrf.encode()
    ):
        said = "The form is not of this log-in: open the page again."
        return asked.page("fault.html", 403, title="Refused", said=said)
    return None


def _same_site(request: Request) -> bool:
    """Fetch Metadata, or the origin where a browser sends none."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "")
    return origin.partition("://")[2] == request.headers.get("host", "-")


def _not_here(site: Site) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        asked = Asked(site, request, None, {}, datetime.now(UTC))
        said = "There is no such page." if status == 404 else str(getattr(error, "detail", ""))
        return asked.page("fault.html", status, title="Not here", said=said)

    return answer


def _with_headers(app: ASGIApp) -> ASGIApp:
    fixed = [(key.encode(), value.encode()) for key, value in HEADERS.items()]

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_fixed(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {key for key, _ in fixed}
                kept = [(k, v) for k, v in message["headers"] if k.lower() not in names]
                message = {**message, "headers": [*kept, *fixed]}
            await send(message)

        await app(scope, receive, with_fixed)

    return wrapped


def json_text(facts: object) -> str:
    """JSON for a data block of a page: no text in it can end the block."""
    return json.dumps(facts, ensure_ascii=True).replace("<", "\\u003c").replace("&", "\\u0026")
