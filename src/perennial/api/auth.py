"""Who is calling, and what may they do?

The holder of the token in the workspace's owner file is the operating-system user who owns the workspace: a command,
a notebook or one of our own processes. The holder of the one-time link is the person who opened it, by the name they
gave. Anybody else who can reach the loopback address may read, no more. Secrets are random, kept as digests, compared
in constant time, and gone when the owner stops.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

from perennial.api.guard import is_from_our_page
from perennial.api.operations import Permission
from perennial.api.statuses import NotLoggedIn
from perennial.errors import Invalid
from perennial.store.actor import system_user

__all__ = ["NOBODY", "OWNER", "Auth", "Caller"]

LINK_LIFE_S = 15 * 60
SESSION_LIFE_S = 12 * 3600
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_LEASE = re.compile(r"([a-z]{1,32}) (\d{1,18})")
_ORIGIN = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Caller(NamedTuple):
    """Who calls, from where, and what they may do. `person` is empty for somebody unknown.

    `lease` is the name and epoch of the lease under which one of our own processes writes.
    """

    person: str
    origin: str
    permissions: frozenset[Permission]
    lease: tuple[str, int] | None = None


READER = Caller("", "unknown", frozenset({"read"}))
NOBODY = Caller("", "unknown", frozenset({"read", "track"}))
_PERSON: frozenset[Permission] = frozenset({"read", "track", "write", "decide"})
OWNER: frozenset[Permission] = frozenset({*_PERSON, "system"})


class Auth:
    """Tells callers apart. Safe for concurrent use; forgets all links and sessions when the owner stops."""

    def __init__(self, *, token: str, cookie: str, require_token: bool = False) -> None:
        """
        Args:
            token: Of the owner of the workspace.
            cookie: The name of the session's cookie.
            require_token: Whether somebody unknown may only read, and not log either.
        """
        self._nobody = READER if require_token else NOBODY
        self._token = _digest(token)
        self.cookie = cookie
        self._lock = threading.Lock()
        self._links: dict[bytes, float] = {}
        self._sessions: dict[bytes, tuple[str, float]] = {}

    def caller(self, headers: Mapping[str, str], method: str) -> Caller:
        """Who sends this request.

        Raises:
            NotLoggedIn: They show a token that is not valid.
        """
        authorization = headers.get("authorization")
        if authorization is not None:
            token = _token_in(authorization)
            if token is None or not hmac.compare_digest(_digest(token), self._token):
                raise NotLoggedIn("this token is not valid", remedy="the owner may have restarted: read its file again")
            origin = headers.get("perennial-origin", "")
            lease = _LEASE.fullmatch(headers.get("perennial-lease", ""))
            held = (lease[1], int(lease[2])) if lease else None
            return Caller(system_user(), origin if _ORIGIN.fullmatch(origin) else "api", OWNER, held)
        session = self._session(headers) if "cookie" in headers else ""
        if session and (method in ("GET", "HEAD") or is_from_our_page(headers)):
            return Caller(session, "page", _PERSON)
        return self._nobody

    def new_link(self) -> str:
        """A code that lets one person in once, within a quarter of an hour."""
        code, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            self._links = {link: ends for link, ends in self._links.items() if ends > now}
            self._links[_digest(code)] = now + LINK_LIFE_S
        return code

    def log_in(self, code: str, person: str) -> str:
        """Use up a link; returns the value of the new session's cookie.

        Raises:
            Invalid: The name is empty, too long or holds control characters; the link stays usable.
            NotLoggedIn: The link was used before, is too old or never existed.
        """
        name = person.strip()
        if not _NAME.fullmatch(name):
            raise Invalid("a name has 1 to 100 characters", where="name", remedy="write it as colleagues know it")
        value, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            if self._links.pop(_digest(code), 0.0) <= now:
                raise NotLoggedIn(
                    "this link was used before or is too old", remedy="`perennial status --link` prints a new one"
                )
            self._sessions = {key: held for key, held in self._sessions.items() if held[1] > now}
            self._sessions[_digest(value)] = (name, now + SESSION_LIFE_S)
        return value

    def log_out(self, headers: Mapping[str, str]) -> None:
        """End the session of this request, if there is one."""
        with self._lock:
            self._sessions.pop(_digest(self._cookie_value(headers)), None)

    def _session(self, headers: Mapping[str, str]) -> str:
        held = self._sessions.get(_digest(self._cookie_value(headers)))
        return held[0] if held and held[1] > time.monotonic() else ""

    def _cookie_value(self, headers: Mapping[str, str]) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""


def _token_in(authorization: str) -> str | None:
    """The token of a Bearer header, or the password of a Basic one, which some clients send instead."""
    scheme, _, shown = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(shown.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
