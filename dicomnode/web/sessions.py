"""Log-ins, kept by the server: the cookie is a secret of 256 bits, the table holds its digest."""

from __future__ import annotations

import hashlib
import secrets
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from dicomnode.audit import events, trail
from dicomnode.audit.about import About, Person
from dicomnode.casebook.house import House
from dicomnode.database.tables import WebLook, WebSession
from dicomnode.web.users import User

TRIES_PER_MINUTE = 5
USED_STEP = timedelta(minutes=1)
"""A session's last use is written no more often."""


@dataclass(frozen=True)
class LoggedIn:
    """Who is logged in, and the token that each of the session's forms carries."""

    session_id: str
    user: User
    csrf: str

    @property
    def person(self) -> Person:
        return self.user.person


def begin(house: House, user: User, address: str, now: datetime) -> str:
    """A new log-in, on record; returns the cookie."""
    cookie = secrets.token_urlsafe(32)
    row = WebSession(
        id=_digest(cookie), person_id=user.id, csrf=secrets.token_urlsafe(32), address=address,
        began_at=now, used_at=now,
    )  # fmt: skip
    event = events.user_authenticated(house.config.node.name, user.person, role=user.role, address=address)
    with house.database.write() as session:
        session.add(row)
        trail.append(session, event)
    return cookie


def find(house: House, cookie: str, users: dict[str, User], now: datetime) -> LoggedIn | None:
    """Whose log-in this is; None where it ended, or its person may no longer log in."""
    web = house.config.web
    with house.database.read() as session:
        row = session.get(WebSession, _digest(cookie))
        if row is None or row.ended_at is not None:
            return None
        key, csrf, began_at, used_at, person = row.id, row.csrf, row.began_at, row.used_at, row.person_id
    user = users.get(person)
    old = now - used_at > timedelta(minutes=web.idle_min) or now - began_at > timedelta(hours=web.longest_h)
    if user is None or user.disabled or old:
        return None
    if now - used_at > USED_STEP:
        with house.database.write() as session:
            session.execute(update(WebSession).where(WebSession.id == key).values(used_at=now))
    return LoggedIn(key, user, csrf)


def end(house: House, who: LoggedIn, now: datetime, how: str) -> None:
    """Log out, on record."""
    event = events.user_authenticated(
        house.config.node.name, who.person, role=who.user.role, address="", ended=how
    )
    with house.database.write() as session:
        session.get_one(WebSession, who.session_id).ended_at = now
        trail.append(session, event)


def end_all(house: House, person_id: str, now: datetime) -> None:
    """End every log-in of a person: after a new password or role."""
    still = (WebSession.person_id == person_id, WebSession.ended_at.is_(None))
    with house.database.write() as session:
        session.execute(update(WebSession).where(*still).values(ended_at=now))


def look(house: House, who: LoggedIn, about: About, what: str) -> None:
    """Put a look on record, once per session and revision, before anything is shown."""
    subject = f"{what}:{about.cycle_id}:{about.revision_id}"
    with house.database.read() as session:
        if _looked(session, who, subject):
            return
    with house.database.write() as session:
        if not _looked(session, who, subject):
            session.add(WebLook(session_id=who.session_id, subject=subject))
            trail.append(session, events.instances_viewed(who.person, about, what=what))


def _looked(session: Session, who: LoggedIn, subject: str) -> bool:
    seen = select(WebLook.subject).where(WebLook.session_id == who.session_id, WebLook.subject == subject)
    return session.scalars(seen).first() is not None


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8")).hexdigest()


@dataclass
class Tries:
    """Failed log-ins of the last minute, per user and per address; a few, then wait."""

    failed: dict[str, deque[datetime]] = field(default_factory=dict)

    def too_many(self, keys: tuple[str, ...], now: datetime) -> bool:
        """Whether one of ``keys`` has to wait."""
        for key in list(self.failed):
            times = self.failed[key]
            while times and now - times[0] > timedelta(minutes=1):
                times.popleft()
            if not times:
                del self.failed[key]
        return any(len(self.failed.get(key, ())) >= TRIES_PER_MINUTE for key in keys)

    def failed_now(self, keys: tuple[str, ...], now: datetime) -> None:
        """Count one for each of ``keys``."""
        for key in keys:
            self.failed.setdefault(key, deque()).append(now)
