"""The pages of a workspace: what needs a person, endpoints, the time line; log in and out.

Every page asks through the dispatcher, with the visitor's own permissions, so it can show and do only what they may.
All text from the records is escaped; there is no script but one on the first page. A part or record that cannot be
read is named on the page, and the rest is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perennial.api.auth import SESSION_LIFE_S, Auth, Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.server import HEADERS, Door
from perennial.store.actor import system_user
from perennial.ui import incident_pages, model_pages, run_pages, tracking
from perennial.ui.making import Asking, door, here, page

__all__ = ["doors"]

EVENTS_A_PAGE = 100
# The one script: it sends whoever follows a link of MLflow's client, `/#/experiments/1`, to our page.
WITH_SCRIPT = {"content-security-policy": HEADERS["content-security-policy"] + "; script-src 'self'"}


def doors(dispatcher: Dispatcher, auth: Auth) -> list[Door]:
    """The routes of all pages."""
    pages = _Pages(dispatcher, auth)
    return [
        door("GET", "/", "read", pages.now, "What needs a person now, and what is live."),
        door("GET", "/log", "read", pages.log, "The time line, newest first."),
        door("GET", "/endpoints/{name}", "read", pages.endpoint, "One endpoint, its versions and rollouts."),
        door("POST", "/endpoints/{name}", "decide", pages.roll_back, "Go back to the version before."),
        *model_pages.doors(dispatcher),
        *incident_pages.doors(dispatcher),
        *tracking.doors(dispatcher),
        *run_pages.doors(dispatcher),
        door("GET", "/login", "read", pages.ask_name, "Who opened the one-time link?"),
        door("POST", "/login", "read", pages.log_in, "Use up the one-time link."),
        door("POST", "/logout", "read", pages.log_out, "End the session."),
        door("GET", "/style.css", "read", _style, "The style sheet."),
        door("GET", "/addresses.js", "read", _script, "Leads from MLflow's addresses to ours."),
    ]


class _Pages:
    def __init__(self, dispatcher: Dispatcher, auth: Auth) -> None:
        self._ask = Asking(dispatcher)
        self._auth = auth

    def now(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        status = self._ask(caller, "system.status")
        return page("now.html", caller, headers=WITH_SCRIPT, **status)

    def log(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        newest = self._ask(caller, "events.head")
        asked = request.query_params.get("before", "")
        last = min(newest, int(asked) - 1) if asked.isdecimal() and len(asked) < 19 else newest
        after = max(0, last - EVENTS_A_PAGE)
        events, problems = self._events(caller, after, last)
        return page("log.html", caller, events=events[::-1], problems=problems, older=after + 1 if after else 0)

    def endpoint(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        name = request.path_params["name"]
        return page(
            "endpoint.html",
            caller,
            endpoint=self._ask(caller, "endpoints.get", name=name),
            versions=self._ask(caller, "models.list", name=name),
            rollouts=self._ask(caller, "endpoints.history", name=name),
            here=here(request),
        )

    def roll_back(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        self._ask(caller, "endpoints.rollback", name=request.path_params["name"], reason=form.get("reason", ""))
        return RedirectResponse(here(request), 303)

    def ask_name(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        # Only looked at: whatever previews links must not use this one up.
        return page("login.html", caller, code=request.query_params.get("code", ""), person=system_user())

    def log_in(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        value = self._auth.log_in(form.get("code", ""), form.get("person", ""))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._auth.cookie, value, max_age=SESSION_LIFE_S, httponly=True, samesite="strict", path="/")
        return answer

    def log_out(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        self._auth.log_out(request.headers)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._auth.cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _events(self, caller: Caller, after: int, last: int) -> tuple[list[Any], list[str]]:
        try:
            return self._ask(caller, "events.list", after=after, limit=last - after) if last > after else [], []
        except Exception:  # noqa: BLE001  one of them is damaged: it is found and named below, the others are shown
            events: list[Any] = []
            problems: list[str] = []
            for number in range(after, last):
                try:
                    events += self._ask(caller, "events.list", after=number, limit=1)
                except Exception as error:  # noqa: BLE001  the boundary of one record: named on the page
                    problems.append(f"event {number + 1} cannot be read: {error}")
            return events, problems


def _style(request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
    return Response(_STYLE, media_type="text/css", headers={"cache-control": "max-age=3600"})


def _script(request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
    return Response(_SCRIPT, media_type="text/javascript", headers={"cache-control": "max-age=3600"})


_STYLE = (Path(__file__).parent / "style.css").read_bytes()
_SCRIPT = (Path(__file__).parent / "addresses.js").read_bytes()
